"""`tingbo check`: the JSON contract, times, context, and input that is not as it should be."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect import CheckedLine, check_lines, load_detector
from pipeline.detect.check import MAX_LINE_BYTES
from pipeline.errors import BadInputError
from pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TODAY = dt.date(2026, 11, 22)
#: All that may be taken off the front of a line: a byte order mark, a time.
TIME_OR_MARK = re.compile(r"\ufeff?(\s*\d+\t)?")
DETECTOR = load_detector((), Settings().effective_classifier_dir)


def checked(data: str | bytes, *, independent: bool = False) -> list[CheckedLine]:
    """The lines of `data`, checked."""
    raw = data.encode() if isinstance(data, str) else data
    return list(check_lines(io.BytesIO(raw), DETECTOR, independent=independent, on=TODAY))


def test_a_line_is_the_object_of_the_contract() -> None:
    """Exactly the keys of design.md, in input order, also for clean lines."""
    first, second = (line.plain() for line in checked("大家好\n1500\t加我绿泡泡\n"))
    assert first == {"line": 1, "start_ms": 0, "text": "大家好", "findings": []}
    assert (second["line"], second["start_ms"], second["text"]) == (2, 1500, "加我绿泡泡")
    (finding,) = second["findings"]
    assert 0.5 < finding["score"] <= 1
    assert finding == {
        "category": "off_platform_solicitation",
        "subtype": "S01",
        "rule": "S01-add-contact",
        "score": second["findings"][0]["score"],
        "verdict": "review",
        "span": [0, 5],
        "evidence": "加我绿泡泡",
        "why": {
            "text": "“加我绿泡泡”:直接给出或者索要站外联系方式(“绿泡泡”按“微信”理解)",
            "words": ["加", "我", "绿泡泡"],
            "context": [],
            "earlier": None,
            "correction": None,
        },
    }
    json.dumps([first, second])


def test_a_finding_is_explained_with_all_it_has() -> None:
    """How and of whom it is said, the basis, the facts to check: only for whoever asks."""
    (line,) = checked("加我绿泡泡\n")
    (finding,) = line.explained()["findings"]
    assert (finding["speech_act"], finding["target"]) == ("assertion", "audience")
    assert finding["basis"][0]["id"] == "platform-off-site"
    assert finding.items() >= line.plain()["findings"][0].items()


def test_what_was_let_pass_is_explained_for_whoever_asks() -> None:
    """The line is as clean as without the question; span and reason are those of its text."""
    (line,) = checked("平台说的,别加微信\n")
    assert line.plain()["findings"] == []
    assert line.explained() == line.plain() | {
        "excused": [
            {
                "category": "off_platform_solicitation",
                "subtype": "S01",
                "rule": "S01-add-contact",
                "span": [6, 9],
                "evidence": "加微信",
                "by": "refusal",
                "why": "“加微信”:这是拒绝、劝阻,不算主播自己的断言,没有提示。",
            }
        ]
    }


def test_a_long_line_is_explained_where_it_says_so() -> None:
    """Spans count in the line, not in the piece it was judged in, and nothing is told twice."""
    (line,) = checked("大家看看这个面料好不好。" * 25 + "别加微信" + "谢谢大家" * 30)
    assert [(one.span, one.by) for one in line.excused] == [((301, 304), "refusal")]


def test_lines_are_one_broadcast_unless_independent() -> None:
    """The comparator of one line and the price of the next are put together, or are not."""
    data = "这件大衣商场专柜卖两千六一件\n今天在咱们直播间三百九十九\n"
    assert [len(line.findings) for line in checked(data)] == [1, 1]
    assert [len(line.findings) for line in checked(data, independent=True)][1] == 0


def test_times_decide_what_is_context() -> None:
    """Two minutes later the comparator is forgotten; a time that goes back is taken as it is."""
    late = "0\t商场专柜卖两千六\n200000\t今天在咱们直播间三百九十九\n"
    assert [finding.rule for finding in checked(late)[1].findings] == []
    back = "9000\t商场专柜卖两千六\n1000\t今天在咱们直播间三百九十九\n"
    assert [line.start_ms for line in checked(back)] == [9000, 1000]
    assert "P01-chain-here-after-channel" not in [f.rule for f in checked(back)[1].findings]


def test_a_line_without_time_follows_the_line_before() -> None:
    """Estimated by length, so that context has a reach."""
    assert [line.start_ms for line in checked("一二三四五六七八九十\n好\n好\n")] == [0, 2200, 3000]


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        ("一\n\n二", ["一", "", "二"]),
        ("一\r\n二\r\n", ["一", "二"]),
        ("\ufeff一\n", ["一"]),
        ("", []),
        ("\n", [""]),
        ("12\t\n", [""]),
        ("   \n", ["   "]),
        ("加\x00我\x1b\u202e微信\n", ["加\x00我\x1b\u202e微信"]),
        ("99999999999999\n", ["99999999999999"]),
        ("一\u2028二\u0085三\n", ["一\u2028二\u0085三"]),
    ],
)
def test_no_line_is_dropped_or_invented(data: str, texts: list[str]) -> None:
    """Only a line feed ends a line, and the text is kept as it is."""
    lines = checked(data)
    assert [line.text for line in lines] == texts
    assert [line.line for line in lines] == list(range(1, len(texts) + 1))


def test_a_line_that_is_not_utf8_is_read_and_named() -> None:
    """The error names line and byte; the line and those after it are still judged."""
    lines = checked("好的\n".encode() + b"\xff\xfe" + "加我绿泡泡\n好\n".encode())
    assert [line.line for line in lines] == [1, 2, 3]
    assert lines[1].error == (
        "Line 2 is not UTF-8: byte 0xff at offset 0 of the line (byte 7 of the input); "
        "convert the input to UTF-8."
    )
    assert [finding.evidence for finding in lines[1].findings] == ["加我绿泡泡"]
    assert (lines[0].error, lines[2].error) == ("", "")


def test_the_byte_is_named_right_after_a_byte_order_mark() -> None:
    """The mark counts as bytes of the input."""
    (line,) = checked(b"\xef\xbb\xbfab\xff\n")
    assert "byte 0xff at offset 5 of the line (byte 5 of the input)" in line.error


@pytest.mark.parametrize(
    ("data", "remedy"),
    [
        ("加我绿泡泡".encode("gb18030"), "; it may be GB18030: convert the input to UTF-8."),
        ("\ufeff加我绿泡泡".encode("utf-16-le"), "; it may be UTF-16: convert the input to UTF-8."),
        ("好".encode() + b"\xe5\xa5", "; convert the input to UTF-8."),
        (b"\xff", "; convert the input to UTF-8."),
    ],
)
def test_the_likely_encoding_is_named(data: bytes, remedy: str) -> None:
    """Tables from Chinese spreadsheets are rarely UTF-8; a cut character is no other encoding."""
    assert checked(data)[0].error.endswith(remedy)


@pytest.mark.parametrize(
    "first", ["加我绿泡泡", "OFFS", "00:01:02", "1.5", "-5", "1732500000000", "12 345"]
)
def test_a_table_whose_first_column_is_no_time_is_told(first: str) -> None:
    """It is read whole and says so, whatever else stands where the time should."""
    (line,) = checked(f"{first}\t加我绿泡泡\n")
    assert line.text == f"{first}\t加我绿泡泡"
    assert line.error.startswith("Line 1 has a tab but does not begin with a time")
    assert "加我绿泡泡" in line.findings[-1].evidence


def test_a_table_with_more_columns_is_told() -> None:
    """A label behind the text was not said; it is judged with the text, and not silently."""
    more, good, empty = checked("0\t加我绿泡泡\tOFFS\tS01\n900\t好\n1800\t好\t\t\n")
    assert (more.start_ms, more.text) == (0, "加我绿泡泡\tOFFS\tS01")
    assert more.error.startswith("Line 1 has 4 columns, and all after the time was read as its")
    assert [finding.evidence for finding in more.findings] == ["加我绿泡泡"]
    assert (good.error, empty.error, empty.text) == ("", "", "好\t\t")


def test_a_line_without_end_is_refused() -> None:
    """Memory stays bounded whatever the input."""
    data = b"a" * (MAX_LINE_BYTES + 1)
    with pytest.raises(BadInputError, match="Line 1 is longer than 16 MiB"):
        checked(data)


def test_a_megabyte_on_one_line_is_judged() -> None:
    """A whole transcript pasted as one line is slow to read, not to judge."""
    (line,) = checked("今天给大家看看这款面霜质地很软" * 25_000 + "加我绿泡泡")
    assert line.findings[-1].evidence == "加我绿泡泡"


@pytest.mark.parametrize(
    "unit", ["9", "一", "a", " ", "😀", "\u202e", "微\u0301", "9.", "。", "啊"]
)
def test_a_megabyte_of_anything_is_judged(unit: str) -> None:
    """No repetition of one sign is a suspicion, nor does it stop the line after it."""
    line, after = checked(unit * (2**20 // len(unit.encode())) + "\n加我绿泡泡")
    assert (line.findings, line.error, after.line) == ((), "", 2)
    assert [finding.evidence for finding in after.findings] == ["加我绿泡泡"]


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("99 1.5 2026", []),
        ("hello everyone, welcome", []),
        ("😀👍🏽🇨🇳", []),
        ("呢件衫好靚㗎大家睇下", []),
        ("想要嘅加我微信啦", ["加我微信"]),
        ("加\u200b我\u202e绿\u0301泡😀泡", ["加\u200b我\u202e绿\u0301泡😀泡"]),
    ],
)
def test_other_scripts_and_signs_are_judged_as_they_are(text: str, evidence: list[str]) -> None:
    """Digits, Latin, emoji and Cantonese are plain lines; signs between characters hide nothing."""
    (line,) = checked(text)
    assert (line.text, line.error) == (text, "")
    assert [finding.evidence for finding in line.findings] == evidence


def test_the_time_of_a_long_line_grows_with_its_length() -> None:
    """Even where it is nothing but offences; the square of it would take hours for a megabyte."""

    def took(count: int) -> float:
        text = "加我微信" * count
        began = time.process_time()
        (line,) = checked(text)
        assert (line.findings[0].span[0], line.findings[-1].span[1]) == (0, len(text))
        return time.process_time() - began

    took(100)
    assert took(1200) < 7 * took(300)


@pytest.mark.parametrize("noise", ["好", "好看。"])
def test_pieces_of_a_long_line_lose_nothing_and_tell_nothing_twice(noise: str) -> None:
    """Wherever the words stand, they are found once and at their place in the line."""
    for before in range(195, 305):
        text = (noise * 305)[:before] + "加我绿泡泡" + noise * 40
        findings = [(finding.span, finding.evidence) for finding in checked(text)[0].findings]
        assert findings == [((before, before + 5), "加我绿泡泡")]


@pytest.mark.parametrize("independent", [False, True])
def test_pieces_of_a_long_line_are_one_broadcast(independent: bool) -> None:
    """A comparator and the price after it are put together, at the time when they are said."""
    here = "今天在咱们直播间三百九十九"
    text = "好看。" * 100 + "这件大衣商场专柜卖两千六一件。" + "好看。" * 30 + here
    (line,) = checked(text, independent=independent)
    finding = line.findings[-1]
    assert (finding.rule, finding.evidence) == ("P01-chain-here-after-channel", here)
    assert finding.span == (len(text) - len(here), len(text))
    assert 60_000 < finding.start_ms < len(text) * 220


def test_memory_does_not_grow_with_the_input() -> None:
    """Once the caches are full, more lines need no more memory."""

    class Lines(io.BytesIO):
        """Lines that are made as they are read."""

        def __init__(self, count: int) -> None:
            super().__init__()
            self.left = count

        def readline(self, _size: int | None = -1, /) -> bytes:
            self.left -= 1
            return f"好{self.left}\n".encode() if self.left >= 0 else b""

    def peak(count: int) -> int:
        tracemalloc.start()
        stream = Lines(count)
        for _ in check_lines(stream, DETECTOR, independent=False, on=TODAY):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    few = peak(2100)
    assert peak(2700) < few * 1.2 + 100_000


def made_up_lines(count: int) -> Iterator[str]:
    """Lines that differ, so that no cache helps; every tenth is suspicious."""
    for number in range(count):
        yield f"加微信{number}\n" if number % 10 == 0 else f"{number}号链接好看\n"


@pytest.mark.slow
def test_memory_of_the_command_is_flat(tmp_path: Path) -> None:
    """However long the input: nothing of a line is kept, and none is left out."""
    early, count = 20_000, 100_000
    path = tmp_path / "long.txt"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(made_up_lines(count))
    command = [sys.executable, "-m", "pipeline", "check", "--json", str(path)]
    peaks, highest = {}, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        seen = psutil.Process(process.pid)
        for number, line in enumerate(process.stdout, 1):
            assert line.startswith(b'{"line": %d, ' % number)
            if number % 1000 == 0:
                highest = max(highest, seen.memory_info().rss)
                peaks[number] = highest
    assert number == count
    assert process.returncode == 1
    assert peaks[count] - peaks[early] < 10 * 2**20


PIECES = (
    (
        "专柜九百八",
        "今天到我直播间九十九",
        "加我",
        "微",
        "信",
        "薇心",
        "全网最低价",
        "治好",
        "糖尿病",
    ),
    ("能不能", "別信", "専柜", "睇下", "冇", "嘅", "唔好", "ＡＢ", "99.9", "12", "abc", " "),
    ("12\t", "\t", "\r", "\0", "\x1b[31m", "\u2028", "\ufeff", "👨\u200d👩\u200d👧", "🇨🇳"),
    ("\u202e", "\u2066", "\u200f", "\u0301", "\u3099", "\u200d", "\ufe0f"),
)
#: Sound words with what breaks them, and all that UTF-8 can carry.
ANY_LINE = st.lists(st.sampled_from(sum(PIECES, ())), max_size=20).map("".join) | st.text(
    alphabet=st.characters(codec="utf-8", exclude_characters="\n")
)


@given(st.lists(ANY_LINE, max_size=8), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_text_gives_its_lines_with_spans_inside(texts: list[str], independent: bool) -> None:
    """Whatever is said, each line comes out once, as it is, and evidence is cut from it."""
    lines = checked("".join(f"{text}\n" for text in texts), independent=independent)
    assert [line.line for line in lines] == list(range(1, len(texts) + 1))
    for line, text in zip(lines, texts, strict=True):
        given = text.removesuffix("\r")
        assert given.endswith(line.text)
        assert line.text == given or TIME_OR_MARK.fullmatch(given.removesuffix(line.text))
        for finding in line.findings:
            start, end = finding.span
            assert 0 <= start < end <= len(line.text)
            assert finding.evidence == line.text[start:end]
            assert all(word in line.text for word in finding.why.words)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_one_result_a_line(data: bytes) -> None:
    """Whatever is piped in, every line comes out once, in order."""
    expected = data.count(b"\n") + bool(data.rpartition(b"\n")[2])
    lines = checked(data)
    assert [line.line for line in lines] == list(range(1, expected + 1))
    for line in lines:
        json.dumps(line.plain()).encode()
