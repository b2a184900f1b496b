"""What the terminal shows."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from pipeline.detect import CheckedLine
from pipeline.records import CATEGORY_NAMES, Category
from pipeline.terminal import print_checked_line
from tests.reports.sample import LINES, replay


@pytest.mark.parametrize("category", Category)
def test_a_finding_of_any_category_is_shown_with_its_name(category: Category) -> None:
    """Also those of further rule packs, in a colour."""
    finding = dataclasses.replace(replay().findings[0], category=category)
    text = io.StringIO()
    out = Console(file=text, force_terminal=True, color_system="standard", width=200)
    print_checked_line(CheckedLine(2, 0, LINES[1][1], (finding,)), out)
    name = f"{CATEGORY_NAMES[category]} X01"
    assert f"m{name}\x1b" in text.getvalue()
