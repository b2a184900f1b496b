"""Neighbours in one window: one encode, and each segment gets its own words back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.asr import Recogniser
from pipeline.asr.canary import canary_segment, error_rate
from pipeline.asr.load import Thresholds
from pipeline.asr.windows import joined, merged_windows, parted
from pipeline.records import (
    SegmentKey,
    SegmentMessage,
    SpeechSegment,
    Transcript,
    ms_to_samples,
)
from pipeline.streams import Delivery
from tests.asr.workers import Bench
from tests.fakes import LevelRecogniser

AT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)

#: Behind as soon as anything waits.
ALWAYS_MERGE = Thresholds(merge_s=1e-9, shed_s=0)


def delivery(
    seq: int, start_ms: int, end_ms: int, room: str = "a", epoch: int = 0, language: str = "zh"
) -> Delivery[SegmentMessage]:
    key = SegmentKey(f"{room}-1", epoch, seq)
    message = SegmentMessage(key, room, start_ms, end_ms, AT, "clip", "sha", language)
    return Delivery(f"{1_000 + seq}-0", message)


def seqs(deliveries: list[Delivery[SegmentMessage]], window_ms: int = 30_000) -> list[list[int]]:
    windows = merged_windows(deliveries, window_ms)
    return [[item.record.key.seq for item in window] for window in windows]


def segment(start_ms: int, length_ms: int, level: float) -> SpeechSegment:
    samples = np.full(ms_to_samples(length_ms), level, np.float32)
    return SpeechSegment(start_ms, start_ms, start_ms + length_ms, samples)


def test_neighbours_share_a_window_up_to_its_length() -> None:
    """Three of 8 s with their pauses fit into 30 s, the fourth begins another window."""
    items = [delivery(i, 9_000 * i, 9_000 * i + 8_000) for i in range(4)]
    assert seqs(items[::-1]) == [[0, 1, 2], [3]]
    assert seqs(items, 10_000) == [[0], [1], [2], [3]]


def test_a_long_pause_costs_half_a_second_of_the_window() -> None:
    """Ten minutes of music between two segments are no reason not to join them."""
    items = [delivery(0, 0, 5_000), delivery(1, 600_000, 604_500)]
    assert seqs(items, 10_000) == [[0, 1]]
    assert seqs(items, 9_999) == [[0], [1]]


@pytest.mark.parametrize(
    "other",
    [
        delivery(2, 2_000, 4_000),
        delivery(1, 2_000, 4_000, epoch=1),
        delivery(1, 2_000, 4_000, room="b"),
        delivery(1, 2_000, 4_000, language="en"),
        delivery(1, 1_500, 4_000),
    ],
    ids=["not next", "another connection", "another room", "another language", "overlapping"],
)
def test_only_what_follows_directly_is_joined(other: Delivery[SegmentMessage]) -> None:
    """A window is speech of one person in one language, in one piece."""
    assert [len(window) for window in merged_windows([delivery(0, 0, 2_000), other], 30_000)] == [
        1,
        1,
    ]


def test_the_joined_sound_has_the_silence_between_them() -> None:
    """0.3 s stay 0.3 s, a minute becomes half a second; every sample is where its time says."""
    whole = joined([segment(0, 1_000, 0.1), segment(1_300, 1_000, 0.2), segment(60_000, 500, 0.3)])
    assert (whole.start_ms, whole.end_ms) == (0, 1_000 + 300 + 1_000 + 500 + 500)
    assert len(whole.samples) == ms_to_samples(3_300)
    levels = [round(float(x), 1) for x in whole.samples[:: ms_to_samples(100)]]
    expected = [0.1] * 10 + [0.0] * 3 + [0.2] * 10 + [0.0] * 5 + [0.3] * 5
    assert levels == expected


lengths = st.lists(st.tuples(st.integers(0, 3_000), st.integers(4, 12)), min_size=1, max_size=5)


@settings(deadline=None, max_examples=30)
@given(lengths)
def test_every_segment_gets_back_what_it_alone_would_have_said(
    shape: list[tuple[int, int]],
) -> None:
    """Whatever the pauses and lengths, the joined window says the same with the same times."""
    segments, at_ms = [], 0
    for row, (pause_ms, pieces) in enumerate(shape):
        at_ms += pause_ms
        segments.append(segment(at_ms, 250 * pieces, 0.1 * (row + 1)))
        at_ms += 250 * pieces
    recogniser = LevelRecogniser()
    alone = recogniser.transcribe(segments)
    [whole] = recogniser.transcribe([joined(segments)])
    assert parted(whole, segments) == alone


def test_what_a_guard_took_out_cannot_be_given_back() -> None:
    """A loop in a window hides what came after it: its segments must be heard alone."""
    both = [segment(0, 1_000, 0.1), segment(1_000, 1_000, 0.2)]
    cut = Transcript(0, 2_000, "买", dropped_text="买买买")
    assert parted(cut, both) is None
    assert parted(Transcript(0, 2_000, "没有时间"), both) is None
    assert parted(cut, both[:1]) == [cut]


def test_an_empty_window_is_empty_for_all() -> None:
    """Nothing said is nothing said by each, on its own clock."""
    both = [segment(0, 1_000, 0.1), segment(5_000, 1_000, 0.2)]
    parts = parted(Transcript(0, 2_500, "", model="m"), both)
    assert parts is not None
    assert [(p.start_ms, p.end_ms, p.text) for p in parts] == [(0, 1_000, ""), (5_000, 6_000, "")]


def test_behind_live_neighbours_are_heard_together(steady: Bench) -> None:
    """One window for three segments; each row has its own words and times, whatever the order."""
    recogniser = LevelRecogniser()
    for seq, start_ms in enumerate((0, 2_200, 90_000)):
        steady.send("a", seq, start_ms, level=0.1 * (seq + 1))
    steady.send("b", 0, 0, level=0.4)
    worker = steady.worker(recogniser, thresholds=ALWAYS_MERGE)
    assert worker.step() == 4
    assert recogniser.windows == [2]
    assert steady.texts("a") == ["1" * 8, "2" * 8, "3" * 8]
    assert steady.texts("b") == ["4" * 8]
    last = steady.places.store.transcripts("a-1")[2]
    assert (last.start_ms, last.end_ms) == (90_000, 92_000)
    assert [word.start_ms for word in last.words] == list(range(90_000, 92_000, 250))
    assert steady.places.metrics.value("tingbo_asr_merged_segments_total") == 2
    assert steady.waiting() == 0


def test_in_time_every_segment_has_its_own_window(steady: Bench) -> None:
    """Merging costs a little accuracy, so it is done only when it must be."""
    recogniser = LevelRecogniser()
    for seq in range(3):
        steady.send("a", seq, 2_000 * seq)
    steady.worker(recogniser).step()
    assert recogniser.windows == [3]


def test_a_window_that_fails_is_heard_in_parts(steady: Bench) -> None:
    """One bad segment in a window costs another call and none of its neighbours' words."""

    class Fragile(LevelRecogniser):
        def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
            if any(round(float(one.samples.max()), 1) >= 0.9 for one in segments):
                raise RuntimeError("cuDNN failed with status CUDNN_STATUS_EXECUTION_FAILED")
            return super().transcribe(segments)

    for seq in range(3):
        steady.send("a", seq, 2_000 * seq, level=(0.1, 0.9, 0.3)[seq])
    steady.worker(Fragile(), thresholds=ALWAYS_MERGE).step()
    assert steady.texts("a") == ["1" * 8, "3" * 8]
    assert steady.waiting() == 1


