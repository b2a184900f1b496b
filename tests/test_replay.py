"""The self-check of a recording, from a file to findings, with the bundled speech model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.asr import Recogniser
from pipeline.demo import compare, read_labels
from pipeline.detect import load_detector
from pipeline.ingest import SegmentOptions, SourceOptions, open_source
from pipeline.records import SAMPLE_RATE, SpeechSegment, Transcript
from pipeline.replay import Ears, replay
from pipeline.reports.replay import Replay
from pipeline.resources import resource
from pipeline.settings import Settings
from tests.fakes import ScriptedRecogniser

BROADCAST = resource("models", "demo_broadcast", "broadcast.ogg")
ROOT = Path(__file__).parent.parent
LABELS = resource("models", "demo_broadcast", "labels.json")


def ears(recogniser: Recogniser) -> Ears:
    return Ears(
        recogniser,
        load_detector((), Settings().effective_classifier_dir),
        SegmentOptions(recogniser.window_ms, 400, 200, 250),
    )


def listen(path: Path, recogniser: Recogniser) -> tuple[Replay, list[int]]:
    """The replay of a file, and the positions its progress gave."""
    positions: list[int] = []
    with open_source(str(path), SourceOptions(5, 5)) as source:
        return replay(source, ears(recogniser), progress=positions.append), positions


@pytest.fixture(scope="module")
def heard(demo_recogniser: Recogniser) -> tuple[Replay, list[int]]:
    """The bundled broadcast, listened to once."""
    return listen(BROADCAST, demo_recogniser)


def test_the_ledger_adds_up_to_the_length(heard: tuple[Replay, list[int]]) -> None:
    """Every millisecond is heard, silent or music, and the script's quiet stretches are there."""
    result, _ = heard
    coverage = result.coverage
    length = json.loads(LABELS.read_text(encoding="utf-8"))["duration_ms"]
    assert abs(result.duration_ms - length) < 50
    assert coverage.heard_ms + coverage.silent_ms + coverage.music_ms == result.duration_ms
    assert coverage.music_ms > 5_000
    assert coverage.silent_ms > 5_000
    assert result.unheard_ms == 0


def test_progress_only_goes_forward_and_reaches_the_end(heard: tuple[Replay, list[int]]) -> None:
    """The position is what is judged, in time order."""
    result, positions = heard
    assert positions == sorted(positions)
    assert positions[-1] >= result.transcripts[-1].start_ms


def test_the_violations_of_the_demo_are_found(heard: tuple[Replay, list[int]]) -> None:
    """A few at least: the rules find all twelve in the text, the bundled model hears a part of it.

    No line that is fine raises an alarm, but one at most, for a word misheard.
    """
    result, _ = heard
    comparison = compare(read_labels(LABELS), result.findings)
    assert len(comparison.found) + len(comparison.missed) == 12
    assert len(comparison.found) >= 6
    assert len(comparison.false_alarms) <= 1


def test_a_finding_lies_where_its_words_are_said(heard: tuple[Replay, list[int]]) -> None:
    """Its evidence is the text at its span, and its time lies inside the transcript's."""
    result, _ = heard
    for finding in result.findings:
        [line] = [
            one
            for one in result.transcripts
            if one.start_ms <= finding.start_ms and finding.end_ms <= one.end_ms
        ]
        a, b = finding.span
        assert line.text[a:b] == finding.evidence


class Breaking(ScriptedRecogniser):
    """Fails on every batch that holds the second segment, as CTranslate2 does."""

    def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
        if any(segment.seq == 1 for segment in segments):
            raise RuntimeError("out of memory")
        return super().transcribe(segments)


def test_what_cannot_be_recognised_is_failed_not_clean() -> None:
    """One bad segment costs itself alone, and the ledger says so."""
    result, _ = listen(BROADCAST, Breaking({}, window_ms=10_000))
    assert result.coverage.failed_ms > 0
    assert result.unheard_ms == result.coverage.failed_ms
    [failed] = [item for item in result.stretches if item.kind == "failed"]
    assert "out of memory" in failed.reason
    assert all(item.start_ms != failed.start_ms for item in result.transcripts)


def tingbo(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *argv],
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(cwd)},
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_writes_json_and_page(tmp_path: Path) -> None:
    """`tingbo replay` of the demo: code 1, a table, the JSON of the contract, one page."""
    done = tingbo("replay", str(BROADCAST), "--json", "a.json", "--html", "a.html", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "虚假价格比较" in done.stdout
    result = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert {"media", "duration_ms", "versions", "coverage", "transcripts", "findings"} <= set(
        result
    )
    assert result["coverage"]["lost_ms"] == 0
    assert all(word["text"] for line in result["transcripts"] for word in line["words"])
    assert (tmp_path / "a.html").stat().st_size > 500_000


def silence(path: Path, seconds: float) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, int(seconds * SAMPLE_RATE)), np.int16), "s16", "mono"
        )
        frame.rate = SAMPLE_RATE
        for part in (frame, None):
            out.mux(stream.encode(part))


@pytest.mark.slow
def test_a_silent_recording_is_clean_and_says_it_was_silent(tmp_path: Path) -> None:
    """Code 0 is no claim that something was heard: the ledger shows all of it as silent."""
    silence(tmp_path / "quiet.wav", 3)
    done = tingbo("replay", "quiet.wav", "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    coverage = json.loads(done.stdout)["coverage"]
    assert coverage == {
        "heard_ms": 0, "silent_ms": 3000, "music_ms": 0, "lost_ms": 0, "shed_ms": 0, "failed_ms": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.mp4", None, "does not exist"),
        ("folder.mp4", "folder", "is a folder"),
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", "这不是视频\n".encode() * 200, "text.mp4"),
    ],
)
def test_a_recording_that_cannot_be_opened_is_told_at_once(
    tmp_path: Path, name: str, content: bytes | str | None, words: str
) -> None:
    """Name, reason and remedy in one sentence; code 2; no traceback and no report."""
    if content == "folder":
        (tmp_path / name).mkdir()
    elif isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    done = tingbo("replay", name, "--html", "out.html", cwd=tmp_path)
    assert done.returncode == 2
    assert name in done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "out.html").exists()


def test_a_result_without_a_place_is_told_before_the_work(tmp_path: Path) -> None:
    """A page in a folder that does not exist costs no hour of listening."""
    silence(tmp_path / "quiet.wav", 1)
    done = tingbo("replay", "quiet.wav", "--html", "no/such/folder/a.html", cwd=tmp_path)
    assert done.returncode == 2
    assert "no/such/folder/a.html cannot be written" in done.stderr
