"""Where ingest puts what it hears, for the tests of a room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.bus import Bus
from pipeline.clips import ClipStore
from pipeline.ingest.recorder import Outlets
from pipeline.metrics import Metrics
from pipeline.store import Store


@pytest.fixture
def outlets(tmp_path: Path, redis_url: str) -> Iterator[Outlets]:
    """A real store, bus and clip folder."""
    metrics = Metrics()
    with Store(f"sqlite:///{tmp_path}/store.sqlite3") as store, Bus(redis_url, metrics) as bus:
        yield Outlets(store, bus, ClipStore(str(tmp_path / "clips")), metrics)
