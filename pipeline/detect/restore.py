"""What was said → what it means, in normal form and with the way back. Pure.

A false restoration is a false accusation: where a wording may be meant as it is said, it stays.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from pipeline.detect import words
from pipeline.detect.amounts import NUMERALS
from pipeline.detect.inserted import inserted
from pipeline.detect.morphs import Code, Found, Morphs, Sound
from pipeline.detect.normalize import NormalText, normalize
from pipeline.detect.numbers import AMOUNT
from pipeline.detect.pinyin import distance, signs
from pipeline.detect.repeats import repeats
from pipeline.detect.splits import splits

#: What may follow a code name without being part of another word: 绿泡泡吧.
_PARTICLES = frozenset("吧呢吗呗哈了的")
_CACHED_LENGTH = 400
_LONGEST_AMOUNT = 12


class Kind(StrEnum):
    """How a wording is disguised."""

    CODE = "code"
    UNIT = "unit"
    INSERTED = "inserted"
    SPLIT = "split"
    SOUND = "sound"
    REPEAT = "repeat"
    """Said twice, or haltingly: it may be no more than a stutter."""


@dataclass(frozen=True, slots=True)
class Change:
    """[start, end) of a text, what was said there and what it means, both in normal form."""

    start: int
    end: int
    said: str
    meant: str
    kind: Kind


def reading_of(text: str, morphs: Morphs) -> NormalText:
    """The normal form with every evasive wording restored; its spans count in `text` itself."""
    return _reading(text, morphs)[0]


def changes_of(text: str, morphs: Morphs) -> tuple[Change, ...]:
    """What `reading_of` restores, by position in `text`, none overlapping; most often nothing."""
    return _reading(text, morphs)[1]


def _reading(text: str, morphs: Morphs) -> tuple[NormalText, tuple[Change, ...]]:
    return (_cached if len(text) <= _CACHED_LENGTH else _read)(text, morphs)


@lru_cache(maxsize=4096)
def _cached(text: str, morphs: Morphs) -> tuple[NormalText, tuple[Change, ...]]:
    return _read(text, morphs)


def _read(text: str, morphs: Morphs) -> tuple[NormalText, tuple[Change, ...]]:
    normal = normalize(text)
    changes = [
        change
        for change in _changes(normal.text, morphs)
        if not any(change.start < at < change.end for at in normal.breaks)
    ]
    if not changes:
        return normal, ()
    spans = [normal.original_span(change.start, change.end) for change in changes]
    original = tuple(
        Change(*span, change.said, change.meant, change.kind)
        for span, change in zip(spans, changes, strict=True)
    )
    return _applied(normal, changes), original


def _changes(text: str, morphs: Morphs) -> list[Change]:
    """What the finders agree on; of those that overlap the earlier finder has its way."""
    kept: list[Change] = []
    taken = bytearray(len(text))
    for kind, finder in _FINDERS:
        for found in finder(text, morphs):
            start, end = found.start, found.end
            if not any(taken[start:end]):
                taken[start:end] = b"\1" * (end - start)
                kept.append(Change(start, end, text[start:end], found.meant, kind))
    return sorted(kept, key=lambda change: change.start)


def _codes(text: str, morphs: Morphs) -> Iterator[Found]:
    """Code names: 绿泡泡, 某宝, vx."""
    at = 0
    while (found := _code_at(text, at, morphs)) is not None:
        later = _code_at(text, found.start + 1, morphs)
        if later is not None and _goes_on(found, later):
            found = _together(found, later)
        yield found
        at = found.end


def _goes_on(found: Found, later: Found) -> bool:
    """Whether a code name runs into the next one: 加v and v信, 佳薇 and 薇号."""
    overlap = found.start < later.start < found.end < later.end
    return overlap and later.end - later.start >= found.end - found.start


def _together(found: Found, later: Found) -> Found:
    """Both as one, what they mean in common said once; else the later one alone."""
    for size in range(min(len(found.meant), len(later.meant)), 0, -1):
        if found.meant.endswith(later.meant[:size]):
            return Found(found.start, later.end, found.meant + later.meant[size:])
    return later


def _code_at(text: str, at: int, morphs: Morphs) -> Found | None:
    """The first code name from there on that is meant as one."""
    while (found := morphs.code_words.search(text, at)) is not None:
        start, end = found.span()
        if not _stands_alone(text, start, end):
            at = start + 1
            continue
        for code in morphs.codes[found[0]]:
            if _is_meant(code, text, start, end):
                return Found(start, end, code.meant)
        at = end
    return None


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether no word or Latin run goes on beyond the wording: 某东西, vip."""
    before, first = text[start - 1 : start], text[start]
    last, after = text[end - 1], text[end : end + 1]
    if (_is_latin(before) and _is_latin(first)) or (_is_latin(last) and _is_latin(after)):
        return False
    return after in _PARTICLES or not (after and words.ends_after(text, end))


