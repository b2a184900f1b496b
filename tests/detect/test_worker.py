"""The detection worker: rows, cases, messages; once each; late transcripts; nothing lost."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.bus import Bus
from pipeline.detect import PackWatch, load_classifier
from pipeline.detect.worker import GROUP, DetectWorker, Places
from pipeline.metrics import Metrics
from pipeline.records import (
    Correction,
    CoverageKind,
    SegmentKey,
    SegmentMessage,
    Transcript,
    TranscriptMessage,
    Verdict,
)
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.streams import CASES, TRANSCRIPTS

AT = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)
LATER = AT + dt.timedelta(seconds=2)


class Bench:
    """A worker with a real bus and store, and the recognition side of its stream."""

    def __init__(self, bus: Bus, store: Store, metrics: Metrics) -> None:
        self.bus, self.store, self.metrics = bus, store, metrics
        self.stop = threading.Event()
        rules = PackWatch(None, (), metrics, time.monotonic)
        classifier = load_classifier(Settings().effective_classifier_dir)
        places = Places(bus, store, metrics)
        self.worker = DetectWorker(places, rules, classifier, self.stop, lambda: LATER)
        store.add_broadcast("room", "b", AT)
        bus.ensure_group(CASES, "test")

    def say(self, seq: int, text: str, *, start_ms: int | None = None) -> SegmentKey:
        """A segment that was recognised as `text`, 5 s each."""
        key = SegmentKey("b", 0, seq)
        start = seq * 5000 if start_ms is None else start_ms
        self.store.add_segment(
            SegmentMessage(key, "room", start, start + 4000, AT, f"clips/{seq}.flac", "0" * 64)
        )
        self.store.add_transcript(key, Transcript(start, start + 4000, text))
        self.announce(key)
        return key

    def announce(self, key: SegmentKey) -> None:
        """The message of the recognition."""
        self.bus.publish(TRANSCRIPTS, TranscriptMessage(key, "room", AT))

    def cases_published(self) -> list[str]:
        """Ids of the cases on the bus that were not read yet."""
        batch = self.bus.read_batch(CASES, "test", "test", 100, 1)
        return [delivery.record.case for delivery in batch]

    def backlog(self) -> int:
        """Transcripts without an acknowledged result."""
        return self.bus.stats(TRANSCRIPTS, GROUP).total


@pytest.fixture
def bench(redis_url: str, tmp_path: Path) -> Iterator[Bench]:
    metrics = Metrics()
    with (
        Bus(redis_url, metrics, reclaim_idle_ms=1) as bus,
        Store(f"sqlite:///{tmp_path / 'tingbo.db'}") as store,
    ):
        yield Bench(bus, store, metrics)


def test_a_violation_becomes_a_finding_a_case_and_a_message(bench: Bench) -> None:
    """Rows first, then the message, then the acknowledgement; clean speech leaves nothing."""
    bench.say(0, "大家晚上好")
    bench.say(1, "想要便宜的加我绿泡泡")
    assert bench.worker.step() == 2
    (finding,) = bench.store.findings("b")
    assert (finding.rule, finding.start_ms) == ("S01-add-contact", 5000)
    (case,) = bench.store.cases()
    assert (case.room, case.text, case.times_ms) == ("room", "想要便宜的加我绿泡泡", (5000,))
    assert (case.opened_at, case.heard_at) == (LATER, AT)
    assert bench.cases_published() == [case.id]
    assert bench.backlog() == 0
    labels = {"category": "off_platform_solicitation", "verdict": "block"}
    assert bench.metrics.value("tingbo_findings_total", **labels) == 1
    assert bench.metrics.value("tingbo_alert_latency_seconds_sum", severity="block") == 2
    assert bench.metrics.value("tingbo_stage_latency_seconds_count", stage="detect") == 2


def test_a_message_that_comes_twice_changes_nothing(bench: Bench) -> None:
    """At-least-once delivery: the rows stay, and the case is only announced again."""
    key = bench.say(0, "想要便宜的加我绿泡泡")
    bench.worker.step()
    bench.announce(key)
    bench.worker.step()
    assert len(bench.store.findings("b")) == 1
    (case,) = bench.store.cases()
    assert set(bench.cases_published()) == {case.id}


def test_a_repeat_of_the_pitch_joins_its_case(bench: Bench) -> None:
    """A reviewer judges the same words once."""
    bench.say(0, "想要便宜的加我绿泡泡")
    bench.say(1, "来来来加我绿泡泡")
    bench.worker.step()
    (case,) = bench.store.cases()
    assert case.times_ms == (0, 5000)
    assert bench.cases_published() == [case.id]


def test_context_is_read_from_the_store(bench: Bench) -> None:
    """The comparator of the utterance before counts."""
    bench.say(0, "这件大衣商场专柜卖两千六一件")
    bench.say(1, "今天在咱们直播间三百九十九")
    bench.worker.step()
    assert [finding.rule for finding in bench.store.findings("b")] == [
        "model",
        "P01-chain-here-after-channel",
    ]
    (case,) = bench.store.cases()
    assert case.times_ms == (0, 5000)


def test_a_late_transcript_completes_what_came_after_it(bench: Bench) -> None:
    """Order of arrival does not matter: the later line is judged again with its context."""
    bench.say(1, "今天在咱们直播间三百九十九")
    bench.worker.step()
    assert bench.store.findings("b") == []
    bench.say(0, "这件大衣商场专柜卖两千六一件")
    bench.worker.step()
    assert [(f.rule, f.start_ms) for f in bench.store.findings("b")] == [
        ("model", 0),
        ("P01-chain-here-after-channel", 5000),
    ]
    assert len(bench.cases_published()) == 1


def test_a_transcript_without_text_is_acknowledged(bench: Bench) -> None:
    """Silence that the recogniser understood as nothing is done."""
    bench.say(0, "")
    bench.worker.step()
    assert bench.backlog() == 0


def test_a_transcript_that_cannot_be_judged_is_failed_in_the_ledger(bench: Bench) -> None:
    """What was never judged does not read as clean; the worker goes on with the rest."""
    key = SegmentKey("b", 0, 7)
    segment = SegmentMessage(key, "room", 35_000, 39_000, AT, "clips/7.flac", "0" * 64)
    bench.store.add_segment(segment)
    bench.announce(key)
    thread = threading.Thread(target=bench.worker.run)
    thread.start()
    try:
        pause = threading.Event()
        while not bench.store.stretches("b") and not pause.wait(0.1):
            pass
    finally:
        bench.stop.set()
        thread.join()
    (stretch,) = bench.store.stretches("b")
    assert (stretch.start_ms, stretch.end_ms, stretch.kind) == (35_000, 39_000, CoverageKind.FAILED)
    assert stretch.reason
    assert bench.metrics.value("tingbo_worker_failures_total", stage="detect") >= 1


def test_a_judged_transcript_is_marked_and_an_unjudged_one_is_not(bench: Bench) -> None:
    """What SQL does not know as judged is published again when the bus has lost it."""
    bench.say(0, "今天天气不错")
    bench.say(1, "加我微信")
    assert [item.key.seq for item in bench.store.unjudged(AT, LATER, 10)] == [0, 1]
    bench.worker.step()
    assert bench.store.unjudged(AT, LATER, 10) == []


def test_a_correction_reaches_the_stored_finding_and_its_case(bench: Bench) -> None:
    """It comes when the case is long open: finding and case tell it, and the verdict is milder."""
    bench.say(0, "这个草本膏抹上三天湿疹就好了")
    for seq in range(1, 5):
        bench.say(seq, "大家看一下质地")
    bench.worker.step()
    assert bench.store.findings("b")[0].why.correction is None
    bench.say(5, "刚才湿疹那句说错了我收回没有依据")
    bench.worker.step()
    (finding,) = bench.store.findings("b")
    assert finding.why.correction == Correction(25_000, "刚才湿疹那句说错了我收回没有依据")
    assert finding.verdict is Verdict.REVIEW
    (case,) = bench.store.cases()
    assert case.finding == finding
    assert case.findings == (finding,)


def test_a_claim_that_comes_after_its_correction_is_linked_too(bench: Bench) -> None:
    """Order of arrival does not matter."""
    bench.say(5, "刚才湿疹那句说错了我收回没有依据")
    bench.worker.step()
    bench.say(0, "这个草本膏抹上三天湿疹就好了")
    bench.worker.step()
    (finding,) = bench.store.findings("b")
    assert finding.why.correction is not None
    assert finding.why.correction.start_ms == 25_000
