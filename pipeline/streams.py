"""The streams of the bus, the record each one carries, and what a consumer gets from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipeline.codec import encode
from pipeline.records import CaseMessage, SegmentMessage, TranscriptMessage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stream(Generic[T]):
    """A stream and the record it carries."""

    name: str
    record: type[T]

    def key(self, partition: int = 0) -> str:
        """Redis key; the braces keep all streams of a partition in one slot of a cluster."""
        return f"tingbo:{{p{partition:02d}}}:{self.name}"

    def dead_key(self, partition: int = 0) -> str:
        """Redis key of its dead letters."""
        return f"{self.key(partition)}:dead"


SEGMENTS = Stream("segments", SegmentMessage)
TRANSCRIPTS = Stream("transcripts", TranscriptMessage)
CASES = Stream("cases", CaseMessage)

#: Every stream there is, in the order of the data.
STREAMS: tuple[Stream[Any], ...] = (SEGMENTS, TRANSCRIPTS, CASES)

#: Redis key of the number of partitions, which the first process decides.
PARTITIONS_KEY = "tingbo:{p00}:partitions"


@dataclass(frozen=True, slots=True)
class Delivery(Generic[T]):
    """A message handed to a consumer."""

    id: str
    record: T
    deliveries: int = 1
    """How often it was handed out, this time included."""
    replayed: bool = False
    """Whether it was a dead letter before."""

    @property
    def at_ms(self) -> int:
        """When it was published, in ms since 1970 on the server's clock."""
        return _ms_of(self.id)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up."""

    id: str
    """Its id in the stream it came from."""
    group: str
    reason: str
    clip_uri: str
    """Empty for records without a clip."""
    payload: bytes
    """The message as it was."""
    deliveries: int
    letter: str = ""
    """Its id among the dead letters; empty until it is one."""

    @property
    def at_ms(self) -> int:
        """When it was given up, in ms since 1970 on the server's clock."""
        return _ms_of(self.letter)

    @classmethod
    def of(cls, delivery: Delivery[Any], group: str, reason: str) -> DeadLetter:
        """The letter for a message that could be read."""
        clip_uri = getattr(delivery.record, "clip_uri", "")
        payload = encode(delivery.record).encode()
        return cls(delivery.id, group, reason, clip_uri, payload, delivery.deliveries)

    @classmethod
    def from_fields(cls, letter: str, fields: dict[bytes, bytes]) -> DeadLetter:
        """The letter of this id as it lies in Redis."""
        return cls(
            fields[b"id"].decode(),
            fields[b"group"].decode(),
            fields[b"reason"].decode(),
            fields[b"clip_uri"].decode(),
            fields[b"payload"],
            int(fields[b"deliveries"]),
            letter,
        )

    def fields(self) -> dict[Any, Any]:
        """What `from_fields` reads."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "letter"}


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a group still has to do."""

    lag: int
    """Entries that no consumer has read."""
    pending: int
    """Entries read and not acknowledged."""
    oldest_age_s: float
    """Age of the oldest of them in seconds, 0 without any."""

    @property
    def total(self) -> int:
        """Entries without a result."""
        return self.lag + self.pending


def _ms_of(id_: str) -> int:
    return int(id_.rpartition("/")[2].partition("-")[0] or 0)