def _is_latin(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _is_meant(code: Code, text: str, start: int, end: int) -> bool:
    return code.around.is_near(text, start, end) and not code.around.is_literal(text, start, end)


def _units(text: str, morphs: Morphs) -> Iterator[Found]:
    """Units that stand for others: 八十九米."""
    for found in morphs.unit_words.finditer(text):
        start, end = found.span()
        amount = AMOUNT.search(text, max(0, start - _LONGEST_AMOUNT), start)
        # 一米六二: a small amount with tenths is a length.
        if amount is None or (len(amount[0]) == 1 and text[end : end + 1] in NUMERALS):
            continue
        unit = morphs.units[found[0]]
        if _is_meant(unit, text, start, end):
            yield Found(start, end, unit.meant)


def _sounds(text: str, morphs: Morphs) -> Iterator[Found]:
    """Words said by their homophones: 薇信, 家微."""
    heard = signs(text)
    at = 0
    while (start_found := morphs.sound_starts.search(heard, at)) is not None:
        start = start_found.start()
        at = start + 1
        for length in morphs.sound_lengths:
            end = start + length
            for sound in morphs.sounds.get(heard[start:end], ()) if end <= len(text) else ():
                if _is_heard(sound, text, start, end):
                    yield Found(start, end, sound.meant)


def _is_heard(sound: Sound, text: str, start: int, end: int) -> bool:
    said, around = text[start:end], sound.around
    apart = distance(said, sound.meant)
    is_like = any(a == b for a, b in zip(said, sound.meant, strict=True))
    if said == sound.meant or apart > sound.cost or (apart and not is_like):
        return False
    if words.begins_before(text, start) or around.is_literal(text, start, end):
        return False
    # 信号 after 薇: the word that goes on shares its first character with what is meant.
    if said[-1] != sound.meant[-1] and words.ends_after(text, end):
        return False
    if said in sound.sure:
        return True
    is_clear = is_like and not words.frequency(said)
    return around.is_near(text, start, end) if is_clear else around.has_near(text, start, end)


_FINDERS: tuple[tuple[Kind, Callable[[str, Morphs], Iterator[Found]]], ...] = (
    (Kind.CODE, _codes),
    (Kind.UNIT, _units),
    (Kind.INSERTED, inserted),
    (Kind.SPLIT, splits),
    (Kind.SOUND, _sounds),
    (Kind.REPEAT, repeats),
)


def _applied(text: NormalText, changes: list[Change]) -> NormalText:
    """The text with its changes made; offsets count in the original."""
    pieces: list[tuple[str, int, int]] = []
    end = 0
    for change in changes:
        pieces += _same(text.text, end, change.start)
        pieces += _aligned(change)
        end = change.end
    pieces += _same(text.text, end, len(text.text))
    starts = [piece[1] for piece in pieces]
    breaks = dict.fromkeys(bisect_left(starts, at) for at in text.breaks)
    spans = [text.original_span(start, end) for _, start, end in pieces]
    return NormalText(
        "".join(piece[0] for piece in pieces),
        tuple(start for start, _ in spans),
        tuple(at for at in breaks if 0 < at < len(pieces)),
        tuple(end for _, end in spans),
    )


def _same(text: str, start: int, end: int) -> list[tuple[str, int, int]]:
    return [(text[index], index, index + 1) for index in range(start, end)]


def _aligned(change: Change) -> list[tuple[str, int, int]]:
    """Each character that is meant with the range it stands for, as narrow as can be told."""
    if len(change.said) == len(change.meant):
        return _same_length(change)
    at = 0
    narrow = []
    for character in change.meant:
        at = change.said.find(character, at)
        if at < 0:
            return [(character, change.start, change.end) for character in change.meant]
        narrow.append((character, change.start + at, change.start + at + 1))
        at += 1
    return narrow


def _same_length(change: Change) -> list[tuple[str, int, int]]:
    return [
        (character, change.start + index, change.start + index + 1)
        for index, character in enumerate(change.meant)
    ]
