"""What an operator may say of a room, on the command line and in rooms.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pipeline.errors import BadInputError
from pipeline.store import RoomEntry

#: How live rooms are fetched.
SCHEMES = ("http", "https", "rtmp", "rtmps")

_KEYS = {"url": str, "name": str, "platform": str, "priority": int, "language": str}
#: Letters of any script: names become parts of ids and are typed on a command line.
_NAME = re.compile(r"\w[\w.-]{0,63}")
_LANGUAGE = re.compile("[a-z]{2,3}")
#: Last parts of addresses that do not tell one room from another.
_NO_NAMES = {"", "index", "playlist", "live", "stream", "master", "chunklist", "hls", "flv"}


def shown_url(url: str) -> str:
    """`url` as it may be printed: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def default_name(url: str) -> str:
    """A name for the room at `url`: the last part of it that says something."""
    parts = _parts(url)
    places = [place.partition(".")[0] for place in reversed(parts.path.split("/"))]
    named = next((place for place in places if place.lower() not in _NO_NAMES), None)
    name = re.sub(r"[^\w.-]+", "-", named or parts.hostname or "").strip("-._")[:64]
    if not name:
        raise BadInputError(f"{shown_url(url)} gives no name for the room: give one with --name.")
    return name


def check_entry(entry: RoomEntry) -> None:
    """Raise BadInputError, naming the reason and the remedy, for what cannot be monitored."""
    _parts(entry.url)
    check_name(entry.name)
    if not _LANGUAGE.fullmatch(entry.language):
        raise BadInputError(f"Language {entry.language!r} is no code: give one such as zh or en.")
    if not -100 <= entry.priority <= 100:
        raise BadInputError(f"Priority {entry.priority} is out of range: give one of -100 to 100.")


def check_name(name: str) -> None:
    """Raise BadInputError for what cannot be the name of a room."""
    if not _NAME.fullmatch(name):
        raise BadInputError(
            f"Room name {name!r} cannot be used: give letters, digits, '-', '_' and '.', "
            "at most 64 and no sign first."
        )


def read_room_file(path: Path) -> list[RoomEntry]:
    """The rooms of a rooms.toml. Raises BadInputError with file, line and what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read ({error.strerror}): give a TOML file of rooms."
        ) from error
    except ValueError as error:
        raise BadInputError(f"{path} is not valid TOML ({error}): correct it.") from error
    tables = content.pop("rooms", None)
    if content or not isinstance(tables, list) or not tables:
        wrong = f"{', '.join(content)} is unknown" if content else "it names no room"
        raise BadInputError(f"{path}: {wrong}; give a table [[rooms]] with a url for each room.")
    lines = _lines(text)
    names: dict[str, int] = {}
    urls: dict[str, int] = {}
    entries = []
    for number, table in enumerate(tables):
        line = lines[number] if number < len(lines) else 1
        try:
            entry = _entry(table)
            _only_once("name", entry.name, names, line)
            _only_once("address", entry.url, urls, line)
        except BadInputError as error:
            raise BadInputError(f"{path}, line {line}: {error}") from error
        entries.append(entry)
    return entries


def _entry(table: object) -> RoomEntry:
    if not isinstance(table, dict):
        raise BadInputError('A room is a table: give [[rooms]] and below it url = "…".')
    for key, value in table.items():
        if key not in _KEYS:
            raise BadInputError(f"Key {key} is unknown: use {', '.join(_KEYS)}.")
        if type(value) is not _KEYS[key]:
            kind = "a whole number" if _KEYS[key] is int else "a text"
            raise BadInputError(f"{key} is {value!r}: give {kind}.")
    if "url" not in table:
        raise BadInputError("The room has no url: give its live address.")
    said: dict[str, Any] = {"name": default_name(table["url"])} if "name" not in table else {}
    entry = RoomEntry(**said, **table)
    check_entry(entry)
    return entry


def _only_once(what: str, value: str, seen: dict[str, int], line: int) -> None:
    if value in seen:
        shown = value if what == "name" else shown_url(value)
        raise BadInputError(f"The {what} {shown} stands at line {seen[value]} too: name it once.")
    seen[value] = line


def _lines(text: str) -> list[int]:
    """Line numbers at which the tables of rooms begin."""
    lines = text.splitlines()
    return [n for n, line in enumerate(lines, 1) if re.match(r"\s*\[\[\s*rooms\s*\]\]", line)]


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInputError(f"The address cannot be read ({error}): check it.") from error
    if parts.scheme.lower() not in SCHEMES or "://" not in url:
        kind = f"begins with {parts.scheme}:" if parts.scheme else "is no address"
        raise BadInputError(
            f"{url.partition('?')[0][:80]} {kind}; a room is a live address with "
            f"{', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}. Recordings: tingbo replay FILE."
        )
    if not parts.hostname or port == 0 or re.search(r"[\s\x00-\x1f]", url):
        raise BadInputError(f"{shown_url(url)} names no host: check the address.")
    return parts
