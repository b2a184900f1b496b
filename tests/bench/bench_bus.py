"""Messages a second through the bus, beside bare XADD, XREADGROUP and XACK on the same server.

The server is the embedded one, which syncs every write to disk before it answers, and then one
that keeps nothing on disk, where our own work shows most.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from pipeline.bus import SEGMENTS, Bus
from pipeline.codec import encode
from pipeline.metrics import Metrics
from pipeline.records import SegmentKey, SegmentMessage
from pipeline.redis_server import embedded_redis
from tests.bench.figures import Figure
from tests.redis_servers import free_port, server

AT = dt.datetime(2026, 11, 11, 20, 0, tzinfo=dt.UTC)
BATCH, ROUNDS = 16, 3


def message(seq: int) -> SegmentMessage:
    """A segment as ingest announces it."""
    key = SegmentKey("room-1-20261111T200000Z-abcdef", 0, seq)
    uri = f"file:///var/lib/tingbo/clips/{key.broadcast}/0/{seq:06}.flac"
    return SegmentMessage(key, "room-1", seq * 6000, seq * 6000 + 5000, AT, uri, "0" * 64)


def ours(url: str, count: int) -> tuple[float, float]:
    """(messages published a second, messages read and acknowledged a second)."""
    with Bus(url, Metrics()) as bus:
        messages = [message(seq) for seq in range(count)]

        def produce() -> None:
            for one in messages:
                bus.publish(SEGMENTS, one)

        published = _rate(count, produce)

        def consume() -> None:
            left = count
            while left:
                batch = bus.read_batch(SEGMENTS, "asr", "c", BATCH, 100)
                bus.ack(SEGMENTS, "asr", [item.id for item in batch])
                left -= len(batch)

        return published, _rate(count, consume)


def bare(url: str, count: int) -> tuple[float, float]:
    """The same commands with the same bytes, and nothing else."""
    with redis.Redis.from_url(url) as client:
        payloads = [encode(message(seq)) for seq in range(count)]
        published = _rate(count, lambda: [client.xadd("bare", {"record": one}) for one in payloads])
        client.xgroup_create("bare", "asr", id="0")

        def consume() -> None:
            left = count
            while left:
                ((_, batch),) = client.xreadgroup("asr", "c", {"bare": ">"}, BATCH, block=100)
                client.xack("bare", "asr", *(id_ for id_, _ in batch))
                left -= len(batch)

        return published, _rate(count, consume)


def _rate(count: int, work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


@contextmanager
def in_memory(folder: Path) -> Iterator[str]:
    """URL of a server that keeps nothing on disk."""
    port = free_port()
    with server(folder, port, "--save", "", "--appendonly", "no"):
        yield f"redis://127.0.0.1:{port}/0"


def measure(name: str, url: str, count: int) -> None:
    """Best of some rounds, ours and bare in turn, so that both meet the same machine."""
    best: dict[str, tuple[float, float]] = {}
    for _ in range(ROUNDS):
        for label, run in (("ours", ours), ("bare", bare)):
            with redis.Redis.from_url(url) as client:
                client.flushall()
            got, before = run(url, count), best.get(label, (0.0, 0.0))
            best[label] = (max(got[0], before[0]), max(got[1], before[1]))
    for i, what in enumerate(("published", "read and acknowledged")):
        value, floor = best["ours"][i], best["bare"][i]
        Figure(f"{what}, {name}", value, "messages/s", floor).report()
        Figure(f"{what}, {name}, against bare", value / floor, "of bare", aim="≥ 0.5").report()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        with embedded_redis(Path(place) / "disk") as address:
            measure("synced to disk", address, 1_000)
        with in_memory(Path(place) / "memory") as address:
            measure("in memory", address, 10_000)
