"""An ingester of monitored rooms: holds a share of them by leases and listens to each."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from pipeline.errors import StoreError
from pipeline.ingest.lease import Leases
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.recorder import Outlets
from pipeline.ingest.room import RoomListener, RoomOptions
from pipeline.ingest.sharing import fair_share
from pipeline.ingest.vad import Vad
from pipeline.store.rooms import Room, RoomState

log = logging.getLogger(__name__)

#: How often leases are renewed and changes of the rooms are seen, at least.
_BEAT_S = 2.0
#: How long a room that sounds may take to finish what it has in hand.
_FINISH_S = 3.0
#: How often broadcasts that nobody hears any more are ended.
_TIDY_S = 60.0


@dataclass(slots=True)
class Ingester:
    """Listens to up to `max_rooms` rooms, each in a thread, until `stop` is set.

    Other ingesters take its rooms over when it has been silent for `lease_s`.
    """

    outlets: Outlets
    options: RoomOptions
    holder: str
    """A name that no other ingester has, ever."""
    stop: threading.Event
    max_rooms: int = 100
    lease_s: float = 10.0
    _leases: Leases = field(init=False)
    _rooms: dict[str, RoomListener] = field(default_factory=dict)
    _leaving: list[RoomListener] = field(default_factory=list)
    _tidied_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._leases = Leases(self.lease_s)

    def run(self) -> None:
        """Work until `stop` is set, then let others have the rooms."""
        Vad()  # the network is loaded once, and not by a hundred threads at the same time
        with Outbox(self.outlets.metrics) as outbox:
            while not self.stop.is_set():
                began = time.monotonic()
                self._try_beat(outbox)
                self.outlets.metrics.loop_turned()
                beat_s = min(_BEAT_S, self.lease_s / 4)
                self.stop.wait(max(0.0, began + beat_s - time.monotonic()))
            self._finish()
        try:
            self.outlets.store.rooms.release(self.holder)
        except StoreError as error:
            log.warning("%s", error)
        self._count()
        deadline = time.monotonic() + self.options.ingest.source.open_timeout_s
        for listener in self._leaving:
            # One that waits for a server cannot be interrupted, and has nothing to lose.
            listener.ended(max(0.0, deadline - time.monotonic()))

    def _try_beat(self, outbox: Outbox) -> None:
        try:
            held = self._renewed()
            self._follow(held, outbox)
            self._share(held, outbox)
        except StoreError as error:
            # Nobody can take the rooms over either: they go on being heard.
            log.warning("%s", error)
            self._leases.beat(None)
        else:
            self._tidy()
        self._count()

    def _renewed(self) -> dict[str, Room]:
        """Renew the leases and tell the states: what is still held."""
        listeners = list(self._rooms.values())
        changes = [(one, change) for one in listeners if (change := one.untold()) is not None]
        renewed = self.outlets.store.rooms.renew(
            self.holder, self.max_rooms, self.lease_s, [change for _, change in changes]
        )
        for listener, change in changes:
            listener.told(change)
        held = {room.entry.name: room for room in renewed}
        self._leases.beat(held)
        return held

    def _follow(self, held: dict[str, Room], outbox: Outbox) -> None:
        """Do as operators and other ingesters have decided."""
        moved = []
        for name, listener in list(self._rooms.items()):
            room = held.get(name)
            if room is None:
                self._leave(name)
            elif room.entry.url != listener.room.url:
                moved.append(self._leave(name))
            elif listener.ended():
                del self._rooms[name]
            else:
                listener.follow(room)
        self._await_live(moved)
        for name, room in held.items():
            if name not in self._rooms:
                self._listen(room, outbox)

    def _share(self, held: dict[str, Room], outbox: Outbox) -> None:
        rooms = self.outlets.store.rooms
        share, surplus = fair_share(rooms.to_fetch(), rooms.ingesters(), self.holder)
        # An exchange that the database broke off leaves more than can be heard.
        surplus = max(surplus, len(held) - self.max_rooms)
        taken: list[Room] = []
        if len(held) < share:
            taken = rooms.take(self.holder, share - len(held), self.lease_s)
        elif surplus:
            self._give_up(sorted(self._rooms, key=self._worth)[:surplus])
        elif share == self.max_rooms:
            taken = self._exchange(held)
        for room in taken:
            held[room.entry.name] = room
        if taken:
            self._leases.beat(held)
        for room in taken:
            self._listen(room, outbox)

    def _exchange(self, held: dict[str, Room]) -> list[Room]:
        """When full: take rooms of a higher priority in place of the least ones."""
        by_priority = sorted(held.values(), key=lambda room: room.entry.priority)
        taken: list[Room] = []
        replaced: list[str] = []
        for least in by_priority:
            better = self.outlets.store.rooms.take(
                self.holder, 1, self.lease_s, above=least.entry.priority
            )
            if not better:
                break
            taken += better
            replaced.append(least.entry.name)
        # All at once: each may take seconds to finish, and the leases are not renewed meanwhile.
        self._give_up(replaced)
        return taken

    def _worth(self, name: str) -> tuple[bool, int]:
        """Rooms that nobody hears now move first, then the least ones."""
        listener = self._rooms[name]
        return listener.state is RoomState.LIVE, listener.room.priority

    def _give_up(self, names: list[str]) -> None:
        """Let others have rooms."""
        self._await_live([self._leave(name) for name in names])
        self.outlets.store.rooms.release(self.holder, names)

    def _await_live(self, left: list[RoomListener]) -> None:
        """Give those that sound the time to finish what they have in hand."""
        deadline = time.monotonic() + _FINISH_S
        for listener in left:
            if listener.state is RoomState.LIVE:
                listener.ended(max(0.0, deadline - time.monotonic()))

    def _listen(self, room: Room, outbox: Outbox) -> None:
        listener = RoomListener(
            room.entry, self.holder, self.outlets, outbox, self._leases, self.options
        )
        self._rooms[room.entry.name] = listener
        listener.start()

    def _leave(self, name: str) -> RoomListener:
        listener = self._rooms.pop(name)
        listener.stop.set()
        self._leaving = [one for one in self._leaving if not one.ended()]
        self._leaving.append(listener)
        return listener

    def _finish(self) -> None:
        """Stop listening; what sounds now is kept to its last second."""
        self._await_live([self._leave(name) for name in list(self._rooms)])

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied_at < _TIDY_S:
            return
        self._tidied_at = time.monotonic()
        try:
            self.outlets.store.epochs.end_stale(self.options.pause_s)
        except StoreError as error:
            log.warning("%s", error)

    def _count(self) -> None:
        states = Counter(listener.state for listener in self._rooms.values())
        for state in RoomState:
            self.outlets.metrics.ingest_rooms.labels(state.value).set(states[state])
