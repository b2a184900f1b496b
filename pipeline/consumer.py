"""A worker's place at a stream: one consumer of a group, at work until it is told to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from pipeline.bus import Bus, consumer_name
from pipeline.errors import BusError, ClipStoreAwayError, StoreError
from pipeline.logs import concern
from pipeline.metrics import Metrics
from pipeline.streams import Backlog, Delivery, Stream

log = logging.getLogger(__name__)

T = TypeVar("T")

_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 10.0

#: How long an idle worker waits for a message, and how late it may notice a stop.
IDLE_MS = 500


class Consumer(Generic[T]):
    """One consumer of `group`, the stage's name, at `stream`, under a name no other has.

    The methods raise BusError as those of the bus do.
    """

    def __init__(self, bus: Bus, stream: Stream[T], group: str, metrics: Metrics) -> None:
        self._bus = bus
        self._stream = stream
        self._group = group
        self._metrics = metrics
        self._name = consumer_name()
        self._in_hand: dict[str, Delivery[T]] = {}
        """What was read and is not answered, by id."""

    def read(
        self,
        count: int,
        block_ms: int,
        given_up: Callable[[Delivery[T], str], None],
        *,
        reclaim: bool = True,
    ) -> list[Delivery[T]]:
        """Up to `count` messages, as `Bus.read_batch` gives them."""
        batch = self._bus.read_batch(
            self._stream,
            self._group,
            self._name,
            count,
            block_ms,
            given_up=given_up,
            reclaim=reclaim,
        )
        self._in_hand.update({delivery.id: delivery for delivery in batch})
        return batch

    @property
    def reclaim_idle_s(self) -> float:
        """Silence after which others take over what this one holds."""
        return self._bus.reclaim_idle_ms / 1000

    def extend(self, ids: Sequence[str], deliveries: int | None = None) -> None:
        """Tell that `ids` are still held, as `Bus.extend` does."""
        self._bus.extend(self._stream, self._group, self._name, ids, deliveries)

    def hand_back(self, deliveries: Iterable[Delivery[T]]) -> None:
        """Leave to others what was read and not begun."""
        held = list(deliveries)
        self._bus.hand_back(self._stream, self._group, held)
        for delivery in held:
            self._in_hand.pop(delivery.id, None)

    def backlog(self) -> Backlog:
        """What the whole group still has to do."""
        return self._bus.backlog(self._stream, self._group)

    def ack(self, ids: Sequence[str]) -> None:
        """Mark messages as done. Call it after their results are stored and published."""
        self._bus.ack(self._stream, self._group, ids)
        for id_ in ids:
            self._in_hand.pop(id_, None)

    def dead_letter(self, delivery: Delivery[T], reason: str) -> None:
        """Give a message up at once, because it would fail again and again."""
        self._bus.dead_letter(self._stream, self._group, delivery, reason)
        self._in_hand.pop(delivery.id, None)

    def work(
        self,
        step: Callable[[], object],
        stop: threading.Event,
        at_end: Callable[[], object] | None = None,
    ) -> None:
        """Call `step` until `stop` is set, over every failure, then `at_end`, and leave the group.

        The step in hand is finished; what was not read stays for others.
        """
        pause_s = _PAUSE_SECONDS
        while not stop.is_set():
            concern()
            try:
                step()
                pause_s = _PAUSE_SECONDS
            except (BusError, StoreError, ClipStoreAwayError) as error:
                log.warning("%s waits: %s", self._stream.name, error)
                self._hand_all_back()
                self._metrics.worker_failures.labels(self._group).inc()
                stop.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_SECONDS)
            except Exception:  # the one catch-all: a fault nobody foresaw must not end the stage
                # Unacknowledged messages come back: to this worker or to another.
                log.exception("A batch of %s failed; it will be delivered again", self._stream.name)
                self._in_hand.clear()
                self._metrics.worker_failures.labels(self._group).inc()
                stop.wait(_PAUSE_SECONDS)
            self._metrics.loop_turned()
        try:
            if at_end is not None:
                at_end()
            self._bus.leave(self._stream, self._group, self._name)
        except BusError as error:
            log.warning("%s", error)

    def _hand_all_back(self) -> None:
        """Give back what was read: that a store is away is no fault of the messages."""
        held, self._in_hand = list(self._in_hand.values()), {}
        try:
            self._bus.hand_back(self._stream, self._group, held)
        except BusError as error:
            log.warning("%s", error)
