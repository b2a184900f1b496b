"""What a self-check says about a whole recording: how much was found, and how far that reaches."""

from __future__ import annotations

from collections import Counter

from pipeline.records import Coverage, CoverageKind, Verdict
from pipeline.reports.replay import Replay
from pipeline.reports.wording import COVERAGE, VERDICTS, length


def conclusion(replay: Replay) -> tuple[str, ...]:
    """What was found and how far it reaches, in Simplified Chinese, without any mark-up."""
    heard = replay.coverage.heard_ms
    if replay.suspicions:
        found = f"疑似 {len(replay.suspicions)} 处（{_verdicts(replay)}）。"
    elif heard > 0:
        found = "听到的部分没有发现疑似问题。"
    else:
        found = "没有听到可以识别的人声，不能得出结论。"
    sentences = (found, coverage_line(replay.coverage, replay.duration_ms))
    if replay.unheard_ms == 0:
        return sentences
    unheard = f"有 {length(replay.unheard_ms)}没有听到，这部分不在结论之内，不能视为没有问题。"
    return (*sentences, unheard)


def _verdicts(replay: Replay) -> str:
    counts = Counter(one.verdict for one in replay.suspicions)
    return " · ".join(
        f"{VERDICTS[verdict]} {counts[verdict]}" for verdict in reversed(Verdict) if counts[verdict]
    )


def coverage_line(coverage: Coverage, duration_ms: int) -> str:
    """The ledger in one line: every kind that occurred, and the length they make up."""
    parts = [
        f"{COVERAGE[kind]} {length(ms)}"
        for kind in CoverageKind
        if (ms := getattr(coverage, f"{kind.value}_ms")) > 0 or kind is CoverageKind.HEARD
    ]
    return f"全长 {length(duration_ms)}：{' · '.join(parts)}"
