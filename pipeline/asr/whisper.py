"""One loaded Whisper: sound to features, features to tokens, tokens to times, a batch at a time.

Window length, frame rate and prompt come from the model itself; models differ in all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import ThreadpoolController

from pipeline.asr.guards import Hypothesis
from pipeline.asr.script import simplify
from pipeline.asr.words import Piece
from pipeline.errors import BadInputError
from pipeline.records import SAMPLE_RATE, SpeechSegment

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from faster_whisper.tokenizer import Tokenizer
    from numpy.typing import NDArray

#: Written without spaces: their words are found by characters.
_UNSPACED = frozenset({"zh", "yue", "ja", "th", "lo", "my"})
#: What the decoder may write. Fast Chinese needs up to 12 tokens a second.
_TOKENS_PER_SECOND = 15
_SPARE_TOKENS = 16
#: Whisper's encoder halves the frames.
_FRAMES_PER_POSITION = 2
_REPLACEMENT = "\ufffd"


class Whisper:
    """A faster-whisper model, driven batch by batch."""

    def __init__(self, model: WhisperModel, decoder_positions: int) -> None:
        """Take over `model`, whose decoder holds `decoder_positions` tokens, prompt included."""
        extractor = model.feature_extractor
        self.window_samples = int(extractor.nb_max_frames * extractor.hop_length)
        self.device = str(model.model.device)
        self._model = model
        self._blas = ThreadpoolController()
        self._decoder_positions = decoder_positions
        self._ms_per_position = extractor.hop_length * _FRAMES_PER_POSITION * 1000 / SAMPLE_RATE
        self._tokenizers: dict[str, Tokenizer] = {}
        self._texts: dict[int, str] = {}
        self._suppressed = self._control_tokens()

    def features(self, segments: Sequence[SpeechSegment]) -> tuple[NDArray[np.float32], list[int]]:
        """Log-mel frames [segments, mels, frames of the window], zero after each one's own frames.

        The second value is the number of its own frames of each. Raises BadInputError for a segment
        longer than the window.
        """
        extractor = self._model.feature_extractor
        shape = len(segments), extractor.mel_filters.shape[0], extractor.nb_max_frames
        batch = np.zeros(shape, np.float32)
        frames = []
        for row, segment in zip(batch, segments, strict=True):
            if len(segment.samples) > self.window_samples:
                raise BadInputError(
                    f"Segment {segment.seq} lasts {segment.end_ms - segment.start_ms} ms, and the "
                    f"speech model takes {self.window_samples * 1000 // SAMPLE_RATE} ms: "
                    "cut speech for the model that reads it."
                )
            # The transform mirrors half a frame at the ends and needs that much.
            short = max(0, extractor.n_fft - len(segment.samples))
            # BLAS threads wait busily and would take the encoder's cores: half its speed.
            with self._blas.limit(limits=1, user_api="blas"):
                mel = extractor(np.pad(segment.samples, (0, short)))[:, :-1]
            row[:, : mel.shape[1]] = mel[:, : row.shape[1]]
            # The alignment needs one position of the encoder at least.
            frames.append(max(_FRAMES_PER_POSITION, min(mel.shape[1], row.shape[1])))
        return batch, frames

    def encode(self, features: NDArray[np.float32]) -> Any:
        """Encoder output, a CTranslate2 storage on the model's device."""
        return self._model.encode(features)

    def token_limit(self, duration_ms: int) -> int:
        """How many tokens a segment may become: bounds a loop, and the slowest of a batch."""
        # No prompt is longer than four control tokens.
        room = self._decoder_positions - 5
        return int(min(room, _TOKENS_PER_SECOND * duration_ms / 1000 + _SPARE_TOKENS))

    def generate(
        self, encoded: Any, languages: Sequence[str], limit: int, temperature: float = 0.0
    ) -> list[Hypothesis]:
        """Most likely text of each item (beam 1), or a sample when `temperature` is above 0."""
        prompts = [self.prompt(language) for language in languages]
        results = self._model.model.generate(
            encoded,
            prompts,
            beam_size=1,
            # CTranslate2 writes at most half of it.
            max_length=2 * limit,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._suppressed,
            sampling_topk=0 if temperature else 1,
            sampling_temperature=temperature or 1.0,
        )
        return [
            self._hypothesis(result, language)
            for result, language in zip(results, languages, strict=True)
        ]

    def align(
        self,
        encoded: Any,
        languages: Sequence[str],
        tokens: Sequence[tuple[int, ...]],
        frames: Sequence[int],
    ) -> list[list[Piece]]:
        """When each piece of each item's text was said, from the cross-attention."""
        aligned: list[list[Piece]] = [[] for _ in tokens]
        for language in dict.fromkeys(languages):
            rows = [
                i
                for i, (its, text) in enumerate(zip(languages, tokens, strict=True))
                if its == language and text
            ]
            if not rows:
                continue
            results = self._model.model.align(
                rows_of(encoded, rows),
                self._tokenizer(language).sot_sequence,
                [list(tokens[row]) for row in rows],
                [frames[row] for row in rows],
            )
            for row, result in zip(rows, results, strict=True):
                aligned[row] = self._pieces(language, tokens[row], result)
        return aligned

    def prompt(self, language: str) -> list[int]:
        """Control tokens alone: start, language and task if the model has them, no timestamps."""
        tokenizer = self._tokenizer(language)
        return [*tokenizer.sot_sequence, tokenizer.no_timestamps]

    def _text(self, token: int) -> str:
        """A token alone. Decoding it anew each time would cost more than the words are worth."""
        if token not in self._texts:
            self._texts[token] = str(self._model.hf_tokenizer.decode([token]))
        return self._texts[token]

    def _tokenizer(self, language: str) -> Tokenizer:
        if language not in self._tokenizers:
            self._tokenizers[language] = self._open_tokenizer(language)
        return self._tokenizers[language]

    def _open_tokenizer(self, language: str) -> Tokenizer:
        from faster_whisper.tokenizer import Tokenizer

        multilingual = self._model.model.is_multilingual
        vocabulary = self._model.hf_tokenizer
        if multilingual and vocabulary.token_to_id(f"<|{language}|>") is None:
            raise BadInputError(
                f"The speech model does not know the language {language!r}: set the room to zh."
            )
        return Tokenizer(vocabulary, multilingual, task="transcribe", language=language)

    def _control_tokens(self) -> list[int]:
        from faster_whisper.transcribe import get_suppressed_tokens

        return list(get_suppressed_tokens(self._tokenizer("zh"), [-1]))

    def _hypothesis(self, result: Any, language: str) -> Hypothesis:
        tokenizer = self._tokenizer(language)
        written = result.sequences_ids[0]
        tokens = tuple(token for token in written if token < tokenizer.eot)
        text = simplify(tokenizer.decode(list(tokens)).replace(_REPLACEMENT, "")).strip()
        if not any(character.isalnum() for character in text):
            tokens, text = (), ""
        # The score is the mean without the end token.
        mean = result.scores[0] * len(written) / (len(written) + 1) if written else 0.0
        return Hypothesis(text, tokens, float(mean), float(result.no_speech_prob))

    def _pieces(self, language: str, tokens: tuple[int, ...], result: Any) -> list[Piece]:
        texts, groups = self._split(language, tokens)
        # First encoder position of each token, and of the end token after the last.
        starts: dict[int, int] = {}
        for token, position in result.alignments:
            starts.setdefault(token, position)
        ends = np.cumsum([0, *map(len, groups)]).tolist()
        probabilities = np.asarray(result.text_token_probs)
        scale = self._ms_per_position
        return [
            Piece(text, starts[a] * scale, starts[b] * scale, float(probabilities[a:b].mean()))
            for text, (a, b) in zip(texts, pairwise(ends), strict=True)
        ]

    def _split(self, language: str, tokens: tuple[int, ...]) -> tuple[list[str], list[list[int]]]:
        """Texts and tokens of the pieces: words where the language writes spaces, else characters.

        The last piece is the rest that makes no whole character, where there is one.
        """
        tokenizer = self._tokenizer(language)
        if language in _UNSPACED:
            texts = [self._text(token) for token in tokens]
            if not any(_REPLACEMENT in text for text in texts):
                return texts, [[token] for token in tokens]
            texts, groups = tokenizer.split_tokens_on_unicode(list(tokens))
        else:
            texts, groups = tokenizer.split_tokens_on_spaces(list(tokens))
        rest = list(tokens[sum(map(len, groups)) :])
        return ([*texts, _REPLACEMENT], [*groups, rest]) if rest else (texts, groups)


def rows_of(encoded: Any, rows: Sequence[int]) -> Any:
    """These items of an encoder output."""
    import ctranslate2

    if len(rows) == encoded.shape[0]:
        return encoded
    # Storages cannot be sliced; NumPy sees those on the CPU.
    on_cpu = encoded.to_device(ctranslate2.Device.cpu)
    chosen = np.ascontiguousarray(np.asarray(on_cpu)[list(rows)])
    return ctranslate2.StorageView.from_array(chosen)
