"""What is left out first when there is more speech than can be heard: the least risky.

Pure. Risk is, in this order: the room's priority; whether its broadcast had a finding lately; that
no room is left out twice before every other one was once; and the length of the speech, because a
short one has less room for a claim.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum

from pipeline.records import SegmentMessage
from pipeline.streams import Delivery

#: How long a finding makes its broadcast risky, on the media clock.
LATELY_MS = 30 * 60_000

#: What the coverage ledger says.
REASON = "识别积压过久，按风险从低到高舍弃，这一段没有听"


class Risk(StrEnum):
    """Why a segment was worth keeping; a label of the metric."""

    QUIET = "quiet_room"
    """No priority and no finding lately."""
    FINDINGS = "room_with_findings"
    PRIORITY = "priority_room"


def risk_of(message: SegmentMessage, last_findings: Mapping[str, int]) -> Risk:
    """Its class. `last_findings` has where in a broadcast, in ms, its latest finding is."""
    if message.priority > 0:
        return Risk.PRIORITY
    return Risk.FINDINGS if _had_finding(message, last_findings) else Risk.QUIET


def least_risky_first(
    waiting: Iterable[Delivery[SegmentMessage]], last_findings: Mapping[str, int]
) -> list[Delivery[SegmentMessage]]:
    """All that wait, in the order in which they are to be left out."""
    rooms: dict[str, list[Delivery[SegmentMessage]]] = defaultdict(list)
    for item in waiting:
        rooms[item.record.room].append(item)
    ranked = []
    for items in rooms.values():
        items.sort(key=lambda item: (_length_ms(item.record), item.at_ms))
        for turn, item in enumerate(items):
            message = item.record
            risky = _had_finding(message, last_findings)
            place = (message.priority, risky, turn, _length_ms(message), item.at_ms)
            ranked.append((place, item))
    ranked.sort(key=lambda pair: pair[0])
    return [item for _, item in ranked]


def _had_finding(message: SegmentMessage, last_findings: Mapping[str, int]) -> bool:
    last_ms = last_findings.get(message.key.broadcast)
    return last_ms is not None and message.start_ms - last_ms < LATELY_MS


def _length_ms(message: SegmentMessage) -> int:
    return message.end_ms - message.start_ms
