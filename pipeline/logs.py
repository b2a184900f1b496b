"""Logs: one line a record on stderr, as text or JSON, without secrets.

What a line is about (room, broadcast, epoch, seq) is set once with `concern` by whoever takes a
piece of work up, and stands in every JSON line that follows from it in the same thread.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import sys
import threading
from contextvars import ContextVar
from types import TracebackType
from typing import Literal

from pipeline.records import SegmentKey

_about: ContextVar[dict[str, object] | None] = ContextVar("about", default=None)

#: User and password of an address; its query, by which platforms sign addresses; tokens.
_SECRETS = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/]+@", re.I), r"\1***@"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?\"'<>]*\?)[^\s\"'<>)]+", re.I), r"\1***"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]+", re.I), r"\1 ***"),
    (
        re.compile(r"([\w-]*(?:token|secret|passw(?:or)?d|api_?key)\s*[=:]\s*)[^\s,;&\"']+", re.I),
        r"\1***",
    ),
)


def concern(
    room: str | None = None,
    broadcast: str | None = None,
    epoch: int | None = None,
    seq: int | None = None,
) -> None:
    """Say what this thread works on from now on; nothing given clears it."""
    told = {"room": room, "broadcast": broadcast, "epoch": epoch, "seq": seq}
    _about.set({name: value for name, value in told.items() if value is not None})


def concern_segment(room: str, key: SegmentKey) -> None:
    """Say that this thread works on a segment from now on."""
    concern(room, key.broadcast, key.epoch, key.seq)


def without_secrets(text: str) -> str:
    """`text` with passwords, tokens and signed parts of addresses replaced by ***."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class TextLines(logging.Formatter):
    """Lines for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line; an exception's own lines follow it."""
        return without_secrets(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, message, what it is about, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            **(_about.get() or {}),
        }
        if record.exc_info:
            line["exception"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def set_up_logs(form: Literal["text", "json"], *, verbose: bool) -> None:
    """Send what this process logs to stderr; `verbose` adds what is normal."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, handlers=[handler], force=True
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every plugin
    if form == "json":
        logging.captureWarnings(capture=True)
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread


def logs_json() -> bool:
    """Whether stderr carries JSON lines."""
    return any(isinstance(one.formatter, JsonLines) for one in logging.getLogger().handlers)


def message_of(line: str) -> str:
    """What a line of a log says, whichever form it has."""
    try:
        found = json.loads(line)
    except ValueError:
        return line
    return str(found["message"]) if isinstance(found, dict) and "message" in found else line


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logging.getLogger("tingbo").critical("This process ends", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(what: threading.ExceptHookArgs) -> None:
    name = what.thread.name if what.thread else "that is gone"
    error = what.exc_value or what.exc_type()
    logging.getLogger("tingbo").critical("The thread %s ends", name, exc_info=error)
