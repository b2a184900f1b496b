"""The page in a browser: what is said, what is shown and what is played stay together."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.records import Correction, Earlier
from pipeline.reports import SoundTrack, write_replay_html
from tests.reports.sample import LINES, record, replay, tone

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def wait_until(page: Page, condition: str) -> None:
    """Ask until it is true. Playwright's own waiting evaluates strings, which the page forbids."""
    deadline = time.monotonic() + 15
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(30)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 25 s with its sound."""
    out = tmp_path_factory.mktemp("report") / "报告 #1.html"
    with SoundTrack() as track:
        write_replay_html(replay(), record(track, tone(25)).finish(), out)
    return out


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The report as opened from disk; any complaint of the browser fails the test."""
    yield from opened(browser, report, width=1400)


@pytest.fixture
def phone(browser: Browser, report: Path) -> Iterator[Page]:
    """The same on a narrow screen."""
    yield from opened(browser, report, width=390)


def opened(browser: Browser, report: Path, width: int) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": width, "height": 844})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.goto(report.as_uri())
    wait_until(page, "document.getElementById('audio').readyState >= 1")
    yield page
    page.close()
    assert complaints == []


def pause(page: Page) -> None:
    page.evaluate("document.getElementById('audio').pause()")


def position(page: Page) -> float:
    """Seconds."""
    value = page.evaluate("document.getElementById('audio').currentTime")
    return float(value)


def test_a_finding_plays_from_its_first_word(page: Page) -> None:
    """A click on a finding moves the sound there, plays, and marks line and finding."""
    page.click("#f2 .why")
    wait_until(page, "!document.getElementById('audio').paused")
    pause(page)
    assert 12.7 <= position(page) <= 14.5
    assert page.locator(".card.on").get_attribute("id") == "f2"
    assert page.evaluate("document.getElementById('audio').duration") == pytest.approx(25, abs=0.1)


def test_the_transcript_follows_word_by_word(page: Page) -> None:
    """At every moment the line and the word being said are marked, between lines none."""
    seen = []
    for second in (1.1, 1.5, 5.9, 4.5):
        page.evaluate(
            """second => new Promise((done) => {
                const audio = document.getElementById('audio');
                audio.addEventListener('seeked', () => requestAnimationFrame(done), {once: true});
                audio.currentTime = second;
            })""",
            second,
        )
        lines = page.locator(".line.on").all()
        words = page.locator(".line.on .text span.on").all_inner_texts()
        seen.append((lines[0].get_attribute("data-line") if lines else None, "".join(words)))
    assert seen == [("0", "大家"), ("0", "晚上"), ("1", "疹的"), (None, "")]


def test_a_word_plays_itself(page: Page) -> None:
    """A click on a word of the transcript plays from that word."""
    page.locator('.line[data-line="3"] [data-w="4"]').first.click()
    wait_until(page, "!document.getElementById('audio').paused")
    pause(page)
    assert 14.6 <= position(page) <= 16


def test_the_timeline_leads_to_the_finding(page: Page) -> None:
    """A click on a marker chooses its finding; elsewhere on the waveform it moves the sound."""
    marker = page.locator('.lane[data-c="efficacy_claim"] i').bounding_box()
    assert marker is not None
    page.mouse.click(marker["x"] + 2, marker["y"] + 4)
    assert page.locator(".card.on").get_attribute("id") == "f0"
    pause(page)
    whole = page.locator("#whole").bounding_box()
    assert whole is not None
    page.mouse.click(whole["x"] + whole["width"] * 0.8, whole["y"] + 10)
    wait_until(page, "Math.abs(document.getElementById('audio').currentTime - 20) < 0.1")


def test_unheard_time_is_red_on_the_timeline(browser: Browser, tmp_path: Path) -> None:
    """Lost time, and time the ledger does not mention, has the colour of what was not heard."""
    out = tmp_path / "gaps.html"
    known = replay()
    write_replay_html(replay(duration_ms=30_000, stretches=known.stretches), None, out)
    page = browser.new_page(viewport={"width": 1400, "height": 844})
    page.goto(out.as_uri())
    colours = page.evaluate(
        """() => {
            const canvas = document.getElementById('whole');
            const pen = canvas.getContext('2d');
            return [0.5, 5, 17, 28].map((second) => {
                const x = Math.floor((canvas.width * second) / 30);
                return [...pen.getImageData(x, canvas.height - 3, 1, 1).data].slice(0, 3);
            });
        }"""
    )
    silent, heard, lost, unknown = ["#" + bytes(colour).hex() for colour in colours]
    assert (silent, heard, lost, unknown) == ("#e3e3dc", "#7fa79f", "#a1171c", "#a1171c")
    page.close()


