"""Guards: what Whisper invents goes, what a host says stays, and nothing vanishes unseen."""

from __future__ import annotations

import pytest

from pipeline.asr.guards import (
    Hypothesis,
    Judgement,
    compression_ratio,
    is_invention,
    judge,
    loop,
    needs_retry,
    read_inventions,
)
from pipeline.resources import resource

INVENTIONS = read_inventions(["# a comment", "", "请不吝点赞 订阅 # a reason", "谢谢观看"])
SIGN_OFF = "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目"


def said(
    text: str, *, logprob: float = -0.2, no_speech: float = 0.01, tokens: int | None = None
) -> Hypothesis:
    return Hypothesis(
        text, tuple(range(len(text) if tokens is None else tokens)), logprob, no_speech
    )


def judged(
    first: Hypothesis, retry: Hypothesis | None = None, duration_ms: int = 5_000
) -> tuple[str, tuple[str, ...], str]:
    """Kept text, guards, dropped text."""
    result: Judgement = judge(first, retry, duration_ms, INVENTIONS)
    return result.hypothesis.text[: result.kept], result.guards, result.dropped_text


def test_clear_speech_passes_untouched() -> None:
    """Ordinary speech keeps its text and gets no mark."""
    assert judged(said("这款面霜全网最低价")) == ("这款面霜全网最低价", (), "")


def test_nothing_heard_is_no_guards_work() -> None:
    """An empty text is empty, not dropped."""
    assert judged(said("", logprob=-3, no_speech=0.99)) == ("", (), "")


def test_silence_that_speaks_is_dropped_and_kept_visible() -> None:
    """High no-speech and low log probability together drop the text; it stays in dropped_text."""
    silence = said("好的好的", logprob=-1.2, no_speech=0.7)
    assert judged(silence) == ("", ("no_speech",), "好的好的")


@pytest.mark.parametrize(("logprob", "no_speech"), [(-0.9, 0.7), (-1.2, 0.5)])
def test_one_poor_measure_alone_drops_nothing(logprob: float, no_speech: float) -> None:
    """Loud music under clear words raises one of them only: the words stay."""
    text, guards, dropped = judged(said("这个好用", logprob=logprob, no_speech=no_speech))
    assert (text, dropped) == ("这个好用", "")
    assert guards == (("low_logprob",) if logprob < -1 else ())


def test_unsure_words_are_marked() -> None:
    """A low log probability marks and drops nothing."""
    assert judged(said("听不太清", logprob=-1.3)) == ("听不太清", ("low_logprob",), "")


@pytest.mark.parametrize(
    "text",
    [
        "买它买它买它买它买它",
        "来来来来来来来来",
        "三二一上链接上链接上链接",
        "对对对对对没错",
        "",
        "哈哈哈哈哈哈哈哈哈哈",
    ],
)
def test_what_hosts_repeat_is_no_loop(text: str) -> None:
    """Cheering and chanting of live rooms is speech."""
    assert loop(text) is None
    assert not needs_retry(said(text))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("今天的" + "好" * 20, "今天的好"),
        ("然后" + "谢谢大家" * 8, "然后谢谢大家"),
        ("我们这个产品真的" * 5, "我们这个产品真的"),
        ("嗯," * 10 + "结束", "嗯,"),
    ],
)
def test_a_loop_is_cut_after_its_first_round(text: str, kept: str) -> None:
    """After a hotter attempt that loops too, the text ends with the first round; the rest shows."""
    looping = said(text)
    assert needs_retry(looping)
    assert judged(looping, looping, 30_000) == (kept, ("loop_truncated",), text[len(kept) :])


def test_a_hotter_attempt_that_does_not_loop_replaces_the_first() -> None:
    """The cured text counts, is marked, and the first attempt stays visible."""
    first = said("好" * 40)
    assert judged(first, said("好的我们看下一款"), 9_000) == (
        "好的我们看下一款",
        ("retried",),
        "好" * 40,
    )


def test_silence_is_not_tried_again() -> None:
    """A loop on silence costs no second attempt: it will be dropped."""
    assert not needs_retry(said("好" * 40, logprob=-1.5, no_speech=0.9))


def test_repetition_without_a_loop_to_cut_is_marked() -> None:
    """Text that deflates like a loop but has none is kept and marked."""
    rounds = ("我们家的面霜真的好用一", "我们家的面霜真的好用二") * 9
    text = "".join(
        line + mark
        for line, mark in zip(rounds, "天地人你我他日月山川风云水火花草木石", strict=True)
    )
    assert compression_ratio(text) > 2.4
    assert loop(text) is None
    assert judged(said(text), said(text), 40_000) == (text, ("repetitive",), "")


def test_more_tokens_than_a_mouth_can_say_are_marked() -> None:
    """Beyond 12 tokens a second and a few, the text is suspicious."""
    assert judged(said("字多", tokens=33), duration_ms=2_000)[1] == ("too_fast",)
    assert judged(said("字多", tokens=32), duration_ms=2_000)[1] == ()


@pytest.mark.parametrize(
    "text", ["谢谢观看", "谢谢观看！", "谢谢观看 谢谢观看。", "请不吝点赞、订阅"]
)
def test_a_known_invention_is_quarantined_when_the_model_was_unsure(text: str) -> None:
    """A whole segment of a listed phrase, once or repeated, goes when either measure is poor."""
    assert judged(said(text, no_speech=0.4)) == ("", ("hallucination",), text)
    assert judged(said(text, logprob=-0.6)) == ("", ("hallucination",), text)


@pytest.mark.parametrize("text", ["谢谢观看", "请不吝点赞 订阅"])
def test_a_host_who_says_it_clearly_is_heard(text: str) -> None:
    """Hosts thank their viewers too: a confident farewell stays."""
    assert judged(said(text)) == (text, (), "")


@pytest.mark.parametrize("text", ["宝宝们谢谢观看", "谢谢观看点赞", "点赞订阅打赏"])
def test_words_are_never_deleted_from_a_longer_text(text: str) -> None:
    """The list matches whole segments only."""
    assert judged(said(text, no_speech=0.55, logprob=-0.9)) == (text, (), "")


def test_the_shipped_list_knows_the_famous_ones() -> None:
    """lexicons/hallucinations.txt is read and holds the phrases Whisper is known for."""
    path = resource("lexicons", "hallucinations.txt")
    inventions = read_inventions(path.read_text(encoding="utf-8").splitlines())
    assert is_invention(SIGN_OFF, inventions)
    assert is_invention("字幕由Amara.org社区提供", inventions)
    assert is_invention("优优独播剧场——YoYo Television Series Exclusive", inventions)
    for ordinary in ("点赞", "订阅", "打赏", "谢谢", "谢谢大家", "关注", "链接"):
        assert not is_invention(ordinary, inventions)
