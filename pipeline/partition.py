"""One partition of a stream: a Redis stream with its consumer groups and its dead letters.

Only commands of Redis 7.0 are used, so that every Redis since and every Valkey will do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import redis

from pipeline.codec import DecodeError, decode, encode
from pipeline.metrics import Metrics
from pipeline.redis_address import RedisAddress
from pipeline.streams import Backlog, DeadLetter, Delivery, Stream

T = TypeVar("T")

Entry = tuple[bytes, dict[bytes, bytes]]

_FIELD = b"record"
_REPLAYED = b"replayed"
#: Beginnings of what the server says of a group or stream that is no longer there.
_VANISHED = ("NOGROUP", "UNBLOCKED", "no such key")
_START = "0-0"
#: Longest pause between two looks for silent consumers.
_SCAN_SECONDS = 5.0
#: Where the server has lost count of the lag, it is counted up to here.
_COUNTED = 10_000
_LONGEST_BLOCK_MS = 20_000


@dataclass(slots=True)
class _Scan:
    """Where the search for silent consumers stands, and when (monotonic) it goes on."""

    cursor: str = _START
    due: float = 0.0


class Partition(Generic[T]):
    """One partition; ids carry its number, so that an acknowledgement finds its way back.

    The methods raise BusError when the server cannot be reached after several tries, or refuses.
    """

    def __init__(
        self,
        address: RedisAddress,
        stream: Stream[T],
        number: int,
        metrics: Metrics,
        reclaim_idle_ms: int,
    ) -> None:
        self.key, self.dead_key = stream.key(number), stream.dead_key(number)
        self._address, self._redis = address, address.client
        self._stream, self._number, self._metrics = stream, number, metrics
        self._reclaim_idle_ms = reclaim_idle_ms
        self._groups: set[str] = set()
        self._scans: dict[tuple[str, str], _Scan] = {}

    def publish(self, records: Sequence[T]) -> None:
        """Append `records` in their order."""
        # Together they wait for the disk once.
        with self._address.errors(), self._redis.pipeline(transaction=False) as pipe:
            for record in records:
                pipe.xadd(self.key, {_FIELD: encode(record)})
            pipe.execute()

    def ensure_group(self, group: str) -> None:
        """Create `group` at the beginning unless it exists."""
        if group not in self._groups:
            with self._address.errors():
                self._create_group(group)

    def read_new(self, group: str, consumer: str, count: int, block_ms: int) -> list[Delivery[T]]:
        """Up to `count` messages nobody has read, waiting up to `block_ms` for the first."""
        # BLOCK 0 would wait for ever.
        block = min(block_ms, _LONGEST_BLOCK_MS) or None
        answer = self._with_group(
            group,
            lambda: self._redis.xreadgroup(
                group, consumer, {self.key: ">"}, count=count, block=block
            ),
        )
        entries = [entry for _, entries in answer or () for entry in entries]
        return self._decoded(group, entries, 1)

    def reclaim(self, group: str, consumer: str) -> list[Delivery[T]] | None:
        """Take over one message whose consumer fell silent; None when there is none.

        An empty list: it could not be decoded and is a dead letter now.
        """
        scan = self._scans.setdefault((group, consumer), _Scan())
        if time.monotonic() < scan.due:
            return None
        cursor, entries, deleted = self._with_group(
            group,
            lambda: self._redis.xautoclaim(
                self.key, group, consumer, self._reclaim_idle_ms, scan.cursor, count=1
            ),
        )
        scan.cursor = _string(cursor)
        if deleted:
            # Someone trimmed what was still pending: nobody can process it any more.
            dead = self._metrics.queue_dead_letters.labels(self._stream.name, "trimmed")
            dead.inc(len(deleted))
        if scan.cursor == _START and not entries:
            scan.due = time.monotonic() + min(self._reclaim_idle_ms / 4000, _SCAN_SECONDS)
        if not entries:
            return None
        self._metrics.queue_reclaimed_entries.labels(self._stream.name).inc()
        id_ = entries[0][0]
        with self._address.errors():
            pending = self._redis.xpending_range(self.key, group, id_, id_, 1)
        # Nothing pending: someone acknowledged it in this moment, and a repeat changes nothing.
        deliveries = pending[0]["times_delivered"] if pending else 1
        return self._decoded(group, entries, deliveries)

    def ack(self, group: str, ids: Sequence[str]) -> None:
        """Mark messages as done."""
        with self._address.errors():
            self._redis.xack(self.key, group, *map(plain_id, ids))

    def extend(
        self,
        group: str,
        consumer: str,
        ids: Sequence[str],
        deliveries: int | None = None,
        idle_ms: int | None = None,
    ) -> None:
        """Say that `consumer` holds `ids`, delivered so often and idle for so long."""
        own = [plain_id(id_) for id_ in ids]
        # JUSTID resets the idle time and counts no delivery.
        self._with_group(
            group,
            lambda: self._redis.xclaim(
                self.key,
                group,
                consumer,
                0,
                own,
                idle=idle_ms,
                retrycount=deliveries,
                justid=True,
            ),
        )

    def bury(self, letter: DeadLetter, reason: str) -> None:
        """Keep a message among the dead letters and acknowledge it, both or neither."""
        with self._address.errors(), self._redis.pipeline(transaction=True) as pipe:
            pipe.xadd(self.dead_key, letter.fields())
            pipe.xack(self.key, letter.group, plain_id(letter.id))
            pipe.execute()
        self._metrics.queue_dead_letters.labels(self._stream.name, reason).inc()

    def dead_letters(self, count: int) -> list[DeadLetter]:
        """The newest `count` dead letters, newest first."""
        with self._address.errors():
            entries = self._redis.xrevrange(self.dead_key, count=count)
        return [DeadLetter.from_fields(self._named(id_), fields) for id_, fields in entries]

    def count_dead_letters(self) -> int:
        """How many dead letters there are."""
        with self._address.errors():
            return int(self._redis.xlen(self.dead_key))

    def dead_letter(self, letter: str) -> DeadLetter | None:
        """The dead letter of this id; None when there is none."""
        id_ = plain_id(letter)
        with self._address.errors():
            entries = self._redis.xrange(self.dead_key, id_, id_)
        return DeadLetter.from_fields(letter, entries[0][1]) if entries else None

    def replay(self, letter: DeadLetter) -> str:
        """Append the message of a dead letter again and remove the letter, both or neither."""
        with self._address.errors(), self._redis.pipeline(transaction=True) as pipe:
            pipe.xadd(self.key, {_FIELD: letter.payload, _REPLAYED: b"1"})
            pipe.xdel(self.dead_key, plain_id(letter.letter))
            return self._named(pipe.execute()[0])

    def discard(self, letter: DeadLetter) -> bool:
        """Remove a dead letter for good; False when it was not there."""
        with self._address.errors():
            return bool(self._redis.xdel(self.dead_key, plain_id(letter.letter)))

    def backlog(self, group: str) -> Backlog:
        """What `group` still has to do."""
        self.ensure_group(group)
        answer = self._with_group(group, lambda: self._redis.xinfo_groups(self.key))
        with self._address.errors():
            info = {_string(item["name"]): item for item in answer}.get(group)
            if info is None:
                return Backlog(self._redis.xlen(self.key), 0, 0.0)
            after = f"({_string(info['last-delivered-id'])}"
            lag = info["lag"]
            if lag is None:
                # Someone deleted entries by hand, and the server lost count.
                lag = len(self._redis.xrange(self.key, after, "+", _COUNTED))
            oldest = [_id(id_) for id_, _ in self._redis.xrange(self.key, after, "+", 1)]
            # Asked separately, what was pending a moment ago may be acknowledged by now.
            pending = self._redis.xpending(self.key, group)
            if pending["pending"]:
                oldest.append(_id(pending["min"]))
            return Backlog(lag, pending["pending"], self._age_s(min(oldest)) if oldest else 0.0)

    def trim(self) -> int:
        """Remove the messages every group has acknowledged, and give their number."""
        with self._address.errors():
            if not self._redis.exists(self.key):
                return 0
            oldest = []
            for group in self._redis.xinfo_groups(self.key):
                pending = self._redis.xpending(self.key, group["name"])
                oldest.append(_id(pending["min"] or group["last-delivered-id"]))
            # Without a group nobody has read anything.
            if not oldest:
                return 0
            ms, seq = min(oldest)
            return int(self._redis.xtrim(self.key, minid=f"{ms}-{seq}", approximate=False))

    def expire(self, age_s: float) -> int:
        """Remove what is older, whether anybody has read it or not, and give its number."""
        with self._address.errors():
            oldest_ms = int((self._address.server_time_s(self.key) - age_s) * 1000)
            return int(self._redis.xtrim(self.key, minid=f"{oldest_ms}-0", approximate=False))

    def leave(self, group: str, consumer: str) -> bool:
        """Remove `consumer` from the group; False when it still holds messages and stays."""
        with self._address.errors():
            # Deleting a consumer deletes what it holds.
            if self._redis.xpending_range(self.key, group, "-", "+", 1, consumer):
                return False
            self._redis.xgroup_delconsumer(self.key, group, consumer)
            return True

    def _create_group(self, group: str) -> None:
        try:
            self._redis.xgroup_create(self.key, group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._groups.add(group)

    def _with_group(self, group: str, call: Callable[[], Any]) -> Any:
        """Result of `call`; a group that vanished (flushed, failed over) is created again."""
        with self._address.errors():
            try:
                return call()
            except redis.ResponseError as error:
                if not str(error).startswith(_VANISHED):
                    raise
                self._metrics.queue_group_recreations.labels(self._stream.name).inc()
                self._create_group(group)
                return call()

    def _decoded(self, group: str, entries: Sequence[Entry], deliveries: int) -> list[Delivery[T]]:
        batch = []
        for id_, fields in entries:
            name, payload = self._named(id_), fields.get(_FIELD, b"")
            try:
                record = decode(self._stream.record, payload)
            except DecodeError as error:
                letter = DeadLetter(name, group, str(error), "", payload, deliveries)
                self.bury(letter, "undecodable")
            else:
                batch.append(Delivery(name, record, deliveries, _REPLAYED in fields))
        return batch

    def _named(self, id_: bytes | str) -> str:
        return f"{self._number:02d}/{_string(id_)}" if self._number else _string(id_)

    def _age_s(self, id_: tuple[int, int]) -> float:
        return max(0.0, self._address.server_time_s(self.key) - id_[0] / 1000)


def partition_of(id_: str) -> int:
    """Number of the partition that a message or letter lies in."""
    number, separator, _ = id_.partition("/")
    return int(number) if separator else 0


def plain_id(id_: str) -> str:
    """The id as Redis knows it."""
    return id_.rpartition("/")[2]


def _string(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _id(value: bytes | str) -> tuple[int, int]:
    ms, _, seq = _string(value).partition("-")
    return int(ms), int(seq)