def test_the_keyboard_reaches_everything(page: Page) -> None:
    """J and K step through the findings, arrows move by 5 s, space plays and pauses."""
    chosen = page.locator(".card.on")
    ids = []
    for key in ("j", "j", "j", "k"):
        page.keyboard.press(key)
        pause(page)
        ids.append(chosen.get_attribute("id"))
    assert ids == ["f0", "f1", "f2", "f1"]
    before = position(page)
    page.keyboard.press("ArrowRight")
    assert position(page) == pytest.approx(before + 5, abs=0.2)
    page.keyboard.press("ArrowLeft")
    assert position(page) == pytest.approx(before, abs=0.2)
    page.keyboard.press(" ")
    wait_until(page, "!document.getElementById('audio').paused")
    wait_until(page, "document.getElementById('play').getAttribute('aria-label') === '暂停'")
    page.keyboard.press(" ")
    wait_until(page, "document.getElementById('audio').paused")


def test_a_filter_narrows_list_timeline_and_steps(page: Page) -> None:
    """Chosen categories and verdicts remain in the list, on the timeline and for J and K."""
    page.click('.filter[data-value="efficacy_claim"]')
    page.click('.filter[data-value="competitor_disparagement"]')
    assert page.locator(".card:visible").count() == 2
    assert page.locator(".track i:visible").count() == 2
    assert page.locator("#shown").inner_text() == "显示 2 / 4"
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator(".card.on").get_attribute("id") == "f3"
    pause(page)
    page.click('.filter[data-value="block"]')
    assert page.locator(".card:visible").evaluate_all("items => items.map((one) => one.id)") == [
        "f0"
    ]


def test_a_narrow_screen_has_everything(phone: Page) -> None:
    """At 390 px nothing sticks out, and the transcript is one tap away."""
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    assert phone.locator(".card").first.is_visible()
    assert not phone.locator(".line").first.is_visible()
    phone.click('[data-view="transcript"] >> text=全文')
    phone.locator(".line").nth(1).locator(".at").click()
    wait_until(phone, "!document.getElementById('audio').paused")
    pause(phone)
    assert 5 <= position(phone) <= 6.5


def test_a_long_recording_is_played_from_the_chosen_file(browser: Browser, tmp_path: Path) -> None:
    """Without sound in it the page takes a local file, and jumps where it was asked to before."""
    out = tmp_path / "long.html"
    with SoundTrack() as full, SoundTrack(max_embedded_ms=1000) as short:
        write_replay_html(replay(), record(short, tone(25)).finish(), out)
        encoded = record(full, tone(25)).finish().encoded
        assert encoded is not None
        page = browser.new_page()
        page.goto(out.as_uri())
        assert page.locator("#play").is_disabled()
        page.click("#f1 .at")
        assert page.locator("#clock b").inner_text() == "00:08"
        page.set_input_files("#file", encoded)
        wait_until(page, "document.getElementById('audio').currentTime > 8")
        assert position(page) == pytest.approx(8.75, abs=0.1)
        assert page.locator("#chosen").inner_text() == "sound.mp3"
        page.close()


def test_printing_opens_every_ground(page: Page) -> None:
    """On paper the grounds of each finding are open, and nobody had to click."""
    assert page.locator("#f0 dl").is_hidden()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#f0 dl").is_visible()
    assert page.locator(".line").first.is_visible()
    assert not page.locator("#deck").is_visible()


@pytest.fixture
def chain(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A claim that began in an earlier line and was taken back in a later one."""
    out, known = tmp_path / "chain.html", replay()
    first, second, *rest = known.findings
    why = dataclasses.replace(
        second.why,
        earlier=Earlier(*LINES[1], (6, 8)),
        correction=Correction(*LINES[3]),
    )
    findings = (first, dataclasses.replace(second, why=why), *rest)
    with SoundTrack() as track:
        sound = record(track, tone(25)).finish()
        write_replay_html(replay(findings=findings), sound, out)
    yield from opened(browser, out, width=1400)


def test_both_halves_of_a_claim_are_marked(chain: Page) -> None:
    """In the card and in the transcript; the time beside the earlier half plays it."""
    assert chain.locator("#f1 .half mark").all_inner_texts() == ["擦三"]
    assert chain.locator("#f1 blockquote:not(.half) mark").all_inner_texts() == ["加我微信"]
    marks = chain.locator('.lines mark[data-f~="1"]')
    # Another finding begins within the earlier half.
    assert marks.all_inner_texts() == ["擦", "三", "加我微信"]
    chain.click("#f1 .half .at")
    wait_until(chain, "!document.getElementById('audio').paused")
    pause(chain)
    assert 4.9 <= position(chain) <= 6.5
    assert chain.locator(".card.on").get_attribute("id") == "f1"


def test_a_correction_is_shown_and_played(chain: Page) -> None:
    """With its time, as mitigation; other cards have none."""
    assert chain.locator(".correction").all_inner_texts() == [f"主播随后更正00:13{LINES[3][1]}"]
    chain.click("#f1 .correction .at")
    wait_until(chain, "!document.getElementById('audio').paused")
    pause(chain)
    assert 12.9 <= position(chain) <= 14.5
