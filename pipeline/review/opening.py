"""Opening of cases: repeats of the same pitch within a broadcast collapse into one."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import unicodedata
from collections.abc import Iterable
from difflib import SequenceMatcher

from pypinyin import lazy_pinyin

from pipeline.records import Case, Finding, SegmentKey, Verdict
from pipeline.store import Opening, Store

#: Share of equal syllables from which two wordings are one pitch: one slip in seven syllables.
_SAME = 0.85
#: An utterance lasts no longer: the speech model's window.
_UTTERANCE_MS = 10_000
_NUMERALS = frozenset("零〇一二两三四五六七八九十百千万亿半点0123456789")


def file_findings(
    store: Store, key: SegmentKey, text: str, findings: Iterable[Finding], now: dt.datetime
) -> list[Case]:
    """Store the findings of one utterance, file them, and give the cases they opened.

    Findings with verdict PASS are stored and open nothing. A second call with the same findings
    changes nothing and gives the same cases, so that a message lost between storing and publishing
    is published again. Raises StoreError.
    """
    found = tuple(findings)
    store.add_findings(key, found)
    opened = {}
    for finding in found:
        if finding.verdict is Verdict.PASS:
            continue
        opening = Opening(case_id(key.broadcast, finding), key, finding, text)
        case, is_opener = store.open_case(opening, functools.partial(same_pitch, finding), now)
        # Repeats within the utterance: the last state of the case has all of them.
        if is_opener or case.id in opened:
            opened[case.id] = case
    return list(opened.values())


def case_id(broadcast: str, finding: Finding) -> str:
    """Id of the case that `finding` opens: the same pitch in a broadcast has the same id."""
    words = finding.pitch or _plain(finding.evidence)
    parts = (broadcast, finding.category.value, finding.subtype, words)
    return "c" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:15]


def same_pitch(a: Finding, b: Finding) -> bool:
    """Whether a reviewer who decided one of two findings of a broadcast has decided the other.

    They have the same key, or the same category, subtype and numerals and nearly the same sound:
    the recogniser writes one pitch with different homophones and slips. Another price or another
    illness is another pitch.
    Both halves of a claim that is spread over utterances are one, whatever they sound like.
    """
    if a.category is b.category and (_is_rest_of(a, b) or _is_rest_of(b, a)):
        return True
    if (a.category, a.subtype) != (b.category, b.subtype):
        return False
    if a.pitch and a.pitch == b.pitch:
        return True
    plain_a, plain_b = _plain(a.evidence), _plain(b.evidence)
    if _numerals(plain_a) != _numerals(plain_b):
        return False
    sound_a, sound_b = lazy_pinyin(plain_a), lazy_pinyin(plain_b)
    if sound_a == sound_b:
        return True
    return SequenceMatcher(None, sound_a, sound_b, autojunk=False).ratio() >= _SAME


def _is_rest_of(second: Finding, first: Finding) -> bool:
    """Whether `second` rests on the utterance in which `first` was found."""
    earlier = second.why.earlier
    return earlier is not None and 0 <= first.start_ms - earlier.start_ms < _UTTERANCE_MS


def _plain(text: str) -> str:
    """Letters, digits and characters only, in one width and case."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in folded if char.isalnum())


def _numerals(text: str) -> str:
    return "".join(char for char in text if char in _NUMERALS)
