"""Evasive wording: what is restored, what must stay as it is said, and the way back."""

from __future__ import annotations

import copy
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detect.fields import FieldError
from pipeline.detect.morphs import Morphs, read_morphs
from pipeline.detect.normalize import normal_form, normalize
from pipeline.detect.restore import Kind, changes_of, reading_of
from pipeline.resources import resource

TABLE = tomllib.loads(resource("lexicons", "morphs.toml").read_text(encoding="utf-8"))
MORPHS = read_morphs(TABLE)

ANY_TEXT = (
    st.text(alphabet=st.characters(exclude_categories=()))
    | st.text(
        alphabet="加薇威佳家微信号vxV某宝什么母尿酸关炎绿泡泡九十米两瓶皮皮劳劳抗衰啊嗯,。!😀 "
    )
    | st.lists(
        st.sampled_from(
            [
                "加我薇信",
                "什么",
                "尿",
                "酸",
                "某",
                "八十九米",
                "带走",
                "。",
                "绿泡泡",
                "抗抗衰老",
                "四信",
                "我",
            ]
        )
    ).map("".join)
)


@pytest.mark.parametrize(
    ("text", "restored"),
    [
        ("想要批发价的加我绿泡泡", "想要批发价的加我微信"),
        ("去某宝搜一下", "去淘宝搜一下"),
        ("你们去那个带猫的平台看一眼", "你们去那个天猫看一眼"),
        ("Ｖ Ｘ 联系我", "微信联系我"),
        ("家微进裙", "加微进群"),
        ("薇信是我店名", "微信是我店名"),
        ("小助理四信你", "小助理私信你"),
        ("加我微星", "加我微信"),
        ("直播间九十九米带走", "直播间九十九元带走"),
        ("尿什么酸高的吃", "尿酸高的吃"),
        ("尿嗯酸高的吃", "尿酸高的吃"),
        ("关某炎能好", "关节炎能好"),
        ("肌什么肝高得吓人", "肌酐高得吓人"),
        ("诗某面", "失眠"),
        ("某护某肝的茶", "护肝的茶"),
        ("皮皮劳劳的人", "疲劳的人"),
        ("抗抗衰老", "抗衰老"),
        ("那个病字头里三个口", "那个癌"),
        ("小蓝帽的药片", "保健食品的药片"),
        ("加 v x 领资料", "加微信领资料"),
        ("加V信发你", "加微信发你"),
        ("威 艾克斯 领资料", "微信领资料"),
        ("加我微爱克斯", "加我微信"),
        ("我的达不溜艾克斯", "我的微信"),
        ("加我绿泡泡吧", "加我微信吧"),
        ("加我徽信领券", "加我微信领券"),
        ("想要的进君羊", "想要的进群"),
        ("扫这个二维石马", "扫这个二维码"),
        ("月中瘤也能消", "肿瘤也能消"),
        ("米唐尿病的人", "糖尿病的人"),
        ("那就车专账给我", "那就转账给我"),
        ("礻去斑的", "祛斑的"),
        ("病字头下面三个口一个山的", "癌的"),
    ],
)
def test_evasive_wording_is_restored(text: str, restored: str) -> None:
    """Rules see what is meant, however it was disguised."""
    assert reading_of(text, MORPHS).text == restored


@pytest.mark.parametrize(
    "text",
    [
        "有什么问题打在公屏上",
        "你看什么书呢",
        "信号好通风也好",
        "她在镇上很有威信",
        "我丈母娘聋了二十年",
        "某个网红说过",
        "大家微微调一下",
        "更加威风",
        "电源线五十米够长",
        "她一米六二穿均码",
        "裙子里面有里衬",
        "vip有专享券",
        "卫星定位的手表",
        "高血糖和高血脂的人",
        "好好好来来来对对对",
        "哈哈哈哈笑死",
        "抹在脸上吸收快",
        "莫喝浓茶",
        "水平尺中间那个绿泡泡",
        "建材市场什么价我不知道",
        "夜里能看见三十米",
        "二百个那个走采购",
        "弓长张的张立早章的章",
        "木子李口天吴双木林",
        "减肥月半就瘦了十斤",
        "肝火火气都大",
        "镜花水月中看不中用",
        "私人言论不代表平台",
        "成本人介绍过了",
        "艾克斯光检查一下",
        "小v领显得脖子长",
        "v字领的毛衣",
        "安徽信息学院",
        "君羊肉馆开了十年",
        "力口不大",
    ],
)
def test_plain_speech_stays_as_it_is(text: str) -> None:
    """A false restoration would be a false accusation."""
    assert changes_of(text, MORPHS) == ()
    assert reading_of(text, MORPHS) == normalize(text)


