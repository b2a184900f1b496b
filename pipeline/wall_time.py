"""The wall time. The media clock of a broadcast comes from sample counts instead."""

from __future__ import annotations

import datetime as dt


def utc_now() -> dt.datetime:
    """The wall time of this machine, aware and in UTC."""
    return dt.datetime.now(dt.UTC)
