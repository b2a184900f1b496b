"""The worker: batches over rooms, transcripts only once, nothing unheard reads as clean."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from pipeline.asr.worker import GROUP
from pipeline.errors import ClipStoreError
from pipeline.records import SpeechSegment, Transcript, ms_to_samples
from pipeline.streams import SEGMENTS
from tests.asr.workers import Bench, step_until
from tests.fakes import ScriptedRecogniser


class Moody(ScriptedRecogniser):
    """Fails on batches that hold a poisoned segment, as CTranslate2 does when memory runs out."""

    poisoned = frozenset({"poison"})

    def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
        if any(segment.language in self.poisoned for segment in segments):
            raise RuntimeError("out of memory")
        return super().transcribe(segments)


def test_segments_of_several_rooms_share_one_call(bench: Bench) -> None:
    """What waits together is recognised together; every room gets its own text."""
    recogniser = ScriptedRecogniser({0: "一号", 5_000: "二号", 9_000: "三号"})
    messages = [bench.send("a", 0, 0), bench.send("b", 0, 5_000), bench.send("a", 1, 9_000)]
    assert bench.worker(recogniser).step() == 3
    assert recogniser.batches == [3]
    assert bench.texts("a") == ["一号", "三号"]
    assert bench.texts("b") == ["二号"]
    assert [m.key for m in bench.published()] == [m.key for m in messages]
    assert bench.waiting() == 0


def test_a_batch_is_no_larger_than_allowed(steady: Bench) -> None:
    """The rest waits for the next call."""
    recogniser = ScriptedRecogniser({})
    for seq in range(5):
        steady.send("a", seq, 2_000 * seq)
    worker = steady.worker(recogniser, max_batch=3)
    assert (worker.step(), worker.step()) == (3, 2)
    assert recogniser.batches == [3, 2]


def test_a_batch_waits_a_moment_for_more(steady: Bench) -> None:
    """A segment that arrives within the waiting time joins the batch."""
    recogniser = ScriptedRecogniser({})
    worker = steady.worker(recogniser, wait_ms=2_000)
    steady.send("a", 0, 0)
    late = [threading.Timer(0.05 * i, steady.send, ("b", i, 4_000 * i)) for i in (1, 2, 3)]
    for timer in late:
        timer.start()
    worker.step()
    for timer in late:
        timer.join()
    assert recogniser.batches == [4]


def test_what_was_done_is_counted(bench: Bench) -> None:
    """Metrics tell sound, batch, outcome and latency."""
    bench.send("a", 0, 0)
    bench.send("a", 1, 2_000)
    bench.worker(ScriptedRecogniser({0: "有字"})).step()
    value = bench.places.metrics.value
    assert value("tingbo_asr_audio_seconds_total", model="scripted", device="cpu") == 4.0
    assert value("tingbo_asr_segments_total", outcome="text") == 1
    assert value("tingbo_asr_segments_total", outcome="empty") == 1
    assert value("tingbo_asr_batch_size_sum") == 2
    assert value("tingbo_stage_latency_seconds_sum", stage="asr") == 2.0


def test_what_guards_did_is_counted(bench: Bench) -> None:
    """Each guard is counted by its name, and a dropped text is its own outcome."""

    class Guarded(ScriptedRecogniser):
        def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
            return [
                Transcript(s.start_ms, s.end_ms, "", guards=("no_speech",), dropped_text="谢谢")
                for s in segments
            ]

    bench.send("a", 0, 0)
    bench.worker(Guarded({})).step()
    value = bench.places.metrics.value
    assert value("tingbo_asr_guards_total", guard="no_speech") == 1
    assert value("tingbo_asr_segments_total", outcome="dropped") == 1
    assert bench.places.store.transcripts("a-1")[0].dropped_text == "谢谢"


def test_a_missing_clip_is_given_up_and_reads_as_failed(bench: Bench) -> None:
    """After its deliveries the segment is a dead letter with its clip, and FAILED in the ledger."""
    lost = bench.send("a", 0, 0)
    bench.send("a", 1, 2_000)
    next(bench.folder.rglob("000000.flac")).unlink()
    worker = bench.worker(ScriptedRecogniser({2_000: "还在"}))
    step_until(worker, lambda: bench.places.bus.dead_letters(SEGMENTS))
    [letter] = bench.places.bus.dead_letters(SEGMENTS)
    assert letter.clip_uri == lost.clip_uri
    assert letter.deliveries == 4
    coverage = bench.places.store.coverage("a-1")
    assert (coverage.heard_ms, coverage.failed_ms) == (2_000, 2_000)
    assert bench.texts("a") == ["还在"]
    assert bench.waiting() == 0
    assert bench.places.metrics.value("tingbo_asr_segments_total", outcome="failed") == 1


@pytest.mark.parametrize("keep", [0, 30, 0.5])
def test_a_damaged_clip_is_never_silence(bench: Bench, keep: float) -> None:
    """An empty or cut file gives no empty transcript that would look clean."""
    bench.send("a", 0, 0)
    clip = next(bench.folder.rglob("000000.flac"))
    data = clip.read_bytes()
    clip.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    worker = bench.worker(ScriptedRecogniser({}))
    worker.step()
    assert bench.texts("a") == []
    step_until(worker, lambda: bench.places.bus.dead_letters(SEGMENTS))
    assert bench.places.store.coverage("a-1").failed_ms == 2_000


def test_a_clip_of_another_length_is_not_the_segment(bench: Bench) -> None:
    """Half of the sound in a clip that is whole in itself would leave the other half unheard."""
    message = bench.send("a", 0, 0)
    bench.places.clips.write(message.key, np.full(ms_to_samples(1_000), 0.1, np.float32))
    bench.worker(ScriptedRecogniser({0: "一半"})).step()
    assert bench.texts("a") == []
    assert bench.waiting() == 1


def test_a_clip_that_comes_back_is_recognised(bench: Bench) -> None:
    """A clip store that fails for a moment costs a delay and nothing else."""
    bench.send("a", 0, 0)
    clip = next(bench.folder.rglob("000000.flac"))
    away = clip.rename(clip.with_suffix(".away"))
    worker = bench.worker(ScriptedRecogniser({0: "回来了"}))
    worker.step()
    away.rename(clip)
    step_until(worker, lambda: bench.texts("a"))
    assert bench.texts("a") == ["回来了"]
    assert bench.places.store.coverage("a-1").failed_ms == 0


def test_one_segment_does_not_poison_its_batch(bench: Bench) -> None:
    """A batch that fails is tried one by one; the others get their text at once."""
    bench.send("a", 0, 0)
    bench.send("b", 0, 2_000, language="poison")
    bench.send("c", 0, 4_000)
    worker = bench.worker(Moody({0: "甲", 4_000: "丙"}))
    worker.step()
    assert (bench.texts("a"), bench.texts("b"), bench.texts("c")) == (["甲"], [], ["丙"])
    step_until(worker, lambda: bench.places.bus.dead_letters(SEGMENTS))
    assert bench.places.store.coverage("b-1").failed_ms == 2_000


def test_a_segment_the_model_cannot_take_is_given_up_at_once(bench: Bench) -> None:
    """Longer than the window today is longer than the window tomorrow."""
    bench.send("a", 0, 0)
    bench.worker(ScriptedRecogniser({}, window_ms=1_000)).step()
    [letter] = bench.places.bus.dead_letters(SEGMENTS)
    assert "longer than 1000 ms" in letter.reason
    assert bench.places.store.coverage("a-1").failed_ms == 2_000


def test_a_segment_delivered_twice_is_recognised_once(bench: Bench) -> None:
    """A worker that died before it acknowledged changes nothing but a second message."""
    message = bench.send("a", 0, 0)
    bench.places.bus.read_batch(SEGMENTS, GROUP, "dead", 10, 1)
    bench.places.store.add_transcript(message.key, Transcript(0, 2_000, "先到"))
    recogniser = ScriptedRecogniser({0: "后到"})
    worker = bench.worker(recogniser)
    step_until(worker, lambda: bench.waiting() == 0)
    assert bench.texts("a") == ["先到"]
    assert recogniser.batches == []
    assert {m.key for m in bench.published()} == {message.key}


def test_run_works_until_stopped_and_leaves_the_group(steady: Bench) -> None:
    """A stop finishes the batch in hand; what was read ahead is for others; no consumer remains."""
    finished = threading.Event()

    class Slow(ScriptedRecogniser):
        def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
            steady.stop.set()
            finished.wait(0.2)
            return super().transcribe(segments)

    for seq in range(3):
        steady.send("a", seq, 2_000 * seq)
    steady.worker(Slow({0: "甲", 2_000: "乙", 4_000: "丙"}), max_batch=2).run()
    assert steady.texts("a") == ["甲", "乙"]
    assert steady.waiting() == 1
    with Redis.from_url(steady.redis_url) as redis:
        names = [one["name"] for one in redis.xinfo_consumers(SEGMENTS.key(), GROUP)]
    assert names == [b"returned"]
    # The next worker finds it at once, and it counts as never tried.
    (rest,) = steady.places.bus.read_batch(SEGMENTS, GROUP, "next", 10, 1)
    assert (rest.record.start_ms, rest.deliveries) == (4_000, 1)


def test_an_unexpected_failure_is_counted_and_survived(bench: Bench) -> None:
    """The one catch-all: the worker says so, counts it, and the segment comes again."""

    class Once(ScriptedRecogniser):
        def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
            self.batches.append(len(segments))
            if len(self.batches) == 1:
                raise ClipStoreError("a fault nobody foresaw")
            bench.stop.set()
            return super().transcribe(segments)

    bench.send("a", 0, 0)
    bench.worker(Once({0: "好"})).run()
    assert bench.texts("a") == ["好"]
    assert bench.places.metrics.value("tingbo_worker_failures_total", stage="asr") == 1


def test_a_dead_letter_that_is_replayed_takes_its_failure_back(bench: Bench) -> None:
    """Once the clip is there again, replaying hears it, and the ledger no longer says FAILED."""
    message = bench.send("a", 0, 0)
    clip = Path(message.clip_uri.removeprefix("file://"))
    kept = clip.read_bytes()
    clip.unlink()
    worker = bench.worker(ScriptedRecogniser({0: "好"}))
    step_until(worker, lambda: bench.places.bus.dead_letters(SEGMENTS))
    assert bench.places.store.coverage("a-1").failed_ms == 2_000
    clip.write_bytes(kept)
    (letter,) = bench.places.bus.dead_letters(SEGMENTS)
    bench.places.bus.replay(SEGMENTS, letter)
    step_until(worker, lambda: bench.texts("a"))
    assert bench.texts("a") == ["好"]
    coverage = bench.places.store.coverage("a-1")
    assert (coverage.heard_ms, coverage.failed_ms) == (2_000, 0)
    assert bench.places.bus.dead_letters(SEGMENTS) == []
