"""Second opinions: only clips with a finding, once, and the first verdict stays as it was."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from pipeline.asr.second_opinion import GROUP, SecondOpinionWorker
from pipeline.asr.worker import Batching
from pipeline.cli import main
from pipeline.records import CaseMessage, SegmentMessage, SpeechSegment, Transcript
from pipeline.review import file_findings
from pipeline.streams import CASES
from tests.asr.workers import AT, Bench, finding
from tests.fakes import LevelRecogniser, ScriptedRecogniser


def opened(bench: Bench, room: str, seq: int, start_ms: int, words: str = "治愈") -> str:
    """What detection does when it finds something: the case's id."""
    message = bench.send(room, seq, start_ms)
    return filed(bench, message, words)


def filed(bench: Bench, message: SegmentMessage, words: str) -> str:
    first = Transcript(message.start_ms, message.end_ms, f"真的{words}了", model="small")
    bench.places.store.add_transcript(message.key, first)
    found = finding(words, start_ms=message.start_ms)
    [case] = file_findings(bench.places.store, message.key, first.text, [found], AT)
    note = CaseMessage(case.id, message.room, message.key.broadcast, AT)
    bench.places.bus.publish(CASES, note)
    return case.id


def worker(bench: Bench, recogniser: ScriptedRecogniser | LevelRecogniser) -> SecondOpinionWorker:
    return SecondOpinionWorker(recogniser, bench.places, Batching(4, 0), bench.stop)


def waiting(bench: Bench) -> int:
    return bench.places.bus.backlog(CASES, GROUP).total


def test_only_clips_with_a_finding_are_heard_again(steady: Bench) -> None:
    """The other segments of the room cost nothing; the first transcript and the case stay."""
    steady.send("a", 0, 0)
    case = opened(steady, "a", 1, 4_000)
    before = steady.places.store.case(case)
    recogniser = ScriptedRecogniser({0: "闲聊", 4_000: "真的治愈了吗"})
    assert worker(steady, recogniser).step() == 1
    [(found, opinion)] = steady.places.store.second_opinions(case)
    assert (found.evidence, opinion.text, opinion.model) == ("治愈", "真的治愈了吗", "scripted")
    assert recogniser.batches == [1]
    assert steady.texts("a") == ["真的治愈了"]
    assert steady.places.store.case(case) == before
    assert waiting(steady) == 0
    assert steady.places.metrics.value("tingbo_asr_second_opinions_total") == 1


def test_a_case_announced_twice_is_heard_once(steady: Bench) -> None:
    """The first opinion counts, and the second message costs no window."""
    case = opened(steady, "a", 0, 0)
    first, second = ScriptedRecogniser({0: "先"}), ScriptedRecogniser({0: "后"})
    worker(steady, first).step()
    steady.places.bus.publish(CASES, CaseMessage(case, "a", "a-1", AT))
    worker(steady, second).step()
    assert second.batches == []
    assert [o.text for _, o in steady.places.store.second_opinions(case)] == ["先"]
    assert waiting(steady) == 0


def test_cases_of_several_rooms_share_a_call(steady: Bench) -> None:
    """A large model is used in batches as well."""
    cases = [opened(steady, room, 0, 0) for room in ("a", "b", "c")]
    recogniser = ScriptedRecogniser({0: "治愈"})
    worker(steady, recogniser).step()
    assert recogniser.batches == [3]
    assert all(len(steady.places.store.second_opinions(case)) == 1 for case in cases)


def test_a_missing_clip_is_tried_again_and_harms_nobody(bench: Bench) -> None:
    """It becomes a dead letter of the stream of cases; the ledger and the verdict do not change."""
    lost, good = opened(bench, "a", 0, 0), opened(bench, "b", 0, 0)
    next(clip for clip in bench.folder.rglob("000000.flac") if "a-1" in str(clip)).unlink()
    second = worker(bench, ScriptedRecogniser({0: "治愈"}))
    for _ in range(60):
        second.step()
        if bench.places.bus.dead_letters(CASES):
            break
    assert len(bench.places.bus.dead_letters(CASES)) == 1
    assert bench.places.store.second_opinions(lost) == []
    assert len(bench.places.store.second_opinions(good)) == 1
    assert bench.places.store.coverage("a-1").failed_ms == 0
    assert waiting(bench) == 0


def test_a_clip_too_long_for_the_second_model_is_left_alone(steady: Bench) -> None:
    """Its window may be shorter than the first model's: no opinion, and no endless tries."""
    case = opened(steady, "a", 0, 0)
    worker(steady, ScriptedRecogniser({}, window_ms=1_000)).step()
    assert steady.places.store.second_opinions(case) == []
    assert waiting(steady) == 0


def test_lack_of_memory_halves_its_batches_too(steady: Bench) -> None:
    """Four do not fit, one does."""

    class Small(ScriptedRecogniser):
        def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
            if len(segments) > 1:
                raise RuntimeError("CUDA failed with error out of memory")
            return super().transcribe(segments)

    for room in ("a", "b", "c", "d"):
        opened(steady, room, 0, 0)
    recogniser = Small({0: "治愈"})
    worker(steady, recogniser).step()
    assert recogniser.batches == [1, 1, 1, 1]
    assert waiting(steady) == 0


def test_cases_show_tells_whether_the_words_were_heard_again(
    steady: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As text with the model's name, and as JSON."""
    case = opened(steady, "a", 0, 0)
    worker(steady, ScriptedRecogniser({0: "真的只鱼了"})).step()
    monkeypatch.setenv("TINGBO_DATABASE_URL", f"sqlite:///{steady.folder / 'tingbo.db'}")

    def said(*words: str) -> str:
        with pytest.raises(SystemExit):
            main(["cases", "show", case, *words])
        return capsys.readouterr().out

    assert "复听（scripted）  [0:00.0] 真的只鱼了　（听到与“治愈”读音相同的词）" in said()
    [opinion] = json.loads(said("--json"))["second_opinions"]
    assert (opinion["model"], opinion["heard"], opinion["words"]) == ("scripted", "alike", "治愈")


def test_a_process_has_one_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Both options together are refused with the way out."""
    with pytest.raises(SystemExit):
        main(["asr", "--asr", "demo", "--second-opinion", "large-v3-turbo"])
    assert "start another `tingbo asr`" in capsys.readouterr().err
