"""The stable JSON of `tingbo replay --json`."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from pipeline.errors import MissingError
from pipeline.records import Coverage, Transcript
from pipeline.reports import replay_json
from pipeline.reports.replay import lines_of, write_replay_json
from tests.reports.sample import LINES, replay, transcript


def test_the_contract_keys_hold_what_was_heard() -> None:
    """The keys that other tools read, with the values of the replay."""
    entry = json.loads(json.dumps(replay_json(replay()), allow_nan=False))
    assert entry["schema_version"] == 1
    assert entry["media"] == "晚场.mp4"
    assert entry["duration_ms"] == 25_000
    assert entry["versions"] == {
        "engine": "0.1.0",
        "rule_pack": "2026.11",
        "model": "",
        "asr": "asr_demo",
    }
    assert entry["coverage"] == {
        "heard_ms": 20_000,
        "silent_ms": 1000,
        "music_ms": 0,
        "lost_ms": 4000,
        "shed_ms": 0,
        "failed_ms": 0,
    }
    first = entry["transcripts"][0]
    assert (first["start_ms"], first["end_ms"], first["text"]) == (1000, 3200, LINES[0][1])
    assert first["words"][0] == {
        "start_ms": 1000,
        "end_ms": 1400,
        "text": "大家",
        "probability": 0.9,
    }
    assert len(entry["transcripts"]) == 5


def test_a_finding_is_complete() -> None:
    """Every field of a finding is there, codes as codes and dates as ISO dates."""
    found = replay_json(replay())["findings"]
    assert isinstance(found, list)
    assert found[2] == {
        "category": "false_price_comparison",
        "subtype": "X01",
        "rule": "rule-3",
        "score": 0.75,
        "verdict": "review",
        "span": [0, 6],
        "evidence": "专柜卖一千二",
        "start_ms": 13_000,
        "end_ms": 14_200,
        "why": {
            "text": "原因3",
            "words": ["专柜"],
            "context": ["大家晚上好欢迎来直播间"],
            "earlier": None,
            "correction": None,
        },
        "versions": {"engine": "0.1.0", "rule_pack": "2026.11", "model": "", "asr": "asr_demo"},
        "speech_act": "assertion",
        "target": "own",
        "basis": [
            {
                "id": "live-commerce-32",
                "title": "直播电商监督管理办法",
                "article": "第三十二条",
                "effective_from": "2026-02-01",
                "effective_to": "2030-01-01",
                "source": "总局、网信办令第117号",
                "link": "https://www.samr.gov.cn/117.html",
                "verified": True,
            }
        ],
        "facts_to_check": ["成交价截图"],
        "suggestion": "价格以商品页为准",
        "shadow": False,
        "pitch": "",
    }


def test_additions_tell_how_far_it_was_heard() -> None:
    """The ledger, the failure, the day of the law and the model's reach are in the JSON too."""
    entry = replay_json(replay(failure="a.mp4 is cut off.", synthetic_only=True))
    assert entry["failure"] == "a.mp4 is cut off."
    assert entry["synthetic_only"] is True
    assert entry["checked_for"] == "2026-11-22"
    assert entry["made_at"] == "2026-11-22T08:30:00Z"
    assert entry["stretches"][2] == {  # type: ignore[index]  # a list of dicts
        "start_ms": 15_000,
        "end_ms": 19_000,
        "kind": "lost",
        "reason": "信号中断",
    }


def test_it_is_always_valid_json_in_utf8() -> None:
    """Infinite log probabilities and file names in another encoding do not break a reader."""
    silent = dataclasses.replace(transcript(0, "嗯"), avg_logprob=-math.inf)
    entry = replay_json(replay(media="\udcd0\udcc2.mp4", transcripts=(silent,), findings=()))
    text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
    assert json.loads(text.encode("utf-8"))["media"] == "??.mp4"
    assert json.loads(text)["transcripts"][0]["avg_logprob"] is None


def test_time_the_ledger_leaves_out_is_unheard() -> None:
    """What no stretch accounts for counts as unknown, as lost and failed time does."""
    assert replay().unheard_ms == 4000
    assert replay(coverage=Coverage(heard_ms=10_000, failed_ms=500)).unheard_ms == 15_000


def test_a_finding_is_placed_in_the_line_that_has_its_words() -> None:
    """Of overlapping transcripts the one with the evidence wins; a stray finding has no line."""
    known = replay()
    assert lines_of(known.findings, known.transcripts) == [1, 2, 3, 4]
    padding = Transcript(known.findings[0].start_ms, 30_000, "别的话")
    before, after = known.transcripts[:2], known.transcripts[2:]
    assert lines_of(known.findings[:1], (*before, padding, *after)) == [1]
    assert lines_of(known.findings, ()) == [None] * 4


def test_the_file_is_the_json_and_an_unwritable_one_is_named(tmp_path: Path) -> None:
    """UTF-8 as it is read, and one sentence where there is no place for it."""
    write_replay_json(replay(), tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == replay_json(replay())
    assert "晚场.mp4" in text
    with pytest.raises(MissingError, match=r"b\.json cannot be written \(No such file"):
        write_replay_json(replay(), tmp_path / "none" / "b.json")
