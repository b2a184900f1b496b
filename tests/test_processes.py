"""Roles as processes: one that crashes costs the others nothing and is started again."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ExitCode, MissingError
from pipeline.processes import Role, Roles
from pipeline.settings import Settings
from pipeline.store import Store
from tests.ingest.media import silence, speech, write


class Clock:
    """A monotonic clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    settings = Settings(data_dir=tmp_path / "data", redis_url=redis_url)
    settings.data_dir.mkdir()
    Store(settings.effective_database_url).close()
    return settings


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def roles(settings: Settings, clock: Clock) -> Iterator[Roles]:
    roles = Roles(settings, settings.data_dir / "roles.log", None, clock)
    yield roles
    roles.close()


def wait_for(condition: Callable[[], bool]) -> None:
    """Until `condition` holds; the test's own timeout ends it."""
    while not condition():
        time.sleep(0.05)


def died(role: Role) -> bool:
    return role.process.poll() is not None


def test_a_crash_in_native_code_costs_one_process(
    tmp_path: Path,
    settings: Settings,
    roles: Roles,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A segmentation fault ends one ingest: the other goes on, and a new one takes its place."""
    sound = np.concatenate([speech(), silence(1.0)] * 6)
    path = str(write(tmp_path / "room.wav", sound, codec="pcm_s16le"))
    hurt = roles.start("ingest", path, "--room", "hurt", "--speed", "1", lasting=False)
    unhurt = roles.start("ingest", path, "--room", "unhurt", "--speed", "1", lasting=False)
    with Store(settings.effective_database_url) as store:

        def heard(room: str) -> int:
            """Broadcasts of a room in which speech was heard."""
            names = [one.id for one in store.broadcasts() if one.room == room]
            return sum(1 for name in names if store.segments(name))

        wait_for(lambda: heard("hurt") == heard("unhurt") == 1)
        before = (hurt.process.pid, unhurt.process.pid)
        hurt.process.send_signal(signal.SIGSEGV)
        wait_for(lambda: died(hurt))
        with caplog.at_level(logging.WARNING):
            roles.check()
        assert "The role ingest was killed by SIGSEGV" in caplog.text
        assert hurt.ended() is None
        assert hurt.process.pid == before[0]
        clock.now = 0.6
        roles.check()
        assert hurt.process.pid != before[0]
        wait_for(lambda: heard("hurt") == 2)
        assert unhurt.process.pid == before[1]
        assert not died(unhurt)
        assert heard("unhurt") == 1


def test_an_ingest_whose_source_is_over_stays_ended(roles: Roles, tmp_path: Path) -> None:
    """Neither a recording's end nor a bad source is a crash."""
    path = str(write(tmp_path / "room.wav", silence(0.5), codec="pcm_s16le"))
    over = roles.start("ingest", path, lasting=False)
    bad = roles.start("ingest", str(tmp_path / "none.wav"), lasting=False)
    wait_for(lambda: died(over) and died(bad))
    roles.check()
    assert (over.ended(), bad.ended()) == (0, 2)


@pytest.fixture
def bare(tmp_path: Path, clock: Clock) -> Iterator[Roles]:
    """Roles that need no bus, because their command line is wrong."""
    roles = Roles(Settings(data_dir=tmp_path), tmp_path / "roles.log", None, clock)
    yield roles
    roles.close()


def test_a_role_that_dies_again_and_again_is_given_up(bare: Roles, clock: Clock) -> None:
    """Each pause is twice the one before; after the sixth death its own words are told."""
    role = bare.start("detect", "--no-such-option")
    role.deaths = [0.0, 0.0, 0.0, 0.0]
    wait_for(lambda: died(role))
    bare.check()
    assert role.due == 8.0
    clock.now = 8.0
    bare.check()
    wait_for(lambda: died(role))
    with pytest.raises(MissingError, match=r"ended with code 2: No such option.* died 6 times"):
        bare.check()


def test_deaths_long_ago_do_not_count(bare: Roles, clock: Clock) -> None:
    """A role that dies once a day is started again for ever, and soon."""
    role = bare.start("detect", "--no-such-option")
    role.deaths = [0.0] * 5
    clock.now = 601.0
    wait_for(lambda: died(role))
    bare.check()
    assert role.due == 601.5


def test_a_role_that_asks_to_be_started_again_is_not_dead(bare: Roles, clock: Clock) -> None:
    """One that gave its memory back is started at once, however often it does."""
    role = bare.start("detect", "--no-such-option")
    role.process.kill()
    role.process.wait()
    role.close_pipes()
    again = [sys.executable, "-c", f"raise SystemExit({int(ExitCode.AGAIN)})"]
    role.process = subprocess.Popen(again, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for(lambda: died(role))
    bare.check()
    assert (role.due, role.deaths, role.ended()) == (clock.now, [], None)
