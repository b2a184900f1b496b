"""Segments read ahead, so that the urgent ones go first: Redis Streams know no priorities.

What is held is kept from other workers for as long as this one lives, counts as delivered only when
it is taken in hand, and is given back at the end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.asr.holding import repeated
from pipeline.consumer import IDLE_MS, Consumer
from pipeline.errors import BusError, ClipStoreAwayError, StoreError
from pipeline.records import SegmentMessage
from pipeline.streams import Delivery

log = logging.getLogger(__name__)

_Delivery = Delivery[SegmentMessage]

#: What one level of a room's priority is worth: being said this much earlier.
_LEVEL_MS = 10_000
#: Levels beyond count as these, so that the lowest room is at most 3 min behind the highest.
_HIGHEST = 9


def urgency_ms(item: _Delivery) -> int:
    """Whose is the smallest goes first: the oldest, and priority makes older."""
    priority = max(-_HIGHEST, min(item.record.priority, _HIGHEST))
    return item.at_ms - priority * _LEVEL_MS


@dataclass(frozen=True, slots=True)
class Appetite:
    """How much is to be read: up to `most`; below `enough` a moment is worth waiting for more."""

    most: int
    enough: int
    wait_ms: int


class Ahead:
    """What one worker has read and not begun."""

    def __init__(
        self, consumer: Consumer[SegmentMessage], give_up: Callable[[_Delivery, str], None]
    ) -> None:
        self._consumer = consumer
        self._give_up = give_up
        self._waiting: dict[str, _Delivery] = {}
        self._in_hand: set[str] = set()
        self._unmarked: set[str] = set()
        """Those that count as delivered although nobody began with them."""
        self._lock = threading.Lock()
        self._extended_s = time.monotonic()
        self._oldest_s = 0.0

    @property
    def waiting(self) -> Sequence[_Delivery]:
        """What was read and not begun."""
        return tuple(self._waiting.values())

    def fill(self, appetite: Appetite) -> _Delivery | None:
        """Read on; a segment that was tried before is the answer: it goes alone, it may do harm."""
        self._forget_if_taken()
        reclaim = True
        while len(self._waiting) < appetite.most:
            batch = self._consumer.read(
                appetite.most - len(self._waiting),
                self._block_ms(appetite),
                self._give_up,
                reclaim=reclaim,
            )
            if not batch:
                break
            if batch[0].deliveries > 1:
                if batch[0].id not in self._held():
                    return batch[0]
                reclaim = False  # we were slow to say that we still hold it
            else:
                self._add(batch)
        return None

    def take(self, items: Iterable[_Delivery]) -> None:
        """Take in hand what is begun with now: from here on it counts as tried."""
        ids = [item.id for item in items]
        with self._lock:
            self._in_hand.update(ids)
            begun = [id_ for id_ in ids if self._waiting.pop(id_, None) is not None]
            left = [id_ for id_ in self._waiting if id_ in self._unmarked]
            marked = [id_ for id_ in begun if id_ not in self._unmarked]
            self._unmarked.clear()
        self._consumer.extend(left, 0)
        self._consumer.extend(marked, 1)

    def drop(self, items: Iterable[_Delivery]) -> None:
        """Hold these no longer: they are acknowledged."""
        with self._lock:
            for item in items:
                self._waiting.pop(item.id, None)
                self._unmarked.discard(item.id)

    def hand_back(self) -> None:
        """Leave all that was not begun to other workers, at once and as if never read."""
        with self._lock:
            items = list(self._waiting.values())
            self._waiting.clear()
            self._unmarked.clear()
        self._consumer.hand_back(items)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody takes over what is held or in hand, however long a large model needs."""
        pause_s = self._consumer.reclaim_idle_s / 4
        try:
            with repeated(self._extend, lambda: self._extended_s + pause_s - time.monotonic()):
                yield
        except (BusError, StoreError, ClipStoreAwayError):
            self._forget()  # all that was read is handed back
            raise
        finally:
            with self._lock:
                self._in_hand.clear()

    def _extend(self) -> None:
        self._forget_if_taken()
        try:
            self._consumer.extend(sorted(self._held()))
        except BusError as error:
            log.warning("%s", error)
        self._extended_s = time.monotonic()

    def _held(self) -> set[str]:
        with self._lock:
            return {*self._waiting, *self._in_hand}

    def _add(self, batch: Sequence[_Delivery]) -> None:
        with self._lock:
            if not self._waiting:
                self._oldest_s = time.monotonic()
            for item in batch:
                if item.id not in self._in_hand:
                    self._waiting[item.id] = item
                    self._unmarked.add(item.id)

    def _block_ms(self, appetite: Appetite) -> int:
        if not self._waiting:
            return IDLE_MS
        if len(self._waiting) >= appetite.enough:
            return 0
        waited_ms = int((time.monotonic() - self._oldest_s) * 1000)
        return max(0, appetite.wait_ms - waited_ms)

    def _forget_if_taken(self) -> None:
        """After a pause of this process others have what it held; it would be heard twice."""
        if time.monotonic() - self._extended_s > self._consumer.reclaim_idle_s:
            forgotten = len(self._waiting)
            self._forget()
            if forgotten:
                log.warning("This worker stood still; others have its %d segments", forgotten)
            self._extended_s = time.monotonic()

    def _forget(self) -> None:
        with self._lock:
            self._waiting.clear()
            self._in_hand.clear()
            self._unmarked.clear()
