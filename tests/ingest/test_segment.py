"""Cutting speech, with a detector that says what the test wrote down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.ingest.segment import SegmentOptions, segments
from pipeline.ingest.vad import FRAME
from pipeline.records import AudioChunk, CoverageKind, Gap, SpeechSegment, Stretch
from tests.ingest.media import chords, noise

OPTIONS = SegmentOptions(window_ms=10_000, min_silence_ms=400, pad_ms=200, min_speech_ms=250)


class ScriptedDetector:
    """Gives the probabilities it was made with, frame by frame, then 0."""

    def __init__(self, probabilities: Iterable[float]) -> None:
        self._left = list(probabilities)
        self.resets = 0

    def probabilities(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        told, self._left = self._left[: len(frames)], self._left[len(frames) :]
        return np.array(told + [0.0] * (len(frames) - len(told)), np.float32)

    def reset(self) -> None:
        self.resets += 1


def script(*parts: tuple[float, int]) -> list[float]:
    """Probabilities: (value, ms) after (value, ms)."""
    return [value for value, ms in parts for _ in range(ms // 32)]


def chunks(sound: NDArray[np.float32], size: int = 4000, start: int = 0) -> list[AudioChunk]:
    return [AudioChunk(start + at, sound[at : at + size]) for at in range(0, len(sound), size)]


def hear(
    probabilities: Sequence[float],
    sound: NDArray[np.float32] | None = None,
    options: SegmentOptions = OPTIONS,
) -> tuple[list[SpeechSegment], list[Stretch]]:
    if sound is None:
        sound = np.zeros(len(probabilities) * FRAME, np.float32)
    items = list(segments(chunks(sound), ScriptedDetector(probabilities), options))
    return (
        [item for item in items if isinstance(item, SpeechSegment)],
        [item for item in items if isinstance(item, Stretch)],
    )


def test_speech_between_pauses_is_one_segment_with_padding() -> None:
    """A second of speech after 2 s of silence begins and ends 200 ms beyond it."""
    found, ledger = hear(script((0.0, 1984), (0.9, 992), (0.0, 1984)))
    assert [(one.seq, one.start_ms, one.end_ms) for one in found] == [(0, 1784, 3176)]
    assert ledger == [
        Stretch(0, 1784, CoverageKind.SILENT),
        Stretch(1784, 3176, CoverageKind.HEARD),
        Stretch(3176, 4960, CoverageKind.SILENT),
    ]


def test_a_segment_is_followed_by_its_stretch() -> None:
    """Consumers may rely on the HEARD stretch coming right behind the segment."""
    sound = np.zeros(100 * FRAME, np.float32)
    detector = ScriptedDetector(script((0.0, 960), (0.9, 960), (0.0, 1280)))
    items = list(segments(chunks(sound), detector, OPTIONS))
    at = next(n for n, item in enumerate(items) if isinstance(item, SpeechSegment))
    assert items[at + 1] == Stretch(760, 2120, CoverageKind.HEARD)


def test_a_short_pause_does_not_end_speech() -> None:
    """A pause below 400 ms stays inside the segment."""
    found, _ = hear(script((0.9, 960), (0.0, 352), (0.9, 960), (0.0, 992)))
    assert [(one.start_ms, one.end_ms) for one in found] == [(0, 2472)]


def test_a_click_is_no_speech() -> None:
    """Speech shorter than 250 ms is no segment and stays in the ledger as silent."""
    found, ledger = hear(script((0.0, 992), (0.9, 224), (0.0, 992)))
    assert found == []
    assert ledger == [Stretch(0, 2208, CoverageKind.SILENT)]


def test_the_padding_of_neighbours_does_not_overlap() -> None:
    """With padding longer than half the pause, each sample belongs to one segment."""
    options = SegmentOptions(10_000, min_silence_ms=200, pad_ms=500, min_speech_ms=250)
    found, _ = hear(script((0.9, 960), (0.0, 320), (0.9, 960), (0.0, 1600)), options=options)
    assert [(one.start_ms, one.end_ms) for one in found] == [(0, 1184), (1184, 2464)]


def test_speech_without_a_pause_is_cut_at_its_quietest_point() -> None:
    """25 s in one breath: cut within the window, at the dips, and nothing is lost."""
    probabilities = script((0.9, 24_992), (0.0, 992))
    sound = noise(len(probabilities) * FRAME / 16_000, 0.1)
    for second in (8, 15):
        sound[second * 16_000 : second * 16_000 + 3 * FRAME] *= 0.01
    found, _ = hear(probabilities, sound)
    assert len(found) == 3
    assert all(one.end_ms - one.start_ms <= 10_000 for one in found)
    assert abs(found[0].end_ms - 8_050) < 100
    assert abs(found[1].end_ms - 15_050) < 100
    assert found[1].start_ms == found[0].end_ms
    assert found[2].start_ms == found[1].end_ms
    joined = np.concatenate([one.samples for one in found])
    np.testing.assert_array_equal(joined, sound[: len(joined)])


def test_the_detector_decides_where_a_cut_falls_when_all_is_equally_loud() -> None:
    """A dip of the probability that is too short for a pause is still the place to cut."""
    found, _ = hear(script((0.9, 7008), (0.2, 96), (0.9, 5024), (0.0, 992)))
    assert abs(found[0].end_ms - 7_056) <= 48


def test_a_last_syllable_after_a_cut_is_kept() -> None:
    """What remains after a cut is speech even when it is short."""
    found, _ = hear(script((0.9, 10_144), (0.0, 992)))
    assert [one.start_ms for one in found[1:]] == [found[0].end_ms]
    assert found[-1].end_ms >= 10_144


def test_music_is_told_from_silence() -> None:
    """Chords without speech are music, hiss and nothing at all are silent."""
    sound = np.concatenate(
        [np.zeros(5 * 16_384, np.float32), chords(6)[: 5 * 16_384], noise(5.12, 0.03)]
    )
    _, ledger = hear([0.0] * (len(sound) // FRAME), sound)
    assert ledger == [
        Stretch(0, 5120, CoverageKind.SILENT),
        Stretch(5120, 10_240, CoverageKind.MUSIC),
        Stretch(10_240, 15_360, CoverageKind.SILENT),
    ]


def test_a_gap_ends_the_run_and_stays_in_the_ledger() -> None:
    """Speech is closed before a gap, the detector forgets, and the reason reaches the ledger."""
    first, second = np.zeros(16_000, np.float32), np.zeros(32_000, np.float32)
    source: list[AudioChunk | Gap] = [
        *chunks(first),
        Gap(16_000, 48_000, CoverageKind.LOST, "断线"),
        *chunks(second, start=48_000),
    ]
    detector = ScriptedDetector([0.9] * 64)
    items = list(segments(source, detector, OPTIONS))
    found = [item for item in items if isinstance(item, SpeechSegment)]
    assert [(one.seq, one.start_ms, one.end_ms) for one in found] == [
        (0, 0, 1000),
        (1, 3000, 4224),
    ]
    assert Stretch(1000, 3000, CoverageKind.LOST, "断线") in items
    assert detector.resets == 2


def test_a_tenth_of_a_second_is_accounted_for() -> None:
    """Sound shorter than anything the rules look at is silent, not missing."""
    _, ledger = hear([0.0] * 4, np.zeros(1600, np.float32))
    assert ledger == [Stretch(0, 100, CoverageKind.SILENT)]


def test_a_long_silence_is_reported_as_it_passes() -> None:
    """The ledger of a silent room does not lag behind by more than half a minute."""
    _, ledger = hear([0.0] * (70 * 32))
    assert [stretch.end_ms - stretch.start_ms for stretch in ledger] == [30_720, 30_720, 10_240]


def test_sound_that_does_not_follow_is_refused() -> None:
    """A source that forgets a gap is a fault, not a silent shift of all later times."""
    source: list[AudioChunk | Gap] = [
        AudioChunk(0, np.zeros(4000, np.float32)),
        AudioChunk(8000, np.zeros(9, np.float32)),
    ]
    with pytest.raises(ValueError, match="expected 4000"):
        list(segments(source, ScriptedDetector([]), OPTIONS))


def test_a_window_must_hold_more_than_padding() -> None:
    """Impossible options are refused at once."""
    with pytest.raises(ValueError, match="too short"):
        SegmentOptions(window_ms=800, min_silence_ms=400, pad_ms=200, min_speech_ms=250)


@st.composite
def recordings(draw: st.DrawFn) -> list[tuple[list[float], int, int]]:
    """Runs of (probabilities in phases, samples beyond whole frames, ms of gap behind)."""
    phase = st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.99]), st.integers(1, 80))
    run = st.tuples(st.lists(phase, max_size=8), st.integers(0, 511), st.integers(0, 5000))
    return [
        ([value for value, frames in phases for _ in range(frames)], beyond, gap_ms)
        for phases, beyond, gap_ms in draw(st.lists(run, min_size=1, max_size=3))
    ]


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    recordings(),
    st.integers(300, 9000),
    st.builds(
        SegmentOptions,
        window_ms=st.integers(1500, 6000),
        min_silence_ms=st.integers(50, 1000),
        pad_ms=st.integers(0, 500),
        min_speech_ms=st.integers(0, 600),
    ),
)
def test_nothing_overlaps_and_nothing_is_lost(
    recording: list[tuple[list[float], int, int]], size: int, options: SegmentOptions
) -> None:
    """For any speech, chunking and options: in order, within the window, every ms exactly once."""
    source: list[AudioChunk | Gap] = []
    told: list[float] = []
    position, gaps_ms = 0, 0
    for probabilities, beyond, gap_ms in recording:
        length = len(probabilities) * FRAME + beyond
        told += [*probabilities, *([0.0] if beyond else [])]
        # Every sample is its own position, so that a shifted segment shows.
        sound = np.arange(position, position + length, dtype=np.float32)
        source += chunks(sound, size, position)
        position += length
        if gap_ms:
            end = (position // 16 + gap_ms) * 16
            source.append(Gap(position, end, CoverageKind.LOST, "断线"))
            gaps_ms += end // 16 - position // 16
            position = end
    items = list(segments(source, ScriptedDetector(told), options))
    ledger = [item for item in items if isinstance(item, Stretch)]
    found = [item for item in items if isinstance(item, SpeechSegment)]

    assert sum(stretch.end_ms - stretch.start_ms for stretch in ledger) == position // 16
    at = 0
    for stretch in ledger:
        assert stretch.start_ms == at
        at = stretch.end_ms
    heard = [(s.start_ms, s.end_ms) for s in ledger if s.kind is CoverageKind.HEARD]
    assert heard == [(one.start_ms, one.end_ms) for one in found]
    assert [one.seq for one in found] == list(range(len(found)))
    lost = [stretch for stretch in ledger if stretch.kind is CoverageKind.LOST]
    assert sum(stretch.end_ms - stretch.start_ms for stretch in lost) == gaps_ms
    for one in found:
        assert one.end_ms - one.start_ms <= options.window_ms
        first = int(one.samples[0])
        assert one.start_ms == first // 16
        assert one.end_ms == (first + len(one.samples)) // 16
        np.testing.assert_array_equal(
            one.samples, np.arange(first, first + len(one.samples), dtype=np.float32)
        )
