"""Takes in the streams of pushed rooms: orders their chunks, and listens, a thread a room."""

from __future__ import annotations

import datetime as dt
import logging
import queue
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from pipeline.errors import BusError, ClipStoreError, StoreError, TingboError
from pipeline.ingest.listening import (
    REASON_BROKEN_OFF,
    REASON_RECONNECTED,
    IngestOptions,
    Listening,
)
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.pushed import Pipe, PushFormat, PushStream, open_pushed
from pipeline.ingest.recorder import Outlets, Recorder
from pipeline.store import RoomState

log = logging.getLogger(__name__)

#: A stream that brings nothing for this long is over; until then it is resumed by its number.
RESUME_S = 60.0
#: Streams of a room that may wait while an earlier one is still listened to.
_MAX_WAITING = 4
#: Ids of streams of a room that are remembered as over.
_REMEMBERED = 32
_RETRY_S = 2.0


class Taken(Enum):
    """What became of a chunk."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """It was taken before; nothing changes."""
    OUT_OF_ORDER = "out_of_order"
    """Another one must come first."""
    OVER = "over"
    """The stream has ended: what follows is another stream."""
    BEHIND = "behind"
    """Too much waits: send it again later."""
    UNUSABLE = "unusable"
    """The stream cannot be heard."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a stream as it is offered."""

    room: str
    stream: str
    seq: int
    data: bytes
    format: PushFormat
    last: bool = False
    """The stream is complete with it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a chunk, and which one comes next."""

    taken: Taken
    next: int
    reason: str = ""


