"""What the page shows, in its order: cards of findings, rows of the transcript, data."""

from __future__ import annotations

import base64
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.records import Category, CoverageKind, Finding, Stretch, Transcript, Verdict
from pipeline.reports.replay import UNHEARD, Replay, lines_of
from pipeline.reports.sound import Sound
from pipeline.reports.wording import GUARDS

#: Pauses and music that last shorter are no row of the transcript.
_MIN_ROW_MS = 3000


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of an utterance and the cards whose span covers it, the first one's first."""

    text: str
    cards: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """A finding with the utterance around it."""

    finding: Finding
    line: int | None
    pieces: tuple[Piece, ...]
    """The utterance, the evidence being the piece with a card."""
    earlier: tuple[Piece, ...]
    """The utterance with the other half of the claim, marked the same way; empty for none."""


@dataclass(frozen=True, slots=True)
class LineRow:
    """A transcript."""

    number: int
    transcript: Transcript
    pieces: tuple[Piece, ...]
    doubts: tuple[str, ...]
    """Why the wording should be listened to, in Simplified Chinese."""


class Page:
    """A replay arranged for reading."""

    def __init__(self, replay: Replay, sound: Sound | None) -> None:
        self._replay = replay
        self._sound = sound
        self._findings = tuple(sorted(replay.findings, key=lambda one: one.start_ms))
        self._lines = lines_of(self._findings, replay.transcripts)
        self.sums = {
            kind: int(getattr(replay.coverage, f"{kind.value}_ms")) for kind in CoverageKind
        }
        self.duration_ms = max(1, replay.duration_ms, sound.duration_ms if sound else 0)
        self.embeds = sound is not None and sound.encoded is not None
        """Whether the page carries its sound."""
        self.category_counts = Counter(one.category for one in self._findings)
        self.verdict_counts = Counter(one.verdict for one in self._findings)

    @property
    def categories(self) -> list[Category]:
        """The categories that occur, in the order of the interface."""
        return [one for one in Category if self.category_counts[one]]

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdicts that occur, the heaviest first."""
        return [one for one in reversed(Verdict) if self.verdict_counts[one]]

    def unheard(self) -> list[Stretch]:
        """The stretches of which nothing can be concluded."""
        return [one for one in self._replay.stretches if one.kind in UNHEARD]

    def cards(self) -> Iterator[Card]:
        """The findings in time order."""
        for number, (finding, line) in enumerate(zip(self._findings, self._lines, strict=True)):
            text = finding.evidence if line is None else self._replay.transcripts[line].text
            marks = [(*self._span(number, text), number)]
            half = finding.why.earlier
            earlier = () if half is None else _pieces(half.text, [(*half.span, number)])
            yield Card(finding, line, _pieces(text, marks), earlier)

    def rows(self) -> Iterator[LineRow | Stretch]:
        """Transcripts, and between them the stretches without any that deserve a row."""
        gaps = (one for one in self._replay.stretches if _is_row(one))
        gap = next(gaps, None)
        marked = defaultdict(list)
        for number, line in enumerate(self._lines):
            marked[line].append(number)
        halves = self._halves()
        for line, transcript in enumerate(self._replay.transcripts):
            while gap is not None and gap.start_ms <= transcript.start_ms:
                yield gap
                gap = next(gaps, None)
            marks = [(*self._span(number, transcript.text), number) for number in marked[line]]
            marks += halves[transcript.start_ms, transcript.text]
            doubts = tuple(GUARDS.get(guard, guard) for guard in transcript.guards)
            yield LineRow(line, transcript, _pieces(transcript.text, marks), doubts)
        if gap is not None:
            yield gap
        yield from gaps

    def _halves(self) -> dict[tuple[int, str], list[tuple[int, int, int]]]:
        """By start and text of a transcript, [a, b) and card of the earlier halves in it."""
        halves = defaultdict(list)
        for number, finding in enumerate(self._findings):
            half = finding.why.earlier
            if half is not None:
                halves[half.start_ms, half.text].append((*half.span, number))
        return halves

    def category_of(self, card: int) -> Category:
        """The category of the finding with that number among the cards."""
        return self._findings[card].category

    def data(self) -> dict[str, object]:
        """What the page's script needs: all times in ms, offsets in UTF-16 units as it counts."""
        sound = self._sound
        return {
            "duration": self.duration_ms,
            "bucket": sound.bucket_ms if sound else 1,
            "peaks": base64.b64encode(sound.peaks).decode("ascii") if sound else "",
            "lines": [[one.start_ms, one.end_ms, _words(one)] for one in self._replay.transcripts],
            "findings": [
                [one.start_ms, max(one.end_ms, one.start_ms + 1), one.category, one.verdict, line]
                for one, line in zip(self._findings, self._lines, strict=True)
            ],
            "stretches": sorted(
                [one.start_ms, one.end_ms, one.kind] for one in self._replay.stretches
            ),
        }

    def _span(self, number: int, text: str) -> tuple[int, int]:
        """Where a finding's evidence stands in `text`; empty when it does not."""
        finding = self._findings[number]
        a, b = finding.span
        if text[a:b] == finding.evidence:
            return a, b
        found = max(0, text.find(finding.evidence))
        return found, found + len(finding.evidence) if finding.evidence in text else found


def _is_row(stretch: Stretch) -> bool:
    if stretch.kind is CoverageKind.HEARD:
        return False
    return stretch.kind in UNHEARD or stretch.end_ms - stretch.start_ms >= _MIN_ROW_MS


def _pieces(text: str, marks: list[tuple[int, int, int]]) -> tuple[Piece, ...]:
    """`text` cut wherever one of `marks` ([a, b) and its card) begins or ends."""
    edges = sorted({0, len(text), *(edge for a, b, _ in marks for edge in (a, b))})
    return tuple(
        Piece(text[a:b], tuple(card for start, end, card in marks if start <= a and b <= end))
        for a, b in itertools.pairwise(edges)
    )


def _words(transcript: Transcript) -> list[int]:
    """start_ms, end_ms, a, b of every word that its text contains, flat; [a, b) in UTF-16 units."""
    flat: list[int] = []
    cursor = 0
    for word in transcript.words:
        text = word.text.strip()
        at = transcript.text.find(text, cursor)
        if not text or at < 0:
            continue
        cursor = at + len(text)
        flat += (word.start_ms, word.end_ms)
        flat += (_utf16(transcript.text, at), _utf16(transcript.text, cursor))
    return flat


def _utf16(text: str, offset: int) -> int:
    # Beyond the basic plane a character counts twice in a browser.
    return offset + sum(1 for char in text[:offset] if char > "\uffff")
