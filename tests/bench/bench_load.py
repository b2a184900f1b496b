"""Many rooms at their real rate through every stage but the speech model: latency, CPU, memory.

    python -m tests.bench.bench_load
    python -m tests.bench.bench_load sound 200 600 sqlite
    python -m tests.bench.bench_load messages 1000 60 postgresql

Without arguments 1,000 rooms send messages for a minute, once into each database; the second line
is 200 rooms with sound for ten minutes. The recogniser knows the texts by heart and takes no time;
all else is the product's own processes on the embedded server. Latency is that of the cases: from
the arrival of the utterance's last sample (with sound, the pause that ends a segment comes on top)
to the open case.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil
import redis

from pipeline.bus import SEGMENTS, TRANSCRIPTS, Bus
from pipeline.clips import ClipStore
from pipeline.demo import read_labels
from pipeline.ingest import SegmentOptions, SourceOptions, Vad, open_source, segments
from pipeline.metrics import Metrics
from pipeline.records import SegmentKey, SpeechSegment
from pipeline.redis_server import embedded_redis
from pipeline.resources import resource
from pipeline.settings import Settings, as_environment
from pipeline.store import Store
from pipeline.streams import STREAMS
from tests.bench.figures import Figure
from tests.bench.simulated_rooms import Clip
from tests.databases import postgres_database, postgres_server

_EVERY_S = 5.0
_MB = 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What is to be carried."""

    kind: str
    rooms: int
    seconds: float
    database: str
    ingesters: int
    """Processes that the rooms are dealt to."""

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.rooms} rooms, {self.kind}, {self.database}"


class Watch:
    """Processes by role, with their CPU seconds and memory, sampled while they run."""

    def __init__(self) -> None:
        self.roles: dict[str, list[psutil.Process]] = {}
        self.cpu_s: dict[str, float] = {}
        self.memory: dict[str, list[int]] = {}

    def add(self, role: str, pid: int) -> None:
        """Watch one more process."""
        self.roles.setdefault(role, []).append(psutil.Process(pid))

    def sample(self) -> None:
        """Note what every role uses now."""
        for role, processes in self.roles.items():
            alive = [process for process in processes if process.is_running()]
            times = [process.cpu_times() for process in alive]
            spent = sum(one.user + one.system for one in times)
            # Of those that ended, what they had used when they were last seen.
            self.cpu_s[role] = max(spent, self.cpu_s.get(role, 0.0))
            self.memory.setdefault(role, []).append(sum(p.memory_info().rss for p in alive))


def prepare(clips: ClipStore, folder: Path) -> Path:
    """Store the bundled broadcast's segments once; write what they say and where they lie.

    Gives the path of the script for scripted_asr.
    """
    place = resource("models", "demo_broadcast")
    labels = read_labels(place / "labels.json")
    script, known = {}, []
    with open_source(str(place / "broadcast.ogg"), SourceOptions(5, 5)) as source:
        found = segments(source.read(), Vad(), SegmentOptions(10_000, 400, 200, 250))
        for item in found:
            if not isinstance(item, SpeechSegment):
                continue
            middles = [(label, (label.start_ms + label.end_ms) / 2) for label in labels]
            text = "".join(label.text for label, at in middles if item.start_ms <= at < item.end_ms)
            clip = clips.write(SegmentKey("script", 0, item.seq), item.samples)
            script[str(len(item.samples))] = text or "好的大家看一下"
            known.append(Clip(clip.uri, clip.sha256, item.end_ms - item.start_ms))
    (folder / "clips.json").write_text(json.dumps([dataclasses.asdict(one) for one in known]))
    path = folder / "script.json"
    path.write_text(json.dumps(script, ensure_ascii=False), encoding="utf-8")
    return path


