"""The ingest worker with a real bus, store and clip store."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from pipeline.errors import BadInputError, BusError, ClipStoreError, SourceUnreachableError
from pipeline.ingest import SegmentOptions, SourceOptions
from pipeline.ingest.listening import REASON_NOT_SENT, REASON_NOT_STORED, REASON_RECONNECTED
from pipeline.ingest.source import REASON_CUT
from pipeline.ingest.worker import IngestOptions, IngestWorker, Outlets
from pipeline.records import Coverage, CoverageKind, SegmentMessage
from pipeline.settings import Settings
from pipeline.streams import SEGMENTS
from tests.ingest.media import chords, cut, silence, speech, write
from tests.ingest.servers import Connection, http_server

OPTIONS = IngestOptions(
    SourceOptions(open_timeout_s=5.0, read_timeout_s=1.0),
    SegmentOptions(window_ms=10_000, min_silence_ms=400, pad_ms=200, min_speech_ms=250),
    give_up_s=2.0,
)


def programme() -> np.ndarray:
    """Two sentences with silence and music between them, 14 s."""
    return np.concatenate(
        [silence(1.0), speech(), silence(1.5), chords(3.0), silence(1.0), speech(), silence(0.5)]
    )


def messages(outlets: Outlets) -> list[SegmentMessage]:
    batch = outlets.bus.read_batch(SEGMENTS, "test", "test", 100, 100)
    return [delivery.record for delivery in batch]


def total(coverage: Coverage) -> int:
    return (
        coverage.heard_ms
        + coverage.silent_ms
        + coverage.music_ms
        + coverage.lost_ms
        + coverage.shed_ms
        + coverage.failed_ms
    )


def test_a_recording_becomes_clips_rows_and_messages(outlets: Outlets, tmp_path: Path) -> None:
    """Each segment is stored once and announced once; the ledger covers the whole recording."""
    sound = programme()
    path = write(tmp_path / "room.wav", sound, codec="pcm_s16le")
    worker = IngestWorker(outlets, OPTIONS, threading.Event())
    result = worker.run("room-1", str(path))
    found = messages(outlets)
    length_ms = len(sound) // 16

    assert result.failure is None
    assert result.duration_ms == length_ms
    assert result.segments == len(found) >= 2
    assert outlets.store.segments(result.broadcast) == found
    coverage = outlets.store.coverage(result.broadcast)
    assert total(coverage) == length_ms
    assert coverage.heard_ms == sum(one.end_ms - one.start_ms for one in found)
    assert coverage.music_ms > 1500
    assert coverage.silent_ms > 1500
    for seq, one in enumerate(found):
        assert (one.room, one.key.broadcast) == ("room-1", result.broadcast)
        assert (one.key.epoch, one.key.seq, one.language) == (0, seq, "zh")
        clip = Path(urlsplit(one.clip_uri).path)
        assert hashlib.sha256(clip.read_bytes()).hexdigest() == one.clip_sha256
        samples = outlets.clips.read(one.clip_uri)
        original = sound[one.start_ms * 16 : one.end_ms * 16]
        np.testing.assert_allclose(samples, original, atol=2 / 32768)
    broadcast = outlets.store.broadcast(result.broadcast)
    assert broadcast is not None
    assert broadcast.room == "room-1"


def test_the_metrics_count_what_was_heard(outlets: Outlets, tmp_path: Path) -> None:
    """Seconds decoded and seconds of speech; no room counts as listening afterwards."""
    sound = programme()
    path = write(tmp_path / "room.wav", sound, codec="pcm_s16le")
    result = IngestWorker(outlets, OPTIONS, threading.Event()).run("room-1", str(path))
    value = outlets.metrics.value
    heard_ms = outlets.store.coverage(result.broadcast).heard_ms
    decoded = value("tingbo_ingest_audio_seconds_total", protocol="file")
    assert decoded == pytest.approx(len(sound) / 16_000)
    assert value("tingbo_vad_speech_seconds_total") == pytest.approx(heard_ms / 1000)
    assert value("tingbo_segment_duration_seconds_count") == result.segments
    assert value("tingbo_ingest_rooms", state="live") == 0


def test_a_file_at_speed_comes_like_a_live_room(outlets: Outlets, tmp_path: Path) -> None:
    """At 8× nothing arrives early, and `at` is the time the segment's last sample came."""
    sound = programme()
    path = write(tmp_path / "room.wav", sound, codec="pcm_s16le")
    worker = IngestWorker(outlets, OPTIONS, threading.Event())
    began, began_at = time.monotonic(), dt.datetime.now(dt.UTC)
    worker.run("room-1", str(path), speed=8.0)
    assert time.monotonic() - began > len(sound) / 16_000 / 8 - 0.1
    for one in messages(outlets):
        due = one.end_ms / 8 / 1000
        # Sound comes in pieces of 250 ms of media time.
        assert due - 0.01 <= (one.at - began_at).total_seconds() < due + 1.5


