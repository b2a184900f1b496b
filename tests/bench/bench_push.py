"""Rooms that are pushed or fetched over HTTP: CPU time per second of sound, and rooms per core.

    python -m tests.bench.bench_push [ROOMS [SECONDS]]

ROOMS senders push SECONDS of sound each (one third speech), as fast as it is taken, to a real
`tingbo push` with a private bus and SQLite; counted is that process alone. Fetching reads an
HTTP-FLV of ten minutes from a server in another process, with our client and with libav's own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx2
import numpy as np
import psutil
from websockets.sync.client import connect

from pipeline.ingest import SourceOptions, open_source
from pipeline.ingest.pushed import PushFormat
from pipeline.redis_server import embedded_redis
from pipeline.settings import Settings, as_environment
from pipeline.store import Store
from tests.bench.bench_ingest import cpu_ms, decode_bare, recording
from tests.bench.figures import Figure
from tests.ingest.media import chords, silence, speech
from tests.ingest.pushing import now, numbered, pcm, pieces
from tests.ingest.servers import closed_port

SECOND = PushFormat().rate * 2


def sound(seconds: int) -> bytes:
    """One third speech."""
    part = np.concatenate([speech(), silence(0.8), chords(4.0), silence(1.8)])
    return pcm(np.resize(part, seconds * 16_000))


def post(port: int, room: str, token: str, data: bytes) -> None:
    """Push a stream by HTTP in chunks of a second; what is refused for now is sent again."""
    with httpx2.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        for seq, chunk in enumerate([*pieces(data, SECOND), b""]):
            said: dict[str, str | int] = {"stream": "bench", "seq": seq, "last": int(not chunk)}
            url = f"http://127.0.0.1:{port}/push/{room}"
            while client.post(url, params=said, content=chunk).status_code == 503:
                time.sleep(0.2)


def talk(port: int, room: str, token: str, data: bytes) -> None:
    """The same by WebSocket."""
    url = f"ws://127.0.0.1:{port}/push/{room}?stream=bench"
    with connect(url, additional_headers={"Authorization": f"Bearer {token}"}) as websocket:
        websocket.recv()
        for seq, chunk in enumerate(pieces(data, SECOND)):
            websocket.send(numbered(seq, chunk))
            websocket.recv()
        websocket.send("end")
        websocket.recv()


def pushed(folder: Path, redis_url: str, rooms: int, seconds: int) -> dict[str, float]:
    """CPU ms of the push role per second of sound, by transport."""
    settings = Settings(data_dir=folder, redis_url=redis_url, push_port=closed_port())
    command = [sys.executable, "-m", "pipeline", "push"]
    environment = as_environment(settings)
    took = {}
    with (
        Store(settings.effective_database_url) as store,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as role,
    ):
        assert role.stdout is not None
        role.stdout.readline()
        process = psutil.Process(role.pid)
        for name, send in (("http", post), ("websocket", talk)):
            names = [f"{name}{number}" for number in range(rooms)]
            tokens = [store.push.issue_token(room, now()) for room in names]
            data, before = sound(seconds), sum(process.cpu_times()[:2])
            senders = [
                threading.Thread(target=send, args=(settings.push_port, room, token, data))
                for room, token in zip(names, tokens, strict=True)
            ]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            while any(room.state.value == "live" for room in store.rooms.all()):
                time.sleep(0.2)
            spent_s = sum(process.cpu_times()[:2]) - before
            took[name] = spent_s * 1000 / (rooms * seconds)
        role.terminate()
    return took


def fetched(folder: Path, seconds: int) -> tuple[float, float]:
    """CPU ms per second of sound to fetch and decode HTTP-FLV: ours, and with libav's client."""
    path, port = recording(folder, seconds), closed_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as server:
        url = f"http://127.0.0.1:{port}/{path.name}"
        options = SourceOptions(open_timeout_s=10, read_timeout_s=10)
        while True:
            try:
                httpx2.get(f"http://127.0.0.1:{port}/none")
            except httpx2.ConnectError:
                time.sleep(0.1)
            else:
                break

        def read() -> None:
            with open_source(url, options) as source:
                assert sum(1 for _ in source.read()) > seconds

        ours, bare = cpu_ms(read, seconds), cpu_ms(lambda: decode_bare(url), seconds)
        server.terminate()
    return ours, bare


def main(rooms: int, seconds: int) -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as name, embedded_redis(Path(name) / "redis") as url:
        took = pushed(Path(name), url, rooms, seconds)
        ours, bare = fetched(Path(name), 600)
    unit = "CPU ms per s of sound"
    for transport, value in took.items():
        Figure(f"pushed by {transport}, {rooms} rooms at once", value, unit).report()
        Figure(f"the same, rooms per core at 100 %, by {transport}", 1000 / value, "rooms").report()
    Figure("HTTP-FLV fetched and decoded", ours, unit, bare).report()


if __name__ == "__main__":
    main(*(int(word) for word in [*sys.argv[1:], "20", "60"][:2]))
