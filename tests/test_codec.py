"""The codec: typed, tolerant of neighbouring versions, strict about everything else."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.codec import DecodeError, decode, encode
from pipeline.records import (
    AudioChunk,
    Basis,
    SegmentKey,
    SegmentMessage,
    Stretch,
    Transcript,
    TranscriptMessage,
    Word,
)

AT = dt.datetime(2026, 11, 11, 20, 0, tzinfo=dt.UTC)

#: A busy machine is no reason to fail.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ms = st.integers(-(2**63), 2**63 - 1)
words = st.builds(Word, ms, ms, st.text(), st.floats(allow_nan=False, allow_infinity=False))
transcripts = st.builds(
    Transcript,
    ms,
    ms,
    st.text(),
    st.lists(words).map(tuple),
    st.floats(allow_nan=False, allow_infinity=False),
    guards=st.lists(st.text()).map(tuple),
)


@patient
@given(transcripts)
def test_any_transcript_comes_back_equal(transcript: Transcript) -> None:
    """Whatever the recogniser writes survives, control characters and emoji included."""
    assert decode(Transcript, encode(transcript)) == transcript
    assert decode(Transcript, encode(transcript).encode()) == transcript


@patient
@given(
    st.datetimes(AT.replace(year=1, tzinfo=None), AT.replace(year=9999, tzinfo=None)),
    st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes))),
)
def test_any_time_comes_back_as_the_same_moment(at: dt.datetime, zone: dt.timezone) -> None:
    """Time zones of hosts differ; the moment is what counts."""
    message = TranscriptMessage(SegmentKey("b", 0, 0), "r", at.replace(tzinfo=zone))
    assert decode(TranscriptMessage, encode(message)) == message


@patient
@given(st.binary() | st.text().map(str.encode))
def test_any_other_bytes_are_refused_and_kept(payload: bytes) -> None:
    """Garbage on the bus is an error with the bytes for the dead letter, never a crash."""
    with pytest.raises(DecodeError) as error:
        decode(SegmentMessage, payload)
    assert error.value.payload == payload


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start_ms": "1"}, "Expected `int`, got `str` - at `$.start_ms`"),
        ({"start_ms": True}, "Expected `int`, got `bool` - at `$.start_ms`"),
        ({"start_ms": 1.5}, "Expected `int`, got `float` - at `$.start_ms`"),
        ({"room": None}, "Expected `str`, got `null` - at `$.room`"),
        (
            {"at": "2026-11-11T20:00:00"},
            "Expected `datetime` with a timezone component - at `$.at`",
        ),
        ({"at": "yesterday"}, "Invalid RFC3339 encoded datetime - at `$.at`"),
        (
            {"key": {"broadcast": "b", "epoch": [], "seq": 0}},
            "Expected `int`, got `array` - at `$.key.epoch`",
        ),
        ({"key": []}, "Expected `object`, got `array` - at `$.key`"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], reason: str) -> None:
    """Whoever reads a dead letter sees which field is wrong and why."""
    message = SegmentMessage(SegmentKey("b", 0, 0), "r", 0, 1, AT, "file:///c", "0")
    payload = json.dumps(json.loads(encode(message)) | change)
    with pytest.raises(DecodeError) as error:
        decode(SegmentMessage, payload)
    assert str(error.value) == f"This is not a SegmentMessage: {reason}."


def test_a_missing_field_without_default_is_refused() -> None:
    """A message without its key cannot be processed."""
    with pytest.raises(DecodeError, match="missing required field `end_ms`"):
        decode(Stretch, '{"start_ms": 0, "kind": "heard"}')


def test_an_unknown_code_is_refused() -> None:
    """A kind of stretch nobody knows must not be counted as anything."""
    with pytest.raises(DecodeError, match="Invalid enum value 'asleep'"):
        decode(Stretch, '{"start_ms": 0, "end_ms": 1, "kind": "asleep"}')


def test_neighbouring_versions_understand_each_other() -> None:
    """A newer worker's extra field is passed over; an older worker's absent one is the default."""
    text = '{"start_ms": 0, "end_ms": 1, "text": "好", "speaker": "host"}'
    assert decode(Transcript, text) == Transcript(0, 1, "好")


def test_deep_nesting_is_refused_not_fatal() -> None:
    """A payload made to exhaust the stack is one more dead letter."""
    with pytest.raises(DecodeError):
        decode(Stretch, "[" * 200_000)


def test_what_cannot_travel_is_refused_at_the_sender() -> None:
    """Sound and numbers that are none are defects of the caller."""
    with pytest.raises(TypeError, match=r"numpy\.ndarray is unsupported"):
        encode(AudioChunk(0, np.zeros(3, np.float32)))
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="no number that JSON knows"):
            encode(Transcript(0, 1, "好", (Word(0, 1, "好", number),)))


def test_a_time_without_a_zone_is_refused_by_whoever_reads_it() -> None:
    """Nobody knows which moment it is."""
    naive = TranscriptMessage(SegmentKey("b", 0, 0), "r", AT.replace(tzinfo=None))
    with pytest.raises(DecodeError, match="with a timezone component"):
        decode(TranscriptMessage, encode(naive))


def test_chinese_stays_readable_and_dates_are_iso() -> None:
    """Operators read streams with redis-cli."""
    basis = Basis("a", "广告法", "第十七条", dt.date(2015, 9, 1))
    assert encode(basis) == (
        '{"id":"a","title":"广告法","article":"第十七条","effective_from":"2015-09-01",'
        '"effective_to":null,"source":"","link":"","verified":false}'
    )
