"""How codes, times and lengths read in Simplified Chinese."""

from __future__ import annotations

import unicodedata

from pipeline.records import CoverageKind, Verdict

#: One character for each category code, beside its colour.
GLYPHS = {
    "false_price_comparison": "价",
    "competitor_disparagement": "贬",
    "off_platform_solicitation": "引",
    "efficacy_claim": "效",
    "absolute_claim": "绝",
    "fake_engagement": "评",
    "regulated_goods": "证",
    "privacy": "私",
    "prizes_and_gifts": "奖",
}

VERDICTS = {
    Verdict.BLOCK: "建议拦截",
    Verdict.REVIEW: "建议复核",
    Verdict.PASS: "可放行",
}

COVERAGE = {
    CoverageKind.HEARD: "已听",
    CoverageKind.SILENT: "静音",
    CoverageKind.MUSIC: "音乐",
    CoverageKind.LOST: "缺失",
    CoverageKind.SHED: "过载跳过",
    CoverageKind.FAILED: "处理失败",
}

TARGETS = {
    "own": "自家商品",
    "other_channel": "其他渠道",
    "peer": "特定同行",
    "peers": "泛指同行",
    "platform": "平台",
    "audience": "观众",
    "none": "无",
}

GUARDS = {
    "no_speech": "模型判断为无人说话",
    "hallucination": "疑似模型臆造",
    "retried": "重复后重试得到",
    "loop_truncated": "循环重复，已截断",
    "repetitive": "重复偏多",
    "low_logprob": "模型把握不足",
    "too_fast": "字数超过正常语速",
}

# Invisible characters that turn the reading order around: a spoof in any list of words.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clock(ms: int) -> str:
    """A position: m:ss, from one hour on h:mm:ss; rounded down."""
    minutes, seconds = divmod(max(0, ms) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def length(ms: int) -> str:
    """A length in words: 0.4 秒, 12 秒, 3 分 05 秒, 1 小时 02 分; never zero for more than none."""
    if 0 < ms < 950:
        return f"{max(0.1, ms / 1000):.1f} 秒"
    minutes, seconds = divmod(round(ms / 1000), 60)
    if minutes == 0:
        return f"{seconds} 秒"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} 小时 {minutes:02} 分" if hours else f"{minutes} 分 {seconds:02} 秒"


def visible(text: str) -> str:
    """Untrusted text on one line: control, bidirectional and unpaired characters become U+FFFD."""
    return "".join(
        " " if char in "\t\n\r" else "\ufffd" if _is_hidden(char) else char for char in text
    )


def _is_hidden(char: str) -> bool:
    return char in _BIDI or unicodedata.category(char) in ("Cc", "Cs")


#: Wherever transcripts of the bundled speech model are shown.
SYNTHETIC_NOTICE = (
    "内置演示语音模型只认识合成语音：真人录音的文字不可信，请用 --asr 换成正式语音模型后再看结论。"
)

#: Wherever findings are shown.
SUSPICION_NOTICE = "以下均为疑似，不是违规定性：请结合上下文、依据和待核事实由人判断。"
