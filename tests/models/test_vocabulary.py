"""The tables of tokens and syllables: the weights mean nothing without exactly these."""

from __future__ import annotations

import json
from collections import Counter
from types import ModuleType

import pytest

from pipeline.resources import resource

WEIGHTS = resource("models", "asr_demo", "weights")
#: What faster-whisper's tokenizer asks for; timestamps must follow the last one.
SPECIALS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]


def test_the_shipped_weights_have_this_vocabulary(vocabulary: ModuleType) -> None:
    """Token n of the weights is token n of the tables, in both files that say so."""
    tokens = vocabulary.tokens()
    assert json.loads((WEIGHTS / "vocabulary.json").read_text(encoding="utf-8")) == tokens
    tokenizer = json.loads((WEIGHTS / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer["model"]["vocab"] == {token: i for i, token in enumerate(tokens)}


def test_characters_come_first_then_specials_then_timestamps(vocabulary: ModuleType) -> None:
    """Decoding drops every id from <|endoftext|> on, so all text must lie below it."""
    characters, tokens = vocabulary.characters(), vocabulary.tokens()
    assert len(set(tokens)) == len(tokens)
    assert {len(token) for token in characters} == {1}
    end = len(characters)
    assert tokens.index("<|endoftext|>") == end
    assert tokens[end : end + len(SPECIALS)] == SPECIALS
    assert tokens[end + len(SPECIALS) :] == list(vocabulary.TIMESTAMPS)


def test_timestamps_cover_the_window(vocabulary: ModuleType) -> None:
    """From 0.00 to the window's end in the steps of 0.02 s that faster-whisper computes with."""
    features = json.loads((WEIGHTS / "preprocessor_config.json").read_text(encoding="utf-8"))
    seconds = [float(token.strip("<|>")) for token in vocabulary.TIMESTAMPS]
    assert seconds == pytest.approx([i * 0.02 for i in range(len(seconds))])
    assert seconds[-1] == features["chunk_length"] == 10


def test_characters_are_those_of_several_words(
    sentences: ModuleType, vocabulary: ModuleType
) -> None:
    """The file holds, sorted, those of two dictionary words, the common and the written ones."""
    count = Counter("".join(sentences.words()["all"][0]))
    often = {c for c, n in count.items() if n >= 2}
    kept = often | vocabulary.first_level() | sentences.written_characters()
    assert vocabulary.characters() == sorted(kept)


def test_every_character_has_a_syllable_label(vocabulary: ModuleType) -> None:
    """Labels run from 1 without a gap, 0 is the blank, and no character is without one."""
    table = vocabulary.syllable_table()
    assert sorted(table.values()) == list(range(1, len(table) + 1))
    assert list(table) == sorted(table)
    assert {syllable[-1] for syllable in table} == set("12345")
    readings = {c: vocabulary.syllables(c) for c in vocabulary.characters()}
    assert [c for c, spoken in readings.items() if len(spoken) != 1 or spoken[0] not in table] == []
