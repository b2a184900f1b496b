"""Spoken or written text in the one form that rules are matched on, with the way back.

`normalize` replaces or drops single characters, so that each character of its result stands for
exactly one of the original. restore.py then replaces longer wordings by what they mean; there a
character may stand for several, and several for the same ones.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

#: Spoken particles without meaning; 吧, 呢 and 吗 stay, they tell questions from claims.
_FILLERS = frozenset("啊呃嗯哦噢喔呀哎诶欸唉嘛啦呐")

_KEPT_SIGNS = frozenset("%+")
_STRONG = re.compile(r"[。!！?？;；\n]")
_POINT = re.compile(r"(?<=\d)[.．](?=\d)")
_SURROGATES = range(0xD800, 0xE000)
_CACHED_LENGTH = 400


@dataclass(frozen=True, slots=True)
class NormalText:
    """The normal form of a text: simplified, half width, lower case, no punctuation or fillers."""

    text: str
    offsets: Sequence[int]
    """Per character of `text`, where what it stands for begins in the original; never falling."""
    breaks: tuple[int, ...] = ()
    """Indexes in `text` at which a new sentence begins."""
    ends: Sequence[int] = ()
    """Per character, where it ends; never falling. Empty: each stands for one character."""

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """[a, b) in the original for the non-empty [start, end) of `text`."""
        last = self.ends[end - 1] if self.ends else self.offsets[end - 1] + 1
        return self.offsets[start], last

    def sentence(self, start: int, end: int) -> tuple[int, int]:
        """[a, b) of `text`: the sentences that [start, end) lies in; all of it without breaks."""
        left = bisect_right(self.breaks, start)
        right = bisect_right(self.breaks, max(start, end - 1))
        return (
            self.breaks[left - 1] if left else 0,
            self.breaks[right] if right < len(self.breaks) else len(self.text),
        )


def normalize(text: str) -> NormalText:
    """The normal form of any string."""
    return _cached(text) if len(text) <= _CACHED_LENGTH else _normalize(text)


def normal_form(text: str) -> str:
    """The normal form without the way back, for words of a rule pack."""
    return _normalize(text).text


@lru_cache(maxsize=2048)
def _cached(text: str) -> NormalText:
    return _normalize(text)


def _normalize(text: str) -> NormalText:
    normal = text.translate(_TABLE)
    if len(normal) == len(text) and "." not in normal:
        return NormalText(normal, range(len(text)))
    points = {found.start() for found in _POINT.finditer(text)}
    kept = []
    characters = []
    for index, character in enumerate(text):
        mapped = _TABLE[ord(character)]
        if mapped is None or (mapped == "." and index not in points):
            continue
        kept.append(index)
        characters.append(mapped)
    return NormalText("".join(characters), tuple(kept), _breaks(text, kept))


def _breaks(text: str, kept: Sequence[int]) -> tuple[int, ...]:
    starts = {bisect_right(kept, found.start()) for found in _STRONG.finditer(text)}
    return tuple(sorted(starts - {0, len(kept)}))


class _Table(dict[int, str | None]):
    """Code point → character of the normal form, or None to drop; filled as characters come."""

    def __missing__(self, code: int) -> str | None:
        mapped = self[code] = _mapped(chr(code))
        return mapped


def _mapped(character: str) -> str | None:
    if ord(character) in _SURROGATES or character in _FILLERS:
        return None
    narrow = unicodedata.normalize("NFKC", character).lower()
    if len(narrow) == 1:
        character = narrow
    if character == "." or character in _KEPT_SIGNS:
        return character
    character = _SIMPLIFIED.get(character, character)
    if character in _FILLERS:
        return None
    return character if unicodedata.category(character)[0] in "LN" else None


def _read_simplified() -> dict[str, str]:
    """Traditional → simplified by OpenCC's table of characters; the first choice of several."""
    table = files("opencc").joinpath("dictionary", "TSCharacters.txt").read_text(encoding="utf-8")
    rows = (line.split() for line in table.splitlines())
    return {row[0]: row[1] for row in rows if len(row) > 1 and len(row[0]) == len(row[1]) == 1}


_SIMPLIFIED = _read_simplified()
_TABLE = _Table()
