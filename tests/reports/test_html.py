"""The page as a file: complete, self-contained and closed to what was said in the recording."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html.parser
import io
import json
import re
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline.errors import MissingError
from pipeline.records import (
    CATEGORY_NAMES,
    Category,
    Correction,
    Coverage,
    Earlier,
    Why,
    Word,
)
from pipeline.reports import Replay, Sound, SoundTrack, write_replay_html
from pipeline.reports.wording import GLYPHS
from tests.reports.sample import LINES, record, replay, tone, transcript

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}<!--"


class Elements(html.parser.HTMLParser):
    """Every start tag with its attributes, and the text of the last element of each id."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def written(tmp_path: Path, checked: Replay, sound: Sound | None = None) -> str:
    out = tmp_path / "报告.html"
    write_replay_html(checked, sound, out)
    assert list(tmp_path.iterdir()) == [out]
    return out.read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    value = json.loads(found[1])
    assert isinstance(value, dict)
    return value


def hostile_replay() -> Replay:
    plain = replay()
    line = dataclasses.replace(transcript(1000, HOSTILE), dropped_text=HOSTILE, guards=(HOSTILE,))
    (first, *_) = plain.findings
    found = dataclasses.replace(
        first,
        subtype=HOSTILE,
        rule=HOSTILE,
        evidence=HOSTILE,
        span=(0, len(HOSTILE)),
        start_ms=1000,
        end_ms=1200,
        why=Why(
            HOSTILE,
            (HOSTILE,),
            (HOSTILE,),
            Earlier(0, HOSTILE, (0, 9)),
            Correction(9000, HOSTILE),
        ),
        speech_act=HOSTILE,
        target=HOSTILE,
        basis=(
            dataclasses.replace(
                first.basis[0],
                title=HOSTILE,
                article=HOSTILE,
                source=HOSTILE,
                link="javascript:alert(3)",
                verified=False,
            ),
        ),
        facts_to_check=(HOSTILE,),
        suggestion=HOSTILE,
    )
    stretches = tuple(dataclasses.replace(one, reason=HOSTILE) for one in plain.stretches)
    versions = dataclasses.replace(plain.versions, asr=HOSTILE, rule_pack=HOSTILE, model=HOSTILE)
    return dataclasses.replace(
        plain,
        media=HOSTILE,
        failure=HOSTILE,
        transcripts=(line,),
        findings=(found,),
        stretches=stretches,
        versions=versions,
    )


def test_what_was_said_is_never_markup(tmp_path: Path) -> None:
    """Hostile text in every field adds no element, no attribute, and reads as it was."""
    hostile = Elements(written(tmp_path, hostile_replay()))
    names = [tag for tag, _ in hostile.tags]
    assert names.count("script") == 2
    assert "img" not in names
    assert "a" not in names
    assert not [name for _, attributes in hostile.tags for name in attributes if name[:2] == "on"]
    assert "".join(hostile.text).count(HOSTILE) >= 15


def test_a_basis_tells_where_to_find_it(tmp_path: Path) -> None:
    """Its source and, where it is known, its address; what was not read in the original says so."""
    plain = replay()
    finding = plain.findings[0]
    unread = dataclasses.replace(finding.basis[0], link="", verified=False)
    page = written(
        tmp_path, replay(findings=(finding, dataclasses.replace(finding, basis=(unread,))))
    )
    assert page.count("总局、网信办令第117号") == 2
    assert page.count("官方文本</a>") == 1
    assert page.count("未核对原文") == 1


