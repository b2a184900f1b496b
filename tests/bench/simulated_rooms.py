"""Rooms that talk at their real rate, in one process: with sound, or as messages alone.

    python -m tests.bench.simulated_rooms sound|messages ROOMS SECONDS FIRST

`sound`: each room plays the bundled broadcast in real time from its beginning, a little later than
the one before, through decoding, VAD, clip store, row and message: ingest without the network.
`messages`: each room says a sentence every ten seconds; its clip lies there already.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.bus import Bus
from pipeline.clips import ClipStore
from pipeline.ingest import SegmentOptions, SourceOptions
from pipeline.ingest.worker import SWITCH_S, IngestOptions, IngestWorker, Outlets
from pipeline.metrics import Metrics
from pipeline.processes import stop_with_stdin
from pipeline.records import CoverageKind, SegmentKey, SegmentMessage, Stretch
from pipeline.resources import resource
from pipeline.settings import load_settings
from pipeline.store import Store
from pipeline.streams import SEGMENTS

#: A room has so many segments a second: speech for 0.6 of the time in pieces of 6 s.
SEGMENTS_PER_S = 0.1
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Clip:
    """A sentence that lies in the clip store."""

    uri: str
    sha256: str
    length_ms: int


def play(outlets: Outlets, rooms: range, seconds: float, stop: threading.Event) -> None:
    """One thread a room, as in an ingester."""
    options = IngestOptions(SourceOptions(5, 5), SegmentOptions(10_000, 400, 200, 250))
    broadcast = str(resource("models", "demo_broadcast", "broadcast.ogg"))
    until = time.monotonic() + seconds

    def room(number: int, delay_s: float) -> None:
        worker = IngestWorker(outlets, options, stop)
        if stop.wait(delay_s):
            return
        while time.monotonic() < until and not stop.is_set():
            worker.run(f"room{number}", broadcast, speed=1.0)

    rng = random.Random(rooms.start)
    threads = [threading.Thread(target=room, args=(number, rng.uniform(0, 20))) for number in rooms]
    for thread in threads:
        thread.start()
    stop.wait(max(0.0, until - time.monotonic()))
    stop.set()
    for thread in threads:
        thread.join()


def talk(
    outlets: Outlets, rooms: range, seconds: float, stop: threading.Event, clips: list[Clip]
) -> None:
    """Each thread speaks for every eighth room, at the right moments however long it takes."""
    began, began_at = time.monotonic(), dt.datetime.now(dt.UTC)
    for number in rooms:
        outlets.store.add_broadcast(f"room{number}", f"room{number}-b", began_at)

    def speak(share: list[int]) -> None:
        gap_s = 1 / SEGMENTS_PER_S / len(share)
        turn = 0
        while not stop.wait(max(0.0, began + turn * gap_s - time.monotonic())):
            if turn * gap_s > seconds:
                return
            number, seq = share[turn % len(share)], turn // len(share)
            _say(outlets, number, seq, clips[(seq + number * 7) % len(clips)])
            turn += 1

    threads = [
        threading.Thread(target=speak, args=(list(rooms)[i::_THREADS],)) for i in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _say(outlets: Outlets, number: int, seq: int, clip: Clip) -> None:
    key = SegmentKey(f"room{number}-b", 0, seq)
    start = int(seq * 1000 / SEGMENTS_PER_S)
    at = dt.datetime.now(dt.UTC)
    end = start + clip.length_ms
    message = SegmentMessage(key, f"room{number}", start, end, at, clip.uri, clip.sha256)
    outlets.store.add_segment(message)
    outlets.bus.publish(SEGMENTS, message)
    outlets.store.add_stretches(key.broadcast, 0, [Stretch(start, end, CoverageKind.HEARD)])


def main(kind: str, count: int, seconds: float, first: int) -> None:
    """Let rooms `first` to `first + count` talk for so long, or until standard input closes."""
    settings, metrics, stop = load_settings(), Metrics(), threading.Event()
    sys.setswitchinterval(SWITCH_S)
    stop_with_stdin(stop)
    rooms = range(first, first + count)
    with (
        Bus(str(settings.redis_url), metrics) as bus,
        Store(settings.effective_database_url) as store,
    ):
        clips = ClipStore(settings.effective_clips_url, settings.clip_format)
        outlets = Outlets(store, bus, clips, metrics)
        if kind == "sound":
            play(outlets, rooms, seconds, stop)
        else:
            known = json.loads(Path(settings.data_dir, "clips.json").read_text(encoding="utf-8"))
            talk(outlets, rooms, seconds, stop, [Clip(**one) for one in known])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
