"""The bus: small messages between stages on Redis Streams with consumer groups.

Every message arrives at least once: it is acknowledged after its result is stored and published,
and taken over from a consumer that fell silent. No order is promised between consumers.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from pipeline.codec import DecodeError, decode, encode
from pipeline.errors import BusError
from pipeline.metrics import Metrics
from pipeline.streams import (
    CASES,
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

#: A consumer silent for this long has its messages taken over: at least 3 × p99 of a batch.
RECLAIM_IDLE_MS = 60_000

_Entry = tuple[bytes, dict[bytes, bytes]]

_FIELD = b"record"
_START = "0-0"
#: Longest pause between two looks for silent consumers.
_SCAN_SECONDS = 5.0
#: Where the server has lost count of the lag, it is counted up to here.
_COUNTED = 10_000
_LONGEST_BLOCK_MS = 20_000
#: Above the longest blocking read, so that only a dead connection times out.
_SOCKET_SECONDS = 30.0
_RETRIES = 8


@dataclass(slots=True)
class _Scan:
    """Where the search for silent consumers stands, and when (monotonic) it goes on."""

    cursor: str = _START
    due: float = 0.0


def consumer_name() -> str:
    """A name no other consumer has: host:pid:random."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Bus:
    """One process's way to the streams. Threads may share it.

    Every method raises BusError when the server cannot be reached after several tries, or refuses.
    """

    def __init__(
        self, url: str, metrics: Metrics, *, reclaim_idle_ms: int = RECLAIM_IDLE_MS
    ) -> None:
        self._metrics = metrics
        self._reclaim_idle_ms = reclaim_idle_ms
        self._groups: set[tuple[str, str]] = set()
        self._scans: dict[tuple[str, str, str], _Scan] = {}
        self._place = _without_password(url)
        try:
            # redis-py's types are unions over two protocols; the answers here are those of RESP2.
            self._redis: Any = redis.Redis.from_url(
                url,
                protocol=2,
                socket_timeout=_SOCKET_SECONDS,
                retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=2.0), _RETRIES),
                retry_on_error=[redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError],
            )
        except ValueError as error:
            raise BusError(
                f"The bus address {self._place} is not understood: "
                "set redis_url to redis://host:port/0, rediss://… or unix:///path."
            ) from error

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def publish(self, stream: Stream[T], record: T) -> str:
        """Append `record`, and give its id. A lost connection may append it twice."""
        with self._errors():
            added = self._redis.xadd(stream.key, {_FIELD: encode(record)})
        return _string(added)

    def ensure_group(self, stream: Stream[T], group: str) -> None:
        """Create `group` at the beginning of the stream unless it exists.

        Producers call it for the groups they feed, so that nothing written before the first
        consumer starts is skipped.
        """
        if (stream.name, group) in self._groups:
            return
        with self._errors():
            self._create_group(stream, group)

    def read_batch(
        self,
        stream: Stream[T],
        group: str,
        consumer: str,
        count: int,
        block_ms: int,
        *,
        given_up: Callable[[Delivery[T], str], None] | None = None,
    ) -> list[Delivery[T]]:
        """Up to `count` messages for `consumer`; waits up to `block_ms` when there are none.

        A message taken over from a silent consumer comes alone, so that one that kills its worker
        does not take the rest of a batch along. After MAX_DELIVERIES it becomes a dead letter;
        `given_up(delivery, reason)` runs before that and can note the sound as not heard.
        """
        self.ensure_group(stream, group)
        reclaimed = self._reclaim(stream, group, consumer)
        if reclaimed is not None:
            entry, deliveries = reclaimed
            batch = self._decoded(stream, group, [entry], deliveries)
            return [item for item in batch if self._keeps(stream, group, item, given_up)]
        entries = self._read_new(stream, group, consumer, count, block_ms)
        return self._decoded(stream, group, entries, 1)

    def ack(self, stream: Stream[T], group: str, ids: Sequence[str]) -> None:
        """Mark messages as done. Call it after their results are stored and published."""
        if ids:
            with self._errors():
                self._redis.xack(stream.key, group, *ids)

    def extend(self, stream: Stream[T], group: str, consumer: str, ids: Sequence[str]) -> None:
        """Tell that `consumer` still works on `ids`, so that nobody takes them over."""
        if ids:
            self._with_group(
                stream,
                group,
                lambda: self._redis.xclaim(stream.key, group, consumer, 0, list(ids), justid=True),
            )

    def dead_letter(
        self, stream: Stream[T], group: str, delivery: Delivery[T], reason: str
    ) -> None:
        """Give a message up: keep it with the reason among the dead letters, and acknowledge it."""
        self._bury(stream, DeadLetter.of(delivery, group, reason), "failed")

    def dead_letters(self, stream: Stream[T], count: int = 100) -> list[DeadLetter]:
        """The newest `count` dead letters of a stream, newest first."""
        with self._errors():
            entries = self._redis.xrevrange(stream.dead_key, count=count)
        return [DeadLetter.from_fields(fields) for _, fields in entries]

    def stats(self, stream: Stream[T], group: str) -> Backlog:
        """What `group` still has to do, also put into the queue metrics.

        One process asks, not every worker: the gauges are of the whole system.
        """
        self.ensure_group(stream, group)
        with self._errors():
            backlog = self._backlog(stream, group)
        self._metrics.queue_lag_entries.labels(stream.name).set(backlog.lag)
        self._metrics.queue_pending_entries.labels(stream.name).set(backlog.pending)
        self._metrics.queue_oldest_entry_age_seconds.labels(stream.name).set(backlog.oldest_age_s)
        return backlog

    def trim(self, stream: Stream[T]) -> int:
        """Remove the messages every group has acknowledged, and give their number."""
        with self._errors():
            if not self._redis.exists(stream.key):
                return 0
            oldest = []
            for group in self._redis.xinfo_groups(stream.key):
                pending = self._redis.xpending(stream.key, group["name"])
                oldest.append(_id(pending["min"] or group["last-delivered-id"]))
            # Without a group nobody has read anything.
            if not oldest:
                return 0
            ms, seq = min(oldest)
            return int(self._redis.xtrim(stream.key, minid=f"{ms}-{seq}", approximate=False))

    def leave(self, stream: Stream[T], group: str, consumer: str) -> bool:
        """Remove `consumer` from the group; False when it still holds messages and stays."""
        with self._errors():
            # Deleting a consumer deletes what it holds.
            if self._redis.xpending_range(stream.key, group, "-", "+", 1, consumer):
                return False
            self._redis.xgroup_delconsumer(stream.key, group, consumer)
            return True

    def _create_group(self, stream: Stream[T], group: str) -> None:
        try:
            self._redis.xgroup_create(stream.key, group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._groups.add((stream.name, group))

    def _with_group(self, stream: Stream[T], group: str, call: Callable[[], Any]) -> Any:
        """Result of `call`; a group that vanished (flushed, failed over) is created again."""
        with self._errors():
            try:
                return call()
            except redis.ResponseError as error:
                if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                    raise
                self._metrics.queue_group_recreations.labels(stream.name).inc()
                self._create_group(stream, group)
                return call()

    def _read_new(
        self, stream: Stream[T], group: str, consumer: str, count: int, block_ms: int
    ) -> list[_Entry]:
        # BLOCK 0 would wait for ever.
        block = min(block_ms, _LONGEST_BLOCK_MS) or None
        answer = self._with_group(
            stream,
            group,
            lambda: self._redis.xreadgroup(
                group, consumer, {stream.key: ">"}, count=count, block=block
            ),
        )
        return [entry for _, entries in answer or () for entry in entries]

    def _reclaim(self, stream: Stream[T], group: str, consumer: str) -> tuple[_Entry, int] | None:
        """Take over one message whose consumer fell silent, with its number of deliveries."""
        scan = self._scans.setdefault((stream.name, group, consumer), _Scan())
        if time.monotonic() < scan.due:
            return None
        cursor, entries, deleted = self._with_group(
            stream,
            group,
            lambda: self._redis.xautoclaim(
                stream.key, group, consumer, self._reclaim_idle_ms, scan.cursor, count=1
            ),
        )
        scan.cursor = _string(cursor)
        if deleted:
            # Someone trimmed what was still pending: nobody can process it any more.
            self._metrics.queue_dead_letters.labels(stream.name, "trimmed").inc(len(deleted))
        if scan.cursor == _START and not entries:
            scan.due = time.monotonic() + min(self._reclaim_idle_ms / 4000, _SCAN_SECONDS)
        if not entries:
            return None
        self._metrics.queue_reclaimed_entries.labels(stream.name).inc()
        id_ = entries[0][0]
        with self._errors():
            pending = self._redis.xpending_range(stream.key, group, id_, id_, 1)
        # Nothing pending: someone acknowledged it in this moment, and a repeat changes nothing.
        return entries[0], pending[0]["times_delivered"] if pending else 1

    def _decoded(
        self, stream: Stream[T], group: str, entries: Sequence[_Entry], deliveries: int
    ) -> list[Delivery[T]]:
        batch = []
        for id_, fields in entries:
            payload = fields.get(_FIELD, b"")
            try:
                record = decode(stream.record, payload)
            except DecodeError as error:
                letter = DeadLetter(_string(id_), group, str(error), "", payload, deliveries)
                self._bury(stream, letter, "undecodable")
            else:
                batch.append(Delivery(_string(id_), record, deliveries))
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
        self._bury(stream, DeadLetter.of(delivery, group, reason), "deliveries")
        return False

    def _bury(self, stream: Stream[T], letter: DeadLetter, reason: str) -> None:
        with self._errors(), self._redis.pipeline(transaction=True) as pipe:
            pipe.xadd(stream.dead_key, letter.fields())
            pipe.xack(stream.key, letter.group, letter.id)
            pipe.execute()
        self._metrics.queue_dead_letters.labels(stream.name, reason).inc()

    def _backlog(self, stream: Stream[T], group: str) -> Backlog:
        groups = {_string(item["name"]): item for item in self._redis.xinfo_groups(stream.key)}
        info = groups.get(group)
        if info is None:
            return Backlog(self._redis.xlen(stream.key), 0, 0.0)
        after = f"({_string(info['last-delivered-id'])}"
        lag = info["lag"]
        if lag is None:
            # Someone deleted entries by hand, and the server lost count.
            lag = len(self._redis.xrange(stream.key, after, "+", _COUNTED))
        oldest = [_id(id_) for id_, _ in self._redis.xrange(stream.key, after, "+", 1)]
        # Asked separately, what was pending a moment ago may be acknowledged by now.
        pending = self._redis.xpending(stream.key, group)
        if pending["pending"]:
            oldest.append(_id(pending["min"]))
        return Backlog(lag, pending["pending"], self._age_s(min(oldest)) if oldest else 0.0)

    def _age_s(self, id_: tuple[int, int]) -> float:
        seconds, microseconds = self._redis.time()
        return float(max(0.0, seconds + microseconds / 1e6 - id_[0] / 1000))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise BusError(
                f"The bus at {self._place} cannot be reached ({error}): "
                "start the server or correct redis_url."
            ) from error
        except redis.RedisError as error:
            raise BusError(
                f"The bus at {self._place} refuses a command ({error}): "
                "it must be Redis 7.0 or newer (or Valkey) with free memory."
            ) from error


def _string(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _id(value: bytes | str) -> tuple[int, int]:
    ms, _, seq = _string(value).partition("-")
    return int(ms), int(seq)


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(unreadable address)"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
