"""The self-check of one recording: what it holds, and its stable JSON."""

from __future__ import annotations

import bisect
import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from pipeline.codec import plain
from pipeline.errors import BadInputError, MissingError
from pipeline.records import Coverage, CoverageKind, Finding, Stretch, Transcript, Verdict, Versions

#: Of `replay_json`. It grows when a key changes its meaning or goes; new keys are additions.
SCHEMA_VERSION = 1

#: Of these kinds nothing can be concluded: what was said there is not known.
UNHEARD = (CoverageKind.LOST, CoverageKind.SHED, CoverageKind.FAILED)


@dataclass(frozen=True, slots=True)
class Replay:
    """What came out of listening to one recording."""

    media: str
    """Its name as the user gave it; untrusted text."""
    duration_ms: int
    coverage: Coverage
    stretches: tuple[Stretch, ...]
    """The ledger behind `coverage`, in time order."""
    transcripts: tuple[Transcript, ...]
    """In time order; one with an empty text was heard and not understood."""
    findings: tuple[Finding, ...]
    versions: Versions
    made_at: dt.datetime
    """Wall time (UTC) of the self-check; the rules in force are those of `checked_for`."""
    checked_for: dt.date | None = None
    """The day whose law was applied, None for the day of `made_at`."""
    synthetic_only: bool = False
    """Whether the speech model knows synthetic speech only, so that people's words are not."""
    failure: str | None = None
    """Why the recording was not heard to its end, in one sentence; None when it was."""
    elapsed_ms: int = 0
    """How long the self-check took, in ms of a monotonic clock."""

    @property
    def unheard_ms(self) -> int:
        """Unknown time: lost, shed, failed, and whatever the ledger does not account for."""
        sums = [getattr(self.coverage, item.name) for item in fields(self.coverage)]
        unknown = sum(getattr(self.coverage, f"{kind.value}_ms") for kind in UNHEARD)
        return int(unknown + max(0, self.duration_ms - sum(sums)))

    @property
    def speed(self) -> float:
        """Milliseconds of recording per millisecond of work, 0 when the work was not timed."""
        return self.duration_ms / self.elapsed_ms if self.elapsed_ms > 0 else 0.0

    @property
    def suspicions(self) -> tuple[Finding, ...]:
        """The findings that someone should look at: all but those the rules let pass."""
        return tuple(one for one in self.findings if one.verdict is not Verdict.PASS)


def lines_of(findings: Iterable[Finding], transcripts: tuple[Transcript, ...]) -> list[int | None]:
    """Index of the transcript each finding lies in, None where none holds its words.

    A finding carries times and its words, no number of a transcript: the one that overlaps it and
    has the evidence at the span wins, the nearest before it comes next.
    """
    starts = [transcript.start_ms for transcript in transcripts]
    return [_line_of(finding, transcripts, starts) for finding in findings]


def _line_of(
    finding: Finding, transcripts: tuple[Transcript, ...], starts: list[int]
) -> int | None:
    last = bisect.bisect_right(starts, finding.end_ms)
    # Segments overlap by their padding at most: a handful before the finding's end is enough.
    near = range(last - 1, max(-1, last - 9), -1)
    overlapping = [line for line in near if transcripts[line].end_ms >= finding.start_ms]
    a, b = finding.span
    exact = [line for line in overlapping if transcripts[line].text[a:b] == finding.evidence]
    return next(iter(exact or overlapping), None)


def replay_json(replay: Replay) -> dict[str, object]:
    """`tingbo replay --json`: types of JSON only, keys stable within one `schema_version`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "media": encodable(replay.media),
        "duration_ms": replay.duration_ms,
        "made_at": plain(replay.made_at),
        "checked_for": plain(replay.checked_for or replay.made_at.date()),
        "versions": plain(replay.versions),
        "synthetic_only": replay.synthetic_only,
        "failure": replay.failure,
        "elapsed_ms": replay.elapsed_ms,
        "coverage": plain(replay.coverage),
        "stretches": plain(replay.stretches),
        "transcripts": [plain(transcript) for transcript in replay.transcripts],
        "findings": plain(replay.findings),
    }


def replay_text(replay: Replay) -> str:
    """`replay_json` as the text that is printed or written."""
    return json.dumps(replay_json(replay), ensure_ascii=False, indent=1)


def write_replay_json(replay: Replay, out: Path) -> None:
    """Write `replay_text` to `out`. Raises MissingError when it cannot be written."""
    try:
        out.write_text(replay_text(replay) + "\n", encoding="utf-8")
    except OSError as error:
        raise MissingError(
            f"{out} cannot be written ({error.strerror}): free some space or name another file."
        ) from error


def check_place(file: Path) -> None:
    """Say before hours of work, not after them, that a result has no place: BadInputError."""
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise BadInputError(f"{file} cannot be written: give a file in a folder that exists.")


def encodable(text: str) -> str:
    """`text` without the surrogates that a file name in another encoding leaves in it."""
    return text.encode("utf-8", "replace").decode("utf-8")
