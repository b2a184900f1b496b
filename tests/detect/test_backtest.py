"""Backtests: two packs over stored broadcasts, and what only one of them raises."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.detect import RulePack, load_rule_pack
from pipeline.detect.backtest import EXAMPLES, Line, backtest, everything_on
from pipeline.errors import BadInputError
from pipeline.records import SegmentKey, SegmentMessage, Transcript
from pipeline.store import Store
from tests.detect.packs import extra, rule, rules, write_extra, write_pack

AT = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)
PHONE = rule("S02-phone", '"打电话"', flag=("打电话", "打电话"))
CHAIN = rule(
    "S03-chain",
    '"扫一下"',
    flag=("扫一下", "扫一下"),
    more='earlier = ["[contact]"]\nwithin_s = 10',
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'tingbo.db'}") as store:
        yield store


def say(store: Store, broadcast: str, *texts: str) -> None:
    """A stored broadcast of these utterances, five seconds each."""
    store.add_broadcast("room", broadcast, AT)
    for seq, text in enumerate(texts):
        key, start = SegmentKey(broadcast, 0, seq), seq * 5000
        store.add_segment(SegmentMessage(key, "room", start, start + 4000, AT, "clip", "0" * 64))
        store.add_transcript(key, Transcript(start, start + 4000, text))


def loaded(folder: Path, *tables: str) -> RulePack:
    return load_rule_pack(write_pack(folder, solicit=rules(*tables)))


def test_each_rule_is_counted_before_and_after(store: Store, tmp_path: Path) -> None:
    """Only the present pack, only the changed one, both: findings of all stored broadcasts."""
    say(store, "a", "大家好", "加微信", "打电话")
    say(store, "b", "来加微信", "")
    before = loaded(tmp_path / "before", rule())
    after = loaded(tmp_path / "after", rule(patterns='"来加[contact]"'), PHONE)
    result = backtest(store, before, after)
    assert {
        id_: (one.only_before, one.only_after, one.both) for id_, one in result.rules.items()
    } == {"S01-contact": (1, 0, 1), "S02-phone": (0, 1, 0)}
    assert result.rules["S01-contact"].lines_before == [Line("a", 5000, "加微信", (0, 3))]
    assert result.rules["S02-phone"].lines_after == [Line("a", 10_000, "打电话", (0, 3))]
    assert (result.broadcasts, result.utterances) == (2, 4)
    assert (result.flagged_before, result.flagged_after) == (2, 2)
    assert (result.before, result.after) == (before.label, after.label)
    assert result.differs


def test_a_wider_span_is_the_same_finding(store: Store, tmp_path: Path) -> None:
    """A pattern that takes in a word more does not look like one finding lost and one won."""
    say(store, "a", "加我微信号")
    after = loaded(tmp_path / "after", rule(patterns='"加…[contact]号"'))
    result = backtest(store, loaded(tmp_path / "before", rule()), after)
    assert result.rules["S01-contact"].both == 1
    assert not result.differs


def test_utterances_are_judged_with_what_was_said_before(store: Store, tmp_path: Path) -> None:
    """In order, within the broadcast, as far back as the rule says."""
    say(store, "a", "我微信", "看好", "扫一下", "扫一下")
    say(store, "b", "扫一下")
    result = backtest(store, loaded(tmp_path / "before", rule()), loaded(tmp_path / "after", CHAIN))
    assert [line.start_ms for line in result.rules["S03-chain"].lines_after] == [10_000]


def test_what_was_said_long_ago_makes_room_one_by_one(store: Store, tmp_path: Path) -> None:
    """Two minutes are kept, however long the broadcast."""
    say(store, "a", "看好", *["好"] * 19, "我微信", *["好"] * 5, "扫一下")
    chain = CHAIN.replace("within_s = 10", "within_s = 60")
    result = backtest(store, loaded(tmp_path / "before", rule()), loaded(tmp_path / "after", chain))
    assert [line.start_ms for line in result.rules["S03-chain"].lines_after] == [130_000]


def test_a_rule_on_trial_raises_nothing(store: Store, tmp_path: Path) -> None:
    """What is compared is what would be raised."""
    say(store, "a", "加微信")
    trial = loaded(tmp_path / "after", rule(more='status = "shadow"'))
    result = backtest(store, loaded(tmp_path / "before", rule()), trial)
    assert result.rules["S01-contact"].only_before == 1


def test_everything_turned_on_shows_what_trials_and_extra_packs_would_bring(
    store: Store, tmp_path: Path
) -> None:
    """The answer before a rule leaves its trial or a pack is named in the settings."""
    folder = write_pack(tmp_path / "p", solicit=rules(rule(more='status = "shadow"')))
    write_extra(folder, absolute=extra())
    say(store, "a", "加微信,我们全国第一")
    result = backtest(store, load_rule_pack(folder), everything_on(folder))
    assert {id_: one.only_after for id_, one in result.rules.items()} == {
        "A01-best": 1,
        "S01-contact": 1,
    }


def test_examples_are_the_first_few(store: Store, tmp_path: Path) -> None:
    """Numbers are complete, lines are not."""
    say(store, "a", *["打电话"] * (EXAMPLES + 3))
    result = backtest(store, loaded(tmp_path / "before", rule()), loaded(tmp_path / "after", PHONE))
    change = result.rules["S02-phone"]
    assert (change.only_after, len(change.lines_after)) == (EXAMPLES + 3, EXAMPLES)
    assert change.lines_after[-1].start_ms == (EXAMPLES - 1) * 5000


def test_one_broadcast_can_be_chosen(store: Store, tmp_path: Path) -> None:
    """An unknown one is told rather than found clean."""
    say(store, "a", "加微信")
    say(store, "b", "加微信", "加微信")
    pack = loaded(tmp_path / "p", rule())
    assert backtest(store, pack, pack, "b").utterances == 2
    with pytest.raises(BadInputError, match="Broadcast c is not stored"):
        backtest(store, pack, pack, "c")


def test_the_object_for_other_programs(store: Store, tmp_path: Path) -> None:
    """Keys and values of `--json`."""
    say(store, "a", "打电话")
    before, after = loaded(tmp_path / "before", rule()), loaded(tmp_path / "after", PHONE)
    assert backtest(store, before, after).plain() == {
        "schema_version": 1,
        "before": before.label,
        "after": after.label,
        "broadcasts": 1,
        "utterances": 1,
        "flagged_before": 0,
        "flagged_after": 1,
        "findings": {"both": 0, "only_before": 0, "only_after": 1},
        "rules": [
            {
                "rule": "S02-phone",
                "both": 0,
                "only_before": 0,
                "only_after": 1,
                "lines_before": [],
                "lines_after": [
                    {"broadcast": "a", "start_ms": 0, "text": "打电话", "span": [0, 3]}
                ],
            }
        ],
    }
