"""Epochs of live broadcasts: each connection has one, and no two holders ever have the same.

A room's broadcast goes on over connections and over ingesters; a new day in Beijing or a long
pause begins another one.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pipeline.store.database import Database
from pipeline.store.rooms import RoomState, database_now
from pipeline.store.schema import broadcasts, epochs, rooms, stretches
from pipeline.wall_time import utc_now

_BEIJING = dt.timezone(dt.timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Epoch:
    """One connection to a room."""

    broadcast: str
    epoch: int
    start_ms: int
    """Where its sound begins on the broadcast's media clock."""
    accounted_ms: int
    """Up to where the broadcast is accounted for without it; what lies between was not heard."""


@dataclass(frozen=True, slots=True)
class Before:
    """What a listener knows of its own last connection to a room."""

    broadcast: str
    end_ms: int
    """Up to where it has accounted for the broadcast."""
    away_ms: int
    """How long no sound has come since."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A broadcast that has not ended."""

    id: str
    started_at: dt.datetime
    epoch: int
    accounted_ms: int
    """Up to where its ledger goes; a holder that was killed may have begun beyond that."""
    end_ms: int
    away_ms: int
    """How long ago it stood there."""


class Epochs:
    """The epochs of a database. Threads may share it. Raises StoreError as the store does."""

    def __init__(self, database: Database, now: Callable[[], dt.datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    def begin(
        self, room: str, holder: str, pause_s: float, before: Before | None = None
    ) -> Epoch | None:
        """Claim the next epoch of a room's broadcast, now that sound comes.

        It goes on after a pause of up to `pause_s` on the same day, and is a new one otherwise.
        None when `holder` does not hold the room any more.
        """
        with self._database.write() as connection:
            now = database_now(connection, self._now)
            held = sa.select(rooms.c.name).where(rooms.c.name == room, rooms.c.holder == holder)
            # The lock keeps another holder from claiming at the same moment.
            if connection.execute(held.with_for_update()).first() is None:
                return None
            last = _open_broadcast(connection, room, now, before)
            if last is not None:
                same_day = _day(last.started_at) == _day(now)
                if same_day and last.away_ms <= pause_s * 1000:
                    return _continue(connection, last, now)
                _end(connection, last, now)
            return _begin(connection, room, now)

    def next_start_ms(self, broadcast: str, epoch: int) -> int | None:
        """Where the connection after this one begins: what was heard later is not this one's."""
        later = (epochs.c.broadcast == broadcast, epochs.c.epoch > epoch)
        with self._database.read() as connection:
            start_ms: int | None = connection.scalar(
                sa.select(sa.func.min(epochs.c.start_ms)).where(*later)
            )
        return start_ms

    def of(self, broadcast: str) -> list[tuple[int, int, dt.datetime]]:
        """Number, start in ms and wall time of each connection of a broadcast."""
        query = sa.select(epochs.c.epoch, epochs.c.start_ms, epochs.c.at)
        query = query.where(epochs.c.broadcast == broadcast).order_by(epochs.c.epoch)
        with self._database.read() as connection:
            return [(row.epoch, row.start_ms, row.at) for row in connection.execute(query)]

    def end_stale(self, pause_s: float) -> int:
        """End the broadcasts of rooms that nobody has heard for `pause_s`; their number."""
        with self._database.write() as connection:
            now = database_now(connection, self._now)
            heard = sa.select(rooms.c.name).where(
                sa.or_(
                    rooms.c.push_token_sha256.is_not(None),
                    sa.and_(rooms.c.state == RoomState.LIVE.value, rooms.c.held_until >= now),
                )
            )
            query = sa.select(broadcasts.c.room).where(*_is_open(), broadcasts.c.room.not_in(heard))
            ended = 0
            for room in connection.scalars(query.distinct()).all():
                last = _open_broadcast(connection, room, now, None)
                if last is not None and last.away_ms > pause_s * 1000:
                    _end(connection, last, now)
                    ended += 1
            return ended


def _is_open() -> tuple[sa.ColumnElement[bool], ...]:
    """Condition for live broadcasts that have not ended; recordings have no epochs."""
    has_epochs = sa.exists().where(epochs.c.broadcast == broadcasts.c.id)
    return broadcasts.c.ended_at.is_(None), has_epochs


def _open_broadcast(
    connection: sa.Connection, room: str, now: dt.datetime, before: Before | None
) -> _Open | None:
    query = sa.select(broadcasts.c.id, broadcasts.c.started_at).where(
        broadcasts.c.room == room, *_is_open()
    )
    row = connection.execute(query.order_by(broadcasts.c.started_at.desc()).limit(1)).first()
    if row is None:
        return None
    mine = epochs.c.broadcast == row.id
    latest = sa.select(epochs).where(mine).order_by(epochs.c.epoch.desc()).limit(1)
    last = connection.execute(latest).one()
    if before is not None and before.broadcast == row.id:
        end_ms, away_ms = before.end_ms, before.away_ms
        return _Open(row.id, row.started_at, last.epoch, end_ms, end_ms, away_ms)
    return _Open(row.id, row.started_at, last.epoch, *_position(connection, last, now))


def _position(
    connection: sa.Connection, last: sa.Row[Any], now: dt.datetime
) -> tuple[int, int, int]:
    """Up to where a broadcast is accounted for, up to where it came, and how long ago, all in ms.

    Live sound comes as fast as time passes: what was accounted for since the last connection began
    took as long as it is.
    """
    of_it = stretches.c.broadcast == last.broadcast
    entered = connection.scalar(sa.select(sa.func.max(stretches.c.end_ms)).where(of_it))
    end_ms = max(entered or 0, last.start_ms)
    passed_ms = int((now - last.at).total_seconds() * 1000)
    return entered or 0, end_ms, max(0, passed_ms - (end_ms - last.start_ms))


def _continue(connection: sa.Connection, last: _Open, now: dt.datetime) -> Epoch:
    start_ms = last.end_ms + last.away_ms
    epoch = Epoch(last.id, last.epoch + 1, start_ms, last.accounted_ms)
    _write(connection, epoch, now)
    return epoch


def _begin(connection: sa.Connection, room: str, now: dt.datetime) -> Epoch:
    name = f"{room}-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    row = {"id": name, "room": room, "started_at": now}
    connection.execute(sa.insert(broadcasts).values(row))
    epoch = Epoch(name, 0, 0, 0)
    _write(connection, epoch, now)
    return epoch


def _write(connection: sa.Connection, epoch: Epoch, now: dt.datetime) -> None:
    connection.execute(
        sa.insert(epochs).values(
            broadcast=epoch.broadcast, epoch=epoch.epoch, start_ms=epoch.start_ms, at=now
        )
    )


def _end(connection: sa.Connection, last: _Open, now: dt.datetime) -> None:
    ended_at = now - dt.timedelta(milliseconds=last.away_ms)
    connection.execute(
        sa.update(broadcasts).where(broadcasts.c.id == last.id).values(ended_at=ended_at)
    )


def _day(at: dt.datetime) -> dt.date:
    return at.astimezone(_BEIJING).date()
