"""Sums of the coverage ledger. Unheard time is never clean time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.records import Coverage, CoverageKind, Stretch

#: Where stretches overlap, the first of these counts: recognition may fail on what ingest heard,
#: and what one connection had is not lost because the next one knew nothing of it.
_FIRST_COUNTS = (
    CoverageKind.FAILED,
    CoverageKind.SHED,
    CoverageKind.HEARD,
    CoverageKind.MUSIC,
    CoverageKind.SILENT,
    CoverageKind.LOST,
)


def coverage_of(stretches: Iterable[Stretch]) -> Coverage:
    """Sums in ms over stretches in any order; every ms counts once."""
    edges = sorted(
        edge
        for stretch in stretches
        for edge in ((stretch.start_ms, stretch.kind, 1), (stretch.end_ms, stretch.kind, -1))
    )
    sums: Counter[CoverageKind] = Counter()
    open_: Counter[CoverageKind] = Counter()
    before_ms = 0
    for at_ms, kind, change in edges:
        counts = next((one for one in _FIRST_COUNTS if open_[one] > 0), None)
        if counts is not None:
            sums[counts] += at_ms - before_ms
        open_[kind] += change
        before_ms = at_ms
    return Coverage(**{f"{kind.value}_ms": sums[kind] for kind in CoverageKind})


def entries(broadcast: str, epoch: int, found: Sequence[Stretch]) -> list[dict[str, Any]]:
    """Rows of the coverage ledger."""
    return [
        {
            "broadcast": broadcast,
            "epoch": epoch,
            "start_ms": stretch.start_ms,
            "end_ms": stretch.end_ms,
            "kind": stretch.kind.value,
            "reason": stretch.reason,
        }
        for stretch in found
    ]
