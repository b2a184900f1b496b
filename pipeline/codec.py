"""The one way between the records of pipeline/records.py and JSON.

Types decide: a StrEnum is its value, a wall time is ISO 8601 in UTC, a date is ISO 8601, a tuple is
a list, a record is an object. Unknown fields are ignored and absent fields take their default, so
that workers of neighbouring versions understand each other. Records that carry sound do not travel.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
import types
import typing
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from pipeline.errors import BadInputError

T = typing.TypeVar("T")
_Decoder = Callable[[Any], Any]


class DecodeError(BadInputError):
    """Raised when bytes are not the record they should be; keeps them for the dead letter."""

    def __init__(self, message: str, payload: bytes) -> None:
        super().__init__(message)
        self.payload = payload


def encode(record: object) -> str:
    """JSON text of a record. Raises TypeError for sound, ValueError for naive times and NaN."""
    return json.dumps(plain(record), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def decode(cls: type[T], text: str | bytes) -> T:
    """The record of class `cls` that `text` holds. Raises DecodeError, which keeps the bytes."""
    try:
        return from_plain(cls, json.loads(text))
    except (ValueError, RecursionError) as error:
        payload = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        raise DecodeError(f"This is not a {cls.__name__}: {error}.", payload) from error


def plain(value: object) -> Any:
    """The same value in the types JSON knows: dict, list, str, int, float, bool, None."""
    if isinstance(value, StrEnum):
        return value.value
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, dt.datetime):
        return _utc(value).isoformat()
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} does not travel as JSON")


def from_plain(cls: type[T], value: object) -> T:
    """The record of class `cls` made of JSON types. Raises ValueError naming the field."""
    return typing.cast("T", _decoder(typing.cast("Any", cls))(value))


def _utc(at: dt.datetime) -> dt.datetime:
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone")
    return at.astimezone(dt.UTC)


@functools.cache
def _decoder(hint: Any) -> _Decoder:
    origin = typing.get_origin(hint)
    if origin is tuple:
        return _tuple_decoder(typing.get_args(hint))
    if origin in (types.UnionType, typing.Union):
        return _optional_decoder(typing.get_args(hint))
    if hint in _SCALARS:
        return _SCALARS[hint]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return lambda value: hint(_text(value))
    if dataclasses.is_dataclass(hint):
        return _record_decoder(typing.cast("type[object]", hint))
    raise TypeError(f"{hint} does not travel as JSON")


def _record_decoder(cls: type[object]) -> _Decoder:
    hints = typing.get_type_hints(cls)
    decoders = {
        item.name: _decoder(hints[item.name])
        for item in dataclasses.fields(typing.cast("Any", cls))
    }

    def decode_record(value: Any) -> object:
        _expect(value, dict)
        parts = {}
        for name, decoder in decoders.items():
            if name in value:
                try:
                    parts[name] = decoder(value[name])
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
        try:
            return cls(**parts)
        except TypeError as error:
            raise ValueError(str(error)) from error

    return decode_record


def _tuple_decoder(arguments: tuple[Any, ...]) -> _Decoder:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        item = _decoder(arguments[0])
        return lambda value: tuple(item(part) for part in _expect(value, list))
    items = [_decoder(argument) for argument in arguments]
    return lambda value: tuple(
        item(part) for item, part in zip(items, _expect(value, list), strict=True)
    )


def _optional_decoder(arguments: tuple[Any, ...]) -> _Decoder:
    (inner,) = [_decoder(argument) for argument in arguments if argument is not type(None)]
    return lambda value: None if value is None else inner(value)


def _expect(value: Any, kind: type) -> Any:
    # bool is an int to isinstance, and a flag where a number belongs is a defect.
    if type(value) is not kind:
        raise ValueError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value


def _text(value: Any) -> Any:
    return _expect(value, str)


def _number(value: Any) -> float:
    return float(value if type(value) is int else _expect(value, float))


_SCALARS: dict[object, _Decoder] = {
    str: _text,
    int: lambda value: _expect(value, int),
    float: _number,
    bool: lambda value: _expect(value, bool),
    dt.datetime: lambda value: _utc(dt.datetime.fromisoformat(_text(value))),
    dt.date: lambda value: dt.date.fromisoformat(_text(value)),
}
