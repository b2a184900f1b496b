"""Detection: which rule, which span, when, why, and what excuses the same words."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect import RulePack, load_rule_pack, read_rules
from pipeline.records import Category, Finding, Utterance, Verdict, Word

TODAY = dt.date(2026, 11, 22)
PACK = load_rule_pack()

#: Pieces that rules and speech acts react to, in any order and with any noise between.
PIECES = st.sampled_from(
    [
        *("专柜", "九百八", "今天", "加", "微信", "血糖", "降下来", "隔壁", "假货", "别", "有人问"),
        *(
            "能不能",
            "平台规则",
            "不能说",
            "刚才",
            "说错了",
            "四位数",
            "最低",
            "9.9",
            "退了",
            "找我",
        ),
        *("。", "\n", "嗯", "😀"),
    ]
)
ANY_UTTERANCE = st.text(alphabet=st.characters(exclude_categories=())) | st.lists(
    PIECES, max_size=30
).map("".join)


def found(text: str, *earlier: str, on: dt.date = TODAY) -> tuple[Finding, ...]:
    """Findings of `text` said after `earlier`, four seconds each."""
    said = [Utterance(n * 4000, n * 4000 + 3500, item) for n, item in enumerate(earlier)]
    start = len(said) * 4000
    return read_rules(PACK, Utterance(start, start + 3500, text), said, on).findings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "渔具店挂两千八的竿子我这一百九十八你拿走",
            [("P01-channel-then-here", "店挂两千八的竿子我这一百九十八")],
        ),
        (
            "专櫃賣９８０元，今天到手９９！",
            [("P01-channel-then-here", "专櫃賣９８０元，今天到手９９")],
        ),
        (
            "原价三百九十九的猫爬架今天九十九就这一场",
            [("P02-invented-original", "原价三百九十九的猫爬架今天九十九")],
        ),
        (
            "市场价一千多的路亚套装今天九十九全套",
            [("P03-vague-base", "市场价一千多的路亚套装今天九十九")],
        ),
        (
            "市面上最低价没有之一",
            [("P04-lowest-anywhere", "市面上最低价")],
        ),
        (
            "这根竿子的工艺抵得上一辆摩托车今天二百块",
            [("P05-worth-more", "抵得上一辆摩托车")],
        ),
        (
            "只有最后五套了五四三二一没了就恢复原价",
            [("P07-false-urgency", "最后五套了五四三二一没了就恢复原价")],
        ),
        (
            "别家的修正带有毒小孩用了会生病",
            [("D01-peer-defect", "别家的修正带有毒")],
        ),
        (
            "同一个大棚出来的他家贵一倍就因为会吹",
            [("D02-same-but-dearer", "同一个大棚出来的他家贵一倍")],
        ),
        (
            "外面百分之八十的猫砂都是工业废料压的",
            [("D03-all-peers", "外面百分之八十的猫砂都是工业")],
        ),
        (
            "大家去给那家店刷差评让他卖不下去",
            [("D05-incite", "去给那家店刷差评")],
        ),
        (
            "想要内部价的加我绿泡泡我给你走私单",
            [("S01-add-contact", "加我绿泡泡")],
        ),
        (
            "加 我 薇 信 啊",
            [("S01-add-contact", "加 我 薇 信")],
        ),
        (
            "别走链接了转我支付宝一箱少收十块",
            [("S04-off-platform-pay", "转我支付宝")],
        ),
        (
            "先取消订单再到另一个软件找我店名",
            [("S08-refund-then-private", "先取消订单再到另一个软件")],
        ),
        (
            "护眼台灯下写作业散光真性近视都能治",
            [("E01-disease-cured", "散光真性近视都能治")],
        ),
        (
            "红光台灯照脸能祛斑消炎我用了半年",
            [("E04-cosmetic-medical", "脸能祛斑消炎")],
        ),
        (
            "坐上这个能量坐垫前列腺问题全解决",
            [("E01-disease-cured", "前列腺问题全解决")],
        ),
        (
            "这个项圈戴上驱虫又抗癌",
            [("E12-serious-disease", "抗癌")],
        ),
        (
            "配镜加我微信发你验光单私下改价",
            [("S01-add-contact", "加我微信"), ("S07-bribe-away", "私下改价")],
        ),
    ],
)
def test_a_violation_is_found_by_its_rule_at_its_words(
    text: str, expected: list[tuple[str, str]]
) -> None:
    """Golden findings: rule id and evidence, cut from the original text."""
    findings = found(text)
    assert [(finding.rule, finding.evidence) for finding in findings] == expected
    for finding in findings:
        assert text[finding.span[0] : finding.span[1]] == finding.evidence


@pytest.mark.parametrize(
    "text",
    [
        "别加微信平台下单才有保障",
        "有宝宝打字说能不能加个微信不可以啊平台不允许的",
        "加微信的都是骗子啊有事找小店里的客服",
        "平台规则写着不能说根治咱们得照着来",
        "刚才那句最低价说错了没有凭证我们收回",
        "有人问能不能治风湿这个治不了要看医生",
        "防蓝光眼镜只是镀膜镜片不能治近视",
        "平台规定不能说最便宜我就说今天这个价",
        "付款时选微信支付就行",
        "这条裤子是棉加微弹的坐下不勒",
        "这个燕麦色很治愈系配牛仔裤好看",
        "停车监控要接降压线师傅装大概四十分钟",
        "这罐上个月二十号本店卖七十八今天六十八",
        "昨天四十五今天还是四十五没降价也不会涨",
        "咱家去年那批拉链确实不行我承认",
        "问途观能不能装的两千零几年款打给我",
    ],
)
def test_the_same_words_in_a_harmless_act_pass(text: str) -> None:
    """Refusal, denied question, rule reading, correction, on-platform action, homograph."""
    assert found(text) == ()


def test_a_question_that_is_affirmed_is_a_claim() -> None:
    """Repeating a viewer's question is no excuse when the answer is yes."""
    assert [f.rule for f in found("有人问能不能治风湿当然能贴三天风湿就好了")] == [
        "E01-disease-cured"
    ]


