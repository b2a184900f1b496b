"""Rooms to monitor, and who listens to which: leases by the database's clock.

An ingester holds a room until a moment that it moves on every few seconds. A room whose holder
has let that moment pass is free for others.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from pipeline.store.database import Database
from pipeline.store.rows import insert_new
from pipeline.store.schema import broadcasts, epochs, ingesters, rooms
from pipeline.wall_time import utc_now


class RoomState(StrEnum):
    """What is known of a room."""

    WAITING = "waiting"
    """Nobody listens to it yet."""
    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    """It was live, and its connection brings no more sound."""
    OFFLINE = "offline"
    """It answers that there is no broadcast, or answers without sound."""
    FAILING = "failing"
    """It cannot be heard, for the reason that is told."""


@dataclass(frozen=True, slots=True)
class RoomEntry:
    """What an operator says of a room."""

    name: str
    url: str = field(repr=False)
    """May hold a token."""
    platform: str = ""
    priority: int = 0
    """Higher ones are heard first and shed last."""
    language: str = "zh"


@dataclass(frozen=True, slots=True)
class Room:
    """A monitored room."""

    entry: RoomEntry
    added_at: dt.datetime
    state: RoomState = RoomState.WAITING
    reason: str = ""
    """Of the state, one sentence."""
    since: dt.datetime | None = None
    """When it came into this state; None when it was never listened to."""
    holder: str | None = None
    """The ingester that listens to it; None when nobody does."""
    pushed: bool = False
    """Its sound is sent to us: nobody has to fetch it."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """What an ingester saw of a room."""

    room: str
    state: RoomState
    reason: str
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class Ingester:
    """An ingester that is alive, and how many rooms it can hear."""

    name: str
    max_rooms: int
    holds: int


class Change(StrEnum):
    """What an entry did to the rooms."""

    ADDED = "added"
    CHANGED = "changed"
    SAME = "same"


def database_now(connection: sa.Connection, local: Callable[[], dt.datetime]) -> dt.datetime:
    """The wall time all ingesters agree on: the server's, or for a file that of its machine."""
    if connection.dialect.name != "postgresql":
        return local()
    now: dt.datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return now


