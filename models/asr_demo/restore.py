"""Read an exported CTranslate2 folder back into the network, to go on training from it.

The weights come back as the int8 file holds them; what export.py leaves out, the heads that say
what is spoken at each position, is not in it and stays as it was.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from network import Attention, DecoderLayer, EncoderLayer, Whisper
from numpy.typing import NDArray
from torch import Tensor, nn

#: CTranslate2's numbers of the types that an int8 model may hold.
_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


class Stored:
    """The variables of a model.bin by name, as floating point numbers."""

    def __init__(self, path: Path) -> None:
        self._arrays: dict[str, NDArray[np.generic]] = {}
        with path.open("rb") as file:
            _number(file, "I")
            _text(file)
            _number(file, "I")
            for _ in range(_number(file, "I")):
                name = _text(file)
                shape = [_number(file, "I") for _ in range(_number(file, "B"))]
                kind, size = _TYPES[_number(file, "B")], _number(file, "I")
                self._arrays[name] = np.frombuffer(file.read(size), kind).reshape(shape)

    def __getitem__(self, name: str) -> Tensor:
        """A variable; int8 rows divided by their scales."""
        values = torch.from_numpy(self._arrays[name].astype(np.float32))
        if f"{name}_scale" not in self._arrays:
            return values
        scale = torch.from_numpy(self._arrays[f"{name}_scale"].astype(np.float32))
        return values / scale.view(-1, *[1] * (values.dim() - 1))


def restore(model: Whisper, folder: Path) -> None:
    """Give `model` the weights of an exported folder; its heads keep theirs."""
    stored = Stored(folder / "model.bin")
    with torch.no_grad():
        for conv in ("conv1", "conv2"):
            _affine(stored, f"encoder/{conv}", getattr(model.encoder, conv))
        model.decoder.embed_tokens.weight.copy_(stored["decoder/embeddings/weight"])
        for name, half in (("encoder", model.encoder), ("decoder", model.decoder)):
            half.embed_positions.weight.copy_(stored[f"{name}/position_encodings/encodings"])
            _norm(stored, f"{name}/layer_norm", half.layer_norm)
            for number, layer in enumerate(half.layers):
                _layer(stored, f"{name}/layer_{number}", layer)


def _layer(stored: Stored, name: str, layer: EncoderLayer | DecoderLayer) -> None:
    _attention(stored, f"{name}/self_attention", layer.self_attn, ["q_proj k_proj v_proj"])
    _norm(stored, f"{name}/self_attention/layer_norm", layer.self_attn_layer_norm)
    if isinstance(layer, DecoderLayer):
        _attention(stored, f"{name}/attention", layer.encoder_attn, ["q_proj", "k_proj v_proj"])
        _norm(stored, f"{name}/attention/layer_norm", layer.encoder_attn_layer_norm)
    _norm(stored, f"{name}/ffn/layer_norm", layer.final_layer_norm)
    _affine(stored, f"{name}/ffn/linear_0", layer.fc1)
    _affine(stored, f"{name}/ffn/linear_1", layer.fc2)


def _attention(stored: Stored, name: str, module: Attention, fused: list[str]) -> None:
    """Cut the projections that CTranslate2 keeps as one matrix apart again."""
    for number, names in enumerate([*fused, "out_proj"]):
        linears = [getattr(module, linear) for linear in names.split()]
        at = f"{name}/linear_{number}"
        weights = stored[f"{at}/weight"].chunk(len(linears))
        biases = stored[f"{at}/bias"].chunk(len(linears))
        for linear, weight, bias in zip(linears, weights, biases, strict=True):
            linear.weight.copy_(weight)
            if linear.bias is not None:
                linear.bias.copy_(bias)


def _affine(stored: Stored, name: str, module: nn.Linear | nn.Conv1d) -> None:
    module.weight.copy_(stored[f"{name}/weight"])
    module.bias.copy_(stored[f"{name}/bias"])


def _norm(stored: Stored, name: str, module: nn.LayerNorm) -> None:
    module.weight.copy_(stored[f"{name}/gamma"])
    module.bias.copy_(stored[f"{name}/beta"])


def _number(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(f"<{form}", file.read(struct.calcsize(form)))[0])


def _text(file: BinaryIO) -> str:
    """Letters with a zero after them, the length before."""
    return file.read(_number(file, "H"))[:-1].decode()
