"""Recording and alert rules: Prometheus takes them, each alert fires and stays quiet as due."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import absent

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES_FILE = DEPLOY / "prometheus" / "rules.yml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}


@dataclass(frozen=True)
class Case:
    """What Prometheus has seen, minute by minute, and whether the alert fires at the end."""

    alert: str
    what: str
    series: dict[str, str]
    fires: dict[str, str] | None
    """Labels of the alert besides severity; None: it stays quiet."""
    at: str = "30m"


def latency(fast: int, slow: int) -> dict[str, str]:
    """Cases of each minute that opened within 1 s, and within 10 s."""
    name = "tingbo_alert_latency_seconds_bucket"
    return {
        f'{name}{{le="1"}}': f"0+{fast}x60",
        f'{name}{{le="5"}}': f"0+{fast}x60",
        f'{name}{{le="10"}}': f"0+{fast + slow}x60",
        f'{name}{{le="+Inf"}}': f"0+{fast + slow}x60",
    }


ASR = 'up{job="tingbo", instance="asr:9464"}'
TURNED = 'tingbo_loop_turned_timestamp_seconds{instance="asr:9464"}'
SPEECH = "tingbo_vad_speech_seconds_total"
TEXT = 'tingbo_asr_segments_total{outcome="text"}'
EMPTY = 'tingbo_asr_segments_total{outcome="empty"}'
CANARY = 'tingbo_asr_canary_failures_total{instance="asr:9464"}'
LAG = 'tingbo_queue_lag_entries{stream="segments"}'
PENDING = 'tingbo_queue_pending_entries{stream="segments"}'
AGE = 'tingbo_queue_oldest_entry_age_seconds{stream="segments"}'
SHED = 'tingbo_queue_shed_entries_total{reason="overload"}'
DEAD = 'tingbo_queue_dead_letter_entries{stream="segments"}'
FAILURES = 'tingbo_worker_failures_total{stage="asr"}'
LIVE, STALLED = 'tingbo_rooms{state="live"}', 'tingbo_rooms{state="stalled"}'
UNHELD = "tingbo_rooms_without_ingest"
HEARD, LOST = (
    'tingbo_ledger_seconds_total{kind="heard"}',
    'tingbo_ledger_seconds_total{kind="lost"}',
)
OUTBOX = 'tingbo_ingest_outbox_bytes{instance="ingest:9464"}'
SEGMENTS = {"stream": "segments"}
AT_ASR = {"instance": "asr:9464"}

CASES = [
    Case("RoleDown", "gone", {ASR: "1x5 0x60"}, {"job": "tingbo", **AT_ASR}),
    Case("RoleDown", "missed one scrape", {ASR: "1x29 0 1x30"}, None),
    Case("LoopStalled", "hangs", {TURNED: "0+60x5 300x60"}, AT_ASR),
    Case("LoopStalled", "turns", {TURNED: "0+60x60"}, None),
    Case("LoopStalled", "still loads its model", {TURNED: "0x60"}, None),
    Case("JanitorAbsent", "gone", {LAG: "0x5 stale"}, SEGMENTS),
    Case("JanitorAbsent", "there", {LAG: "0x60"}, None),
    Case("AsrProducesNothing", "empty texts", {SPEECH: "0+60x60", EMPTY: "0+6x60"}, {}),
    Case("AsrProducesNothing", "no texts at all", {SPEECH: "0+60x60"}, {}),
    Case("AsrProducesNothing", "texts", {SPEECH: "0+60x60", TEXT: "0+6x60"}, None),
    Case("AsrProducesNothing", "nobody speaks", {SPEECH: "5x60", TEXT: "1x60"}, None),
    Case("CanaryFailed", "now", {CANARY: "0x20 0+1x60"}, AT_ASR),
    Case("CanaryFailed", "long ago", {CANARY: "0x5 1x60"}, None),
    Case("OldestEntryTooOld", "waits", {AGE: "0x5 40+60x60"}, SEGMENTS),
    Case("OldestEntryTooOld", "served", {AGE: "20x60"}, None),
    Case("BacklogGrowing", "unread", {LAG: "0+10x60", PENDING: "0x60"}, SEGMENTS),
    Case("BacklogGrowing", "read, never answered", {LAG: "0x60", PENDING: "0+10x60"}, SEGMENTS),
    Case("BacklogGrowing", "shrinks", {LAG: "900-10x60", PENDING: "16x60"}, None),
    Case("BacklogGrowing", "small", {LAG: "0+1x60", PENDING: "0x60"}, None),
    Case("Shedding", "sheds", {SHED: "0x5 0+3x60"}, {"reason": "overload"}),
    Case("Shedding", "shed once, long ago", {SHED: "0x2 9x60"}, None),
    Case("DeadLetters", "wait", {DEAD: "0x5 2x60"}, SEGMENTS),
    Case("DeadLetters", "dealt with", {DEAD: "2x20 0x60"}, None),
    Case("WorkerFailures", "every minute", {FAILURES: "0+1x60"}, {"stage": "asr"}),
    Case("WorkerFailures", "once", {FAILURES: "0x25 1x60"}, None),
    Case("RoomsStale", "stalled", {LIVE: "90x60", STALLED: "10x60", UNHELD: "0x60"}, {}),
    Case("RoomsStale", "nobody listens", {LIVE: "90x60", STALLED: "0x60", UNHELD: "9x60"}, {}),
    Case("RoomsStale", "few", {LIVE: "98x60", STALLED: "2x60", UNHELD: "0x60"}, None),
    Case("RoomsStale", "no rooms", {LIVE: "0x60", STALLED: "0x60", UNHELD: "0x60"}, None),
    Case("LedgerLoss", "a tenth", {HEARD: "0+90x60", LOST: "0+10x60"}, {}),
    Case("LedgerLoss", "a hundredth", {HEARD: "0+99x60", LOST: "0+1x60"}, None),
    Case("LatencyHigh", "a tenth is slow", latency(90, 10), {}),
    Case("LatencyHigh", "a hundredth is slow", latency(99, 1), None),
    Case("OutboxFilling", "fills", {OUTBOX: "2e8x60"}, {"instance": "ingest:9464"}),
    Case("OutboxFilling", "nearly empty", {OUTBOX: "1e6x60"}, None),
]  # fmt: skip


def promtool(*words: str) -> str:
    """Output of promtool. Fails the test with it where promtool is not content."""
    program = shutil.which("promtool") or absent("promtool (Debian: prometheus)")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected(case: Case) -> list[dict[str, Any]]:
    if case.fires is None:
        return []
    rule = ALERTS[case.alert]

    def filled(text: str) -> str:
        return re.sub(r"{{ \$labels\.(\w+) }}", lambda found: (case.fires or {})[found[1]], text)

    annotations = {name: filled(text) for name, text in rule["annotations"].items()}
    return [{"exp_labels": {**rule["labels"], **case.fires}, "exp_annotations": annotations}]


def promtool_test(case: Case) -> dict[str, Any]:
    return {
        "interval": "1m",
        "name": f"{case.alert}: {case.what}",
        "input_series": [{"series": name, "values": v} for name, v in case.series.items()],
        "alert_rule_test": [
            {"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected(case)}
        ],
    }


def test_prometheus_accepts_rules_and_configuration() -> None:
    """`promtool check`: what is deployed loads."""
    assert f"{sum(len(group['rules']) for group in GROUPS)} rules found" in promtool(
        "check", "rules", str(RULES_FILE)
    )
    assert "SUCCESS" in promtool("check", "config", str(RULES_FILE.parent / "prometheus.yml"))


def test_each_alert_fires_and_stays_quiet(tmp_path: Path) -> None:
    """`promtool test rules`: on what Prometheus would see when things are bad, and when not."""
    for alert in ALERTS:
        quiet = [case.fires is None for case in CASES if case.alert == alert]
        assert set(quiet) == {True, False}, alert
    tests = [promtool_test(case) for case in CASES]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES_FILE)], "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", str(file))


WAITING = {LAG: "30x60", PENDING: "10x60"}
BUSY = 'tingbo_asr_inference_duration_seconds_sum{stage="transcribe"}'


@pytest.mark.parametrize(
    ("what", "series", "seconds"),
    [
        ("half a second each", {**WAITING, BUSY: "0+30x60", TEXT: "0+60x60"}, 20),
        ("none done yet", WAITING, 40),
        ("no worker for long", {**WAITING, BUSY: "30x60", TEXT: "60x60"}, 40),
        ("nothing waits", {LAG: "0x60", PENDING: "0x60", BUSY: "0+30x60", TEXT: "0+60x60"}, 0),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else None,
)
def test_backlog_in_seconds_of_work(
    what: str, series: dict[str, str], seconds: int, tmp_path: Path
) -> None:
    """What the autoscaler asks for is a number whatever happens, also with no worker at all."""
    test = {
        "interval": "1m",
        "name": what,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": "round(tingbo:asr_waiting_work_seconds, 0.001)",
                "eval_time": "30m",
                "exp_samples": [{"labels": "{}", "value": seconds}],
            }
        ],
    }
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES_FILE)], "tests": [test]}))
    assert "SUCCESS" in promtool("test", "rules", str(file))
