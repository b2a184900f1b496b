"""Make the Grafana dashboard: python deploy/grafana/make_dashboard.py > deploy/grafana/tingbo.json

Plain JSON that Grafana imports, made here so that panels do not drift apart. A test holds the file
to this script and every query to the metrics that there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_WIDTH = 24
_HEIGHT = 8
_SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}


@dataclass(frozen=True)
class Panel:
    """A graph of some queries, or one number."""

    title: str
    queries: dict[str, str]
    """PromQL by legend."""
    unit: str = "short"
    kind: str = "timeseries"
    limit: float | None = None
    """Drawn as a red line: where it becomes bad."""
    width: int = 8


def rate(metric: str, by: str = "") -> str:
    """Sum of the rates of a counter, by labels."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}[$__rate_interval]))"


def quantile(metric: str, level: float, where: str = "") -> str:
    """A quantile of a histogram over all processes."""
    return f"histogram_quantile({level}, {rate(f'{metric}_bucket{where}', 'le')})"


ALERT = "tingbo_alert_latency_seconds"
INFERENCE = "tingbo_asr_inference_duration_seconds"

ROWS: dict[str, list[Panel]] = {
    "Coverage": [
        Panel("Rooms by state", {"{{state}}": "max by (state) (tingbo_rooms)"}),
        Panel(
            "Sound by what became of it",
            {"{{kind}}": rate("tingbo_ledger_seconds_total", "kind")},
            "s",
        ),
        Panel(
            "Lost, failed or shed",
            {"share": "tingbo:ledger_unheard:ratio"},
            "percentunit",
            "stat",
            0.02,
            4,
        ),
        Panel(
            "Rooms nobody hears",
            {"share": "tingbo:rooms_stale:ratio"},
            "percentunit",
            "stat",
            0.05,
            4,
        ),
        Panel(
            "Connections opened again",
            {"{{reason}}": rate("tingbo_ingest_reconnects_total", "reason")},
        ),
        Panel(
            "Rooms an ingester listens to",
            {"{{state}}": "sum by (state) (tingbo_ingest_rooms)"},
        ),
        Panel(
            "Kept while the stores are away",
            {"{{instance}}": "tingbo_ingest_outbox_bytes"},
            "bytes",
            limit=128 * 2**20,
        ),
    ],
    "Latency": [
        Panel(
            "End of the words → case",
            {
                "p50": quantile(ALERT, 0.5),
                "p95": quantile(ALERT, 0.95),
                "p99": quantile(ALERT, 0.99),
            },
            "s",
            limit=5,
            width=12,
        ),
        Panel(
            "End of the segment → result of the stage, p95",
            {"{{stage}}": "tingbo:stage_latency_seconds:p95"},
            "s",
            width=12,
        ),
    ],
    "Backlog": [
        Panel("Waiting: unread and unanswered", {"{{stream}}": "tingbo:queue_waiting_entries"}),
        Panel(
            "Oldest message",
            {"{{stream}}": "max by (stream) (tingbo_queue_oldest_entry_age_seconds)"},
            "s",
            limit=30,
        ),
        Panel("Work that waits, of one worker", {"asr": "tingbo:asr_waiting_work_seconds"}, "s"),
        Panel(
            "Dead letters that wait",
            {"{{stream}}": "max by (stream) (tingbo_queue_dead_letter_entries)"},
            limit=1,
            width=6,
        ),
        Panel(
            "Given up",
            {"{{stream}} {{reason}}": rate("tingbo_queue_dead_letters_total", "stream, reason")},
            width=6,
        ),
        Panel(
            "Taken over from silent workers",
            {"{{stream}}": rate("tingbo_queue_reclaimed_entries_total", "stream")},
            width=6,
        ),
        Panel(
            "Shed",
            {"{{reason}}": rate("tingbo_queue_shed_entries_total", "reason")},
            width=6,
        ),
    ],
    "Speech recognition": [
        Panel(
            "Sound heard in a second",
            {"{{model}} {{device}}": rate("tingbo_asr_audio_seconds_total", "model, device")},
            "s",
        ),
        Panel("Workers busy", {"workers": "tingbo:asr_busy_workers"}),
        Panel(
            "One call of the recogniser",
            {
                "p50": quantile(INFERENCE, 0.5, '{stage="transcribe"}'),
                "p95": quantile(INFERENCE, 0.95, '{stage="transcribe"}'),
            },
            "s",
        ),
        Panel(
            "Segments in a call, mean",
            {
                "segments": rate("tingbo_asr_batch_size_sum")
                + " / "
                + rate("tingbo_asr_batch_size_count")
            },
        ),
        Panel(
            "Furthest behind: the five worst rooms",
            {"{{room}}": "topk(5, max by (room) (tingbo_asr_seconds_behind))"},
            "s",
            limit=30,
        ),
        Panel(
            "Segments heard with a neighbour",
            {"segments": rate("tingbo_asr_merged_segments_total")},
        ),
        Panel(
            "Canary failed, memory ran out",
            {
                "canary": "sum(increase(tingbo_asr_canary_failures_total[$__rate_interval]))",
                "memory": "sum(increase(tingbo_asr_out_of_memory_total[$__rate_interval]))",
            },
            limit=1,
        ),
        Panel("Segments by outcome", {"{{outcome}}": rate("tingbo_asr_segments_total", "outcome")}),
        Panel("Guards that acted", {"{{guard}}": rate("tingbo_asr_guards_total", "guard")}),
    ],
    "Findings and review": [
        Panel(
            "Findings",
            {"{{category}} {{verdict}}": rate("tingbo_findings_total", "category, verdict")},
        ),
        Panel(
            "Cases that wait for a reviewer",
            {"{{severity}}": "max by (severity) (tingbo_review_queue_items)"},
        ),
        Panel("Failures of workers", {"{{stage}}": rate("tingbo_worker_failures_total", "stage")}),
    ],
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "__inputs": [
            {
                "name": "DS_PROMETHEUS",
                "label": "Prometheus",
                "type": "datasource",
                "pluginId": "prometheus",
                "pluginName": "Prometheus",
            }
        ],
        "uid": "tingbo",
        "title": "tingbo · 听播",
        "tags": ["tingbo"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "DS_PROMETHEUS",
                    "label": "Prometheus",
                    "type": "datasource",
                    "query": "prometheus",
                }
            ]
        },
        "panels": list(_placed()),
    }


def _placed() -> Iterator[dict[str, Any]]:
    """Rows and panels from left to right and top to bottom."""
    number = top = 0
    for title, panels in ROWS.items():
        number += 1
        yield _row(number, title, top)
        top, left = top + 1, 0
        for panel in panels:
            if left + panel.width > _WIDTH:
                top, left = top + _HEIGHT, 0
            number += 1
            yield _panel(number, panel, left, top)
            left += panel.width
        top += _HEIGHT


def _row(number: int, title: str, top: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": _WIDTH, "h": 1}
    return {"id": number, "type": "row", "title": title, "gridPos": place, "collapsed": False}


def _panel(number: int, panel: Panel, left: int, top: int) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    shown = "line" if panel.limit is not None else "off"
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"thresholdsStyle": {"mode": shown}} if panel.kind != "stat" else {},
            },
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), ensure_ascii=False, indent=1))