class Rooms:
    """The rooms of a database. Threads may share it; every method is one transaction.

    Raises StoreError as the store does.
    """

    def __init__(self, database: Database, now: Callable[[], dt.datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    def all(self) -> list[Room]:
        """What is monitored, by name; a room whose lease has lapsed is waiting."""
        with self._database.read() as connection:
            now = database_now(connection, self._now)
            rows = connection.execute(sa.select(rooms).order_by(rooms.c.name)).all()
        return [_room(row, now) for row in rows]

    def put(self, entries: Iterable[RoomEntry]) -> list[Change]:
        """Monitor these rooms, all or none; what each entry changed, in their order."""
        with self._database.write() as connection:
            now = database_now(connection, self._now)
            return [_put(connection, entry, now) for entry in entries]

    def remove(self, name: str) -> bool:
        """Monitor a room no longer; its broadcasts end and stay. False when it was not there."""
        with self._database.write() as connection:
            now = database_now(connection, self._now)
            monitored = sa.select(epochs.c.broadcast).distinct()
            connection.execute(
                sa.update(broadcasts)
                .where(
                    broadcasts.c.room == name,
                    broadcasts.c.ended_at.is_(None),
                    broadcasts.c.id.in_(monitored),
                )
                .values(ended_at=now)
            )
            return connection.execute(sa.delete(rooms).where(rooms.c.name == name)).rowcount > 0

    def renew(
        self, holder: str, max_rooms: int, lease_s: float, changes: Sequence[StateChange] = ()
    ) -> list[Room]:
        """Say that `holder` is alive and go on holding its rooms: those that are still its own.

        `changes` are written for the rooms that are.
        """
        with self._database.write() as connection:
            now = database_now(connection, self._now)
            until = now + dt.timedelta(seconds=lease_s)
            _sign_in(connection, holder, max_rooms, until)
            for change in changes:
                values = {
                    "state": change.state.value,
                    "state_reason": change.reason,
                    "state_at": change.at,
                }
                mine = (rooms.c.name == change.room, rooms.c.holder == holder)
                connection.execute(sa.update(rooms).where(*mine).values(values))
            renewed = connection.execute(
                sa.update(rooms)
                .where(rooms.c.holder == holder)
                .values(held_until=until)
                .returning(*rooms.c)
            ).all()
        return [_room(row, now) for row in renewed]

    def take(self, holder: str, limit: int, lease_s: float, above: int | None = None) -> list[Room]:
        """Take up to `limit` free rooms, the highest priority first, for `lease_s`.

        With `above` only rooms of a higher priority than that.
        """
        with self._database.write() as connection:
            now = database_now(connection, self._now)
            where = [_free(now)] if above is None else [_free(now), rooms.c.priority > above]
            found = connection.scalars(
                sa.select(rooms.c.name)
                .where(*where)
                .order_by(rooms.c.priority.desc(), rooms.c.name)
                .limit(max(0, limit))
                .with_for_update(skip_locked=True)
            ).all()
            taken = connection.execute(
                sa.update(rooms)
                .where(rooms.c.name.in_(found))
                .values(
                    holder=holder,
                    held_until=now + dt.timedelta(seconds=lease_s),
                    state=RoomState.CONNECTING.value,
                    state_reason="",
                    state_at=now,
                )
                .returning(*rooms.c)
            ).all()
        return [_room(row, now) for row in taken]

    def release(self, holder: str, names: Iterable[str] | None = None) -> None:
        """Let others listen to rooms of `holder`: these, or all of them because it leaves."""
        with self._database.write() as connection:
            now = database_now(connection, self._now)
            mine = rooms.c.holder == holder
            if names is not None:
                mine &= rooms.c.name.in_(list(names))
            connection.execute(
                sa.update(rooms)
                .where(mine)
                .values(
                    holder=None,
                    held_until=None,
                    state=RoomState.WAITING.value,
                    state_reason="",
                    state_at=now,
                )
            )
            if names is None:
                connection.execute(sa.delete(ingesters).where(ingesters.c.name == holder))

    def ingesters(self) -> list[Ingester]:
        """Who is alive, by name."""
        holds = sa.select(sa.func.count()).where(rooms.c.holder == ingesters.c.name)
        query = sa.select(
            ingesters.c.name, ingesters.c.max_rooms, holds.scalar_subquery().label("holds")
        )
        with self._database.read() as connection:
            now = database_now(connection, self._now)
            alive = query.where(ingesters.c.alive_until >= now).order_by(ingesters.c.name)
            return [Ingester(*row) for row in connection.execute(alive)]

    def to_fetch(self) -> int:
        """How many rooms ingesters have to share: all but those that are pushed."""
        query = sa.select(sa.func.count()).where(rooms.c.push_token_sha256.is_(None))
        with self._database.read() as connection:
            return connection.scalar(query) or 0


def _free(now: dt.datetime) -> sa.ColumnElement[bool]:
    """Condition for rooms that somebody has to fetch and nobody holds."""
    lapsed = sa.or_(rooms.c.holder.is_(None), rooms.c.held_until < now)
    return sa.and_(rooms.c.push_token_sha256.is_(None), lapsed)


def _put(connection: sa.Connection, entry: RoomEntry, now: dt.datetime) -> Change:
    said = {
        "url": entry.url,
        "platform": entry.platform,
        "priority": entry.priority,
        "language": entry.language,
    }
    if insert_new(connection, rooms, [{"name": entry.name, "added_at": now, **said}]):
        return Change.ADDED
    row = connection.execute(sa.select(rooms).where(rooms.c.name == entry.name)).one()
    if entry_of(row) == entry:
        return Change.SAME
    connection.execute(sa.update(rooms).where(rooms.c.name == entry.name).values(said))
    return Change.CHANGED


def _sign_in(connection: sa.Connection, holder: str, max_rooms: int, until: dt.datetime) -> None:
    row = {"name": holder, "max_rooms": max_rooms, "alive_until": until}
    if not insert_new(connection, ingesters, [row]):
        connection.execute(sa.update(ingesters).where(ingesters.c.name == holder).values(row))
    # Those that died without a word, after a day in which nobody needs to see them.
    old = until - dt.timedelta(days=1)
    connection.execute(sa.delete(ingesters).where(ingesters.c.alive_until < old))


def entry_of(row: sa.Row[Any]) -> RoomEntry:
    """What an operator says of the room in a row of the table."""
    return RoomEntry(row.name, row.url, row.platform, row.priority, row.language)


def _room(row: sa.Row[Any], now: dt.datetime) -> Room:
    held = row.holder is not None and row.held_until is not None and row.held_until >= now
    pushed = row.push_token_sha256 is not None
    known = held or pushed
    return Room(
        entry_of(row),
        row.added_at,
        RoomState(row.state) if known else RoomState.WAITING,
        row.state_reason if known else "",
        row.state_at,
        row.holder if held else None,
        pushed,
    )
