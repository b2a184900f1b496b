"""`tingbo rooms token` and `tingbo push` as an operator runs them: processes, two rooms at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import numpy as np

from pipeline.settings import Settings, as_environment
from pipeline.store import Store
from tests.ingest.media import silence, speech
from tests.ingest.pushing import pcm, pieces
from tests.ingest.servers import closed_port

COMMAND = (sys.executable, "-m", "pipeline")


def push(url: str, token: str, sound: bytes) -> None:
    """Send a whole stream, in chunks of a second."""
    headers = {"Authorization": f"Bearer {token}"}
    chunks = pieces(sound, 32_000)
    for seq, chunk in enumerate(chunks):
        said: dict[str, str | int] = {
            "stream": "one",
            "seq": seq,
            "last": int(seq == len(chunks) - 1),
        }
        answer = httpx2.post(url, params=said, headers=headers, content=chunk, timeout=30)
        assert answer.status_code == 202, answer.text


def test_two_rooms_are_pushed_to_a_role_of_its_own(tmp_path: Path, redis_url: str) -> None:
    """A token is shown once by the command line; SIGTERM keeps what was heard and ends with 0."""
    settings = Settings(data_dir=tmp_path, redis_url=redis_url, push_port=closed_port())
    environment = as_environment(settings)
    rooms = ("shop", "other")
    tokens = {
        room: subprocess.run(
            [*COMMAND, "rooms", "token", room],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for room in rooms
    }
    assert len(set(tokens.values())) == 2
    assert {len(token) for token in tokens.values()} == {43}
    sound = pcm(np.concatenate([silence(0.5), speech(), silence(1.0)] * 2))
    with subprocess.Popen(
        [*COMMAND, "push"], env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert '"role":"push"' in server.stdout.readline().replace(" ", "")
        url = f"http://127.0.0.1:{settings.push_port}/push"
        senders = [
            threading.Thread(target=push, args=(f"{url}/{room}", tokens[room], sound))
            for room in rooms
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert httpx2.get(f"{url}/shop?stream=one").status_code == 401
        server.send_signal(signal.SIGTERM)
        assert server.wait(40) == 0
    with Store(settings.effective_database_url) as store:
        for room in rooms:
            (broadcast,) = [one.id for one in store.broadcasts() if one.room == room]
            coverage = store.coverage(broadcast)
            assert coverage.heard_ms > 4000
            assert coverage.lost_ms == coverage.failed_ms == 0
            total = coverage.heard_ms + coverage.silent_ms + coverage.music_ms
            assert total == len(sound) // 32


def test_without_a_port_the_role_says_what_is_missing(tmp_path: Path) -> None:
    """The sentence names the setting and the option."""
    environment = as_environment(Settings(data_dir=tmp_path, redis_url="redis://nowhere"))
    ran = subprocess.run(
        [*COMMAND, "push"], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "push_port" in ran.stderr
    assert "--port" in ran.stderr