def test_stop_keeps_what_was_heard(outlets: Outlets, tmp_path: Path) -> None:
    """A stop ends the run soon; the open segment is cut there and kept."""
    path = write(tmp_path / "room.wav", np.concatenate([speech()] * 10), codec="pcm_s16le")
    stop = threading.Event()
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    began = time.monotonic()
    result = IngestWorker(outlets, OPTIONS, stop).run("room-1", str(path), speed=2.0)
    timer.join()
    assert time.monotonic() - began < 5
    assert result.failure is None
    assert result.segments == len(messages(outlets)) >= 1
    assert 500 < result.duration_ms < 10_000
    assert total(outlets.store.coverage(result.broadcast)) == result.duration_ms


def test_a_cut_recording_is_reported_and_failed(outlets: Outlets, tmp_path: Path) -> None:
    """What was heard before the cut stays, the rest is failed with its reason."""
    whole = write(
        tmp_path / "whole.mp4", programme(), options={"movflags": "faststart"}, codec="aac"
    )
    path = cut(tmp_path / "room.mp4", whole, 0.6)
    result = IngestWorker(outlets, OPTIONS, threading.Event()).run("room-1", str(path))
    assert isinstance(result.failure, BadInputError)
    assert result.segments >= 1
    last = outlets.store.stretches(result.broadcast)[-1]
    assert (last.kind, last.reason) == (CoverageKind.FAILED, REASON_CUT)
    assert abs(last.end_ms - len(programme()) / 16) < 100


def test_a_full_clip_folder_fails_the_rest(outlets: Outlets, tmp_path: Path) -> None:
    """When a clip cannot be written, the run ends and no second of the rest looks heard."""
    sound = programme()
    path = write(tmp_path / "room.wav", sound, codec="pcm_s16le")
    # A file where the folder should be: it fails for root too.
    (tmp_path / "clips" / "b1").write_text("")
    worker = IngestWorker(outlets, OPTIONS, threading.Event())
    with pytest.raises(ClipStoreError):
        worker.run("room-1", str(path), broadcast="b1")
    coverage = outlets.store.coverage("b1")
    assert coverage.heard_ms == 0
    assert total(coverage) == len(sound) // 16
    last = outlets.store.stretches("b1")[-1]
    assert (last.kind, last.reason) == (CoverageKind.FAILED, REASON_NOT_STORED)
    assert messages(outlets) == []


def test_a_bus_that_is_gone_fails_the_rest(
    outlets: Outlets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speech that nobody will be told about is not heard."""

    def refuse(*_: object) -> str:
        raise BusError("The bus is gone: start it.")

    monkeypatch.setattr(outlets.bus, "publish", refuse)
    path = write(tmp_path / "room.wav", programme(), codec="pcm_s16le")
    with pytest.raises(BusError):
        IngestWorker(outlets, OPTIONS, threading.Event()).run("r", str(path), broadcast="b1")
    last = outlets.store.stretches("b1")[-1]
    assert (last.kind, last.reason) == (CoverageKind.FAILED, REASON_NOT_SENT)


def test_a_room_that_breaks_off_is_opened_again(outlets: Outlets, tmp_path: Path) -> None:
    """Each connection is an epoch on one clock; what lies between them is lost, not silent."""
    options = {"flvflags": "no_duration_filesize"}
    sound = np.concatenate([speech(), silence(0.7)])
    data = write(tmp_path / "live.flv", sound, options=options).read_bytes()
    served = []

    def live(connection: Connection) -> None:
        served.append(connection.path)
        if len(served) > 2:
            connection.answer(404)
            connection.end()
            return
        connection.answer_until_closed(data)

    with http_server(live) as url:
        worker = IngestWorker(outlets, OPTIONS, threading.Event())
        result = worker.run("room-1", f"{url}/live.flv?token=secret")
    found = messages(outlets)
    assert isinstance(result.failure, SourceUnreachableError)
    assert [(one.key.epoch, one.key.seq) for one in found[:1]] == [(0, 0)]
    assert {one.key.epoch for one in found} == {0, 1}
    starts = [one.start_ms for one in found]
    assert starts == sorted(starts)
    lost = [
        stretch
        for stretch in outlets.store.stretches(result.broadcast)
        if stretch.kind is CoverageKind.LOST
    ]
    assert lost[0].reason == REASON_RECONNECTED
    assert lost[0].end_ms - lost[0].start_ms >= 200
    assert total(outlets.store.coverage(result.broadcast)) == result.duration_ms
    value = outlets.metrics.value
    assert value("tingbo_ingest_reconnects_total", protocol="http", reason="broken") == 1
    assert value("tingbo_ingest_rooms", state="connecting") == 0


def test_an_offline_room_begins_no_broadcast(outlets: Outlets) -> None:
    """Nothing is stored for a room that does not answer."""
    with pytest.raises(SourceUnreachableError):
        IngestWorker(outlets, OPTIONS, threading.Event()).run("room-1", "http://127.0.0.1:1/a.flv")
    assert outlets.store.broadcasts() == []


def test_the_options_follow_the_settings() -> None:
    """Pauses, padding and timeouts come from the settings, the window from the recogniser."""
    settings = Settings(min_silence_ms=500, pad_ms=150, min_speech_ms=300, read_timeout_s=7.0)
    options = IngestOptions.of(settings, 8000)
    assert options.segments == SegmentOptions(8000, 500, 150, 300)
    assert options.source == SourceOptions(10.0, 7.0, None)
