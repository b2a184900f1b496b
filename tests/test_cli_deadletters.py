"""`tingbo deadletters` as it is typed, on a real bus."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.bus import Bus
from pipeline.cli import main
from pipeline.metrics import Metrics
from pipeline.records import SegmentKey, SegmentMessage
from pipeline.streams import SEGMENTS

AT = dt.datetime(2026, 11, 11, 20, 0, tzinfo=dt.UTC)


class Terminal:
    """Runs the program in this process and gives what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        with pytest.raises(SystemExit) as ended:
            main(["deadletters", *arguments])
        printed = self._capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture
def terminal(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    monkeypatch.setenv("TINGBO_REDIS_URL", redis_url)
    return Terminal(capsys)


@pytest.fixture
def bus(redis_url: str) -> Iterator[Bus]:
    """With two segments that were given up."""
    with Bus(redis_url, Metrics()) as bus:
        for seq in range(2):
            key = SegmentKey("b", 0, seq)
            bus.publish(SEGMENTS, SegmentMessage(key, "r", 0, 9, AT, f"clips/{seq}.flac", "0"))
        for item in bus.read_batch(SEGMENTS, "asr", "c", 10, 0):
            bus.dead_letter(SEGMENTS, "asr", item, "the clip cannot be decoded")
        yield bus


def ids(terminal: Terminal) -> list[str]:
    """Ids of all dead letters, newest first."""
    return [letter["id"] for letter in json.loads(terminal("list", "--json")[1])]


def test_the_list_tells_reason_and_clip(terminal: Terminal, bus: Bus) -> None:
    """In lines to copy ids from and as JSON, newest first."""
    code, out, err = terminal("list")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"segments:{bus.dead_letters(SEGMENTS)[0].letter}  2")
    assert lines[0].endswith("+00:00  clips/1.flac")
    assert lines[1] == "    the clip cannot be decoded"
    assert "tingbo deadletters replay ID" in err
    letters = json.loads(terminal("list", "--json")[1])
    assert [letter["clip_uri"] for letter in letters] == ["clips/1.flac", "clips/0.flac"]
    assert {letter["deliveries"] for letter in letters} == {1}


def test_nothing_given_up_is_said(terminal: Terminal) -> None:
    """An empty list is a sentence, not silence; as JSON it is an empty list."""
    assert terminal("list")[:2] == (0, "No dead letters.\n")
    assert terminal("list", "--json")[:2] == (0, "[]\n")


def test_one_is_shown_whole(terminal: Terminal, bus: Bus) -> None:
    """With the message as it was."""
    name = ids(terminal)[1]
    code, out, _ = terminal("show", name)
    shown = json.loads(out)
    assert code == 0
    assert shown["message"]["key"] == {"broadcast": "b", "epoch": 0, "seq": 0}
    assert (shown["stream"], shown["group"]) == ("segments", "asr")
    assert len(bus.dead_letters(SEGMENTS)) == 2


def test_replaying_one_puts_its_message_back(terminal: Terminal, bus: Bus) -> None:
    """It is read again, marked as replayed; the other one stays."""
    name = ids(terminal)[0]
    assert terminal("replay", name)[:2] == (0, "1 messages will be handled again.\n")
    (delivery,) = bus.read_batch(SEGMENTS, "asr", "c", 10, 0)
    assert (delivery.record.key.seq, delivery.replayed) == (1, True)
    assert [letter.clip_uri for letter in bus.dead_letters(SEGMENTS)] == ["clips/0.flac"]


def test_all_can_be_discarded(terminal: Terminal, bus: Bus) -> None:
    """They are gone, and no message comes of it."""
    assert terminal("discard", "--all")[:2] == (0, "2 messages were discarded.\n")
    assert bus.dead_letters(SEGMENTS) == []
    assert bus.read_batch(SEGMENTS, "asr", "c", 10, 0) == []


@pytest.mark.parametrize("name", ["segments:1-1", "nonsense", "segments:", "segments:x/1-1", "a:b"])
def test_an_id_that_does_not_exist_touches_nothing(terminal: Terminal, bus: Bus, name: str) -> None:
    """All names are looked up before the first letter is replayed."""
    code, _, err = terminal("replay", ids(terminal)[0], name)
    assert code == 2
    assert f"Dead letter {name} does not exist" in err
    assert len(bus.dead_letters(SEGMENTS)) == 2


def test_naming_none_or_both_is_refused(terminal: Terminal, bus: Bus) -> None:
    """Neither an id nor --all, or both, is no clear order."""
    for arguments in ((), (ids(terminal)[0], "--all")):
        code, _, err = terminal("discard", *arguments)
        assert (code, "give their ids, or --all" in err) == (2, True)
    assert len(bus.dead_letters(SEGMENTS)) == 2


def test_an_installation_that_never_ran_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Looking must not start an empty server and call the queue clean."""
    monkeypatch.delenv("TINGBO_REDIS_URL", raising=False)
    monkeypatch.setenv("TINGBO_DATA_DIR", str(tmp_path / "none"))
    code, _, err = Terminal(capsys)("list")
    assert code == 3
    assert "No bus was ever started" in err
    assert not (tmp_path / "none").exists()
