"""Redis, PostgreSQL and SQLite of our own, which can be killed and come back."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import redis

from pipeline.redis_server import find_redis_binary
from tests.databases import make_cluster, start_cluster
from tests.redis_servers import free_port

_START_S = 30.0


class RedisServer:
    """A Redis that writes every command to disk before it answers."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        folder.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again with what it had written."""
        command = [str(find_redis_binary().path), "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--dir", str(self._folder), "--logfile", str(self._folder / "log")]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._process = subprocess.Popen(command, start_new_session=True)
        with redis.Redis(port=self.port) as client:
            wait_for(lambda: _pings(client), "Redis answers", _START_S)

    def kill(self) -> None:
        """SIGKILL."""
        _kill(self._process)


class Database(Protocol):
    """What keeps the records."""

    def start(self) -> None:
        """Start it, or start it again."""
        ...

    def url(self, port: int) -> str:
        """Its address by way of `port`."""
        ...

    @property
    def port(self) -> int:
        """Its own port; 0 for a file."""
        ...

    def fault(self, stay_s: float) -> str:
        """Be away for `stay_s` seconds, in the worst way it has, and say which that was."""
        ...

    def kill(self) -> None:
        """SIGKILL, where there is a process."""
        ...


class SqliteFile:
    """A SQLite file."""

    port = 0

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._file = folder / "tingbo.sqlite3"

    def start(self) -> None:
        """Nothing to start."""

    def kill(self) -> None:
        """Nothing to kill."""

    def url(self, port: int) -> str:  # noqa: ARG002 -- a file is reached without a port
        """Its address."""
        return f"sqlite:///{self._file}"

    def fault(self, stay_s: float) -> str:
        """Hold the write lock."""
        connection = sqlite3.connect(self._file, isolation_level=None, timeout=10)
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(2 * stay_s)  # a lock is not seen until somebody wants to write
        connection.execute("ROLLBACK")
        connection.close()
        return f"write lock held for {2 * stay_s:.0f} s"


class PostgresCluster:
    """A PostgreSQL cluster on a port of this machine."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        folder.mkdir(parents=True)
        make_cluster(folder)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again with what it had committed."""
        settings = ("listen_addresses=127.0.0.1", "max_connections=60", "fsync=off")
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self._process = start_cluster(self._folder, self.port, *settings)
            except RuntimeError:
                # Processes of the one that was killed may still be leaving.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def kill(self) -> None:
        """SIGKILL to the postmaster; its children notice and leave."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def url(self, port: int) -> str:
        """Its address by way of `port`."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"

    def fault(self, stay_s: float) -> str:
        """Be killed, and start again later."""
        self.kill()
        time.sleep(stay_s)
        self.start()
        return f"PostgreSQL killed, back after {stay_s:.0f} s"


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """Mount a small file system on `folder`, where we may; whether it is one."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = (
        os.geteuid() == 0
        and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def wait_for(
    condition: Callable[[], object], what: str, seconds: float, pause_s: float = 0.05
) -> float:
    """Wait until `condition()` holds, and give how long that took. Raises TimeoutError."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        threading.Event().wait(pause_s)
    return time.monotonic() - began


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.send_signal(signal.SIGKILL)
        process.wait()
