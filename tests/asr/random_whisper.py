"""Whisper models of true shape with random weights, written as CTranslate2 folders with numpy only.

They cost what a trained model of the shape costs and understand nothing: tests of everything around
the network and benches need no more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import WhisperSpec
from faster_whisper.tokenizer import _LANGUAGE_CODES
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.decoders import Fuse
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Split

_SPECIALS = (
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a network and of its window."""

    width: int
    heads: int
    layers: int
    multilingual: bool
    chunk_length: int = 30
    """Window in seconds."""
    hop_length: int = 160
    """Samples a frame; the encoder makes one position of two frames."""
    decoder_positions: int = 448
    mels: int = 80
    decoder_layers: int = 0
    """0: as many as the encoder has."""
    cantonese: bool = False
    """Whether the vocabulary has the hundredth language, as since large-v3."""

    @property
    def encoder_positions(self) -> int:
        """Positions of a full window."""
        return self.chunk_length * 16_000 // self.hop_length // 2


#: The bundled demo model's window and vocabulary, but narrow.
DEMO = Shape(64, 2, 2, False, chunk_length=10, hop_length=320, decoder_positions=128)
#: Whisper's window and multilingual vocabulary, but narrow.
MULTILINGUAL = Shape(64, 2, 2, True)
#: The shapes of the published models, for benches.
SHAPES = {
    "demo": Shape(256, 4, 4, False, chunk_length=10, hop_length=320, decoder_positions=128),
    "tiny": Shape(384, 6, 4, True),
    "base": Shape(512, 8, 6, True),
    "small": Shape(768, 12, 12, True),
    "large-v3-turbo": Shape(1280, 20, 32, True, mels=128, decoder_layers=4, cantonese=True),
}


