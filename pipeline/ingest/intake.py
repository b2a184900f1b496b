"""Takes in the streams of pushed rooms: orders their chunks, and listens, a thread a room."""

from __future__ import annotations

import datetime as dt
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain

from pipeline.errors import StoreError, TingboError
from pipeline.ingest.listening import REASON_RECONNECTED, Listening, Sound
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.pushed import Pipe, PushFormat, PushStream, open_pushed
from pipeline.ingest.recorder import Outlets, Recorder
from pipeline.ingest.room import RoomOptions
from pipeline.records import AudioChunk, Gap, samples_to_ms
from pipeline.store import RoomState
from pipeline.store.epochs import Before, Epoch
from pipeline.wall_time import utc_now

log = logging.getLogger(__name__)

#: A stream that brings nothing for this long is over; until then it is resumed by its number.
RESUME_S = 60.0
#: Streams of a room that may wait while an earlier one is still listened to.
_MAX_WAITING = 4
#: Ids of streams of a room that are remembered as over.
_REMEMBERED = 32
_RETRY_S = 2.0
_BEIJING = dt.timezone(dt.timedelta(hours=8))


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
    `options.pause_s` or a new day begins; also over a restart, or in another process. Use it as a
    context manager: leaving it ends all streams and keeps what was heard.
    """

    def __init__(
        self,
        outlets: Outlets,
        outbox: Outbox,
        options: RoomOptions,
        stop: threading.Event,
        holder: str,
        resume_s: float = RESUME_S,
    ) -> None:
        """`holder` is a name that no other process has."""
        self._outlets = outlets
        self._outbox = outbox
        self._options = options
        self._stop = stop
        self._holder = holder
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
            if stream.pipe.finished:
                return _over(stream)
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
        """Stream after stream, until none comes for so long that the broadcast has ended."""
        broadcast = _Broadcast(name, self._holder, self._outlets, self._outbox, self._options)
        following: PushStream | None = room.waiting.get()
        while following is not None:
            stream = following
            self._tell(name, RoomState.LIVE, "")
            self._hear(broadcast, stream)
            stream.over = True
            state = RoomState.FAILING if stream.failure else RoomState.OFFLINE
            self._tell(name, state, stream.failure)
            following = self._following(name, room)
        if not self._stop.is_set():  # after a restart it goes on
            broadcast.end()

    def _hear(self, broadcast: _Broadcast, stream: PushStream) -> None:
        name = broadcast.room
        try:
            sound = open_pushed(name, stream, self._options.ingest.source)
            try:
                broadcast.hear(sound, stream, self._stop)
            finally:
                sound.close()
            failure = sound.failure
        except TingboError as error:
            failure = error
        if failure is not None:
            log.warning("Stream %r of room %s: %s", stream.id, name, failure)
            stream.failure = str(failure)

    def _following(self, name: str, room: _Room) -> PushStream | None:
        """The next stream of the broadcast; None when none came in time."""
        deadline = time.monotonic() + self._options.pause_s
        while not self._stop.is_set() and time.monotonic() < deadline:
            try:
                return room.waiting.get(timeout=0.2)
            except queue.Empty:
                continue
        with self._lock:
            if not room.waiting.empty():
                return room.waiting.get_nowait()
            del self._rooms[name]  # what comes from now on begins another thread
            return None

    def _tell(self, room: str, state: RoomState, reason: str) -> None:
        push, now = self._outlets.store.push, utc_now()
        self._outbox.put(0, lambda: push.tell(room, state, reason, now))


def _refusal(stream: PushStream, chunk: Chunk) -> Answer | None:
    """Why a chunk is not the one that the stream takes now, or None."""
    if stream.failure:
        return Answer(Taken.UNUSABLE, stream.next, stream.failure)
    if chunk.seq < stream.next:
        return Answer(Taken.DUPLICATE, stream.next)
    if stream.over:
        return _over(stream)
    if chunk.seq > stream.next:
        return Answer(Taken.OUT_OF_ORDER, stream.next, f"number {stream.next} comes first")
    if chunk.format != stream.format:
        return Answer(Taken.UNUSABLE, stream.next, "its format is not that of the stream")
    return None


def _over(stream: PushStream) -> Answer:
    return Answer(Taken.OVER, stream.next, "the stream has ended: begin another one")


class _Broadcast:
    """What a room says, written down over its streams."""

    def __init__(
        self, room: str, holder: str, outlets: Outlets, outbox: Outbox, options: RoomOptions
    ) -> None:
        self.room = room
        self._holder = holder
        self._outlets = outlets
        self._outbox = outbox
        self._options = options
        self._id = ""
        self._recorder: Recorder | None = None
        self._before: PushStream | None = None
        self._stop = threading.Event()

    def hear(self, sound: Sound, stream: PushStream, stop: threading.Event) -> None:
        """Record a stream to its end; a new day begins another broadcast in the midst of it."""
        items = sound.read()
        first = next(items, None)
        while first is not None:
            epoch = self._claimed(stream, stop)
            if epoch is None:
                return
            recorder = self._taken_up(epoch, first)
            rest: list[AudioChunk | Gap] = []
            listening = Listening(
                recorder,
                self._outlets.metrics,
                self._options.ingest,
                self._stop,
                utc_now,
                None,
            )
            listening.hear(chain([first], _of_one_day(items, rest)), sound.info)
            self._before = stream
            first = rest[0] if rest else None

    def end(self) -> None:
        """Note that nothing more comes; another process may have gone on with it."""
        if self._recorder is not None:
            store, name, epoch = self._outlets.store, self._id, self._recorder.epoch
            self._outbox.put(0, lambda: store.push.end_broadcast(name, epoch, utc_now()))

    def _claimed(self, stream: PushStream, stop: threading.Event) -> Epoch | None:
        """The next epoch, tried for until the records answer: what comes waits meanwhile.

        None when told to stop before that, and for a room that is not monitored any more.
        """
        store = self._outlets.store
        while True:
            try:
                store.push.claim(self.room, self._holder)
                epoch = store.epochs.begin(
                    self.room, self._holder, self._options.pause_s, self._last(stream)
                )
                # Another process may have claimed the room in between: then once more.
                if epoch is not None or store.push.token_sha256(self.room) is None:
                    return epoch
            except StoreError as error:
                log.warning("Room %s waits: %s", self.room, error)
            if stop.wait(_RETRY_S):
                return None

    def _last(self, stream: PushStream) -> Before | None:
        """Where this process left the broadcast, and how long nothing came since."""
        before = self._before
        if self._recorder is None or before is None:
            return None
        away_s = 0.0 if before.ended or before is stream else stream.began_at - before.last_at
        return Before(self._id, self._recorder.end_ms, max(0, int(away_s * 1000)))

    def _taken_up(self, epoch: Epoch, first: AudioChunk | Gap) -> Recorder:
        if self._recorder is None or self._id != epoch.broadcast:
            self._id = epoch.broadcast
            self._recorder = Recorder(self._outlets, self.room, epoch.broadcast, self._outbox)
        entry = self._outlets.store.push.entry(self.room)
        if entry is not None:
            self._recorder.language, self._recorder.priority = entry.language, entry.priority
        position_ms = samples_to_ms(first.start_sample)
        self._recorder.take_up(epoch, position_ms, REASON_RECONNECTED)
        return self._recorder


def _of_one_day(
    items: Iterator[AudioChunk | Gap], rest: list[AudioChunk | Gap]
) -> Iterator[AudioChunk | Gap]:
    """The sound of this day in Beijing; what comes first on another one is put into `rest`."""
    today = utc_now().astimezone(_BEIJING).date()
    for item in items:
        if utc_now().astimezone(_BEIJING).date() != today:
            rest.append(item)
            return
        yield item
