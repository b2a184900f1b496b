"""The runbook: every alert has a section, and it says nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
GROUPS: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text("utf-8"))[
    "groups"
]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
SECTIONS = dict(
    re.findall(r"^#{2,3} ([^\n]+)\n(.*?)(?=^#{1,3} |\Z)", RUNBOOK, flags=re.MULTILINE | re.DOTALL)
)


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_every_alert_says_what_to_do(alert: str) -> None:
    """Its annotation leads to a section of that name, which is more than a heading."""
    assert ALERTS[alert]["annotations"]["runbook"] == f"RUNBOOK.md#{alert.lower()}"
    assert len(SECTIONS[alert]) > 150


def test_no_section_is_about_an_alert_that_is_gone() -> None:
    """And the operator finds the tasks by name."""
    tasks = {"Start", "Scale", "Drain", "Upgrade", "Back up", "Restore", "Alerts"}
    assert set(SECTIONS) == tasks | set(ALERTS)


def test_metrics_in_the_text_exist() -> None:
    """A renamed metric changes the runbook too."""
    from tests.deploy.test_dashboard import series

    assert set(re.findall(r"\btingbo_[a-z_]+", RUNBOOK)) <= set(series())
