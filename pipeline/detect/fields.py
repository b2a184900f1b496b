"""Typed access to one TOML table, with an error for what is missing, wrong or unknown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class FieldError(ValueError):
    """Raised when a table does not hold what it should; the message names the key."""


class Fields:
    """The keys of one table; `finish` refuses those nobody asked for."""

    def __init__(self, table: Any, name: str = "entry") -> None:
        if not isinstance(table, dict):
            raise FieldError(f"{name} must be a table")
        self._table: dict[str, Any] = table
        self._asked: set[str] = set()

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty; `default` where the key is absent."""
        value = self._get(key, default)
        if not isinstance(value, str) or not (value.strip() or value == default):
            raise FieldError(f"{key} must be a text")
        return value

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        """One of `choices`."""
        value = self.text(key, default)
        if value not in choices:
            raise FieldError(f"{key} is {value!r}, not one of {', '.join(choices)}")
        return value

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number from `low` to `high`; `default` where the key is absent."""
        value = self._get(key, default)
        if type(value) is not int or not low <= value <= high:
            raise FieldError(f"{key} must be a whole number from {low} to {high}")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._get(key, None)
        if type(value) is not bool:
            raise FieldError(f"{key} must be true or false")
        return value

    def share(self, key: str) -> float:
        """A number from 0 to 1."""
        value = self._get(key, None)
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise FieldError(f"{key} must be a number from 0 to 1")
        return float(value)

    def date(self, key: str) -> dt.date:
        """A date."""
        value = self.maybe_date(key)
        if value is None:
            raise FieldError(f"{key} is missing")
        return value

    def maybe_date(self, key: str) -> dt.date | None:
        """A date, None where the key is absent."""
        self._asked.add(key)
        value = self._table.get(key)
        # A datetime is a date to isinstance, and a time of day has no place here.
        if value is not None and type(value) is not dt.date:
            raise FieldError(f"{key} must be a date such as 2026-02-01")
        return value

    def texts(self, key: str, at_least: int = 0) -> tuple[str, ...]:
        """A list of texts, empty where the key is absent."""
        return self.each(key, at_least, _text_item)

    def each(self, key: str, at_least: int, build: Callable[[Any], T]) -> tuple[T, ...]:
        """`build` of every entry of a list; FieldErrors of `build` name the entry."""
        value = self._get(key, [] if not at_least else None)
        if not isinstance(value, list):
            raise FieldError(f"{key} must be a list")
        if len(value) < at_least:
            raise FieldError(f"{key} needs at least {at_least} entries and has {len(value)}")
        built = []
        for number, item in enumerate(value, 1):
            try:
                built.append(build(item))
            except FieldError as error:
                raise FieldError(f"{key} {number}: {error}") from error
        return tuple(built)

    def table(self, key: str) -> dict[str, Any]:
        """A table."""
        value = self._get(key, None)
        if not isinstance(value, dict):
            raise FieldError(f"{key} must be a table")
        return value

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        self._asked.add(key)
        return key in self._table

    def names(self) -> tuple[str, ...]:
        """Every key of the table."""
        return tuple(self._table)

    def finish(self) -> None:
        """Raises FieldError for a key that nobody asked for: most often a slip of the pen."""
        unknown = sorted(self._table.keys() - self._asked)
        if unknown:
            raise FieldError(f"{unknown[0]} is unknown; known are {', '.join(sorted(self._asked))}")

    def _get(self, key: str, default: Any) -> Any:
        self._asked.add(key)
        value = self._table.get(key, default)
        if value is None:
            raise FieldError(f"{key} is missing")
        return value


def _text_item(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise FieldError("must be a text")
    return value
