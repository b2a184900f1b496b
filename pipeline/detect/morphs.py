"""What is known of evasive wording: code names, units, inserted characters, homophones, words.

The data is lexicons/morphs.toml; restore.py applies it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, TypeVar

from pipeline.detect.fields import FieldError, Fields
from pipeline.detect.normalize import normal_form
from pipeline.detect.pinyin import signs

T = TypeVar("T")

#: Words that a morph needs around it are looked for within so many characters.
_NEAR = 8


@dataclass(frozen=True, slots=True)
class Around:
    """What must and what must not stand around a wording for it to be a morph."""

    near: re.Pattern[str] | None
    """Within _NEAR characters, the wording itself left out; None: nothing is asked for."""
    without: re.Pattern[str] | None
    """Within as many characters of which none may stand."""
    unless: tuple[str, ...]
    """Expressions in which it is what it says."""

    def is_near(self, text: str, start: int, end: int) -> bool:
        """Whether a word that is asked for stands near [start, end); True for none asked for."""
        return self.near is None or self.has_near(text, start, end)

    def has_near(self, text: str, start: int, end: int) -> bool:
        """Whether a word that is asked for stands near [start, end); False for none asked for."""
        return self.near is not None and _stands_near(self.near, text, start, end)

    def is_literal(self, text: str, start: int, end: int) -> bool:
        """Whether what stands around [start, end), or shares characters with it, speaks for it."""
        if self.without is not None and _stands_near(self.without, text, start, end):
            return True
        return any(
            start < at + len(word) and at < end
            for word in self.unless
            for at in _places(text, word, max(0, start - len(word)), end + len(word))
        )


def _stands_near(words: re.Pattern[str], text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - _NEAR) : start], text[end : end + _NEAR]
    return words.search(before) is not None or words.search(after) is not None


@dataclass(frozen=True, slots=True)
class Code:
    """A code name, or a unit that stands for another."""

    meant: str
    around: Around


@dataclass(frozen=True, slots=True)
class Filler:
    """A wording that is put into words to break them."""

    is_common: bool
    """It is common in plain speech: only words of the list are believed, and not what sounds so."""
    around: Around


@dataclass(frozen=True, slots=True)
class Sound:
    """A word that is said by its homophones."""

    meant: str
    cost: float
    """Greatest distance (pinyin.distance) of what is said."""
    sure: frozenset[str]
    """Ways to write it that mean nothing else, whatever stands near."""
    around: Around


@dataclass(frozen=True, slots=True)
class Split:
    """A word with one character in parts: 月中瘤."""

    meant: str
    start: int
    """Where the parts begin in what is said."""
    end: int


@dataclass(frozen=True, slots=True)
class Example:
    """A text and its restored form: the same where nothing may be touched. Both normal forms."""

    text: str
    restored: str


@dataclass(frozen=True, slots=True, eq=False)
class Morphs:
    """All of it, ready to be looked up; equal only to itself."""

    codes: Mapping[str, tuple[Code, ...]]
    code_words: re.Pattern[str]
    units: Mapping[str, Code]
    unit_words: re.Pattern[str]
    fillers: Mapping[str, Filler]
    filler_words: re.Pattern[str]
    sounds: Mapping[str, tuple[Sound, ...]]
    """Signs of a word (pinyin.signs) → the words that sound so."""
    sound_lengths: tuple[int, ...]
    """Lengths of those words, longest first."""
    sound_starts: re.Pattern[str]
    """Finds where the signs of a text may begin such a word."""
    words: frozenset[str]
    """Names of diseases, effects, means and contacts: what hosts break and disguise."""
    pairs: frozenset[str]
    """Any two characters that stand together in one of them."""
    masked: Mapping[str, str]
    """A word with MASK for one character → the word, where there is only one such."""
    words_by_sound: Mapping[str, tuple[str, ...]]
    splits: Mapping[str, Split]
    """A word with a character in parts → the word."""
    split_words: re.Pattern[str]
    examples: tuple[Example, ...]


#: Stands for a character that is left out.
MASK = "\0"


@dataclass(frozen=True, slots=True)
class Found:
    """A wording in [start, end) of a normal form and what it means."""

    start: int
    end: int
    meant: str


def read_morphs(table: dict[str, Any]) -> Morphs:
    """The table of morphs.toml. Raises FieldError."""
    fields = Fields(table)
    examples: list[Example] = []
    letters = _lists(fields, "letters")
    codes = fields.each("code", 1, partial(_codes, letters=letters, examples=examples))
    units = fields.each("unit", 1, partial(_codes, letters={}, examples=examples))
    fillers = fields.each("filler", 1, partial(_fillers, examples=examples))
    sounds = fields.each("sound", 1, partial(_sound, examples=examples))
    listed = Fields(fields.table("words"))
    words = frozenset(_normal(word) for name in listed.names() for word in listed.texts(name, 1))
    parts = _lists(fields, "parts")
    fields.finish()
    by_wording = _grouped((said, code) for group in codes for said, code in group)
    by_sound = _grouped((signs(sound.meant), sound) for sound in sounds)
    units_said = {said: code for group in units for said, code in group}
    known_fillers = {said: filler for group in fillers for said, filler in group}
    splits = dict(_splits(sorted(words), parts))
    return Morphs(
        codes=by_wording,
        code_words=_any_of(by_wording),
        units=units_said,
        unit_words=_any_of(units_said),
        fillers=known_fillers,
        filler_words=_any_of(known_fillers),
        sounds=by_sound,
        sound_lengths=tuple(sorted({len(key) for key in by_sound}, reverse=True)),
        sound_starts=_any_of({key[:2] for key in by_sound}),
        words=words,
        pairs=frozenset(word[at : at + 2] for word in words for at in range(len(word) - 1)),
        masked=_masked(words),
        words_by_sound=_grouped((signs(word), word) for word in sorted(words)),
        splits=splits,
        split_words=_any_of(splits),
        examples=tuple(examples),
    )


def _lists(fields: Fields, key: str) -> dict[str, tuple[str, ...]]:
    """A table of lists of wordings, in normal form; it may be left out."""
    table = Fields(fields.table(key) if fields.has(key) else {})
    return {name: tuple(map(_normal, table.texts(name, 1))) for name in table.names()}


def _splits(
    words: Iterable[str], parts: Mapping[str, Iterable[str]]
) -> Iterable[tuple[str, Split]]:
    """Every way to say a word of at least two characters with one of them in parts."""
    for word in words:
        for at, character in enumerate(word if len(word) > 1 else ""):
            for said in parts.get(character, ()):
                yield word[:at] + said + word[at + 1 :], Split(word, at, at + len(said))


def _spelled(text: str, letters: Mapping[str, tuple[str, ...]]) -> Iterable[str]:
    """Every way to say letters by their names: 威艾克斯 for vx."""
    unknown = [letter for letter in text if letter not in letters]
    if unknown:
        raise FieldError(f"spelled has {unknown[0]!r}, which [letters] does not name")
    return map("".join, product(*(letters[letter] for letter in text)))


def _codes(
    table: Any, letters: Mapping[str, tuple[str, ...]], examples: list[Example]
) -> list[tuple[str, Code]]:
    fields = Fields(table)
    spelled = [said for text in fields.texts("spelled") for said in _spelled(text, letters)]
    said = (*fields.texts("said", 0 if spelled else 1), *spelled)
    code = Code(_normal(fields.text("meant")), _around(fields))
    examples += _examples(fields)
    fields.finish()
    return [(_normal(wording), code) for wording in said]


def _fillers(table: Any, examples: list[Example]) -> list[tuple[str, Filler]]:
    fields = Fields(table)
    said = fields.texts("said", 1)
    filler = Filler(fields.choice("kind", ("rare", "common")) == "common", _around(fields))
    examples += _examples(fields)
    fields.finish()
    return [(_normal(wording), filler) for wording in said]


def _sound(table: Any, examples: list[Example]) -> Sound:
    fields = Fields(table)
    sure = frozenset(map(_normal, fields.texts("sure")))
    sound = Sound(_normal(fields.text("meant")), fields.share("cost"), sure, _around(fields))
    examples += _examples(fields)
    fields.finish()
    return sound


def _around(fields: Fields) -> Around:
    near, without = fields.texts("near"), fields.texts("without")
    return Around(
        _any_of(map(_normal, near)) if near else None,
        _any_of(map(_normal, without)) if without else None,
        tuple(_normal(wording) for wording in fields.texts("unless")),
    )


def _examples(fields: Fields) -> list[Example]:
    fields.text("source")
    restored = fields.each("restore", 1, _pair)
    kept = [normal_form(text) for text in fields.texts("keep", 1)]
    return [*restored, *(Example(text, text) for text in kept)]


def _pair(value: Any) -> Example:
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_text, value)):
        raise FieldError(f"{value!r} is not a pair of a text and its restored form")
    return Example(normal_form(value[0]), normal_form(value[1]))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _normal(wording: str) -> str:
    normal = normal_form(wording)
    if not normal:
        raise FieldError(f"{wording!r} is never matched")
    return normal


def _masked(words: Iterable[str]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for word in words:
        for at in range(len(word) if len(word) > 2 else 0):
            found.setdefault(word[:at] + MASK + word[at + 1 :], set()).add(word)
    return {key: min(meant) for key, meant in found.items() if len(meant) == 1}


def _grouped(pairs: Iterable[tuple[str, T]]) -> dict[str, tuple[T, ...]]:
    groups: dict[str, list[T]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in groups.items()}


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(set(words), key=lambda word: (-len(word), word))
    # Of no words: what never matches.
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _places(text: str, word: str, start: int, end: int) -> Iterable[int]:
    at = text.find(word, start, end)
    while at >= 0:
        yield at
        at = text.find(word, at + 1, end)
