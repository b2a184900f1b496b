"""One contract over the real recogniser and the scripted one, and what is special to Whisper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.asr import Recogniser
from pipeline.asr.model import open_recogniser
from pipeline.asr.recogniser import WhisperRecogniser
from pipeline.errors import BadInputError
from pipeline.records import SpeechSegment, ms_to_samples
from tests.asr.random_whisper import DEMO, MULTILINGUAL, write_random_whisper
from tests.fakes import ScriptedRecogniser


def noise(start_ms: int, length_ms: int, language: str = "zh") -> SpeechSegment:
    rng = np.random.default_rng(start_ms)
    samples = 0.1 * rng.standard_normal(ms_to_samples(length_ms), np.float32)
    return SpeechSegment(start_ms, start_ms, start_ms + length_ms, samples, language)


@pytest.fixture(scope="module")
def demo_shaped(tmp_path_factory: pytest.TempPathFactory) -> WhisperRecogniser:
    folder = write_random_whisper(tmp_path_factory.mktemp("asr") / "demo_shaped", DEMO)
    return open_recogniser(str(folder), device="cpu", threads=1)


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> WhisperRecogniser:
    folder = write_random_whisper(tmp_path_factory.mktemp("asr") / "multilingual", MULTILINGUAL)
    return open_recogniser(str(folder), device="cpu", threads=1)


@pytest.fixture(params=["scripted", "demo_shaped", "multilingual"])
def recogniser(request: pytest.FixtureRequest) -> Recogniser:
    if request.param == "scripted":
        return ScriptedRecogniser({0: "今天", 4_000: "全网最低价", 9_000: "上链接"})
    found: Recogniser = request.getfixturevalue(request.param)
    return found


SEGMENTS = [noise(0, 1_000), noise(4_000, 2_500), noise(9_000, 400)]


def test_no_segments_give_no_transcripts(recogniser: Recogniser) -> None:
    """An empty batch is nothing to do."""
    assert recogniser.transcribe([]) == []


def test_transcripts_come_in_order_with_the_times_of_their_segments(recogniser: Recogniser) -> None:
    """One transcript a segment, in the same order, named after the model."""
    transcripts = recogniser.transcribe(SEGMENTS)
    assert [(t.start_ms, t.end_ms) for t in transcripts] == [
        (0, 1_000),
        (4_000, 6_500),
        (9_000, 9_400),
    ]
    assert {t.model for t in transcripts} == {recogniser.name}


def test_words_make_the_text_and_lie_in_the_segment(recogniser: Recogniser) -> None:
    """The joined words are the text; times never run back nor leave the segment."""
    transcripts = recogniser.transcribe(SEGMENTS)
    assert all(t.text for t in transcripts)
    for transcript in transcripts:
        assert "".join(word.text for word in transcript.words) == transcript.text
        times = [ms for word in transcript.words for ms in (word.start_ms, word.end_ms)]
        assert times == sorted(times)
        assert transcript.start_ms <= times[0]
        assert times[-1] <= transcript.end_ms
        assert all(0 <= word.probability <= 1 for word in transcript.words)


def test_a_segment_longer_than_the_window_is_refused(recogniser: Recogniser) -> None:
    """Sound beyond the window would be lost without a word: the recogniser says so instead."""
    with pytest.raises(BadInputError, match=r"longer than|speech model takes"):
        recogniser.transcribe([noise(0, recogniser.window_ms + 1)])


def test_a_full_window_is_taken(recogniser: Recogniser) -> None:
    """The window's own length is not too long."""
    [transcript] = recogniser.transcribe([noise(0, recogniser.window_ms)])
    assert transcript.end_ms == recogniser.window_ms


def test_the_shortest_sound_is_taken(demo_shaped: WhisperRecogniser) -> None:
    """A segment shorter than one frame is padded, not an error."""
    assert len(demo_shaped.transcribe([noise(0, 5)])) == 1


def test_the_window_is_the_models_own(
    demo_shaped: WhisperRecogniser, multilingual: WhisperRecogniser
) -> None:
    """10 s at 50 frames a second and 30 s at 100: both read from the model."""
    assert (demo_shaped.window_ms, multilingual.window_ms) == (10_000, 30_000)
    for recogniser, shape, frames in ((demo_shaped, 500, 50), (multilingual, 3000, 100)):
        features, own = recogniser.whisper.features([noise(0, 1_000)])
        assert features.shape == (1, 80, shape)
        assert abs(own[0] - frames) <= 1
        assert not features[:, :, own[0] :].any()


@pytest.mark.parametrize(("name", "step_ms"), [("demo_shaped", 40), ("multilingual", 20)])
def test_word_times_step_by_the_models_own_positions(
    name: str, step_ms: int, request: pytest.FixtureRequest
) -> None:
    """One encoder position lasts 40 ms in the one model and 20 ms in the other."""
    recogniser = request.getfixturevalue(name)
    [transcript] = recogniser.transcribe([noise(0, 4_000)])
    starts = [word.start_ms for word in transcript.words]
    assert all(start % step_ms == 0 for start in starts)
    assert any(start % (2 * step_ms) for start in starts)
    assert max(starts) > 2_000


