"""A push server of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.bus import Bus
from pipeline.clips import ClipStore
from pipeline.ingest.recorder import Outlets
from pipeline.metrics import Metrics
from pipeline.store import Store
from tests.ingest.pushing import Pushing, push_server


@pytest.fixture(scope="module")
def bus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from pipeline.redis_server import embedded_redis

    with embedded_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def outlets(tmp_path: Path, bus_url: str) -> Iterator[Outlets]:
    metrics = Metrics()
    with Store(f"sqlite:///{tmp_path}/store.sqlite3") as store, Bus(bus_url, metrics) as bus:
        yield Outlets(store, bus, ClipStore(str(tmp_path / "clips")), metrics)


@pytest.fixture
def server(outlets: Outlets) -> Iterator[Pushing]:
    with push_server(outlets) as one:
        yield one
