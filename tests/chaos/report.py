"""The report of a run: one row a scenario, and below it what does not balance."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tests.chaos.stage import Outcome

_HEADINGS = (
    "scenario", "database", "faults", "segments", "transcripts", "dead", "shed", "lost", "doubled",
    "recovered after", "took", "books",
)  # fmt: skip


def report(outcomes: Sequence[Outcome]) -> Group:
    """The table and the sentences below it."""
    rows = Table(title="Faults and books")
    for heading in _HEADINGS:
        words = heading in ("scenario", "database", "faults", "books")
        rows.add_column(heading, justify="left" if words else "right")
    for one in outcomes:
        rows.add_row(*_row(one))
    lines = [f"{one.scenario} on {one.database}: {text}" for one in outcomes for text in one.wrong]
    return Group(rows, *map(Text, lines), Text(_summary(outcomes)))


def _row(one: Outcome) -> tuple[str, ...]:
    if one.skipped:
        return (one.scenario, one.database, f"skipped: {one.skipped}", *[""] * 8, "skipped")
    counts = (one.segments, one.transcripts, one.dead_letters, one.shed, one.lost, one.doubled)
    recovery = "never" if one.recovery_s is None else f"{one.recovery_s:.1f} s"
    return (
        one.scenario,
        one.database,
        "; ".join(one.faults),
        *map(str, counts),
        recovery,
        f"{one.took_s:.0f} s",
        "balance" if one.passed else "DO NOT BALANCE",
    )


def _summary(outcomes: Sequence[Outcome]) -> str:
    played = [one for one in outcomes if not one.skipped]
    failed = sum(not one.passed for one in played)
    return (
        f"{len(played)} scenarios, {sum(one.segments for one in played)} segments, "
        f"{sum(one.lost for one in played)} lost, {sum(one.doubled for one in played)} doubled; "
        f"{failed} failed, {len(outcomes) - len(played)} skipped."
    )
