"""What the classifier sees of an utterance: words, characters, sounds, numbers, rules, neighbours.

A feature is a short string, in one of the groups below. Numbers are masked by what they stand for,
so that a price is a price whatever it is. The same functions serve training and the running worker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import jieba

from pipeline.detect.numbers import SLOTS, value_of
from pipeline.detect.pinyin import sound_of
from pipeline.detect.wordclasses import WordClasses

#: Longest run of characters that is a feature, and of sounds.
_LONGEST_RUN = 4
_LONGEST_SOUND = 3
#: Characters beyond these are not read: an utterance is some 60 long.
_MOST_CHARACTERS = 400
_KINDS = ("percent", "days", "price", "number")
_NUMBERS = re.compile("|".join(f"(?P<{kind}>{SLOTS[kind]})" for kind in _KINDS))
_MASKS = {"percent": "%", "days": "D", "number": "#"}
#: A price is masked by its size: under 100, under 1,000, above, or one that cannot be told.
_SMALL, _MIDDLE, _LARGE, _VAGUE = "¥", "￥", "€", "£"
_SIGNS = frozenset("%D#¥￥€£")

jieba.setLogLevel(60)


class Group(StrEnum):
    """Features that are weighed together; each group of an utterance has the same length."""

    WORDS = "words"
    """Words, pairs of words, runs of characters."""
    MEANING = "meaning"
    """Word classes of the rule pack, and the rules that hold or are excused."""
    SOUND = "sound"
    """Runs of syllables without tone, nearly equal ones merged."""
    BEFORE = "before"
    """The utterance before, and so on."""
    BEFORE_2 = "before2"
    AFTER = "after"
    AFTER_2 = "after2"


#: Length of a group's part of the feature vector.
WEIGHTS = {
    Group.WORDS: 1.0,
    Group.MEANING: 0.5,
    Group.SOUND: 0.4,
    Group.BEFORE: 0.5,
    Group.BEFORE_2: 0.3,
    Group.AFTER: 0.5,
    Group.AFTER_2: 0.3,
}
#: How far from the utterance a neighbour stands.
NEIGHBOURS = {Group.BEFORE: -1, Group.BEFORE_2: -2, Group.AFTER: 1, Group.AFTER_2: 2}


class Feature(NamedTuple):
    """One feature and the characters of the masked text that it stands on."""

    name: str
    start: int
    end: int


class Masked(NamedTuple):
    """A normal form with one sign for each number."""

    text: str
    offsets: tuple[int, ...]
    """Per character, where it begins in the normal form; one more for its end."""


def word_names(text: str) -> list[str]:
    """Names of group WORDS of a masked text: of `words_of` without the places, and much faster."""
    end = len(text)
    names = ["c" + sign for sign in text]
    for size in range(2, _LONGEST_RUN + 1):
        names += ["c" + text[start : start + size] for start in range(end - size + 1)]
    words = cut(text)
    names += ["w" + word for word in words]
    names += [f"v{first} {second}" for first, second in pairwise(words)]
    return names


def words_of(text: str) -> Iterator[Feature]:
    """Group WORDS of a masked text, each feature with its place."""
    end = len(text)
    for size in range(1, _LONGEST_RUN + 1):
        for start in range(end - size + 1):
            yield Feature("c" + text[start : start + size], start, start + size)
    at, before = 0, ""
    for word in cut(text):
        yield Feature("w" + word, at, at + len(word))
        if before:
            yield Feature(f"v{before} {word}", at - len(before), at + len(word))
        at, before = at + len(word), word


def meaning_of(text: str, classes: WordClasses, rules: Iterable[str]) -> Iterator[str]:
    """Group MEANING of a normal form; `rules` name what holds and what is excused."""
    before = ""
    for name in classes.found(text):
        yield "k" + name
        if before:
            yield f"K{before}>{name}"
        before = name
    yield from rules


def sounds_of(text: str) -> Iterator[str]:
    """Group SOUND of a masked text."""
    heard = [sound_of(character) for character in text]
    for size in range(2, _LONGEST_SOUND + 1):
        for start in range(len(heard) - size + 1):
            yield " ".join(heard[start : start + size])


def neighbour_of(text: str, classes: WordClasses) -> list[str]:
    """What an utterance tells of the ones beside it: its words and word classes."""
    mask = masked(text).text
    words = [word for word in cut(mask) if len(word) > 1 or word in _SIGNS]
    return words + ["k" + name for name in classes.found(text)]


@lru_cache(maxsize=4096)
def masked(text: str) -> Masked:
    """The text with every number masked."""
    parts: list[str] = []
    offsets: list[int] = []
    end = 0
    for found in _NUMBERS.finditer(text[:_MOST_CHARACTERS]):
        parts.append(text[end : found.start()])
        offsets.extend(range(end, found.start()))
        parts.append(_mask(found))
        offsets.append(found.start())
        end = found.end()
    rest = text[end:_MOST_CHARACTERS]
    offsets.extend(range(end, end + len(rest) + 1))
    return Masked("".join([*parts, rest]), tuple(offsets))


def _mask(found: re.Match[str]) -> str:
    kind = found.lastgroup or "number"
    if kind != "price":
        return _MASKS[kind]
    value = value_of(found[0])
    if value is None:
        return _VAGUE
    return _SMALL if value < 100 else _MIDDLE if value < 1000 else _LARGE


@lru_cache(maxsize=4096)
def cut(text: str) -> Sequence[str]:
    """jieba's words; once an utterance, whoever asks."""
    return tuple(jieba.cut(text, HMM=False))