def test_features_are_those_of_faster_whisper(multilingual: WhisperRecogniser) -> None:
    """Frames and zero padding equal what faster-whisper itself feeds the model."""
    from faster_whisper.audio import pad_or_trim

    segment = noise(0, 3_000)
    extractor = multilingual.whisper._model.feature_extractor
    expected = pad_or_trim(extractor(segment.samples)[..., :-1], extractor.nb_max_frames)
    features, _ = multilingual.whisper.features([segment])
    # The last bit depends on how many threads the matrix product had.
    np.testing.assert_allclose(features[0], expected, atol=1e-6)


def test_languages_share_a_batch(multilingual: WhisperRecogniser) -> None:
    """Rooms of different languages go through one call, each with its own prompt."""
    zh, en = multilingual.transcribe([noise(0, 1_000, "zh"), noise(0, 1_000, "en")])
    assert zh.text != en.text
    assert multilingual.transcribe([noise(0, 1_000, "en")])[0].text == en.text


def test_an_unknown_language_is_refused(multilingual: WhisperRecogniser) -> None:
    """A language the model has no token for is named, not guessed."""
    with pytest.raises(BadInputError, match="does not know the language 'xx'"):
        multilingual.transcribe([noise(0, 1_000, "xx")])


def test_prompts_hold_control_tokens_only(
    demo_shaped: WhisperRecogniser, multilingual: WhisperRecogniser
) -> None:
    """No word is ever put into a prompt: Whisper would hear it in silence."""
    spelled = []
    for recogniser in (demo_shaped, multilingual):
        vocabulary = recogniser.whisper._model.hf_tokenizer
        spelled.append([vocabulary.id_to_token(i) for i in recogniser.whisper.prompt("zh")])
    assert spelled == [
        ["<|startoftranscript|>", "<|notimestamps|>"],
        ["<|startoftranscript|>", "<|zh|>", "<|transcribe|>", "<|notimestamps|>"],
    ]


def caught_in_a_loop(folder: Path) -> WhisperRecogniser:
    path = write_random_whisper(folder, DEMO, favoured="买")
    return open_recogniser(str(path), device="cpu", threads=1)


def test_a_model_in_a_loop_is_cut_and_shown(tmp_path: Path) -> None:
    """A decoder that cannot stop fills its limit once; one round stays, the rest shows."""
    recogniser = caught_in_a_loop(tmp_path / "loop")
    short, long = recogniser.transcribe([noise(0, 1_000), noise(5_000, 4_000)])
    for transcript in (short, long):
        assert transcript.text == "买"
        assert transcript.guards[0] == "loop_truncated"
        assert [word.text for word in transcript.words] == ["买"]
    # 15 tokens a second and 16, from the longest of the batch.
    assert len(long.dropped_text) == 15 * 4 + 16 - 1


def test_the_decoder_is_never_asked_for_more_than_it_holds(tmp_path: Path) -> None:
    """A full window of a loop ends at the decoder's 128 positions instead of failing."""
    recogniser = caught_in_a_loop(tmp_path / "loop")
    [transcript] = recogniser.transcribe([noise(0, 10_000)])
    assert len(transcript.dropped_text) == 128 - 5 - 1


def test_the_retry_reads_the_same_encoder_output(demo_shaped: WhisperRecogniser) -> None:
    """Rows taken out of an encoded batch decode to what they decoded to inside it."""
    from pipeline.asr.whisper import rows_of

    whisper = demo_shaped.whisper
    encoded = whisper.encode(whisper.features(SEGMENTS)[0])
    whole = whisper.generate(encoded, ["zh"] * 3, 20)
    part = whisper.generate(rows_of(encoded, [2, 0]), ["zh"] * 2, 20)
    assert [h.tokens for h in part] == [whole[2].tokens, whole[0].tokens]


def test_a_model_that_hears_nothing_gives_empty_text(tmp_path: Path) -> None:
    """The end token at once is an empty transcript without words, guards or broken numbers."""
    path = write_random_whisper(tmp_path / "deaf", DEMO, favoured="<|endoftext|>")
    recogniser = open_recogniser(str(path), device="cpu", threads=1)
    [transcript] = recogniser.transcribe([noise(0, 2_000)])
    assert (transcript.text, transcript.words, transcript.guards) == ("", (), ())
    assert transcript.avg_logprob == 0.0
    assert 0 <= transcript.no_speech_prob <= 1


def test_without_word_times_the_text_is_the_same(tmp_path: Path) -> None:
    """Word times are one more pass and change no text."""
    folder = write_random_whisper(tmp_path / "model", DEMO)

    def texts(recogniser: WhisperRecogniser, batch: Sequence[SpeechSegment]) -> list[str]:
        return [t.text for t in recogniser.transcribe(batch)]

    with_words = open_recogniser(str(folder), device="cpu", threads=1)
    without = open_recogniser(str(folder), device="cpu", threads=1, word_times=False)
    assert without.transcribe(SEGMENTS[1:2])[0].words == ()
    assert texts(without, SEGMENTS[1:2]) == texts(with_words, SEGMENTS[1:2])
