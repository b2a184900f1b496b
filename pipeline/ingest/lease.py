"""Which rooms this process holds, as far as it knows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Leases:
    """Asked by every room before it takes more sound. Threads share it."""

    lease_s: float
    _names: frozenset[str] = frozenset()
    _beat_at: float = field(default_factory=time.monotonic)
    _beaten: threading.Condition = field(default_factory=threading.Condition)

    def beat(self, names: Iterable[str] | None) -> None:
        """The database was asked: these are held; None when it did not answer.

        While it is away nobody can take a room over, and what is heard waits in the outbox.
        """
        with self._beaten:
            if names is not None:
                self._names = frozenset(names)
            self._beat_at = time.monotonic()
            self._beaten.notify_all()

    def holds(self, name: str) -> bool:
        """Whether the room is ours; after a pause of this process, not before that was asked."""
        with self._beaten:
            if time.monotonic() - self._beat_at > self.lease_s:
                self._beaten.wait(self.lease_s)
            return name in self._names
