"""Seconds behind live, by room; series of quiet rooms do not stay for ever."""

from __future__ import annotations

from pipeline.asr.behind import SecondsBehind, oldest_by_room
from pipeline.metrics import Metrics
from tests.asr.workers import Bench
from tests.fakes import ScriptedRecogniser


def test_a_room_that_is_quiet_loses_its_series() -> None:
    """Five minutes after its last word the gauge has no such room."""
    metrics, now = Metrics(), [0.0]
    behind = SecondsBehind(metrics, lambda: now[0])
    behind.note("a", 3.5)
    now[0] = 200.0
    behind.note("b", 1.0)
    behind.sweep()
    assert metrics.value("tingbo_asr_seconds_behind", room="a") == 3.5
    now[0] = 301.0
    behind.sweep()
    assert metrics.registry.get_sample_value("tingbo_asr_seconds_behind", {"room": "a"}) is None
    assert metrics.value("tingbo_asr_seconds_behind", room="b") == 1.0


def test_the_longest_wait_of_a_room_counts() -> None:
    """Its oldest segment says how far behind it is."""
    assert oldest_by_room([("a", 1.0), ("b", 0.5), ("a", 4.0)]) == {"a": 4.0, "b": 0.5}


def test_the_worker_tells_each_room(steady: Bench) -> None:
    """What was heard and what still waits, one second after it was said."""
    steady.send("a", 0, 0)
    steady.send("b", 0, 0)
    steady.worker(ScriptedRecogniser({}), max_batch=1).step()
    value = steady.places.metrics.value
    assert value("tingbo_asr_seconds_behind", room="a") == 1.0
    assert value("tingbo_asr_seconds_behind", room="b") == 1.0
