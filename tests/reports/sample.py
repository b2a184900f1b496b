"""A small self-check with one of everything, for the tests of its reports."""

from __future__ import annotations

import datetime as dt

import numpy as np

from pipeline.records import (
    SAMPLE_RATE,
    AudioChunk,
    Basis,
    Category,
    Coverage,
    CoverageKind,
    Finding,
    Stretch,
    Transcript,
    Verdict,
    Versions,
    Why,
    Word,
)
from pipeline.reports import Replay, SoundTrack

VERSIONS = Versions(engine="0.1.0", rule_pack="2026.11", asr="asr_demo")

LINES = (
    (1000, "大家晚上好欢迎来直播间"),
    (5000, "脸上长湿疹的擦三天全好"),
    (9000, "加我微信私下转更便宜"),
    (13000, "专柜卖一千二这里九十九"),
    (19000, "隔壁那家卖的全是假货"),
)

LAW = Basis(
    id="live-commerce-32",
    title="直播电商监督管理办法",
    article="第三十二条",
    effective_from=dt.date(2026, 2, 1),
    effective_to=dt.date(2030, 1, 1),
    source="总局、网信办令第117号",
    link="https://www.samr.gov.cn/117.html",
    verified=True,
)


def transcript(start_ms: int, text: str) -> Transcript:
    """Two characters a word, 200 ms a character."""
    words = tuple(
        Word(start_ms + 200 * at, start_ms + 200 * min(at + 2, len(text)), text[at : at + 2], 0.9)
        for at in range(0, len(text), 2)
    )
    return Transcript(start_ms, start_ms + 200 * len(text), text, words, avg_logprob=-0.25)


def finding(line: int, evidence: str, category: Category, verdict: Verdict) -> Finding:
    """A finding on `evidence` in one of `LINES`."""
    start_ms, text = LINES[line]
    a = text.index(evidence)
    b = a + len(evidence)
    return Finding(
        category=category,
        subtype="X01",
        rule=f"rule-{line}",
        score=0.75,
        verdict=verdict,
        span=(a, b),
        evidence=evidence,
        start_ms=start_ms + 200 * a,
        end_ms=start_ms + 200 * b,
        why=Why(f"原因{line}", (evidence[:2],), (LINES[0][1],)),
        versions=VERSIONS,
        speech_act="assertion",
        target="own",
        basis=(LAW,),
        facts_to_check=("成交价截图",),
        suggestion="价格以商品页为准",
    )


def replay(**changes: object) -> Replay:
    """25 s: five lines, four findings, a silent and a lost stretch; `changes` replace fields."""
    values: dict[str, object] = {
        "media": "晚场.mp4",
        "duration_ms": 25_000,
        "coverage": Coverage(heard_ms=20_000, silent_ms=1000, lost_ms=4000),
        "stretches": (
            Stretch(0, 1000, CoverageKind.SILENT),
            Stretch(1000, 15_000, CoverageKind.HEARD),
            Stretch(15_000, 19_000, CoverageKind.LOST, "信号中断"),
            Stretch(19_000, 25_000, CoverageKind.HEARD),
        ),
        "transcripts": tuple(transcript(start_ms, text) for start_ms, text in LINES),
        "findings": (
            finding(1, "三天全好", Category.EFFICACY_CLAIM, Verdict.BLOCK),
            finding(2, "加我微信", Category.OFF_PLATFORM_SOLICITATION, Verdict.BLOCK),
            finding(3, "专柜卖一千二", Category.FALSE_PRICE_COMPARISON, Verdict.REVIEW),
            finding(4, "全是假货", Category.COMPETITOR_DISPARAGEMENT, Verdict.REVIEW),
        ),
        "versions": VERSIONS,
        "made_at": dt.datetime(2026, 11, 22, 8, 30, tzinfo=dt.UTC),
        "elapsed_ms": 1000,
    }
    return Replay(**(values | changes))  # type: ignore[arg-type]  # the tests name real fields


def tone(seconds: int, start_s: int = 0) -> list[AudioChunk]:
    """One chunk a second of a 440 Hz tone at half scale."""
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    return [
        AudioChunk(second * SAMPLE_RATE, wave.astype(np.float32))
        for second in range(start_s, start_s + seconds)
    ]


def record(track: SoundTrack, chunks: list[AudioChunk]) -> SoundTrack:
    """`track` with `chunks` added."""
    for chunk in chunks:
        track.add(chunk)
    return track
