"""Work that SQL remembers and the bus has lost: a flushed server, a failover to an empty replica.

Whatever was published before the oldest message still on its way must have a result by now. What
has none and was not given up is published again; handlers are idempotent, so a wrong guess costs
work and changes nothing.
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass, field
from typing import Any

from pipeline.bus import Bus
from pipeline.records import TranscriptMessage
from pipeline.store import Store
from pipeline.streams import SEGMENTS, TRANSCRIPTS, Stream

log = logging.getLogger(__name__)

#: How far behind the oldest message on its way a row must be to count as forgotten. A row is
#: written before its message.
MARGIN_S = 120.0
#: Older rows are left alone.
REACH_S = 24 * 3600.0
#: Published again at once, so that a flood does not become another one.
MOST = 500


@dataclass(slots=True)
class Orphans:
    """One process looks for them, every now and then. Raises BusError and StoreError."""

    bus: Bus
    store: Store
    margin_s: float = MARGIN_S
    _published: dict[str, dt.datetime] = field(default_factory=dict)
    """When some were last published, by stream: those on their way are not published again."""

    def publish_again(self, now: dt.datetime) -> int:
        """Publish what was forgotten, and give its number."""
        found = 0
        before = self._cutoff(SEGMENTS, "asr", now)
        if before is not None:
            segments = self.store.unheard(before - dt.timedelta(seconds=REACH_S), before, MOST)
            for segment in segments:
                self.bus.publish(SEGMENTS, segment)
            found += self._note(SEGMENTS, len(segments), now)
        before = self._cutoff(TRANSCRIPTS, "detect", now)
        if before is not None:
            unjudged = self.store.unjudged(before - dt.timedelta(seconds=REACH_S), before, MOST)
            for segment in unjudged:
                message = TranscriptMessage(segment.key, segment.room, segment.at)
                self.bus.publish(TRANSCRIPTS, message)
            found += self._note(TRANSCRIPTS, len(unjudged), now)
        return found

    def _cutoff(self, stream: Stream[Any], group: str, now: dt.datetime) -> dt.datetime | None:
        """Rows of before this time are overdue; None while the last ones are still on their way."""
        oldest_s = self.bus.stats(stream, group).oldest_age_s
        last = self._published.get(stream.name)
        if last is not None and oldest_s > 0 and oldest_s >= (now - last).total_seconds() - 1:
            return None
        return now - dt.timedelta(seconds=oldest_s + self.margin_s)

    def _note(self, stream: Stream[Any], count: int, now: dt.datetime) -> int:
        if count:
            self._published[stream.name] = now
            log.warning("%d messages of %s were lost and are published again", count, stream.name)
        return count
