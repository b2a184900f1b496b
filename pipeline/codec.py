"""The one way between the records of pipeline/records.py and JSON, with msgspec.

Types decide: a StrEnum is its value, a wall time is ISO 8601 with its zone, a date is ISO 8601, a
tuple is a list, a record is an object. Unknown fields are ignored and absent fields take their
default, so that workers of neighbouring versions understand each other. Records that carry sound do
not travel.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, TypeVar

import msgspec

from pipeline.errors import BadInputError

T = TypeVar("T")

_encoder = msgspec.json.Encoder()


class DecodeError(BadInputError):
    """Raised when bytes are not the record they should be; keeps them for the dead letter."""

    def __init__(self, message: str, payload: bytes) -> None:
        super().__init__(message)
        self.payload = payload


def encode(record: object) -> str:
    """JSON text of a record. Raises TypeError for sound and ValueError for NaN."""
    text = _encoder.encode(record).decode()
    # msgspec writes NaN as null, which nobody could read back as a number.
    if "null" in text:
        _refuse_nan(record)
    return text


def decode(cls: type[T], text: str | bytes) -> T:
    """The record of class `cls` that `text` holds. Raises DecodeError, which keeps the bytes."""
    payload = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        record: T = _decoder(cls).decode(payload)  # type: ignore[arg-type]  # every class has a hash
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError(f"This is not a {cls.__name__}: {error}.", payload) from error
    return record


def plain(record: object) -> Any:
    """The same value in the types JSON knows; a number that is none (infinity) becomes None."""
    return msgspec.json.decode(_encoder.encode(record))


@functools.cache
def _decoder(cls: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cls)


def _refuse_nan(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number that JSON knows")
    if isinstance(value, (tuple, list)):
        for item in value:
            _refuse_nan(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _refuse_nan(getattr(value, field.name))