def write_random_whisper(
    folder: Path, shape: Shape, *, favoured: str = "", length: int = 0
) -> Path:
    """Write a model into `folder` (created) and give it back.

    `favoured` is a token that the decoder always prefers: a character for a model caught in a loop,
    "<|endoftext|>" for one that hears nothing. With `length` it ends its text after about that many
    tokens; without it goes on to its limit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokens = _multilingual_tokens(shape) if shape.multilingual else _demo_tokens()
    rng = np.random.default_rng(1)
    depth = shape.decoder_layers or shape.layers
    spec = WhisperSpec(shape.layers, shape.heads, depth, shape.heads)
    _fill_encoder(spec.encoder, shape, rng)
    _fill_decoder(spec.decoder, shape, len(tokens), rng)
    if favoured:
        bias = np.zeros(len(tokens), np.float32)
        bias[tokens.index(favoured)] = 60
        spec.decoder.projection.bias = bias
    if length:
        _end_after(spec.decoder, tokens.index("<|endoftext|>"), length)
    spec.register_vocabulary(tokens)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = [i for i, token in enumerate(tokens) if _is_language(token)]
    heads = range(shape.heads)
    spec.config.alignment_heads = [(depth - 1, head) for head in heads]
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(folder))
    _write_tokenizer(folder / "tokenizer.json", tokens, byte_level=shape.multilingual)
    config = {
        "feature_size": shape.mels,
        "sampling_rate": 16_000,
        "hop_length": shape.hop_length,
        "chunk_length": shape.chunk_length,
        "n_fft": 400,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _is_language(token: str) -> bool:
    return token[2:-2] in _LANGUAGE_CODES


def _timestamps(seconds: int) -> list[str]:
    return [f"<|{i * 0.02:.2f}|>" for i in range(seconds * 50 + 1)]


def _demo_tokens() -> list[str]:
    characters = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)] + list("买它上链接全网最低价")
    characters = list(dict.fromkeys(characters))
    start = ["<|endoftext|>", "<|startoftranscript|>"]
    return [*characters, *start, *_SPECIALS, *_timestamps(10)]


def _multilingual_tokens(shape: Shape) -> list[str]:
    """51,865 entries as in Whisper: byte-level text, then specials with 99 or 100 languages."""
    level = ByteLevel(add_prefix_space=False)
    text = sorted(ByteLevel.alphabet())
    for code in (*range(0x4E00, 0xA000), *range(0x20000, 0x2A000)):
        text.append(level.pre_tokenize_str(chr(code))[0][0])
    # CTranslate2 takes a model for multilingual when its vocabulary has the empty token.
    text = [*text[:50_256], ""]
    languages = [f"<|{code}|>" for code in _LANGUAGE_CODES if shape.cantonese or code != "yue"]
    start = ["<|endoftext|>", "<|startoftranscript|>"]
    return [*text, *start, *languages, *_SPECIALS, *_timestamps(30)]


def _write_tokenizer(path: Path, tokens: list[str], *, byte_level: bool) -> None:
    vocabulary = {token: i for i, token in enumerate(tokens)}
    if byte_level:
        tokenizer = Tokenizer(BPE(vocabulary, []))
        tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
        tokenizer.decoder = ByteLevelDecoder()
    else:
        tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=tokens[0]))
        tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
        tokenizer.decoder = Fuse()
    tokenizer.add_special_tokens([token for token in tokens if token.startswith("<|")])
    tokenizer.save(str(path))


def _normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    scale = np.float32(1 / np.sqrt(np.prod(shape[1:])))
    return rng.standard_normal(shape, np.float32) * scale


def _fill_linear(linear: Any, rng: np.random.Generator, out: int, into: int) -> None:
    linear.weight = _normal(rng, out, into)
    linear.bias = np.zeros(out, np.float32)


def _fill_norm(norm: Any, width: int) -> None:
    norm.gamma = np.ones(width, np.float32)
    norm.beta = np.zeros(width, np.float32)


def _fill_layer(layer: Any, rng: np.random.Generator, width: int) -> None:
    _fill_norm(layer.self_attention.layer_norm, width)
    _fill_linear(layer.self_attention.linear[0], rng, 3 * width, width)
    _fill_linear(layer.self_attention.linear[1], rng, width, width)
    _fill_norm(layer.ffn.layer_norm, width)
    _fill_linear(layer.ffn.linear_0, rng, 4 * width, width)
    _fill_linear(layer.ffn.linear_1, rng, width, 4 * width)


def _fill_encoder(encoder: Any, shape: Shape, rng: np.random.Generator) -> None:
    width = shape.width
    encoder.conv1.weight = _normal(rng, width, shape.mels, 3)
    encoder.conv1.bias = np.zeros(width, np.float32)
    encoder.conv2.weight = _normal(rng, width, width, 3)
    encoder.conv2.bias = np.zeros(width, np.float32)
    encoder.position_encodings.encodings = _normal(rng, shape.encoder_positions, width)
    _fill_norm(encoder.layer_norm, width)
    for layer in encoder.layer:
        _fill_layer(layer, rng, width)


def _end_after(decoder: Any, end_token: int, length: int) -> None:
    """Let one dimension of the positions tell when the text is over, and the end token read it."""
    positions = decoder.position_encodings.encodings
    positions[:length, 0] = -4
    positions[length:, 0] = 100
    decoder.projection.weight[:, 0] = 0
    decoder.projection.weight[end_token] = 0
    decoder.projection.weight[end_token, 0] = 10


def _fill_decoder(decoder: Any, shape: Shape, tokens: int, rng: np.random.Generator) -> None:
    width = shape.width
    decoder.embeddings.weight = _normal(rng, tokens, width)
    # Strong positions make the untrained decoder say something else at every step.
    decoder.position_encodings.encodings = 4 * _normal(rng, shape.decoder_positions, width)
    _fill_norm(decoder.layer_norm, width)
    decoder.projection.weight = 8 * _normal(rng, tokens, width)
    for layer in decoder.layer:
        _fill_layer(layer, rng, width)
        _fill_norm(layer.attention.layer_norm, width)
        _fill_linear(layer.attention.linear[0], rng, width, width)
        _fill_linear(layer.attention.linear[1], rng, 2 * width, width)
        _fill_linear(layer.attention.linear[2], rng, width, width)