def test_an_excuse_in_another_sentence_does_not_reach() -> None:
    """A refusal earlier in a passage does not cover a later claim."""
    (finding,) = found("别加微信。想要便宜的加我微信拿货")
    assert finding.span == (10, 14)


def test_a_comparison_over_two_utterances_is_one_finding() -> None:
    """The comparator in one breath and the own price in the next; the why carries both."""
    (finding,) = found("今天在咱们直播间三百九十九", "这件大衣商场专柜卖两千六一件", "看清楚了")
    assert finding.rule == "P01-chain-here-after-channel"
    assert finding.evidence == "今天在咱们直播间三百九十九"
    assert finding.why.context == ("这件大衣商场专柜卖两千六一件",)
    assert "商场专柜卖两千六" in finding.why.text


@pytest.mark.parametrize(
    "earlier",
    [
        [],
        ["这件大衣商场专柜卖两百六一件"],
        ["这件大衣商场专柜卖两千六一件", *["看一下领子"] * 8],
        ["平台规则写着不能说商场专柜卖两千六"],
    ],
)
def test_an_own_price_alone_is_no_comparison(earlier: list[str]) -> None:
    """Without a dearer comparator shortly before, an own price is just a price."""
    assert found("今天在咱们直播间三百九十九", *earlier) == ()


def test_a_lower_reference_is_no_comparison() -> None:
    """Numbers are compared, not only found."""
    assert found("专柜卖九十八今天一百九十九") == ()


def test_the_time_of_a_finding_is_that_of_its_words() -> None:
    """With word times the alert points at the second, without them at the utterance."""
    words = tuple(
        Word(1000 + 300 * n, 1300 + 300 * n, text, 0.9)
        for n, text in enumerate(["想要", "的", "加", "我", "绿泡泡", "啊"])
    )
    timed = Utterance(1000, 2800, "想要的加我绿泡泡啊", words)
    (finding,) = read_rules(PACK, timed, (), TODAY).findings
    assert (finding.start_ms, finding.end_ms) == (1600, 2500)
    (finding,) = read_rules(PACK, Utterance(1000, 2800, "想要的加我绿泡泡啊"), (), TODAY).findings
    assert (finding.start_ms, finding.end_ms) == (1000, 2800)


def test_words_that_do_not_fit_the_text_are_left_aside() -> None:
    """A recogniser whose words differ from its text still gives findings with a time."""
    words = (Word(0, 100, "别的", 0.9),)
    (finding,) = read_rules(PACK, Utterance(5, 50, "加我绿泡泡", words), (), TODAY).findings
    assert (finding.start_ms, finding.end_ms) == (5, 50)


def test_unsure_words_are_never_blocked_without_a_listener() -> None:
    """Low recognition confidence on the decisive words lowers the verdict and says so."""
    sure = (Word(0, 300, "加我", 0.9), Word(300, 900, "绿泡泡", 0.9))
    unsure = (Word(0, 300, "加我", 0.9), Word(300, 900, "绿泡泡", 0.2))
    (clear,) = read_rules(PACK, Utterance(0, 900, "加我绿泡泡", sure), (), TODAY).findings
    (vague,) = read_rules(PACK, Utterance(0, 900, "加我绿泡泡", unsure), (), TODAY).findings
    assert clear.verdict is Verdict.BLOCK
    assert vague.verdict is Verdict.REVIEW
    assert "听一下" in vague.why.text


def test_a_finding_carries_what_a_reviewer_needs() -> None:
    """Words, basis of the day, facts, suggestion and versions, in Chinese."""
    (finding,) = found("隔壁卖的猫粮都是过期肉打的粉", on=dt.date(2025, 10, 14))
    assert finding.category is Category.COMPETITOR_DISPARAGEMENT
    assert finding.why.words == ("隔壁", "过期")
    assert "未见依据" in finding.why.text
    articles = {basis.id: basis.article for basis in finding.basis}
    assert articles["unfair-competition-disparagement"] == "第十一条"
    assert "live-commerce-36" not in articles
    assert len(finding.facts_to_check) >= 3
    assert finding.suggestion
    assert finding.target == "peer"
    assert finding.versions.rule_pack == PACK.label
    assert 0 <= finding.score <= 1


def test_of_overlapping_findings_of_a_category_one_stays() -> None:
    """A reviewer sees one pitch once, not once for every rule it trips."""
    findings = found("我妈高血压十几年喝了两盒现在一片药都不吃")
    assert [finding.rule for finding in findings] == ["E10-endorsement"]


@given(ANY_UTTERANCE, st.lists(ANY_UTTERANCE, max_size=3))
@settings(max_examples=150, deadline=None)
def test_detection_never_raises_and_spans_fit(text: str, earlier: list[str]) -> None:
    """Any string of any code points is judged, and every span cuts its evidence from it."""
    findings = found(text, *earlier)
    for finding in findings:
        start, end = finding.span
        assert 0 <= start < end <= len(text)
        assert text[start:end] == finding.evidence
    for category in Category:
        spans = sorted(f.span for f in findings if f.category is category)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_an_empty_text_has_no_findings(pack: RulePack) -> None:
    """Silence is clean."""
    assert read_rules(pack, Utterance(0, 10, ""), (), TODAY).findings == ()
    assert read_rules(pack, Utterance(0, 10, "。。。😀"), (), TODAY).findings == ()