@pytest.mark.parametrize("example", MORPHS.examples, ids=lambda example: example.text)
def test_every_example_of_the_data_holds(example: Any) -> None:
    """Each entry of morphs.toml does what it says, and nothing it says to keep is touched."""
    assert reading_of(example.text, MORPHS).text == example.restored


@pytest.mark.parametrize(
    ("text", "said", "original", "meant", "kind"),
    [
        ("去,某 宝 搜", "某宝", "某 宝", "淘宝", Kind.CODE),
        ("今天九十九米带走", "米", "米", "元", Kind.UNIT),
        ("尿酸,尿 什么 酸", "尿什么酸", "尿 什么 酸", "尿酸", Kind.INSERTED),
        ("红包发我薇 信", "薇信", "薇 信", "微信", Kind.SOUND),
        ("细细纹纹都淡了", "细细纹纹", "细细纹纹", "细纹", Kind.REPEAT),
        ("月 中瘤", "月中瘤", "月 中瘤", "肿瘤", Kind.SPLIT),
    ],
)
def test_a_change_says_what_was_said_and_what_it_means(
    text: str, said: str, original: str, meant: str, kind: Kind
) -> None:
    """Explanations quote the original characters; the kind tells the classifier how it was done."""
    (change,) = changes_of(text, MORPHS)
    assert (change.said, change.meant, change.kind) == (said, meant, kind)
    assert text[change.start : change.end] == original


def test_a_restored_word_leads_back_to_all_that_was_said_for_it() -> None:
    """Evidence is cut from the original, noise inside included, and ends where the wording ends."""
    text = "加我,绿 泡 泡。聊"
    reading = reading_of(text, MORPHS)
    assert reading.text == "加我微信聊"
    start = reading.text.index("微信")
    assert [text[slice(*reading.original_span(at, at + 1))] for at in (start, start + 1)] == [
        "绿 泡 泡",
        "绿 泡 泡",
    ]
    assert text[slice(*reading.original_span(0, 4))] == "加我,绿 泡 泡"
    assert reading.sentence(0, 2) == (0, 4)


def test_an_inserted_character_is_part_of_the_evidence_only_inside() -> None:
    """What stands around the broken word is not pulled in."""
    text = "他尿什么酸高"
    reading = reading_of(text, MORPHS)
    assert reading.text == "他尿酸高"
    assert text[slice(*reading.original_span(1, 3))] == "尿什么酸"
    assert text[slice(*reading.original_span(3, 4))] == "高"


def test_nothing_is_restored_across_the_end_of_a_sentence() -> None:
    """Two sentences do not form a word together."""
    assert changes_of("补充某。宝宝爱吃", MORPHS) == ()
    assert reading_of("去某。宝", MORPHS).text == "去某宝"


def test_a_text_too_long_to_remember_is_read_the_same() -> None:
    """The cache has no say in the result."""
    long = "今天天气不错" * 80 + "加我薇信"
    assert reading_of(long, MORPHS).text == "今天天气不错" * 80 + "加我微信"


@given(ANY_TEXT)
def test_every_span_of_any_reading_lies_in_the_original(text: str) -> None:
    """Offsets and ends never fall, and each character stands for something within the text."""
    reading = reading_of(text, MORPHS)
    spans = [reading.original_span(at, at + 1) for at in range(len(reading.text))]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)
    assert [end for _, end in spans] == sorted(end for _, end in spans)
    assert all(0 < at < len(reading.text) for at in reading.breaks)


