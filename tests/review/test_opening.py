"""Opening of cases: the same pitch is judged once, another pitch never hides in it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import StoreError
from pipeline.records import (
    Case,
    CaseState,
    Category,
    Finding,
    SegmentKey,
    SegmentMessage,
    Verdict,
    Versions,
    Why,
)
from pipeline.review import case_id, file_findings, same_pitch
from pipeline.store import Store

AT = dt.datetime(2026, 11, 11, 20, 0, tzinfo=dt.UTC)
NOW = AT + dt.timedelta(milliseconds=800)


def finding(evidence: str, start_ms: int = 0, subtype: str = "P01") -> Finding:
    """A finding on the words `evidence`."""
    return Finding(
        category=Category.FALSE_PRICE_COMPARISON,
        subtype=subtype,
        rule="price.lowest",
        score=0.9,
        verdict=Verdict.REVIEW,
        span=(2, 2 + len(evidence)),
        evidence=evidence,
        start_ms=start_ms,
        end_ms=start_ms + 900,
        why=Why("没有可查的比较对象。"),
        versions=Versions("0.1.0", "1"),
    )


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store with two broadcasts of six segments each."""
    with Store(database_url) as store:
        for broadcast in ("b", "other"):
            store.add_broadcast("room", broadcast, AT)
            for seq in range(6):
                uri = f"file:///{broadcast}/{seq}.flac"
                key = SegmentKey(broadcast, 0, seq)
                start, at = seq * 10_000, AT + dt.timedelta(seconds=10 * seq)
                store.add_segment(SegmentMessage(key, "room", start, start + 8_000, at, uri, "0"))
        yield store


def say(store: Store, seq: int, *evidences: str, broadcast: str = "b") -> list[Case]:
    """File one finding for each evidence, said in segment `seq`."""
    found = [
        dataclasses.replace(
            finding(evidence, seq * 10_000 + 1_000 * place), span=(place, place + 1)
        )
        for place, evidence in enumerate(evidences)
    ]
    key = SegmentKey(broadcast, 0, seq)
    return file_findings(store, key, f"今天{'，'.join(evidences)}", found, NOW)


def test_a_finding_opens_a_case_with_all_a_reviewer_needs(store: Store) -> None:
    """Words, second, clip, rule and both wall times are in the case."""
    (case,) = say(store, 2, "全网最低价")
    opener = dataclasses.replace(finding("全网最低价", 20_000), span=(0, 1))
    assert case == Case(
        id=case_id("b", opener),
        room="room",
        broadcast="b",
        category=Category.FALSE_PRICE_COMPARISON,
        state=CaseState.OPEN,
        first_ms=20_000,
        last_ms=20_900,
        times_ms=(20_000,),
        text="今天全网最低价",
        clip_uri="file:///b/2.flac",
        finding=opener,
        opened_at=NOW,
        heard_at=AT + dt.timedelta(seconds=20),
        findings=(opener,),
    )
    assert store.cases() == [case]
    assert store.cases(CaseState.OPEN) == [case]
    assert store.cases(CaseState.DECIDED) == []
    assert store.case(case.id) == case
    assert store.case("none") is None


def test_repeats_of_a_pitch_are_one_case_with_all_their_times(store: Store) -> None:
    """The host says it all evening; the reviewer judges it once and sees every second."""
    (opened,) = say(store, 1, "全网最低价")
    assert say(store, 3, "全网 最低价！") == []
    assert say(store, 4, "全网最低加") == []
    (case,) = store.cases()
    assert case.id == opened.id
    assert case.times_ms == (10_000, 30_000, 40_000)
    assert (case.first_ms, case.last_ms) == (10_000, 40_900)
    assert [item.evidence for item in case.findings] == [
        "全网最低价",
        "全网 最低价！",
        "全网最低加",
    ]
    assert case.finding.evidence == "全网最低价"


def test_a_late_earlier_occurrence_joins_the_case(store: Store) -> None:
    """Order of arrival does not matter: the times are those of the media clock."""
    say(store, 4, "全网最低价")
    assert say(store, 1, "全网最低价") == []
    (case,) = store.cases()
    assert case.times_ms == (10_000, 40_000)
    assert (case.first_ms, case.clip_uri) == (10_000, "file:///b/4.flac")


def test_a_message_delivered_twice_gives_the_same_cases_and_changes_nothing(store: Store) -> None:
    """A worker that died before it published publishes on the second delivery."""
    first = say(store, 1, "全网最低价", "原价九百九十九")
    before = store.cases()
    assert say(store, 1, "全网最低价", "原价九百九十九") == first
    assert store.cases() == before
    assert len(first) == 2
    assert len(store.findings("b")) == 2


def test_repeats_within_one_utterance_are_one_case(store: Store) -> None:
    """The case that is published has both times already."""
    (case,) = say(store, 1, "全网最低价", "全网最低价")
    assert case.times_ms == (10_000, 11_000)


