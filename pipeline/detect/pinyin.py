"""Toneless syllables of characters, and how far apart two of them sound.

Readings are the usual ones of pypinyin: a character with several is taken as it is read most.
Every character is given a sign of its sound; signs are equal for
syllables that dialects and recognisers mix up, so that one search over the signs of a text finds
every place that may sound like a word. `distance` then tells how much it differs.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

#: Added per syllable for each difference: 拿/拉, 信/星, 四/是.
NASAL_OR_LATERAL = 0.6
FRONT_OR_BACK = 0.4
FLAT_OR_RETROFLEX = 0.4
#: No two words this far apart sound alike.
FAR = 9.0

_INITIAL = re.compile(r"([zcs]h|[bpmfdtnlgkhjqxrzcsyw]|)([a-zü]+)")
_PRIVATE_USE = 0xE000
_HAN = re.compile(r"[\u3400-\u9fff]")


class _Signs(dict[int, int]):
    """Code point → code point of the sign of its sound, itself where it is no Han character."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[str, int] = {}

    def __missing__(self, code: int) -> int:
        syllable = syllables_of(chr(code))[:1]
        sign = code
        if syllable:
            merged = "".join(_merged(syllable[0]))
            sign = _PRIVATE_USE + self._numbers.setdefault(merged, len(self._numbers))
        self[code] = sign
        return sign


_SIGNS = _Signs()


def signs(text: str) -> str:
    """One sign for each character; equal where the usual readings sound alike or nearly so.

    Which sign it is differs from process to process: never store one.
    """
    return text.translate(_SIGNS)


@lru_cache(maxsize=8192)
def sound_of(character: str) -> str:
    """As `signs` for one character, in letters: the same in every process, so it can be stored."""
    readings = syllables_of(character)
    return "".join(_merged(readings[0])) if readings else character


@lru_cache(maxsize=8192)
def syllables_of(character: str) -> tuple[str, ...]:
    """Toneless readings of one Han character, the usual one first; none for any other."""
    # Loading pypinyin costs a tenth of a second, which a program without morphs never pays.
    from pypinyin.constants import PINYIN_DICT

    if not _HAN.match(character):
        return ()
    readings = PINYIN_DICT.get(ord(character), "").split(",")
    return tuple(dict.fromkeys(_toneless(reading) for reading in readings if reading))


def distance(said: str, meant: str) -> float:
    """0 where the usual readings differ in tone at most; FAR where they are no near-homophones."""
    if len(said) != len(meant):
        return FAR
    return min(FAR, sum(map(_apart, said, meant)))


@lru_cache(maxsize=8192)
def _apart(said: str, meant: str) -> float:
    if said == meant:
        return 0.0
    mine, other = syllables_of(said)[:1], syllables_of(meant)[:1]
    if not mine or not other:
        return FAR
    return _difference(mine[0], other[0])


def _difference(a: str, b: str) -> float:
    if a == b:
        return 0.0
    if _merged(a) != _merged(b):
        return FAR
    (initial, final), (other_initial, other_final) = _split(a), _split(b)
    apart = FRONT_OR_BACK if final != other_final else 0.0
    if initial != other_initial:
        apart += NASAL_OR_LATERAL if "n" in (initial, other_initial) else FLAT_OR_RETROFLEX
    return apart


def _merged(syllable: str) -> tuple[str, str]:
    initial, final = _split(syllable)
    if initial in ("zh", "ch", "sh"):
        initial = initial[0]
    if final.endswith(("ang", "eng", "ing")):
        final = final[:-1]
    return "l" if initial == "n" else initial, final


def _split(syllable: str) -> tuple[str, str]:
    found = _INITIAL.fullmatch(syllable)
    return (found[1], found[2]) if found else ("", syllable)


def _toneless(syllable: str) -> str:
    """Without tone marks; ü keeps its dots."""
    parts = unicodedata.normalize("NFD", syllable)
    bare = "".join(part for part in parts if not unicodedata.combining(part) or part == "\u0308")
    return unicodedata.normalize("NFC", bare)
