"""Wordings that are harmless as a whole though a rule knows a part of them: 治愈系, 加微弹.

The data is lexicons/allow.toml. The longer wording wins: what an allowed one covers decides
nothing, and a word of a rule that is longer than it still does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

#: Stands for a character that no rule may see.
_HIDDEN = "\0"

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Allowed:
    """Wordings that are allowed for one reason."""

    words: tuple[str, ...]
    """In normal form."""
    reason: str
    source: str
    passes: tuple[str, ...]
    """Texts that are unflagged because of it."""


@dataclass(frozen=True, slots=True, eq=False)
class AllowList:
    """Every allowed wording, ready to be looked up; equal only to itself."""

    entries: tuple[Allowed, ...]
    words: frozenset[str]
    lengths: Mapping[str, tuple[int, ...]]
    """First character of a wording → lengths of those that begin with it, longest first."""

    def covering(self, text: str, words: Iterable[Span]) -> list[Span]:
        """Allowed wordings of a normal form that cover one of `words`, each as [start, end)."""
        asked = list(words)
        return [
            (start, end)
            for start, end in _places(self, text)
            if any(start <= word[0] and word[1] <= end for word in asked)
        ]


def allow_list(entries: Iterable[Allowed]) -> AllowList:
    """The list of these entries."""
    kept = tuple(entries)
    words = frozenset(word for entry in kept for word in entry.words)
    lengths: dict[str, set[int]] = {}
    for word in words:
        lengths.setdefault(word[0], set()).add(len(word))
    ordered = {first: tuple(sorted(found, reverse=True)) for first, found in lengths.items()}
    return AllowList(kept, words, ordered)


def hidden(text: str, spans: Iterable[Span]) -> str:
    """`text` with what stands in `spans` out of sight, of the same length."""
    for start, end in spans:
        text = text[:start] + _HIDDEN * (end - start) + text[end:]
    return text


@lru_cache(maxsize=4096)
def _places(allow: AllowList, text: str) -> tuple[Span, ...]:
    """The longest allowed wording at each place where one begins."""
    return tuple(_longest(allow, text))


def _longest(allow: AllowList, text: str) -> Iterator[Span]:
    for start, character in enumerate(text):
        for length in allow.lengths.get(character, ()):
            if text[start : start + length] in allow.words:
                yield start, start + length
                break
