"""What is an ordinary word: jieba's dictionary, loaded when first asked for."""

from __future__ import annotations

from functools import cache

import jieba

#: Longest word that is looked for at a border.
_REACH = 2
#: The dictionary has rare words that nobody says; those in use it has met so often.
_IN_USE = 200

jieba.setLogLevel(60)


def frequency(word: str) -> int:
    """How often the dictionary has met the word; 0 for what is no word."""
    return _frequencies().get(word, 0)


@cache
def _frequencies() -> dict[str, int]:
    jieba.initialize()
    found: dict[str, int] = jieba.dt.FREQ
    return found


def begins_before(text: str, start: int) -> bool:
    """Whether the character at `start` ends, or is within, a word that begins before it."""
    return any(
        frequency(text[start - back : start + 1]) for back in range(1, _REACH + 1) if start >= back
    )


def ends_after(text: str, end: int) -> bool:
    """Whether the character before `end` begins, or is within, a word that ends after it."""
    return any(
        frequency(text[end - 1 : end + ahead])
        for ahead in range(1, _REACH + 1)
        if 0 < end <= len(text) - ahead
    )


def is_within_word(text: str, start: int, end: int) -> bool:
    """Whether some word in use has all of [start, end) and a character before or after it."""
    return any(
        frequency(text[start - back : end + ahead]) >= _IN_USE
        for back in range(min(_REACH, start) + 1)
        for ahead in range(min(_REACH, len(text) - end) + 1)
        if back + ahead
    )
