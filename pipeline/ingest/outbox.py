"""What live rooms have said and the stores have not taken yet: it waits here while they are away.

A live room cannot be asked to say it again. Clips, rows and messages are therefore delivered in
their order by a thread that tries until it succeeds, while the rooms go on being heard.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from pipeline.errors import BusError, ClipStoreError, RefusedRowError, StoreError
from pipeline.metrics import Metrics

log = logging.getLogger(__name__)

#: Clips that may wait: FLAC is about 15 KB a second of speech, so a hundred rooms fill this in
#: five minutes and one room in half a day.
LIMIT_BYTES = 256 * 2**20
#: How long what waits is still tried after the rooms were left.
DRAIN_S = 20.0

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0


@dataclass(slots=True)
class Outbox:
    """One for all rooms of a process; use it as a context manager, which delivers what is left."""

    metrics: Metrics
    limit_bytes: int = LIMIT_BYTES
    drain_s: float = DRAIN_S
    _waiting: deque[tuple[int, Callable[[], None]]] = field(default_factory=deque)
    _bytes: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closing: threading.Event = field(default_factory=threading.Event)
    _deadline: float = float("inf")
    """When (monotonic) to give up what still waits."""
    _thread: threading.Thread | None = None
    _over: bool = False
    """Whether nothing will be delivered any more."""

    def put(self, size: int, deliver: Callable[[], None]) -> bool:
        """Deliver after everything before it; False, and nothing happens, where there is no room.

        `deliver` may be called again after it failed: it must be idempotent. What has no `size`,
        such as entries of the ledger, always has room.
        """
        with self._changed:
            if self._over:
                log.error("What a live room said came too late to be kept: this process ends")
                self.metrics.ingest_outbox_refused.inc()
                return False
            if size and self._bytes + size > self.limit_bytes:
                self.metrics.ingest_outbox_refused.inc()
                return False
            self._waiting.append((size, deliver))
            self._count(size)
            self._changed.notify()
        return True

    @property
    def behind(self) -> bool:
        """Whether half of the room is taken: who can wait should."""
        return self._bytes > self.limit_bytes // 2

    def __enter__(self) -> Outbox:
        self._thread = threading.Thread(target=self._deliver_all, name="outbox", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._deadline = time.monotonic() + self.drain_s
            self._closing.set()
            self._changed.notify()
        if self._thread:
            self._thread.join()
        with self._changed:
            self._over = True
        if self._waiting:
            log.error("%d deliveries of live rooms are lost", len(self._waiting))

    def _deliver_all(self) -> None:
        while (head := self._head()) is not None:
            size, deliver = head
            if not self._delivered(deliver):
                return
            with self._changed:
                self._waiting.popleft()
                self._count(-size)

    def _head(self) -> tuple[int, Callable[[], None]] | None:
        """The oldest delivery, waited for; None when all is done and nothing more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            self._over = not self._waiting
            return self._waiting[0] if self._waiting else None

    def _delivered(self, deliver: Callable[[], None]) -> bool:
        """Try until it succeeds; False when time ran out."""
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                deliver()
            except RefusedRowError as error:
                # Tried again it would be refused again, and hold up all rooms.
                log.error("A delivery of a live room is given up: %s", error)  # noqa: TRY400 -- the sentence says all
                self.metrics.ingest_outbox_refused.inc()
                return True
            except (BusError, ClipStoreError, StoreError) as error:
                log.warning("%d deliveries of live rooms wait: %s", len(self._waiting), error)
            else:
                return True
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._closing.wait(min(wait_s, left_s))
            if self._closing.is_set():
                time.sleep(min(_FIRST_WAIT_S, max(0.0, left_s)))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _count(self, size: int) -> None:
        self._bytes += size
        self.metrics.ingest_outbox_bytes.set(self._bytes)
