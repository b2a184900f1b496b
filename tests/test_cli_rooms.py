"""`tingbo rooms`: what is monitored, and what is refused with which words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.room_list import default_name
from pipeline.store import RoomEntry, Store
from tests.test_cli import Tingbo, tingbo

__all__ = ["tingbo"]  # a fixture

URL = "https://u:secret@pull.example.com/live/shop1.flv?token=t0ken"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path}/data/tingbo.sqlite3")


def listed(tingbo: Tingbo) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(tingbo("rooms", "list", "--json")[1])
    return found


def test_a_room_is_added_listed_and_removed(tingbo: Tingbo, store: Store) -> None:
    """The whole address is kept; what is shown has neither password nor token."""
    words = ("--platform", "douyin", "--priority", "7", "--language", "en")
    code, out, _ = tingbo("rooms", "add", URL, *words)
    assert (code, out) == (0, "added: shop1  https://pull.example.com/live/shop1.flv\n")
    assert [room.entry for room in store.rooms.all()] == [
        RoomEntry("shop1", URL, "douyin", 7, "en")
    ]
    (room,) = listed(tingbo)
    assert (room["name"], room["state"], room["priority"]) == ("shop1", "waiting", 7)
    assert room["url"] == "https://pull.example.com/live/shop1.flv"
    table = tingbo("rooms", "list")[1]
    assert "waiting" in table
    assert "secret" not in table
    assert tingbo("rooms", "remove", "shop1")[:2] == (0, "removed: shop1\n")
    assert tingbo("rooms", "list")[:2] == (
        0,
        "No room is monitored: tingbo rooms add URL adds one.\n",
    )


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://pull.example.com/live/shop1.flv?sign=1", "shop1"),
        ("https://x.example.com/hls/shop-2/index.m3u8", "shop-2"),
        ("rtmp://live.example.com/live/stream", "live.example.com"),
        ("https://x.example.com/a/%E5%BA%97.flv", "E5-BA-97"),
    ],
)
def test_a_name_is_made_from_the_address(url: str, name: str) -> None:
    """The last part that tells rooms apart, else the host."""
    assert default_name(url) == name


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["/videos/a.mp4"], "is no address; a room is a live address with http, https, rtmp"),
        (["file:///etc/passwd"], "begins with file:; a room is a live address"),
        (["concat:http://a|http://b"], "begins with concat:"),
        (["https:///a.flv"], "names no host"),
        (["http://[::1/a.flv"], "cannot be read"),
        ([URL, "--name", "../x"], "Room name '../x' cannot be used"),
        ([URL, "--language", "Chinese"], "Language 'Chinese' is no code"),
    ],
)
def test_what_cannot_be_monitored_is_refused_with_its_reason(
    tingbo: Tingbo, words: list[str], says: str
) -> None:
    """One sentence, code 2, and nothing is monitored."""
    code, out, err = tingbo("rooms", "add", *words)
    assert (code, out) == (2, "")
    assert says in err
    assert listed(tingbo) == []


def test_a_name_or_an_address_is_monitored_once(tingbo: Tingbo, store: Store) -> None:
    """A second room of the name needs --replace; the same address is never judged twice."""
    tingbo("rooms", "add", URL)
    other = "https://pull.example.com/v2/shop1.flv"
    code, _, err = tingbo("rooms", "add", other)
    assert code == 2
    assert "Room shop1 is monitored already: give another --name, or --replace" in err
    code, _, err = tingbo("rooms", "add", URL, "--name", "again")
    assert code == 2
    assert "shop1.flv is monitored already as room shop1" in err
    assert "t0ken" not in err
    assert tingbo("rooms", "add", other, "--replace")[1].startswith("changed: shop1")
    assert [room.entry.url for room in store.rooms.all()] == [other]


def test_an_unknown_name_is_told_with_what_was_meant(tingbo: Tingbo) -> None:
    """The nearest names, or where to look."""
    tingbo("rooms", "add", URL)
    assert (
        "Room shop2 is not monitored: did you mean shop1?" in tingbo("rooms", "remove", "shop2")[2]
    )
    code, _, err = tingbo("rooms", "remove", "x")
    assert (code, "see `tingbo rooms list`." in err) == (2, True)


FILE = """
[[rooms]]
url = "https://pull.example.com/live/a.flv"
platform = "douyin"
priority = 5

[[rooms]]
name = "b-店"
url = "rtmp://pull.example.com/live/b"
language = "en"
"""


def test_a_file_adds_and_changes_and_says_which(
    tingbo: Tingbo, tmp_path: Path, store: Store
) -> None:
    """Twice the same file changes nothing; rooms it does not name stay."""
    tingbo("rooms", "add", URL)
    path = tmp_path / "rooms.toml"
    path.write_text(FILE, encoding="utf-8")
    code, out, _ = tingbo("rooms", "import", str(path))
    assert (code, out) == (
        0,
        "added    a\nadded    b-店\n2 rooms: 2 added, 0 changed, 0 same.\n",
    )
    path.write_text(FILE.replace("priority = 5", "priority = 6"), encoding="utf-8")
    out = tingbo("rooms", "import", str(path))[1]
    assert out == "changed  a\nsame     b-店\n2 rooms: 0 added, 1 changed, 1 same.\n"
    assert [(room.entry.name, room.entry.priority) for room in store.rooms.all()] == [
        ("a", 6),
        ("b-店", 0),
        ("shop1", 0),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('language = "en"', 'lang = "en"'), ", line 7: Key lang is unknown: use url, name"),
        (("priority = 5", 'priority = "5"'), ", line 2: priority is '5': give a whole number."),
        (("priority = 5", "priority = true"), ", line 2: priority is True: give a whole number."),
        (("rtmp://pull", "ftp://pull"), ", line 7: ftp://pull.example.com/live/b begins with ftp"),
        (('url = "rtmp://pull.example.com/live/b"', ""), ", line 7: The room has no url"),
        (('"b-店"', '"a"'), ", line 7: The name a stands at line 2 too"),
        (("[[rooms]]", "[[room]]"), ": room is unknown"),
        (("[[rooms]]", "[[rooms"), "is not valid TOML"),
    ],
)
def test_one_wrong_room_refuses_the_file(
    tingbo: Tingbo, tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    """File, line and what is wrong; nothing of the file is taken."""
    path = tmp_path / "rooms.toml"
    path.write_text(FILE.replace(*change), encoding="utf-8")
    code, out, err = tingbo("rooms", "import", str(path))
    assert (code, out) == (2, "")
    assert str(path) in err
    assert says in err
    assert listed(tingbo) == []


def test_a_file_that_is_not_there_is_named(tingbo: Tingbo) -> None:
    """One sentence, code 2."""
    code, _, err = tingbo("rooms", "import", "/nowhere/rooms.toml")
    assert code == 2
    assert "/nowhere/rooms.toml cannot be read (No such file or directory)" in err
