"""The books of a broadcast, and whether they balance.

Every segment has exactly one end: a transcript, a dead letter, or a place in the ledger that says
it was shed. Everything here is a judgement over records that were read; nothing is fetched.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations, pairwise

from pipeline.records import (
    CoverageKind,
    Finding,
    SegmentKey,
    SegmentMessage,
    Stretch,
    Transcript,
    Verdict,
)
from pipeline.review.opening import same_pitch
from pipeline.store.cases import finding_id
from pipeline.store.ledger import coverage_of

Found = tuple[SegmentKey, Finding]
Interval = tuple[int, int]

#: The ledger may end so much before or after what the room had sent by then: the sound that is
#: still between its socket and the segmenter.
SLACK_MS = 4_000


class Wrong(StrEnum):
    """In what way an entry of the books is wrong."""

    LOST = "lost"
    DOUBLED = "doubled"
    UNTRUE = "untrue"
    """Neither lost nor doubled: the books say what is not so."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that does not balance."""

    wrong: Wrong
    text: str


@dataclass(frozen=True, slots=True)
class FiledCase:
    """A case with the finding that opened it and those that lie in it, by their ids."""

    id: str
    opener: Finding
    opener_id: str


@dataclass(frozen=True, slots=True)
class Books:
    """All that is written down of one broadcast."""

    broadcast: str
    segments: Sequence[SegmentMessage]
    transcripts: Mapping[SegmentKey, Transcript] = field(default_factory=dict)
    judged: frozenset[SegmentKey] = frozenset()
    """Whose transcripts detection is done with."""
    dead_segments: frozenset[SegmentKey] = frozenset()
    """Given up by recognition, as the dead letters say."""
    dead_transcripts: frozenset[SegmentKey] = frozenset()
    """Given up by detection."""
    stretches: Sequence[Stretch] = ()
    findings: Sequence[Found] = ()
    """As stored."""
    expected: Sequence[Found] = ()
    """What the same detector finds in the stored transcripts."""
    cases: Sequence[FiledCase] = ()
    filed: Mapping[str, str] = field(default_factory=dict)
    """The case of every finding that has one, by the finding's id."""
    announced: frozenset[str] = frozenset()
    """Cases that the bus told of."""
    broken_clips: frozenset[str] = frozenset()
    """Addresses of clips that are not there or not what was stored."""
    played_ms: int | None = None
    """How long the room was on the air for it; None where its listener did not end by itself."""

    @property
    def length_ms(self) -> int:
        """Up to where anything is known of it."""
        ends = [item.end_ms for item in self.stretches]
        return max([*ends, *(item.end_ms for item in self.segments)], default=0)

    def shed(self) -> frozenset[SegmentKey]:
        """Segments that the ledger says were left out."""
        left_out = {
            (item.start_ms, item.end_ms)
            for item in self.stretches
            if item.kind is CoverageKind.SHED
        }
        spans = ((segment.key, (segment.start_ms, segment.end_ms)) for segment in self.segments)
        return frozenset(key for key, span in spans if span in left_out)


def imbalances(books: Books) -> list[Entry]:
    """All that is lost, doubled or untrue; empty when the books balance."""
    return [entry for check in _CHECKS for entry in check(books)]


def _ends(books: Books) -> Iterator[Entry]:
    """Every segment ends once: transcribed, given up or shed."""
    shed = books.shed()
    for segment in books.segments:
        key = segment.key
        ends = [
            name
            for name, there in (
                ("a transcript", key in books.transcripts),
                ("a dead letter", key in books.dead_segments),
                ("its time shed", key in shed),
            )
            if there
        ]
        if not ends:
            yield Entry(Wrong.LOST, f"{_name(key)} has no transcript, no dead letter, is not shed")
        elif len(ends) > 1:
            yield Entry(Wrong.DOUBLED, f"{_name(key)} has {' and '.join(ends)}")
    for key in books.dead_segments - {segment.key for segment in books.segments}:
        yield Entry(Wrong.UNTRUE, f"{_name(key)} is a dead letter and no segment")


def _judgements(books: Books) -> Iterator[Entry]:
    """Every transcript is judged or given up."""
    for key in books.transcripts:
        if key not in books.judged and key not in books.dead_transcripts:
            yield Entry(Wrong.LOST, f"{_name(key)} is transcribed and was never judged")


def _overlaps(books: Books) -> Iterator[Entry]:
    """No sound is in two segments."""
    ordered = sorted(books.segments, key=lambda segment: (segment.start_ms, segment.end_ms))
    for one, other in pairwise(ordered):
        if other.start_ms < one.end_ms:
            yield Entry(
                Wrong.DOUBLED,
                f"{_name(one.key)} and {_name(other.key)} have the same sound at {other.start_ms}",
            )


def _findings(books: Books) -> Iterator[Entry]:
    """What the detector finds is stored, and once.

    A finding of a category on the same words is the same finding, whatever its score or span: more
    context may change those.
    """
    for key, finding in books.expected:
        if not any(_same(key, finding, *stored) for stored in books.findings):
            yield Entry(Wrong.LOST, f"finding {_told(finding)} of {_name(key)} is not stored")
    expected = {finding_id(*one) for one in books.expected}
    for one, other in combinations(books.findings, 2):
        if _same(*one, *other) and not {finding_id(*one), finding_id(*other)} <= expected:
            yield Entry(
                Wrong.DOUBLED,
                f"findings {_told(one[1])} and {_told(other[1])} of {_name(one[0])} are the same",
            )
    for id_, count in Counter(finding_id(*one) for one in books.findings).items():
        if count > 1:
            yield Entry(Wrong.DOUBLED, f"finding {id_} is stored {count} times")


