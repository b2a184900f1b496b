"""Recognition workers on a real bus, store and clip store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asr.workers import Bench, opened


@pytest.fixture
def bench(redis_url: str, tmp_path: Path) -> Iterator[Bench]:
    """Silent consumers lose their messages at once, so that failures come again soon."""
    with opened(redis_url, tmp_path, 20) as bench:
        yield bench


@pytest.fixture
def steady(redis_url: str, tmp_path: Path) -> Iterator[Bench]:
    """Nobody takes over what a worker holds."""
    with opened(redis_url, tmp_path, 60_000) as bench:
        yield bench
