"""Rooms on the air sound like a live room: the broadcast in a loop, with a clock that runs on."""

from __future__ import annotations

from itertools import islice

from pipeline.ingest import SourceOptions, open_source
from pipeline.records import AudioChunk
from tests.chaos.air import Programme, Tag, flv_tag, on_the_air, read_programme

PROGRAMME = Programme(b"setup", (Tag(0, b"a"), Tag(20, b"b"), Tag(40, b"c")), 60)


def test_a_room_begins_in_the_middle_and_its_clock_runs_on() -> None:
    """Times count from where the room begins, over the end of the broadcast."""
    assert [(tag.at_ms, tag.data) for tag in islice(PROGRAMME.from_ms(80), 4)] == [
        (0, b"b"),
        (20, b"c"),
        (40, b"a"),
        (60, b"b"),
    ]


def test_tags_are_read_as_they_are_written() -> None:
    """Also beyond the 24 bits of the first time field: a day of broadcast."""
    header = b"FLV\x01\x04\x00\x00\x00\x09\x00\x00\x00\x00"
    tags = ((0, b"setup"), (0, b"one"), (90_000_000, b"two"), (90_000_020, b"three"))
    read = read_programme(header + b"".join(flv_tag(*tag) for tag in tags))
    assert read.setup == b"setup"
    assert [(tag.at_ms, tag.data) for tag in read.tags] == list(tags[1:])
    assert read.length_ms == 90_000_040


def test_a_room_is_live_and_can_be_heard() -> None:
    """Ingest finds sound, and no end: what it hears is a live room."""
    with on_the_air() as air:
        options = SourceOptions(open_timeout_s=30, read_timeout_s=30, allowed_hosts=("127.0.0.1",))
        with open_source(air.address("room1"), options) as source:
            assert source.info.live
            sound = next(item for item in source.read() if isinstance(item, AudioChunk))
            assert len(sound.samples) > 0
        assert air.played_ms("room1") > 0