@contextmanager
def process(settings: Settings, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours with these settings, until its standard input is closed."""
    with log.open("ab") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=as_environment(settings) | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
    assert child.stdin is not None
    try:
        yield child
    finally:
        child.stdin.close()
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()


def run(load: Load, settings: Settings, log: Path) -> None:
    """Carry the load and report how it went."""
    script = prepare(ClipStore(settings.effective_clips_url), settings.data_dir)
    watch = Watch()
    with ExitStack() as stack:
        bus = stack.enter_context(Bus(str(settings.redis_url), Metrics()))
        store = stack.enter_context(Store(settings.effective_database_url))
        client = stack.enter_context(redis.Redis.from_url(str(settings.redis_url)))
        asr = ("tests.bench.scripted_asr", str(script))
        for role, arguments in (("asr", asr), ("detect", ("pipeline", "detect"))):
            closing = ("--until-stdin-closes",) if role == "detect" else ()
            child = stack.enter_context(process(settings, log, *arguments, *closing))
            assert child.stdout is not None
            child.stdout.readline()  # it says when it is ready
            watch.add(role, child.pid)
        watch.add("redis", int(client.info("server")["process_id"]))
        watch.sample()
        before = dict(watch.cpu_s)
        share = load.rooms // load.ingesters
        rooms = ("tests.bench.simulated_rooms", load.kind, str(share), str(load.seconds))
        feeders = [
            stack.enter_context(process(settings, log, *rooms, str(i * share)))
            for i in range(load.ingesters)
        ]
        for feeder in feeders:
            watch.add("ingest", feeder.pid)
        used = observe(load, bus, client, watch, feeders)
        report(load, store, watch, before, used)


def observe(
    load: Load,
    bus: Bus,
    client: redis.Redis,
    watch: Watch,
    feeders: list[subprocess.Popen[bytes]],
) -> list[int]:
    """Sample until every room has talked and all is judged; Redis' memory over time."""
    used, began, tired = [], time.monotonic(), threading.Event()
    most = 0
    while not tired.wait(_EVERY_S):
        for stream in STREAMS:
            bus.trim(stream)
        watch.sample()
        used.append(int(client.info("memory")["used_memory"]))
        backlog = bus.stats(SEGMENTS, "asr").total + bus.stats(TRANSCRIPTS, "detect").total
        most = max(most, backlog)
        if all(feeder.poll() is not None for feeder in feeders) and not backlog:
            break
        if time.monotonic() - began > load.seconds + 120:
            print(f"{load.name}: {backlog} messages are left two minutes after the end")
            break
    Figure(f"{load.name}: longest backlog", most, "messages").report()
    return used


def report(
    load: Load, store: Store, watch: Watch, before: dict[str, float], used: list[int]
) -> None:
    """Print the figures."""
    waited = np.array(
        [(c.opened_at - c.heard_at).total_seconds() * 1000 for c in store.cases(limit=10**6)]
    )
    name = load.name
    Figure(f"{name}: cases", len(waited), "").report()
    for quantile, aim in ((50, ""), (95, "≤ 300"), (99, "")):
        value = float(np.percentile(waited, quantile)) if len(waited) else float("nan")
        Figure(f"{name}: utterance → case, p{quantile}", value, "ms", aim=aim).report()
    heard = sum(len(store.segments(one.id)) for one in store.broadcasts(10**6))
    Figure(f"{name}: segments", heard, "").report()
    for role, cpu in watch.cpu_s.items():
        per_room = 1000 * (cpu - before.get(role, 0.0)) / load.rooms / load.seconds
        Figure(f"{name}: CPU of {role} a room", per_room, "ms/s").report()
        memory = max(watch.memory[role])
        Figure(f"{name}: memory of {role} a room", memory / load.rooms / 1024, "KB").report()
    third = max(1, len(used) // 3)
    early, late = max(used[:third]), max(used[-third:])
    Figure(f"{name}: Redis, last third against first", late / early, "×").report()
    Figure(f"{name}: Redis", max(used) / _MB, "MB").report()


def main(load: Load) -> None:
    """Everything in a folder of its own, which is removed."""
    with tempfile.TemporaryDirectory(prefix="tingbo-load-") as place, ExitStack() as stack:
        folder = Path(place)
        url = None
        if load.database == "postgresql":
            server = stack.enter_context(postgres_server())
            url = stack.enter_context(postgres_database(server))
        address = stack.enter_context(embedded_redis(folder / "redis"))
        settings = Settings(data_dir=folder, redis_url=address, database_url=url)
        try:
            run(load, settings, folder / "log")
        finally:
            print((folder / "log").read_text(errors="replace")[-2000:], file=sys.stderr)
        if url is None:
            size = sum(file.stat().st_size for file in folder.glob("tingbo.sqlite3*"))
            Figure(f"{load.name}: SQLite on disk", size / _MB, "MB").report()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        kind, rooms, seconds, database = sys.argv[1:5]
        ingesters = 2 if kind == "sound" else 1
        main(Load(kind, int(rooms), float(seconds), database, ingesters))
    else:
        for database in ("sqlite", "postgresql"):
            main(Load("messages", 1000, 60.0, database, 1))
