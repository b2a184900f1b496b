"""The engine on a small pack: what holds, what is excused, what is on trial, what is allowed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from pipeline.detect import RulePack, RuleReading, load_rule_pack, read_rules, self_test
from pipeline.records import Earlier, Utterance, Verdict
from tests.detect.packs import ACTS, ALLOW, rule, rules, write_pack

TODAY = dt.date(2026, 11, 22)


def loaded(folder: Path, **files: str) -> RulePack:
    """The small pack with other files."""
    return load_rule_pack(write_pack(folder / "pack", **files))


def read(pack: RulePack, text: str, *earlier: str) -> RuleReading:
    """The reading of `text` said after `earlier`, four seconds each."""
    said = [Utterance(n * 4000, n * 4000 + 3500, item) for n, item in enumerate(earlier)]
    start = len(said) * 4000
    return read_rules(pack, Utterance(start, start + 3500, text), said, TODAY)


def evidence(reading: RuleReading) -> list[str]:
    return [finding.evidence for finding in reading.findings]


@pytest.fixture
def pack(tmp_path: Path) -> RulePack:
    """One rule: 加…微信 or 电话."""
    return loaded(tmp_path)


def test_the_small_pack_is_good(pack: RulePack) -> None:
    """The tests below stand on a pack whose own examples hold."""
    assert self_test(pack) == []


def test_a_reading_tells_what_holds_and_what_is_found(pack: RulePack) -> None:
    """One pass gives the text, the matches and the findings, which say how it was said of whom."""
    reading = read(pack, "来,加我微信")
    assert reading.text.text == "来加我微信"
    (match,) = reading.held
    assert (match.rule.id, match.start, match.end) == ("S01-contact", 1, 5)
    (finding,) = reading.findings
    assert (finding.span, finding.evidence) == ((2, 6), "加我微信")
    assert (finding.speech_act, finding.target, finding.shadow) == ("assertion", "audience", False)
    assert (reading.excused, reading.shadow) == ((), ())


@pytest.mark.parametrize(
    ("text", "act", "verdict", "told"),
    [
        ("来加我微信", "assertion", Verdict.BLOCK, "“加我微信”:留联系方式"),
        ("他说加我微信", "quoting", Verdict.REVIEW, "(像是引用他人,请结合前后文判断)"),
        ("加我微信包好", "promise", Verdict.BLOCK, "(语气:承诺、担保)"),
        ("他说加我微信包好", "quoting", Verdict.REVIEW, "(像是引用他人,请结合前后文判断)"),
    ],
)
def test_an_act_that_excuses_nothing_is_told(
    pack: RulePack, text: str, act: str, verdict: Verdict, told: str
) -> None:
    """Who quotes is still suspected, and a person decides; a promise blocks like a plain claim."""
    (finding,) = read(pack, text).findings
    assert (finding.speech_act, finding.verdict) == (act, verdict)
    assert finding.why.text.endswith(told)


def test_a_rule_may_disregard_an_act(tmp_path: Path) -> None:
    """Then it is neither an excuse nor told."""
    more = 'not_excused_by = ["quoting"]'
    pack = loaded(tmp_path, solicit=rules(rule(more=more)))
    (finding,) = read(pack, "他说加我微信").findings
    assert (finding.speech_act, finding.verdict) == ("assertion", Verdict.BLOCK)


@pytest.mark.parametrize(
    ("text", "target"),
    [("来加我微信", "audience"), ("同行加我微信", "peers"), ("同行很多。来加我微信", "audience")],
)
def test_words_tell_the_target(pack: RulePack, text: str, target: str) -> None:
    """In the sentence of the match; what another sentence speaks of is another matter."""
    (finding,) = read(pack, text).findings
    assert finding.target == target


def test_the_earlier_half_of_a_claim_tells_the_target(tmp_path: Path) -> None:
    """The antecedent is in the utterance before."""
    chained = rule("S01-chain", '"微信"', flag=("微信", "微信"), more='earlier = ["加"]')
    pack = loaded(tmp_path, solicit=rules(chained))
    (finding,) = read(pack, "微信", "同行加一下").findings
    assert finding.target == "peers"


def test_an_act_that_does_not_live_up_to_its_examples_is_told(tmp_path: Path) -> None:
    """The self-test tries the examples of acts and targets like those of rules."""
    acts = ACTS.replace('before = ["他说"]', 'before = ["她说"]').replace(
        'words = ["同行"]', 'words = ["同业"]'
    )
    failures = self_test(loaded(tmp_path, acts=acts))
    assert [failure.message for failure in failures] == [
        "quoting must cover '加微信' in '他说加微信'.",
        "'同行都加微信' speaks of peers and is taken to speak of audience.",
    ]


def test_a_finding_has_the_key_of_its_pitch(pack: RulePack) -> None:
    """The same for the same claim in other writing, in whatever sentence."""
    keys = {read(pack, text).findings[0].pitch for text in ("加我微信", "姐妹们加咱 薇信")}
    assert len(keys) == 1
    assert keys.pop() != read(pack, "加我电话").findings[0].pitch


def test_an_excused_match_is_told_with_its_act(pack: RulePack) -> None:
    """A refusal is no finding, and whoever asks learns which act it was."""
    reading = read(pack, "别加微信")
    assert (reading.held, reading.findings) == ((), ())
    assert [(match.rule.id, act) for match, act in reading.excused] == [("S01-contact", "refusal")]


def test_an_exception_of_the_rule_is_told_as_one(tmp_path: Path) -> None:
    """The words around the match that the rule names."""
    pack = loaded(tmp_path, solicit=rules(rule(more='exceptions = ["客服"]')))
    reading = read(pack, "加微信客服")
    assert reading.findings == ()
    assert [act for _, act in reading.excused] == ["exception"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("加我薇信", "加我薇信"), ("加、绿泡泡", "加、绿泡泡"), ("快加 薇 信", "加 薇 信")],
)
def test_rules_read_what_is_meant(pack: RulePack, text: str, said: str) -> None:
    """Evasive wording is matched by the word it stands for; the span is what was said."""
    assert evidence(read(pack, text)) == [said]


def test_the_reason_tells_what_was_read_as_what(pack: RulePack) -> None:
    """A reviewer sees that a word was taken for another one, and only then."""
    (finding,) = read(pack, "加我薇信").findings
    assert "“薇信”按“微信”理解" in finding.why.text
    assert finding.why.words == ("加", "薇信")
    (plain,) = read(pack, "加我微信,绿泡泡").findings
    assert "理解" not in plain.why.text


def test_a_rule_on_trial_is_recorded_and_not_raised(tmp_path: Path) -> None:
    """Its findings come apart from the others, marked, and it holds for nobody else."""
    active = rule("S02-phone", '"打电话"', flag=("打电话", "打电话"))
    pack = loaded(tmp_path, solicit=rules(rule(more='status = "shadow"'), active))
    reading = read(pack, "加微信打电话,别加微信")
    assert evidence(reading) == ["打电话"]
    assert [match.rule.id for match in reading.held] == ["S02-phone"]
    assert reading.excused == ()
    (shadow,) = reading.shadow
    assert (shadow.rule, shadow.shadow, shadow.evidence) == ("S01-contact", True, "加微信")


def test_a_stronger_rule_on_trial_takes_nothing_from_a_raised_one(tmp_path: Path) -> None:
    """Of overlapping findings the strongest stays, among those that are raised."""
    trial = rule("S02-trial", '"加…微信"', more='status = "shadow"').replace("0.9", "0.95")
    pack = loaded(tmp_path, solicit=rules(rule(), trial))
    reading = read(pack, "加微信")
    assert [finding.rule for finding in reading.findings] == ["S01-contact"]
    assert [finding.rule for finding in reading.shadow] == ["S02-trial"]


def test_a_file_on_trial_has_all_its_rules_on_trial(tmp_path: Path) -> None:
    """A rule may say otherwise for itself."""
    text = rules(
        rule(),
        rule("S02-phone", '"打电话"', flag=("打电话", "打电话"), more='status = "active"'),
        more='status = "shadow"',
    )
    reading = read(loaded(tmp_path, solicit=text), "加微信,打电话")
    assert [finding.rule for finding in reading.findings] == ["S02-phone"]
    assert [finding.rule for finding in reading.shadow] == ["S01-contact"]


def test_an_allowed_wording_overrides_the_words_it_covers(pack: RulePack) -> None:
    """微信支付 is longer than 微信; the match is told as allowed."""
    reading = read(pack, "加微信支付的红包")
    assert (reading.held, reading.findings) == ((), ())
    assert [act for _, act in reading.excused] == ["allowed"]


def test_a_longer_word_of_a_rule_wins_over_an_allowed_one(tmp_path: Path) -> None:
    """The longest match decides, whichever list it is on."""
    longer = rule(patterns='"(微信支付码)…(发)"', flag=("微信支付码发我", "微信支付码发"))
    pack = loaded(tmp_path, solicit=rules(longer), allow=ALLOW)
    assert evidence(read(pack, "微信支付码发我")) == ["微信支付码发"]
    equal = ALLOW.replace('"微信支付"', '"微信支付码"')
    assert (
        evidence(read(loaded(tmp_path, solicit=rules(longer), allow=equal), "微信支付码发我")) == []
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("加微信支付不如加微信", "加微信支付不如加微信"),
        ("加个微信支付,再留电话", "加个微信支付,再留电话"),
        ("微信支付就行,加我微信", "加我微信"),
        ("加微信支付,微信支付都行", None),
    ],
)
def test_behind_an_allowed_wording_a_claim_is_found(
    pack: RulePack, text: str, found: str | None
) -> None:
    """A harmless wording does not hide the rest of the sentence from the same rule."""
    assert evidence(read(pack, text)) == ([found] if found else [])


def test_allowed_wordings_count_in_earlier_utterances_too(tmp_path: Path) -> None:
    """What a rule asks for before is void where it is allowed."""
    chain = rule("S03-chain", '"扫一下"', flag=("扫一下", "扫一下"))
    chain = (
        chain.replace(
            '{ text = "扫一下", span_text = "扫一下" }',
            '{ text = "扫一下", span_text = "扫一下", earlier = ["这是微信"] }',
        )
        + 'earlier = ["[contact]"]\nwithin_s = 60\n'
    )
    pack = loaded(tmp_path, solicit=rules(chain))
    assert evidence(read(pack, "扫一下", "这是我微信")) == ["扫一下"]
    assert evidence(read(pack, "扫一下", "用微信支付")) == []


def test_both_halves_of_a_claim_over_two_utterances_can_be_shown(tmp_path: Path) -> None:
    """The earlier words have their time and their span in the earlier text as it was said."""
    later = rule("S03-chain", '"扫一下"', flag=("扫一下", "扫一下"), more='earlier = ["[contact]"]')
    pack = loaded(tmp_path, solicit=rules(later))
    (finding,) = read(pack, "扫一下", "先听歌", "我的,薇信号加", "看好了").findings
    assert finding.why.earlier == Earlier(4000, "我的,薇信号加", (3, 5))
    assert finding.why.context == ("我的,薇信号加",)


def test_a_match_without_an_earlier_half_has_none(pack: RulePack) -> None:
    """Nothing is made up."""
    (finding,) = read(pack, "加微信", "看好了").findings
    assert (finding.why.earlier, finding.why.context) == (None, ())
