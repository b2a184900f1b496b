"""The bus: small messages between stages on Redis Streams with consumer groups.

Every message arrives at least once: it is acknowledged after its result is stored and published,
and taken over from a consumer that fell silent. No order is promised between consumers.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from zlib import crc32

from pipeline.errors import BusError
from pipeline.metrics import Metrics
from pipeline.partition import Partition, partition_of
from pipeline.redis_address import RedisAddress
from pipeline.streams import (
    CASES,
    PARTITIONS_KEY,
    SEGMENTS,
    TRANSCRIPTS,
    Backlog,
    DeadLetter,
    Delivery,
    Stream,
)

__all__ = [
    "CASES",
    "MAX_DELIVERIES",
    "RECLAIM_IDLE_MS",
    "SEGMENTS",
    "TRANSCRIPTS",
    "Backlog",
    "Bus",
    "DeadLetter",
    "Delivery",
    "Stream",
    "consumer_name",
]

T = TypeVar("T")

#: A message handed out more often than this is given up as a dead letter.
MAX_DELIVERIES = 3

#: A consumer silent for this long has its messages taken over. Who works longer on a batch says so
#: meanwhile (`extend`); nobody else needs more than a third of it.
RECLAIM_IDLE_MS = 20_000

#: Holds what consumers handed back, until another one takes it over.
_RETURNED = "returned"

#: Pause between two looks at several partitions: none of them can be waited for alone.
_LOOK_SECONDS = 0.025


def consumer_name() -> str:
    """A name no other consumer has: host:pid:random."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Bus:
    """One process's way to the streams. Threads may share it.

    A room's messages all go to one of `partitions`, so that a Cluster can spread them; every
    process of an installation must be given the same number. Every method raises BusError when the
    server cannot be reached after several tries, or refuses.
    """

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        *,
        reclaim_idle_ms: int = RECLAIM_IDLE_MS,
        partitions: int = 1,
    ) -> None:
        self._metrics = metrics
        self._reclaim_idle_ms = reclaim_idle_ms
        self._count = partitions
        self._streams: dict[str, list[Partition[Any]]] = {}
        self._first = 0
        self._address = RedisAddress(url)

    @property
    def reclaim_idle_ms(self) -> int:
        """How long a consumer may be silent before its messages are taken over."""
        return self._reclaim_idle_ms

    def close(self) -> None:
        """Close the connections."""
        self._address.client.close()

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def publish(self, stream: Stream[T], *records: T) -> None:
        """Append `records`, those of a room in their order.

        A lost connection may append one twice, or some of them and not the others: the caller
        publishes again what it has not heard to be published.
        """
        partitions = self._partitions(stream)
        own: dict[int, list[T]] = defaultdict(list)
        for record in records:
            room: str = getattr(record, "room", "")
            own[crc32(room.encode()) % len(partitions)].append(record)
        for number, some in own.items():
            partitions[number].publish(some)

    def ensure_group(self, stream: Stream[T], group: str) -> None:
        """Create `group` at the beginning of the stream unless it exists.

        Producers call it for the groups they feed, so that nothing written before the first
        consumer starts is skipped.
        """
        for partition in self._partitions(stream):
            partition.ensure_group(group)

    def read_batch(  # noqa: PLR0913 -- who reads what, and how
        self,
        stream: Stream[T],
        group: str,
        consumer: str,
        count: int,
        block_ms: int,
        *,
        given_up: Callable[[Delivery[T], str], None] | None = None,
        reclaim: bool = True,
    ) -> list[Delivery[T]]:
        """Up to `count` messages for `consumer`; waits up to `block_ms` when there are none.

        A message taken over from a silent consumer comes alone, so that one that kills its worker
        does not take the rest of a batch along. After MAX_DELIVERIES it becomes a dead letter;
        `given_up(delivery, reason)` runs before that and can note the sound as not heard. Without
        `reclaim` only messages come that nobody has read.
        """
        self.ensure_group(stream, group)
        partitions = self._partitions(stream)
        for partition in partitions if reclaim else ():
            reclaimed = partition.reclaim(group, consumer)
            if reclaimed is not None:
                return [item for item in reclaimed if self._keeps(stream, group, item, given_up)]
        if len(partitions) == 1:
            return partitions[0].read_new(group, consumer, count, block_ms)
        deadline = time.monotonic() + block_ms / 1000
        while True:
            batch = self._read_round(partitions, group, consumer, count)
            left_s = deadline - time.monotonic()
            if batch or left_s <= 0:
                return batch
            time.sleep(min(left_s, _LOOK_SECONDS))

    def ack(self, stream: Stream[T], group: str, ids: Sequence[str]) -> None:
        """Mark messages as done. Call it after their results are stored and published."""
        for partition, own in self._by_partition(stream, ids):
            partition.ack(group, own)

    def extend(
        self,
        stream: Stream[T],
        group: str,
        consumer: str,
        ids: Sequence[str],
        deliveries: int | None = None,
    ) -> None:
        """Tell that `consumer` still holds `ids`, so that nobody takes them over.

        `deliveries` is how often they then count as delivered: 0 for what was only read ahead.
        """
        for partition, own in self._by_partition(stream, ids):
            partition.extend(group, consumer, own, deliveries)

    def hand_back(self, stream: Stream[T], group: str, held: Iterable[Delivery[T]]) -> None:
        """Let others have `held` at once, as if they had not been handed out this time."""
        by_count: dict[int, list[str]] = defaultdict(list)
        for delivery in held:
            by_count[delivery.deliveries - 1].append(delivery.id)
        for deliveries, ids in by_count.items():
            for partition, own in self._by_partition(stream, ids):
                partition.extend(group, _RETURNED, own, deliveries, self._reclaim_idle_ms)

    def dead_letter(
        self, stream: Stream[T], group: str, delivery: Delivery[T], reason: str
    ) -> None:
        """Give a message up: keep it with the reason among the dead letters, and acknowledge it."""
        letter = DeadLetter.of(delivery, group, reason)
        self._partition(stream, delivery.id).bury(letter, "failed")

    def dead_letters(self, stream: Stream[T], count: int = 100) -> list[DeadLetter]:
        """The newest `count` dead letters of a stream, newest first."""
        found = [letter for part in self._partitions(stream) for letter in part.dead_letters(count)]
        return sorted(found, key=lambda letter: letter.at_ms, reverse=True)[:count]

    def count_dead_letters(self, stream: Stream[T]) -> int:
        """How many dead letters of a stream there are."""
        return sum(partition.count_dead_letters() for partition in self._partitions(stream))

    def ping(self) -> None:
        """Ask the server whether it works."""
        with self._address.errors():
            self._address.client.ping()

    def find_dead_letter(self, stream: Stream[T], letter: str) -> DeadLetter | None:
        """The dead letter of this id; None when there is none."""
        return self._partition(stream, letter).dead_letter(letter)

    def replay(self, stream: Stream[T], letter: DeadLetter) -> str:
        """Put a dead letter's message back into its stream; the id it has now."""
        return self._partition(stream, letter.letter).replay(letter)

    def discard(self, stream: Stream[T], letter: DeadLetter) -> bool:
        """Remove a dead letter for good; False when it was not there."""
        return self._partition(stream, letter.letter).discard(letter)

    def stats(self, stream: Stream[T], group: str) -> Backlog:
        """What `group` still has to do, also put into the queue metrics.

        One process asks, not every worker: the gauges are of the whole system.
        """
        backlog = self.backlog(stream, group)
        self._metrics.queue_lag_entries.labels(stream.name).set(backlog.lag)
        self._metrics.queue_pending_entries.labels(stream.name).set(backlog.pending)
        self._metrics.queue_oldest_entry_age_seconds.labels(stream.name).set(backlog.oldest_age_s)
        return backlog

    def backlog(self, stream: Stream[T], group: str) -> Backlog:
        """What `group` still has to do, for a worker that wants to know how far behind it is."""
        parts = [partition.backlog(group) for partition in self._partitions(stream)]
        return Backlog(
            sum(part.lag for part in parts),
            sum(part.pending for part in parts),
            max(part.oldest_age_s for part in parts),
        )

    def trim(self, stream: Stream[T]) -> int:
        """Remove the messages every group has acknowledged, and give their number."""
        return sum(partition.trim() for partition in self._partitions(stream))

    def expire(self, stream: Stream[T], age_s: float) -> int:
        """Remove what is older than `age_s`, also unread: only for news that SQL keeps as well."""
        return sum(partition.expire(age_s) for partition in self._partitions(stream))

    def leave(self, stream: Stream[T], group: str, consumer: str) -> bool:
        """Remove `consumer` from the group; False when it still holds messages and stays."""
        left = [part.leave(group, consumer) for part in self._partitions(stream)]
        return all(left)

    def _partitions(self, stream: Stream[T]) -> list[Partition[T]]:
        if not self._streams:
            self._agree_on_partitions()
        if stream.name not in self._streams:
            self._streams[stream.name] = [
                Partition(self._address, stream, number, self._metrics, self._reclaim_idle_ms)
                for number in range(self._count)
            ]
        return self._streams[stream.name]

    def _agree_on_partitions(self) -> None:
        """The first process decides: with another number, messages would be missed."""
        with self._address.errors():
            self._address.client.set(PARTITIONS_KEY, self._count, nx=True)
            agreed = int(self._address.client.get(PARTITIONS_KEY) or self._count)
        if agreed != self._count:
            raise BusError(
                f"The bus at {self._address.place} was set up with {agreed} partitions and this "
                f"process is to use {self._count}: set bus_partitions to {agreed}."
            )

    def _partition(self, stream: Stream[T], id_: str) -> Partition[T]:
        return self._partitions(stream)[partition_of(id_) % self._count]

    def _by_partition(
        self, stream: Stream[T], ids: Sequence[str]
    ) -> Iterable[tuple[Partition[T], list[str]]]:
        own: dict[int, list[str]] = defaultdict(list)
        for id_ in ids:
            own[partition_of(id_)].append(id_)
        return [(self._partition(stream, some[0]), some) for some in own.values()]

    def _read_round(
        self, partitions: Sequence[Partition[T]], group: str, consumer: str, count: int
    ) -> list[Delivery[T]]:
        """What lies in the partitions now; each round begins with another one, so none starves."""
        self._first += 1
        batch: list[Delivery[T]] = []
        for step in range(len(partitions)):
            if len(batch) == count:
                break
            partition = partitions[(self._first + step) % len(partitions)]
            batch += partition.read_new(group, consumer, count - len(batch), 0)
        return batch

    def _keeps(
        self,
        stream: Stream[T],
        group: str,
        delivery: Delivery[T],
        given_up: Callable[[Delivery[T], str], None] | None,
    ) -> bool:
        """Whether `delivery` gets another try; otherwise it is a dead letter afterwards."""
        if delivery.deliveries <= MAX_DELIVERIES:
            return True
        reason = f"no result after {MAX_DELIVERIES} deliveries"
        if given_up is not None:
            given_up(delivery, reason)
        letter = DeadLetter.of(delivery, group, reason)
        self._partition(stream, delivery.id).bury(letter, "deliveries")
        return False
