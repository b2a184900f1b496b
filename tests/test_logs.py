"""Logs: one line a record, told what it is about, and no secrets in it."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from pipeline.logs import (
    JsonLines,
    TextLines,
    concern,
    concern_segment,
    message_of,
    without_secrets,
)
from pipeline.records import SegmentKey
from pipeline.settings import Settings, as_environment


def line(message: str, *args: object, error: BaseException | None = None) -> dict[str, object]:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("pipeline.x", logging.WARNING, "x.py", 1, message, args, exc_info)
    text = JsonLines().format(record)
    assert "\n" not in text
    found: dict[str, object] = json.loads(text)
    return found


def test_a_record_is_one_json_object() -> None:
    """Time in UTC with milliseconds, level, logger and message; nothing that is not known."""
    concern()
    found = line("%d 段\n丢了", 3)
    at = found.pop("time")
    assert isinstance(at, str)
    assert at.endswith("Z")
    assert len(at) == len("2026-11-25T12:00:00.000Z")
    assert found == {"level": "warning", "logger": "pipeline.x", "message": "3 段\n丢了"}


def test_a_record_says_what_it_is_about() -> None:
    """Broadcast, epoch, seq and room stand as fields, until something else is taken up."""
    concern_segment("room1", SegmentKey("b1", 0, 7))
    assert {"room": "room1", "broadcast": "b1", "epoch": 0, "seq": 7}.items() <= line("x").items()
    concern(room="room2")
    found = line("x")
    assert found["room"] == "room2"
    assert "broadcast" not in found
    concern()
    assert "room" not in line("x")


def test_threads_do_not_mix_what_they_work_on() -> None:
    """Fifty rooms are listened to by threads of one process."""
    concern(room="mine")
    other: list[dict[str, object]] = []

    def work() -> None:
        concern(room="theirs")
        other.append(line("x"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert other[0]["room"] == "theirs"
    assert line("x")["room"] == "mine"
    concern()


def test_an_exception_is_inside_its_line() -> None:
    """A traceback does not break a line in pieces, and is as free of secrets as the rest."""
    with pytest.raises(ValueError, match="hunter2") as raised:
        int("redis://u:hunter2@h/0")
    found = line("failed", error=raised.value)
    assert "Traceback" in str(found["exception"])
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("redis://:hunter2@h:6379/0 is away", "redis://***@h:6379/0 is away"),
        ("postgresql+psycopg://u:p@ss@h/db", "postgresql+psycopg://***@h/db"),
        ("GET https://h/a.flv?txSecret=ab&txTime=1 (404)", "GET https://h/a.flv?*** (404)"),
        ("rtmp://h/live/x?auth_key=1-2-3.", "rtmp://h/live/x?***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("push token=abc123, room a", "push token=***, room a"),
        ("TINGBO_PASSWORD: x1", "TINGBO_PASSWORD: ***"),
        ("http://h/p is fine, a@b too", "http://h/p is fine, a@b too"),
        ("2 tokens are left", "2 tokens are left"),
    ],
)
def test_secrets_are_not_printed(said: str, shown: str) -> None:
    """Passwords of addresses, signed parts of platform URLs and tokens; other words stay."""
    assert without_secrets(said) == shown
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "%s", (said,), None)
    assert TextLines().format(record).endswith(shown)


def test_a_line_is_read_back_in_either_form() -> None:
    """Whoever shows the last line of a log shows what it says."""
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "the port is taken", (), None)
    assert message_of(JsonLines().format(record)) == "the port is taken"
    assert message_of("the port is taken") == "the port is taken"
    assert message_of("[1]") == "[1]"


def test_a_failure_in_a_worker_names_the_segment(redis_url: str) -> None:
    """The record of a caught fault says which segment it was about, with the traceback."""
    from pipeline.bus import Bus
    from pipeline.consumer import Consumer
    from pipeline.metrics import Metrics
    from pipeline.streams import SEGMENTS

    stream, stop = io.StringIO(), threading.Event()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("pipeline.consumer")
    logger.addHandler(handler)

    def step() -> None:
        concern_segment("room1", SegmentKey("b1", 2, 7))
        stop.set()
        raise RuntimeError("unforeseen")

    try:
        with Bus(redis_url, Metrics()) as bus:
            bus.ensure_group(SEGMENTS, "asr")
            Consumer(bus, SEGMENTS, "asr", Metrics()).work(step, stop)
    finally:
        logger.removeHandler(handler)
    (written,) = stream.getvalue().splitlines()
    found = json.loads(written)
    assert (found["room"], found["broadcast"], found["epoch"], found["seq"]) == (
        "room1",
        "b1",
        2,
        7,
    )
    assert "unforeseen" in found["exception"]


def test_a_thread_that_ends_by_a_fault_is_one_line() -> None:
    """Also in threads: no traceback stands bare among JSON lines."""
    source = (
        "import threading\nfrom pipeline.logs import set_up_logs\n"
        "set_up_logs('json', verbose=False)\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='pages')\n"
        "thread.start()\nthread.join()"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stderr)
    assert found["message"] == "The thread pages ends"
    assert "ZeroDivisionError" in found["exception"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_error_that_ends_a_command_has_the_form_of_the_log(
    form: Literal["text", "json"], tmp_path: Path
) -> None:
    """The role's last words are one record, so that what gathers logs can read them."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "janitor"],
        env=as_environment(replace(Settings(), log_format=form, data_dir=tmp_path)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    if form == "json":
        found = json.loads(done.stderr)
        assert (found["level"], found["logger"]) == ("error", "tingbo")
        assert found["message"].startswith("A single role needs a bus")
    else:
        assert done.stderr.startswith("A single role needs a bus")


def test_a_fault_nobody_foresaw_is_one_line_too() -> None:
    """A crash leaves one JSON record with its traceback."""
    source = "from pipeline.logs import set_up_logs\nset_up_logs('json', verbose=False)\n1 / 0"
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    found = json.loads(done.stderr)
    assert found["level"] == "critical"
    assert "ZeroDivisionError" in found["exception"]
