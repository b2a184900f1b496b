"""One monitored room: connected again and again, heard, and its state told."""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from pipeline.errors import BadInputError, OfflineError, StalledError, TingboError
from pipeline.ingest.lease import Leases
from pipeline.ingest.listening import IngestOptions, Listening
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.recorder import Outlets, Recorder
from pipeline.ingest.replayed import Replays
from pipeline.ingest.source import Source, open_source
from pipeline.records import AudioChunk, Gap, samples_to_ms
from pipeline.store.epochs import Before
from pipeline.store.rooms import Room, RoomEntry, RoomState, StateChange
from pipeline.wall_time import utc_now

REASON_UNHEARD = "连接中断或换由其他采集进程接手，这段时间的声音没有收到"

#: After a longer absence nobody knows whether a server that begins with old sound skips none.
_LONGEST_BACKLOG_MS = 60_000
_BEIJING = dt.timezone(dt.timedelta(hours=8))
_ENDED = "The stream has ended."
_NOTHING_NEW = "The address answers and brings no new sound."


@dataclass(frozen=True, slots=True)
class RoomOptions:
    """How monitored rooms are listened to."""

    ingest: IngestOptions
    pause_s: float = 1800.0
    """A broadcast that was away for longer has ended."""
    first_wait_s: float = 0.5
    """Before the second attempt to reach a room; it doubles with every one."""
    longest_wait_s: float = 18.0
    """With the time to open it: a room that goes live again is heard within 30 s."""


@dataclass(slots=True)
class RoomListener:
    """Listens to one room in a thread of its own until it is stopped or the room is lost."""

    room: RoomEntry
    holder: str
    outlets: Outlets
    outbox: Outbox
    leases: Leases
    options: RoomOptions
    now: Callable[[], dt.datetime] = utc_now
    stop: threading.Event = field(default_factory=threading.Event)
    state: RoomState = RoomState.CONNECTING
    _reason: str = ""
    _since: dt.datetime | None = None
    _change: StateChange | None = None
    _told: StateChange | None = None
    _replays: Replays = field(default_factory=Replays)
    _recorder: Recorder | None = None
    _broadcast: str = ""
    _listening: Listening | None = None
    _held_back: AudioChunk | Gap | None = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._since = self.now()
        self._change = StateChange(self.room.name, self.state, "", self._since)
        name = f"room {self.room.name}"
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)
        self._thread.start()

    def ended(self, within_s: float = 0.0) -> bool:
        """Whether the thread is over, now or `within_s`."""
        if self._thread is not None:
            self._thread.join(within_s)
        return self._thread is None or not self._thread.is_alive()

    def follow(self, room: Room) -> None:
        """Take on what an operator changed; the address stays until the next connection."""
        self.room = room.entry
        if self._recorder is not None:
            self._recorder.language = room.entry.language
            self._recorder.priority = room.entry.priority

    def untold(self) -> StateChange | None:
        """The last change of state that was not told."""
        change = self._change
        return None if change is self._told else change

    def told(self, change: StateChange) -> None:
        """Note that a change is known to everybody."""
        # The room's own thread may have another one by now: that one is untold.
        self._told = change

    def run(self) -> None:
        """Listen until stopped."""
        wait_s = self.options.first_wait_s
        while not self.stop.is_set():
            if self._connect():
                wait_s = self.options.first_wait_s
            # Rooms of one server break off together; they must not come back together.
            self.stop.wait(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, self.options.longest_wait_s)

    def _connect(self) -> bool:
        """Open the room and hear it to the end of the connection; whether any sound came."""
        heard = False
        try:
            with open_source(self.room.url, self.options.ingest.source) as source:
                heard = self._hear(source)
        except TingboError as error:
            self._say_failure(error)
            return heard
        if self.stop.is_set():
            return heard
        if source.failure is not None and heard:
            self._say_broken(source)
        elif source.failure is not None:
            self._say_failure(source.failure)
        else:
            self._say(RoomState.OFFLINE, _ENDED if heard else _NOTHING_NEW)
        return heard

    def _hear(self, source: Source) -> bool:
        """Record a connection; a new day begins another broadcast in the midst of it.

        Whether any sound came. Raises BadInputError for a recording, StoreError.
        """
        if not source.info.live:
            # It would be heard again from its beginning, and for ever.
            raise _recording(source)
        self._replays.begin()
        source.replays = self._replays
        items = source.read()
        first = next(items, None)
        heard = False
        while first is not None:
            listening = self._take_up(first)
            if listening is None:
                break
            if not heard and self.state is not RoomState.LIVE:
                self._say(RoomState.LIVE, "")
            heard = True
            day = self._day()
            self._held_back = None
            listening.hear(chain([first], self._until(items, day)), source.info)
            listening.heard_at = source.heard_at
            first = self._held_back
        if heard:
            reason = "ended" if source.failure is None else "broken"
            metrics = self.outlets.metrics
            metrics.ingest_reconnects.labels(source.info.protocol, reason).inc()
        return heard

    def _take_up(self, first: AudioChunk | Gap) -> Listening | None:
        """Claim an epoch for the sound that begins here; None when the room is not ours."""
        epoch = None
        if not self.stop.is_set():
            epoch = self.outlets.store.epochs.begin(
                self.room.name, self.holder, self.options.pause_s, self._before()
            )
        if epoch is None:
            self.stop.set()
            return None
        if self._recorder is None or self._broadcast != epoch.broadcast:
            outlets = self.outlets
            self._recorder = Recorder(outlets, self.room.name, epoch.broadcast, self.outbox)
            self._broadcast = epoch.broadcast
        self._recorder.language = self.room.language
        self._recorder.priority = self.room.priority
        position_ms = samples_to_ms(first.start_sample)
        self._recorder.take_up(epoch, position_ms, REASON_UNHEARD)
        if self._listening is None:
            self._listening = Listening(
                self._recorder,
                self.outlets.metrics,
                self.options.ingest,
                self.stop,
                self.now,
                None,
            )
        self._listening.recorder = self._recorder
        return self._listening

    def _before(self) -> Before | None:
        if self._recorder is None or self._listening is None:
            return None
        away_ms = self._listening.away_ms
        if self._replays.seamless and away_ms <= _LONGEST_BACKLOG_MS:
            away_ms = 0
        return Before(self._broadcast, self._recorder.end_ms, away_ms)

    def _until(self, items: Iterator[AudioChunk | Gap], day: dt.date) -> Iterator[AudioChunk | Gap]:
        """The sound of this day, for as long as the room is ours."""
        for item in items:
            if not self.leases.holds(self.room.name):
                self.stop.set()
                return
            if self._day() != day:
                self._held_back = item
                return
            yield item

    def _day(self) -> dt.date:
        return self.now().astimezone(_BEIJING).date()

    def _say_broken(self, source: Source) -> None:
        stalled = isinstance(source.failure, StalledError)
        self._say(RoomState.STALLED if stalled else RoomState.CONNECTING, str(source.failure))

    def _say_failure(self, error: TingboError) -> None:
        quiet = isinstance(error, OfflineError | StalledError)
        self._say(RoomState.OFFLINE if quiet else RoomState.FAILING, str(error))

    def _say(self, state: RoomState, reason: str) -> None:
        if (state, reason) == (self.state, self._reason):
            return
        if state is not self.state or self._since is None:
            self._since = self.now()
        self.state, self._reason = state, reason
        self._change = StateChange(self.room.name, state, reason, self._since)


def _recording(source: Source) -> BadInputError:
    return BadInputError(
        f"{source.info.name} is a recording and no live room: "
        "remove it, and hear it with tingbo replay."
    )
