"""Keeping hold of messages while a large model takes its time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(call: Callable[[], object], left_s: Callable[[], float]) -> Iterator[None]:
    """Run `call` in the background whenever the `left_s` seconds until it is due have passed."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(max(0.0, left_s())):
            call()

    thread = threading.Thread(target=repeat, name="asr-hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
