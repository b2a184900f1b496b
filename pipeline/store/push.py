"""Rooms whose sound is sent to us: their tokens and what is known of them."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets

import sqlalchemy as sa

from pipeline.store.database import Database
from pipeline.store.rooms import RoomEntry, RoomState, entry_of
from pipeline.store.rows import insert_new
from pipeline.store.schema import broadcasts, epochs, rooms


def token_sha256(token: str) -> str:
    """What is stored of a token. Tokens are random: nobody finds one by trying words."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class PushRooms:
    """The pushed rooms of a database. Threads may share it; every method is one transaction.

    Raises StoreError as the store does.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def issue_token(self, room: str, now: dt.datetime) -> str:
        """A new token for `room`, which is added where it is not monitored yet.

        It is told here and never again; the one before stops working.
        """
        token = secrets.token_urlsafe(32)
        row = {"name": room, "url": f"push:{room}", "added_at": now}
        with self._database.write() as connection:
            insert_new(connection, rooms, [row])
            connection.execute(
                sa.update(rooms)
                .where(rooms.c.name == room)
                .values(push_token_sha256=token_sha256(token), holder=None, held_until=None)
            )
        return token

    def token_sha256(self, room: str) -> str | None:
        """What the token of `room` must hash to; None for a room that is not pushed."""
        query = sa.select(rooms.c.push_token_sha256).where(rooms.c.name == room)
        with self._database.read() as connection:
            found: str | None = connection.scalar(query)
        return found

    def tell(self, room: str, state: RoomState, reason: str, now: dt.datetime) -> None:
        """Note what a room is doing."""
        values = {"state": state.value, "state_reason": reason, "state_at": now}
        with self._database.write() as connection:
            connection.execute(sa.update(rooms).where(rooms.c.name == room).values(values))

    def claim(self, room: str, holder: str) -> None:
        """Let `holder` hear a pushed room from now on: the sender chose that process."""
        pushed = (rooms.c.name == room, rooms.c.push_token_sha256.is_not(None))
        with self._database.write() as connection:
            connection.execute(sa.update(rooms).where(*pushed).values(holder=holder))

    def entry(self, room: str) -> RoomEntry | None:
        """What an operator says of a room; None for one that is not monitored."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(rooms).where(rooms.c.name == room)).first()
        return entry_of(row) if row else None

    def end_broadcast(self, broadcast: str, epoch: int, now: dt.datetime) -> None:
        """Note that nothing more will come of a broadcast, unless it has gone on since `epoch`."""
        later = sa.exists().where(epochs.c.broadcast == broadcast, epochs.c.epoch > epoch)
        with self._database.write() as connection:
            connection.execute(
                sa.update(broadcasts)
                .where(broadcasts.c.id == broadcast, broadcasts.c.ended_at.is_(None), ~later)
                .values(ended_at=now)
            )