def _cases(books: Books) -> Iterator[Entry]:
    """Every raised finding is in a case, and every case was announced."""
    known = {case.id for case in books.cases}
    for key, finding in books.findings:
        if finding.verdict is Verdict.PASS or finding.shadow:
            continue
        if books.filed.get(finding_id(key, finding)) not in known:
            yield Entry(Wrong.LOST, f"finding {_told(finding)} of {_name(key)} is in no case")
    for case in books.cases:
        if case.id not in books.announced:
            yield Entry(Wrong.LOST, f"case {case.id} was opened and never announced")
        if books.filed.get(case.opener_id) != case.id:
            yield Entry(Wrong.UNTRUE, f"case {case.id} does not hold the finding that opened it")


def _pitches(books: Books) -> Iterator[Entry]:
    """No pitch has two cases."""
    for one, other in combinations(books.cases, 2):
        alike = (one.opener.category, one.opener.subtype) == (
            other.opener.category,
            other.opener.subtype,
        )
        if alike and same_pitch(one.opener, other.opener):
            yield Entry(Wrong.DOUBLED, f"cases {one.id} and {other.id} are one pitch")


def _ledger(books: Books) -> Iterator[Entry]:
    """Every ms is accounted for once, up to the end; what counts as heard was transcribed."""
    length_ms = books.length_ms
    at_ms = 0
    for start, end in _merged((item.start_ms, item.end_ms) for item in books.stretches):
        if start > at_ms:
            yield Entry(Wrong.LOST, f"the ledger says nothing of {at_ms}…{start} ms")
        at_ms = end
    if at_ms < length_ms:
        yield Entry(Wrong.LOST, f"the ledger says nothing of {at_ms}…{length_ms} ms")
    sums = coverage_of(books.stretches)
    total_ms = sum(getattr(sums, f"{kind.value}_ms") for kind in CoverageKind)
    if total_ms > length_ms:
        yield Entry(Wrong.UNTRUE, f"the ledger sums to {total_ms} ms of {length_ms} ms")
    for start, end in _unfounded(books):
        yield Entry(Wrong.UNTRUE, f"{start}…{end} ms count as heard and were never transcribed")
    for start, end in _denied(books):
        yield Entry(Wrong.UNTRUE, f"{start}…{end} ms count as not heard and were transcribed")


def _on_the_air(books: Books) -> Iterator[Entry]:
    """The ledger is as long as the room was on the air."""
    end_ms = max((item.end_ms for item in books.stretches), default=0)
    if books.played_ms is not None and abs(end_ms - books.played_ms) > SLACK_MS:
        wrong = Wrong.LOST if end_ms < books.played_ms else Wrong.DOUBLED
        yield Entry(wrong, f"the room played {books.played_ms} ms, its ledger has {end_ms} ms")


def _clips(books: Books) -> Iterator[Entry]:
    """Every clip that a row names can be listened to."""
    for segment in books.segments:
        if segment.clip_uri in books.broken_clips and segment.key not in books.dead_segments:
            yield Entry(Wrong.LOST, f"clip {segment.clip_uri} of {_name(segment.key)}")


_CHECKS: tuple[Callable[[Books], Iterator[Entry]], ...] = (
    _ends,
    _judgements,
    _overlaps,
    _findings,
    _cases,
    _pitches,
    _ledger,
    _on_the_air,
    _clips,
)


def _unfounded(books: Books) -> Iterator[Interval]:
    """What the ledger counts as heard without a judged transcript."""
    founded = _merged(
        (segment.start_ms, segment.end_ms)
        for segment in books.segments
        if segment.key in books.transcripts and segment.key not in books.dead_transcripts
    )
    yield from _without(_heard(books), founded)


def _denied(books: Books) -> Iterator[Interval]:
    """Segments that were transcribed and judged and count as failed, shed or lost."""
    heard = _heard(books)
    for segment in books.segments:
        if segment.key in books.transcripts and segment.key in books.judged:
            span = [(segment.start_ms, segment.end_ms)]
            # One that ends behind the ledger is a hole, which is told as such.
            inside = _without(span, _holes(books))
            yield from _without(inside, heard)


def _heard(books: Books) -> list[Interval]:
    of_kind = defaultdict(list)
    for item in books.stretches:
        of_kind[item.kind].append((item.start_ms, item.end_ms))
    worse = (CoverageKind.FAILED, CoverageKind.SHED)
    others = _merged(span for kind in worse for span in of_kind[kind])
    return list(_without(_merged(of_kind[CoverageKind.HEARD]), others))


def _holes(books: Books) -> list[Interval]:
    spans = _merged((item.start_ms, item.end_ms) for item in books.stretches)
    return list(_without([(0, books.length_ms)], spans))


def _merged(spans: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _without(spans: Iterable[Interval], holes: Sequence[Interval]) -> Iterator[Interval]:
    """What is left of `spans` when `holes` (ordered, apart) are taken out."""
    for start, end in spans:
        at = start
        for begin, stop in holes:
            if stop <= at or begin >= end:
                continue
            if begin > at:
                yield at, begin
            at = max(at, stop)
        if at < end:
            yield at, end


def _same(key: SegmentKey, one: Finding, other_key: SegmentKey, other: Finding) -> bool:
    return (
        key == other_key
        and one.shadow == other.shadow
        and one.category is other.category
        and one.span[0] < other.span[1]
        and other.span[0] < one.span[1]
    )


def _name(key: SegmentKey) -> str:
    return f"{key.broadcast}/{key.epoch}/{key.seq}"


def _told(finding: Finding) -> str:
    return f"{finding.subtype} by {finding.rule} on {finding.evidence}"