@given(ANY_TEXT)
def test_what_is_not_evasive_is_the_normal_form(text: str) -> None:
    """Outside the changes every character is the normal form of its own, and none is lost."""
    changes = changes_of(text, MORPHS)
    end = 0
    expected = ""
    for change in changes:
        assert end <= change.start < change.end <= len(text)
        assert normal_form(text[change.start : change.end]) == change.said
        assert change.said != change.meant
        expected += normal_form(text[end : change.start]) + change.meant
        end = change.end
    assert reading_of(text, MORPHS).text == expected + normal_form(text[end:]) or "." in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table["code"][0].update(near_by=["微信"]), "code 1: near_by is unknown"),
        (lambda table: table["filler"][0].update(kind="often"), "filler 1: kind is 'often'"),
        (lambda table: table["sound"][0].update(cost=2), "sound 1: cost must be a number"),
        (lambda table: table["unit"][0].pop("keep"), "unit 1: keep is missing"),
        (lambda table: table["code"][0].update(restore=["一"]), "is not a pair"),
        (lambda table: table["code"][0].update(said=["。"]), "'。' is never matched"),
        (lambda table: table.update(codes=[]), "codes is unknown"),
        (lambda table: table["code"][0].update(spelled=["vq"]), "spelled has 'q', which"),
        (lambda table: table["parts"].update(码=[]), "码 needs at least 1"),
    ],
)
def test_a_slip_in_the_data_is_named(change: Any, message: str) -> None:
    """Whoever edits morphs.toml is told which entry is wrong and why."""
    table = copy.deepcopy(TABLE)
    change(table)
    with pytest.raises(FieldError, match=message):
        read_morphs(table)


def test_parts_and_letters_may_be_left_out() -> None:
    """A pack of one's own needs neither; then nothing is read in parts."""
    table = copy.deepcopy(TABLE)
    table["code"] = [code for code in table["code"] if "spelled" not in code]
    del table["parts"], table["letters"]
    morphs = read_morphs(table)
    assert reading_of("月中瘤加绿泡泡", morphs).text == "月中瘤加微信"


def test_morphs_are_equal_to_themselves_only() -> None:
    """Two packs with the same content do not share what was remembered for one of them."""
    other: Morphs = read_morphs(TABLE)
    assert other != MORPHS
    assert other == other  # noqa: PLR0124  # that is the promise


PLAIN = sorted(
    text
    for file in resource("models", "asr_demo", "text", "areas").glob("*.toml")
    for text in tomllib.loads(file.read_text(encoding="utf-8"))["lines"]
)
#: What characters are taken apart into, and letters are called.
PIECES = sorted(
    {said for name in ("parts", "letters") for list_ in TABLE[name].values() for said in list_}
)


def test_plain_talk_has_no_split_words() -> None:
    """Not one in all plain lines of the corpus of the speech model."""
    assert len(PLAIN) > 1000
    found = [c for text in PLAIN for c in changes_of(text, MORPHS) if c.kind is Kind.SPLIT]
    assert found == []


@given(st.sampled_from(PLAIN), st.sampled_from(PIECES), st.integers(0, 40))
def test_pieces_alone_mean_nothing(text: str, piece: str, at: int) -> None:
    """A part of a character or the name of a letter within plain talk makes no split word of what
    is not listed: what is read is a listed word, and was there in parts."""
    said = text[:at] + piece + text[at:]
    for change in changes_of(said, MORPHS):
        if change.kind is Kind.SPLIT:
            assert change.meant in MORPHS.words
            assert change.said in MORPHS.splits
            assert piece in change.said


@given(st.sampled_from(sorted(MORPHS.splits)))
def test_a_word_in_parts_is_read_and_leads_back(said: str) -> None:
    """Between words that do not touch it, every way to take a word apart is understood."""
    text = f"。{said}。"
    changes = changes_of(text, MORPHS)
    meant = MORPHS.splits[said].meant
    if any(change.kind is Kind.SPLIT for change in changes):
        assert reading_of(text, MORPHS).text == meant
        assert text[changes[0].start : changes[0].end] == said