def test_a_window_whose_words_were_cut_is_heard_in_parts(steady: Bench) -> None:
    """A guard that cuts a merged window would silence every segment after the loop."""

    class Looping(LevelRecogniser):
        def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
            if segments[0].end_ms - segments[0].start_ms > 2_000:
                return [Transcript(0, 4_000, "1", guards=("loop_truncated",), dropped_text="11")]
            return super().transcribe(segments)

    for seq in range(2):
        steady.send("a", seq, 2_000 * seq, level=0.1 * (seq + 1))
    steady.worker(Looping(), thresholds=ALWAYS_MERGE).step()
    assert steady.texts("a") == ["1" * 8, "2" * 8]


def test_a_missing_clip_parts_its_neighbours(steady: Bench) -> None:
    """The others are heard, each for itself, and the missing one comes again."""
    for seq in range(3):
        steady.send("a", seq, 2_000 * seq, level=0.1 * (seq + 1))
    next(steady.folder.rglob("000001.flac")).unlink()
    steady.worker(LevelRecogniser(), thresholds=ALWAYS_MERGE).step()
    assert steady.texts("a") == ["1" * 8, "3" * 8]
    assert steady.waiting() == 1


def test_the_bundled_model_hears_two_in_one_window(demo_recogniser: Recogniser) -> None:
    """Real speech twice in one window of 10 s: each has its words, inside its own time.

    The bundled model never learnt from two sentences in a window and mishears more of them.
    """
    samples = canary_segment().samples[ms_to_samples(450) : ms_to_samples(4_850)]
    clip = SpeechSegment(0, 0, 4_400, samples)
    again = SpeechSegment(1, 60_000, 64_400, samples)
    [alone] = demo_recogniser.transcribe([clip])
    [whole] = demo_recogniser.transcribe([joined([clip, again])])
    parts = parted(whole, [clip, again])
    assert parts is not None
    for part, start_ms in zip(parts, (0, 60_000), strict=True):
        assert error_rate(part.text, alone.text) <= 0.4
        assert part.text == "".join(word.text for word in part.words)
        for word in part.words:
            assert start_ms <= word.start_ms <= word.end_ms <= start_ms + 4_400
