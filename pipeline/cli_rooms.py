"""The commands about what is monitored: `tingbo rooms add|list|remove|import`."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.errors import BadInputError
from pipeline.settings import load_settings

if TYPE_CHECKING:  # other commands are ready sooner without the database
    from pipeline.store import Room, RoomEntry, Store

_EPILOG = "Exit codes: 0 done · 2 bad input or usage · 3 something is missing here."

rooms_app = typer.Typer(help="What is monitored.", no_args_is_help=True)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_COLOURS = {"live": "green", "stalled": "yellow", "failing": "red"}


@rooms_app.command("add", epilog=_EPILOG)
def rooms_add(
    url: Annotated[str, typer.Argument(help="Live address: HLS, HTTP-FLV or RTMP.")],
    *,
    name: Annotated[
        str | None, typer.Option(help="Name of the room; made from the address without.")
    ] = None,
    platform: Annotated[str, typer.Option(help="Where it is, e.g. douyin; shown to people.")] = "",
    priority: Annotated[
        int, typer.Option(min=-100, max=100, help="Higher ones are heard first and shed last.")
    ] = 0,
    language: Annotated[str, typer.Option(help="What is spoken there: zh, en, …")] = "zh",
    replace: Annotated[
        bool, typer.Option("--replace", help="Change a room of this name that is there.")
    ] = False,
) -> None:
    """Monitor a room: running ingesters listen to it within 5 s.

    Example: tingbo rooms add https://pull.example.com/live/shop1.flv --platform douyin
    """
    from pipeline.room_list import check_entry, default_name, shown_url
    from pipeline.store import RoomEntry

    entry = RoomEntry(name or default_name(url), url, platform, priority, language)
    check_entry(entry)
    with _store() as store:
        before = {room.entry.name: room.entry for room in store.rooms.all()}
        if entry.name in before and not replace:
            raise BadInputError(
                f"Room {entry.name} is monitored already: give another --name, "
                "or --replace to change it."
            )
        _refuse_twice(entry, before.values())
        (change,) = store.rooms.put([entry])
    out.print(f"{change.value}: {entry.name}  {shown_url(entry.url)}", markup=False)


@rooms_app.command("list", epilog=_EPILOG)
def rooms_list(
    *, as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False
) -> None:
    """What is monitored, in which state each room is, and since when."""
    with _store() as store:
        found = store.rooms.all()
    if as_json:
        print(json.dumps([_plain(room) for room in found], ensure_ascii=False, indent=1))
    elif found:
        out.print(_table(found))
    else:
        out.print("No room is monitored: tingbo rooms add URL adds one.")


@rooms_app.command("remove", epilog=_EPILOG)
def rooms_remove(name: Annotated[str, typer.Argument(help="As `rooms list` shows it.")]) -> None:
    """Monitor a room no longer; what was heard in it stays."""
    with _store() as store:
        if not store.rooms.remove(name):
            raise BadInputError(_unknown(name, [room.entry.name for room in store.rooms.all()]))
    out.print(f"removed: {name}", markup=False)


@rooms_app.command("import", epilog=_EPILOG)
def rooms_import(
    file: Annotated[Path, typer.Argument(help="TOML with one [[rooms]] table a room.")],
) -> None:
    """Add and change rooms from a file: all of them, or none when one is wrong.

    A room is url, and as you like name, platform, priority and language. Rooms that the file does
    not name stay as they are.
    """
    from pipeline.room_list import read_room_file
    from pipeline.store import Change

    entries = read_room_file(file)
    with _store() as store:
        named = {entry.name for entry in entries}
        others = [room.entry for room in store.rooms.all() if room.entry.name not in named]
        for entry in entries:
            _refuse_twice(entry, others)
        changes = store.rooms.put(entries)
    for entry, change in zip(entries, changes, strict=True):
        out.print(f"{change.value:7}  {entry.name}", markup=False)
    told = ", ".join(f"{changes.count(kind)} {kind.value}" for kind in Change)
    out.print(f"{len(entries)} rooms: {told}.")


@contextmanager
def _store() -> Iterator[Store]:
    from pipeline.store import Store

    with Store(load_settings().effective_database_url) as store:
        yield store


def _refuse_twice(entry: RoomEntry, others: Iterable[RoomEntry]) -> None:
    from pipeline.room_list import shown_url

    for other in others:
        if other.url == entry.url and other.name != entry.name:
            raise BadInputError(
                f"{shown_url(entry.url)} is monitored already as room {other.name}: "
                "it would be judged twice; remove that room first."
            )


def _unknown(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3)
    meant = f"did you mean {' or '.join(near)}?" if near else "see `tingbo rooms list`."
    return f"Room {name} is not monitored: {meant}"


def _plain(room: Room) -> dict[str, Any]:
    from pipeline.room_list import shown_url

    entry = dataclasses.asdict(room.entry) | {"url": shown_url(room.entry.url)}
    return entry | {
        "state": room.state.value,
        "reason": room.reason,
        "since": room.since and room.since.isoformat(),
        "holder": room.holder,
        "added_at": room.added_at.isoformat(),
    }


def _table(found: list[Room]) -> Table:
    from pipeline.room_list import shown_url

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("room", "platform", "priority", "state", "since", "address", "reason"):
        table.add_column(name, overflow="fold")
    for room in found:
        since = f"{room.since.astimezone():%m-%d %H:%M:%S}" if room.since else ""
        table.add_row(
            Text(room.entry.name),
            Text(room.entry.platform),
            str(room.entry.priority),
            Text(room.state.value, _COLOURS.get(room.state.value, "")),
            since,
            Text(shown_url(room.entry.url)),
            Text(room.reason),
        )
    return table
