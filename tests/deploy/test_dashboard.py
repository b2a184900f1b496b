"""The Grafana dashboard and the rules speak only of metrics that the program has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.make_dashboard import dashboard
from pipeline.metrics import Metrics
from tests.conftest import absent

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
GROUPS: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text("utf-8"))[
    "groups"
]
RULES = [rule for group in GROUPS for rule in group["rules"]]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
PANELS = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
QUERIES = [
    *(target["expr"] for panel in PANELS for target in panel["targets"]),
    *(rule["expr"] for rule in RULES),
]


def series() -> dict[str, set[str]]:
    """Name of every series that the program can show, with its labels."""
    found = {}
    for one in vars(Metrics()).values():
        kind, labels = getattr(one, "_type", None), set(getattr(one, "_labelnames", ()))
        if kind == "counter":
            found[f"{one._name}_total"] = labels
        elif kind == "gauge":
            found[one._name] = labels
        elif kind == "histogram":
            found |= {f"{one._name}_{part}": labels for part in ("sum", "count")}
            found[f"{one._name}_bucket"] = labels | {"le"}
    return found


def named(query: str) -> set[str]:
    return set(re.findall(r"\btingbo[_:][a-z0-9_:]+", query))


@pytest.mark.parametrize("query", QUERIES)
def test_every_metric_in_a_query_exists(query: str) -> None:
    """A renamed metric breaks this test and not a silent panel."""
    assert named(query) <= set(series()) | RECORDED


@pytest.mark.parametrize("query", QUERIES)
def test_every_label_in_a_query_exists(query: str) -> None:
    """Grouping or choosing by a label that no metric of the query has gives empty panels."""
    known = {label for name in named(query) for label in series().get(name, ())} | {"instance"}
    if named(query) & RECORDED:
        known |= {"stream", "stage"}
    grouped = {one for part in re.findall(r"by \(([a-z, ]+)\)", query) for one in part.split(", ")}
    chosen = set(re.findall(r"[{,]\s*(\w+)\s*=~?\"", query)) - {"job"}
    assert grouped | chosen <= known


def test_legends_show_labels_that_are_there() -> None:
    """A legend's label is one that its query groups by."""
    for panel in PANELS:
        for target in panel["targets"]:
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            grouped = ", ".join(re.findall(r"by \(([a-z, ]+)\)", target["expr"])).split(", ")
            if named(target["expr"]) & RECORDED:
                grouped += ["stream", "stage"]
            if "by (" not in target["expr"]:
                grouped += ["instance"]
            assert wanted <= set(grouped), panel["title"]


def test_the_file_is_what_the_script_makes() -> None:
    """Change the script, then run it; its first line says how."""
    on_disk = json.loads((DEPLOY / "grafana/tingbo.json").read_text(encoding="utf-8"))
    assert on_disk == dashboard()


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    """Grafana would push them about."""
    taken: set[tuple[int, int]] = set()
    panels = dashboard()["panels"]
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_rows_answer_the_operator(tmp_path: Path) -> None:
    """Who is heard, how late, what waits, how recognition does, and what reviewers have."""
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    assert rows == ["Coverage", "Latency", "Backlog", "Speech recognition", "Findings and review"]
    promtool = shutil.which("promtool") or absent("promtool (Debian: prometheus)")
    # Prometheus itself reads every query, as an expression of a rule.
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(QUERIES)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