def test_nothing_hidden_turns_text_around(tmp_path: Path) -> None:
    """Bidirectional and control characters are shown as what they are, also unpaired ones."""
    page = written(tmp_path, replay(media="a\u202egpj.\x00exe\udcff.mp4"))
    assert "<h1>a\ufffdgpj.\ufffdexe\ufffd.mp4</h1>" in page


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    """No element refers to anything outside, and the policy forbids what slipped through."""
    page = written(tmp_path, replay())
    elements = Elements(page)
    links = [attributes for tag, attributes in elements.tags if tag == "a"]
    # To be followed by hand: the official text of a provision, in a tab that learns nothing of us.
    assert {(link["href"], link["rel"], link["target"]) for link in links} == {
        ("https://www.samr.gov.cn/117.html", "noopener noreferrer", "_blank")
    }
    for tag, attributes in elements.tags:
        assert not {"src", "srcset", "action", "style"} & set(attributes)
        assert tag == "a" or "href" not in attributes
    assert not re.search(r"https?://|url\(|@import", re.sub("<a .*?</a>", "", page))
    (policy,) = [
        attributes["content"] or ""
        for _, attributes in elements.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; ")
    for name in ("script", "style"):
        (body,) = re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy


def test_the_embedded_sound_decodes(tmp_path: Path) -> None:
    """The page carries the whole recording, as sound that a decoder takes."""
    with SoundTrack() as track:
        page = written(tmp_path, replay(), record(track, tone(25)).finish())
    found = re.search(r'<script type="text/plain" id="sound" data-type="(.*?)">(.*?)</', page)
    assert found is not None
    assert found[1] == "audio/mpeg"
    with av.open(io.BytesIO(base64.b64decode(found[2], validate=True)), "r") as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == 25 * 16_000
    assert data_of(page)["bucket"] == 20
    assert len(base64.b64decode(data_of(page)["peaks"])) == 1250


def test_without_sound_the_page_asks_for_the_file(tmp_path: Path) -> None:
    """A recording too long to embed can be chosen from disk; its waveform is there."""
    with SoundTrack(max_embedded_ms=1000) as track:
        page = written(tmp_path, replay(), record(track, tone(25)).finish())
    assert 'id="sound"' not in page
    assert 'type="file"' in page
    assert len(base64.b64decode(data_of(page)["peaks"])) == 1250
    with SoundTrack() as track:
        assert 'type="file"' not in written(tmp_path, replay(), record(track, tone(1)).finish())


def test_every_finding_is_there_with_its_grounds(tmp_path: Path) -> None:
    """Words in their line, reason, basis with dates, facts, suggestion, rule: for each finding."""
    checked = replay()
    page = written(tmp_path, checked)
    cards = page.split('<li class="card"')[1:]
    assert len(cards) == len(checked.findings)
    for number, (card, one) in enumerate(zip(cards, checked.findings, strict=True)):
        text = "".join(Elements("<li" + card.split("</li>")[0]).text)
        for part in (LINES[number + 1][1], one.why.text, one.rule, "价格以商品页为准"):
            assert part in text
        assert "《直播电商监督管理办法》第三十二条2026-02-01 起，2030-01-01 起失效" in text
        assert f'data-f="{number}">{one.evidence}</mark>' in card
    assert [entry[2:] for entry in data_of(page)["findings"]] == [
        ["efficacy_claim", "block", 1],
        ["off_platform_solicitation", "block", 2],
        ["false_price_comparison", "review", 3],
        ["competitor_disparagement", "review", 4],
    ]


def test_every_category_has_its_name_sign_and_colour(tmp_path: Path) -> None:
    """Also those of further rule packs: list, timeline and waveform know them."""
    found = tuple(
        dataclasses.replace(replay().findings[0], category=category) for category in Category
    )
    page = written(tmp_path, replay(findings=found))
    text = "".join(Elements(page).text)
    for category in Category:
        assert text.count(GLYPHS[category] + CATEGORY_NAMES[category]) >= 2
        assert re.search(rf'\[data-c="{category}"\] {{ --c: var\(--\w+\); }}', page)
        assert re.search(rf"\b{category}: ink\.\w+", page)
    inks = re.findall(r'\[data-c="\w+"\] { --c: var\(--(\w+)\); }', page)
    assert len(set(inks)) == len(Category)
    assert [len(re.findall(rf"--{ink}: #", page)) for ink in inks] == [2] * len(inks)


def test_unheard_time_is_named_and_never_clean(tmp_path: Path) -> None:
    """The page says how much was not heard, where and why, also when nothing was found."""
    text = "".join(Elements(written(tmp_path, replay(findings=()))).text)
    assert text.count("有 4 秒没有听到，这部分不在结论之内，不能视为没有问题。") == 2
    assert "00:15–00:19 缺失：信号中断" in text
    clean = replay(findings=(), stretches=(), coverage=Coverage(heard_ms=25_000))
    assert "没有听到，" not in "".join(Elements(written(tmp_path, clean)).text)


def test_limits_of_the_result_are_banners(tmp_path: Path) -> None:
    """The synthetic-only model and a failure are announced before the findings."""
    page = written(tmp_path, replay(synthetic_only=True, failure="a.mp4 is cut off."))
    before = page[: page.index('<ol class="cards">')]
    assert "内置演示语音模型只认识合成语音" in before
    assert "a.mp4 is cut off." in before
    assert "不是违规定性" in before
    assert "内置演示语音模型" not in written(tmp_path, replay())


def test_a_segment_that_was_not_understood_stays_visible(tmp_path: Path) -> None:
    """Dropped text and the guard that dropped it are shown where it was said."""
    lost = dataclasses.replace(transcript(1000, ""), guards=("no_speech",), dropped_text="请点赞")
    text = "".join(Elements(written(tmp_path, replay(transcripts=(lost,), findings=()))).text)
    assert "没有识别出文字" in text
    assert "模型判断为无人说话" in text
    assert "去掉：请点赞" in text


def test_word_offsets_are_counted_as_a_browser_counts(tmp_path: Path) -> None:
    """Beyond the basic plane a character is two units; words the text lacks are left out."""
    words = (Word(0, 200, "𠮷", 0.9), Word(200, 400, "没有的", 0.9), Word(400, 600, " 好", 0.9))
    line = dataclasses.replace(transcript(0, ""), text="𠮷好", words=words)
    page = written(tmp_path, replay(transcripts=(line,), findings=()))
    assert data_of(page)["lines"] == [[0, 0, [0, 200, 0, 2, 400, 600, 2, 3]]]


def test_overlapping_findings_share_their_words(tmp_path: Path) -> None:
    """Where two spans overlap, the common words belong to both."""
    (first, *_) = replay().findings
    wider = dataclasses.replace(first, span=(2, 9), evidence=LINES[1][1][2:9])
    page = written(tmp_path, replay(findings=(wider, first)))
    lines = page[page.index('<ol class="lines">') :]
    marks = re.findall(r'<mark data-c="\w+" data-f="([\d ]+)">(.*?)</mark>', lines)
    text = LINES[1][1]
    a, b = first.span
    by_cards = dict(marks)
    assert {text[9:b], text[2:a], text[a:9]} == set(by_cards.values())
    assert sorted(len(cards.split()) for cards in by_cards) == [1, 1, 2]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error names the report and the remedy, and leaves nothing behind."""
    with pytest.raises(MissingError, match=r"The report .*none/a\.html cannot be written .*choose"):
        write_replay_html(replay(), None, tmp_path / "none" / "a.html")
    assert list(tmp_path.iterdir()) == []
