"""What the terminal shows."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io

import pytest
from rich.console import Console

from pipeline.detect import CheckedLine
from pipeline.records import (
    CATEGORY_NAMES,
    Case,
    CaseState,
    Category,
    Correction,
    Earlier,
    Finding,
)
from pipeline.review import Opinion
from pipeline.review.opinion import HeardAgain
from pipeline.terminal import print_case, print_checked_line
from tests.reports.sample import LINES, replay

AT = dt.datetime(2026, 11, 22, 8, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize("category", Category)
def test_a_finding_of_any_category_is_shown_with_its_name(category: Category) -> None:
    """Also those of further rule packs, in a colour."""
    finding = dataclasses.replace(replay().findings[0], category=category)
    text = io.StringIO()
    out = Console(file=text, force_terminal=True, color_system="standard", width=200)
    print_checked_line(CheckedLine(2, 0, LINES[1][1], (finding,)), out)
    name = f"{CATEGORY_NAMES[category]} X01"
    assert f"m{name}\x1b" in text.getvalue()


def shown(finding: Finding) -> str:
    """What `tingbo check` prints of a finding, with colours."""
    text = io.StringIO()
    out = Console(file=text, force_terminal=True, color_system="standard", width=200)
    print_checked_line(CheckedLine(2, 0, LINES[1][1], (finding,)), out)
    return text.getvalue()


def test_both_halves_of_a_claim_are_marked() -> None:
    """The earlier one with its time, in the same colour; control characters do nothing."""
    finding = replay().findings[0]
    half = Earlier(61_500, "专柜\x1b[2J卖一千二", (0, 2))
    text = shown(dataclasses.replace(finding, why=dataclasses.replace(finding.why, earlier=half)))
    assert "前句 [1:01.5] " in text
    assert "m专柜\x1b[0m�[2J卖一千二" in text
    assert "前句" not in shown(finding)


def test_a_case_tells_its_corrections_and_earlier_cases() -> None:
    """What the reviewer needs to judge once: taken back when, and decided before."""
    finding = replay().findings[0]
    back = dataclasses.replace(finding.why, correction=Correction(61_500, "刚才说错了"))
    corrected = dataclasses.replace(finding, why=back)
    case = Case(
        *("c1", "room", "b", finding.category, CaseState.OPEN, 0, 9, (0, 5), LINES[1][1], "clip"),
        *(finding, AT, AT, (finding, corrected)),
    )
    before = dataclasses.replace(case, id="c0", state=CaseState.DECIDED)
    text = io.StringIO()
    again = [
        Opinion(61_500, "治愈", "large", text_, heard)
        for text_, heard in (("能治愈\x1b[2J吗", HeardAgain.SAME), ("", HeardAgain.ABSENT))
    ]
    print_case(case, [before], again, Console(file=text, width=200))
    assert "更正  主播随后更正：[1:01.5] 刚才说错了\n" in text.getvalue()
    assert "以前说过  c0（2026-11-22，已处理）\n" in text.getvalue()
    assert "复听（large）  [1:01.5] 能治愈�[2J吗　（“治愈”同样听到）\n" in text.getvalue()
    assert "没有听出文字　（没有听到“治愈”，请回听录音）\n" in text.getvalue()