def test_each_broadcast_has_its_own_cases(store: Store) -> None:
    """Another evening is another act, even with the same words."""
    (one,) = say(store, 1, "全网最低价")
    (two,) = say(store, 1, "全网最低价", broadcast="other")
    assert one.id != two.id
    assert [case.broadcast for case in store.cases(broadcast="other")] == ["other"]


def test_the_first_cases_come_first_up_to_the_limit(store: Store) -> None:
    """The queue is read from its oldest end."""
    for seq, evidence in enumerate(["全网最低价", "原价九百", "只要九块九"]):
        key = SegmentKey("b", 0, seq)
        found = finding(evidence, seq * 10_000)
        file_findings(store, key, evidence, [found], NOW + dt.timedelta(seconds=seq))
    assert [case.finding.evidence for case in store.cases(limit=2)] == ["全网最低价", "原价九百"]


def test_what_passes_is_kept_and_opens_nothing(store: Store) -> None:
    """A PASS finding documents why something was let through."""
    harmless = dataclasses.replace(finding("平台最低价"), verdict=Verdict.PASS)
    assert file_findings(store, SegmentKey("b", 0, 0), "平台最低价", [harmless], NOW) == []
    assert store.findings("b") == [harmless]
    assert store.cases() == []


def test_workers_at_the_same_time_open_one_case(store: Store) -> None:
    """Six workers hear six variants of one pitch in the same moment: one case, six times."""
    variants = ["全网最低价", "全网最低加", "全网最低家", "全网最低架", "全网最低佳", "全网最低甲"]
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda item: say(store, *item), enumerate(variants)))
    (case,) = store.cases()
    assert len(case.times_ms) == 6
    assert sum(map(len, opened)) == 1


def test_a_finding_of_an_unknown_segment_is_refused(store: Store) -> None:
    """Nothing is half written."""
    with pytest.raises(StoreError):
        file_findings(store, SegmentKey("b", 0, 99), "", [finding("全网最低价")], NOW)
    assert store.cases() == []


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("全网最低价", "全网最低价。"),
        ("全网最低价", "全网最低家"),
        ("ＶＸ同号", "vx同号"),
        ("加我微信领取专属优惠", "加我微信领取专属优惠吧"),
        ("原价９９９", "原价999"),
    ],
)
def test_the_same_pitch(a: str, b: str) -> None:
    """Punctuation, width, homophones and one slip in a long wording make no new pitch."""
    assert same_pitch(finding(a), finding(b))
    assert same_pitch(finding(b), finding(a))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("原价九百九十九", "原价八百九十九"),
        ("原价999", "原价899"),
        ("根治失眠", "根治失明"),
        ("能治糖尿病", "能治高血压"),
        ("全网最低价", "全网最高价"),
        ("", "全网最低价"),
    ],
)
def test_another_pitch(a: str, b: str) -> None:
    """Another price or illness has other facts to check: it must not hide in a decided case."""
    assert not same_pitch(finding(a), finding(b))
    assert not same_pitch(finding(b), finding(a))


def test_the_key_decides_before_the_sound() -> None:
    """What the engine calls one pitch is one, though counts differ; others may sound alike."""
    five = dataclasses.replace(finding("最后五套"), pitch="p1")
    three = dataclasses.replace(finding("最后三套"), pitch="p1")
    assert same_pitch(five, three)
    assert case_id("b", five) == case_id("b", three)
    assert not same_pitch(five, dataclasses.replace(three, pitch="p2"))
    assert same_pitch(five, dataclasses.replace(five, pitch="p2"))


def test_cases_of_a_pitch_are_found_in_earlier_broadcasts(store: Store) -> None:
    """What was decided before is seen: of the same room, before this one, the last ones."""
    store.add_broadcast("next door", "neighbour", AT)
    key = SegmentKey("neighbour", 0, 0)
    store.add_segment(SegmentMessage(key, "next door", 0, 8_000, AT, "file:///n.flac", "0"))
    pitch = dataclasses.replace(finding("全网最低价"), pitch="p1")
    days = [NOW + dt.timedelta(days=day) for day in range(3)]
    file_findings(store, key, "", [pitch], days[0])
    (first,) = file_findings(store, SegmentKey("other", 0, 0), "", [pitch], days[1])
    (second,) = file_findings(store, SegmentKey("b", 0, 0), "", [pitch], days[2])
    unkeyed = finding("全网最低价", subtype="P04")
    (bare,) = file_findings(store, SegmentKey("b", 0, 1), "", [unkeyed], days[2])
    assert store.earlier_cases(second) == [first]
    assert store.earlier_cases(first) == []
    assert store.earlier_cases(bare) == []


def test_another_subtype_is_another_pitch() -> None:
    """The reviewer judges it under another rule."""
    assert not same_pitch(finding("全网最低价"), finding("全网最低价", subtype="P02"))
    assert case_id("b", finding("全网最低价")) != case_id("b", finding("全网最低价", subtype="P02"))
