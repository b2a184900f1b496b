"""The self-check on a terminal."""

from __future__ import annotations

import dataclasses
import io

from rich.console import Console

from pipeline.records import Coverage, Verdict
from pipeline.reports import Replay, replay_table
from tests.reports.sample import replay


def printed(checked: Replay) -> str:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    replay_table(checked, console)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_every_finding_is_a_row_with_its_coverage_below() -> None:
    """Time, words, category, verdict, rule and reason; then how much was heard."""
    text = printed(replay())
    (row,) = [line for line in text.splitlines() if "专柜卖一千二" in line]
    for part in ("00:13", "虚假价格比较", "建议复核", "rule-3", "原因3"):
        assert part in row
    assert "疑似 4 处（建议拦截 2 · 建议复核 2）。" in text
    assert "全长 25 秒：已听 20 秒 · 静音 1 秒 · 缺失 4 秒" in text
    assert "有 4 秒没有听到，这部分不在结论之内，不能视为没有问题。" in text
    assert "只认识合成语音" not in text


def test_the_bundled_model_and_a_failure_are_announced() -> None:
    """What limits the result is said in the table, not left to the reader."""
    text = printed(replay(synthetic_only=True, failure="a.mp4 is cut off."))
    assert "内置演示语音模型只认识合成语音" in text
    assert "没有听完：a.mp4 is cut off." in text


def test_nothing_found_is_said_of_what_was_heard_only() -> None:
    """A clean result speaks of the heard part, and an unheard recording gets none."""
    clean = printed(replay(findings=(), coverage=Coverage(heard_ms=25_000)))
    assert "听到的部分没有发现疑似问题。" in clean
    assert "没有听到，" not in clean
    deaf = printed(replay(findings=(), coverage=Coverage(silent_ms=25_000)))
    assert "不能得出结论" in deaf
    assert "没有发现" not in deaf


def test_passed_look_alikes_are_no_suspicions() -> None:
    """A finding that the rules let pass is listed and not counted."""
    found = [dataclasses.replace(one, verdict=Verdict.PASS) for one in replay().findings]
    text = printed(replay(findings=tuple(found)))
    assert "可放行" in text
    assert "没有发现疑似问题" in text


def test_hostile_text_stays_text() -> None:
    """Neither markup nor terminal escapes in what was said reach the terminal."""
    (first, *_) = replay().findings
    hostile = dataclasses.replace(first, evidence="[red]假[/red]\x1b[2J\u202e倒")
    text = printed(replay(findings=(hostile,)))
    assert "[red]假[/red]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
