"""Write trained weights as a CTranslate2 folder that faster_whisper.WhisperModel loads.

python export.py WORK/model.pt weights
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
from pathlib import Path

import torch
from ctranslate2.converters.transformers import WhisperLoader
from ctranslate2.specs.common_spec import LinearSpec
from ctranslate2.specs.whisper_spec import WhisperSpec
from network import Shape, Whisper
from timing import HOP, MELS, RATE, SPECTRUM, WINDOW_S
from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE
from torch import nn
from vocabulary import SPECIALS, TIMESTAMPS, tokens


class Loader(WhisperLoader):
    """CTranslate2's loader, without the one question for which it needs `transformers`."""

    def set_linear(self, spec: LinearSpec, module: nn.Linear) -> None:
        """Copy weight and bias."""
        spec.weight = module.weight
        if module.bias is not None:
            spec.bias = module.bias


def specification(model: Whisper) -> WhisperSpec:
    """The network in CTranslate2's terms, filled by CTranslate2's own loader."""
    shape, loader = model.shape, Loader()
    spec = WhisperSpec(shape.encoder_layers, shape.heads, shape.decoder_layers, shape.heads)
    loader.set_encoder(spec.encoder, model.encoder)
    loader.set_decoder(spec.decoder, model.decoder)
    spec.decoder.projection.weight = model.decoder.embed_tokens.weight
    spec.register_vocabulary(tokens())
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []
    last_layers = range(shape.decoder_layers // 2, shape.decoder_layers)
    spec.config.alignment_heads = list(itertools.product(last_layers, range(shape.heads)))
    return spec


def tokenizer() -> Tokenizer:
    """One token a character.

    Characters outside the vocabulary become <|nospeech|>, which decoding drops.
    """
    table, unknown = {token: i for i, token in enumerate(tokens())}, "<|nospeech|>"
    result = Tokenizer(BPE(vocab=table, merges=[], unk_token=unknown, fuse_unk=True))
    result.decoder = decoders.Fuse()
    result.add_special_tokens(
        [AddedToken(t, normalized=False, special=True) for t in (*SPECIALS, *TIMESTAMPS)]
    )
    return result


def main() -> None:
    """Write model.bin, its vocabulary and configuration, tokenizer and feature settings to OUT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quantization", default="int8")
    args = parser.parse_args()
    stored = torch.load(args.weights, map_location="cpu", weights_only=True)
    model = Whisper(Shape(**stored["shape"]))
    model.load_state_dict(stored["weights"])
    spec = specification(model.eval())
    spec.validate()
    spec.optimize(quantization=args.quantization)
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    spec.save(str(args.out))
    tokenizer().save(str(args.out / "tokenizer.json"))
    features = {
        "feature_size": MELS,
        "sampling_rate": RATE,
        "hop_length": HOP,
        "chunk_length": WINDOW_S,
        "n_fft": SPECTRUM,
    }
    (args.out / "preprocessor_config.json").write_text(
        json.dumps(features, indent=1) + "\n", encoding="utf8"
    )


if __name__ == "__main__":
    main()