@dataclass(slots=True)
class _Room:
    """What is known of a room that is being pushed."""

    stream: PushStream
    waiting: queue.Queue[PushStream] = field(default_factory=lambda: queue.Queue(_MAX_WAITING))
    gone: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class Intake:
    """The pushed rooms of a process. Threads may share it; `offer` never waits.

    A room's streams follow each other in one broadcast, each as an epoch, until none has come for
    `options.give_up_s`. Use it as a context manager: leaving it ends all streams and keeps what
    was heard.
    """

    def __init__(
        self,
        outlets: Outlets,
        outbox: Outbox,
        options: IngestOptions,
        stop: threading.Event,
        now: Callable[[], dt.datetime],
        resume_s: float = RESUME_S,
    ) -> None:
        self._outlets = outlets
        self._outbox = outbox
        self._options = options
        self._stop = stop
        self._now = now
        self._resume_s = resume_s
        self._rooms: dict[str, _Room] = {}
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Intake:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with self._lock:
            for room in self._rooms.values():
                room.stream.pipe.finish()
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def next(self, room: str, stream: str) -> int:
        """Number of the chunk of this stream that is taken next."""
        with self._lock:
            known = self._rooms.get(room)
            return known.stream.next if known and known.stream.id == stream else 0

    def offer(self, chunk: Chunk) -> Answer:
        """Take a chunk if it is the next of its stream; a new stream begins with number 0."""
        with self._lock:
            room = self._rooms.get(chunk.room)
            if room is None or room.stream.id != chunk.stream:
                refusal = self._begin(room, chunk)
                if refusal is not None:
                    return refusal
            return self._append(self._rooms[chunk.room].stream, chunk)

    def _begin(self, room: _Room | None, chunk: Chunk) -> Answer | None:
        """Make the chunk's stream the room's current one; why not, or None."""
        if room is not None and chunk.stream in room.gone:
            return Answer(Taken.OVER, 0, "another stream of the room has begun since")
        if chunk.seq:
            return Answer(Taken.OUT_OF_ORDER, 0, "a stream begins with number 0")
        if self._stop.is_set() or self._outbox.behind or (room and room.waiting.full()):
            return Answer(Taken.BEHIND, 0, "too much waits to be stored")
        pipe = Pipe(f"push:{chunk.room}", self._resume_s)
        stream = PushStream(chunk.stream, chunk.format, pipe)
        if room is None:
            room = self._rooms[chunk.room] = _Room(stream)
            self._listen_in_thread(chunk.room, room)
        else:
            room.gone.append(room.stream.id)
            room.stream.pipe.finish()
            room.stream = stream
        room.waiting.put_nowait(stream)
        return None

    def _append(self, stream: PushStream, chunk: Chunk) -> Answer:
        refusal = _refusal(stream, chunk)
        if refusal is not None:
            return refusal
        if self._outbox.behind or not stream.pipe.put(chunk.data):
            return Answer(Taken.BEHIND, stream.next, "too much waits to be listened to")
        stream.next += 1
        stream.last_at = time.monotonic()
        if chunk.last:
            stream.ended = stream.over = True
            stream.pipe.finish()
        return Answer(Taken.ACCEPTED, stream.next)

    def _listen_in_thread(self, name: str, room: _Room) -> None:
        def run() -> None:
            try:
                self._listen(name, room)
            finally:
                with self._lock:
                    self._threads.discard(thread)
                    if self._rooms.get(name) is room:
                        del self._rooms[name]  # it could not even begin

        thread = threading.Thread(target=run, name=f"push-{name}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _listen(self, name: str, room: _Room) -> None:
        """One broadcast: stream after stream, until none comes any more."""
        stream = room.waiting.get()
        started_at = self._now()
        broadcast = f"{name}-{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        store = self._outlets.store
        if not self._stored(lambda: store.add_broadcast(name, broadcast, started_at)):
            return
        recorder = Recorder(self._outlets, name, broadcast, self._outbox)
        listening = Listening(
            recorder, self._outlets.metrics, self._options, threading.Event(), self._now, None
        )
        following: PushStream | None = stream
        while following is not None:
            stream = following
            self._tell(name, RoomState.LIVE, "")
            self._hear(name, listening, stream)
            self._tell(
                name, RoomState.FAILING if stream.failure else RoomState.OFFLINE, stream.failure
            )
            following = self._following(name, room)
            self._account(recorder, stream, following)
        self._outbox.put(0, lambda: store.push.end_broadcast(broadcast, self._now()))

    def _hear(self, name: str, listening: Listening, stream: PushStream) -> None:
        try:
            sound = open_pushed(name, stream, self._options.source)
            try:
                listening.listen(sound)
            finally:
                sound.close()
            failure = sound.failure
        except TingboError as error:
            failure = error
        if failure is not None:
            log.warning("Stream %r of room %s: %s", stream.id, name, failure)
            stream.failure = str(failure)
        stream.over = True

    def _following(self, name: str, room: _Room) -> PushStream | None:
        """The next stream of the broadcast; None when none came in time."""
        deadline = time.monotonic() + self._options.give_up_s
        while not self._stop.is_set() and time.monotonic() < deadline:
            try:
                return room.waiting.get(timeout=0.2)
            except queue.Empty:
                continue
        with self._lock:
            if not room.waiting.empty():
                return room.waiting.get_nowait()
            del self._rooms[name]  # what comes from now on begins another broadcast
            return None

    @staticmethod
    def _account(recorder: Recorder, before: PushStream, following: PushStream | None) -> None:
        """Enter what passed after a stream that did not end as lost, and begin the next epoch."""
        until = following.began_at if following else time.monotonic()
        lost_ms = 0 if before.ended else max(0, int((until - before.last_at) * 1000))
        if following is not None:
            recorder.begin_epoch(lost_ms, REASON_RECONNECTED)
        elif lost_ms:
            recorder.begin_epoch(lost_ms, REASON_BROKEN_OFF)
        recorder.flush()

    def _tell(self, room: str, state: RoomState, reason: str) -> None:
        push, now = self._outlets.store.push, self._now()
        self._outbox.put(0, lambda: push.tell(room, state, reason, now))

    def _stored(self, write: Callable[[], None]) -> bool:
        """Write until it succeeds; what comes waits meanwhile. False when told to stop."""
        while True:
            try:
                write()
            except (StoreError, BusError, ClipStoreError) as error:
                log.warning("A pushed room waits: %s", error)
                if self._stop.wait(_RETRY_S):
                    return False
            else:
                return True


def _refusal(stream: PushStream, chunk: Chunk) -> Answer | None:
    """Why a chunk is not the one that the stream takes now, or None."""
    if stream.failure:
        return Answer(Taken.UNUSABLE, stream.next, stream.failure)
    if chunk.seq < stream.next:
        return Answer(Taken.DUPLICATE, stream.next)
    if stream.over:
        return Answer(Taken.OVER, stream.next, "the stream has ended: begin another one")
    if chunk.seq > stream.next:
        return Answer(Taken.OUT_OF_ORDER, stream.next, f"number {stream.next} comes first")
    if chunk.format != stream.format:
        return Answer(Taken.UNUSABLE, stream.next, "its format is not that of the stream")
    return None
