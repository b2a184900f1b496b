"""The self-check on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.records import CATEGORY_NAMES, Finding, Verdict
from pipeline.reports.conclusion import conclusion
from pipeline.reports.replay import Replay
from pipeline.reports.wording import (
    SUSPICION_NOTICE,
    SYNTHETIC_NOTICE,
    VERDICTS,
    clock,
    visible,
)

_STYLES = {Verdict.BLOCK: "bold red", Verdict.REVIEW: "yellow", Verdict.PASS: "dim"}


def replay_table(replay: Replay, console: Console) -> None:
    """Print findings, coverage and what must be known to read them. No text is read as markup."""
    if replay.findings:
        console.print(Text(SUSPICION_NOTICE, style="dim"))
        console.print(_findings(replay.findings))
    for sentence in conclusion(replay):
        console.print(Text(sentence))
    if replay.failure is not None:
        console.print(Text(f"没有听完：{visible(replay.failure)}", style="bold red"))
    if replay.synthetic_only:
        console.print(Text(SYNTHETIC_NOTICE, style="bold yellow"))


def _findings(findings: tuple[Finding, ...]) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for title, width in (("时间", 7), ("原话", 16), ("类别", 12), ("判定", 8), ("规则", 6)):
        table.add_column(title, min_width=width, no_wrap=title in ("时间", "类别", "判定"))
    table.add_column("原因", min_width=16, ratio=1)
    for one in findings:
        table.add_row(
            Text(clock(one.start_ms)),
            Text(visible(one.evidence)),
            Text(CATEGORY_NAMES[one.category]),
            Text(VERDICTS[one.verdict], style=_STYLES[one.verdict]),
            Text(visible(one.rule)),
            Text(visible(one.why.text)),
        )
    return table
