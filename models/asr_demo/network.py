"""The network: Whisper's encoder and decoder in plain PyTorch, with heads for training only.

Module names follow `transformers`, so that CTranslate2's own loader reads the weights. It computes
what Whisper computes (pre-norm, GELU, sinusoidal encoder positions, tied output), on any number of
frames up to the window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network."""

    vocabulary: int
    bases: int
    """Syllables without their tone, and the 0 of no speech."""
    tones: int
    phases: int
    mels: int = 128
    positions: int = 250
    tokens: int = 128
    width: int = 256
    heads: int = 4
    encoder_layers: int = 3
    decoder_layers: int = 4
    encoder_ffn: int = 1024
    decoder_ffn: int = 2048


class Attention(nn.Module):
    """Multi-head attention: [B, T, width] and memory [B, S, width] to [B, T, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, *, causal: bool = False) -> Tensor:
        def split(t: Tensor) -> Tensor:
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        # On a CPU, at these sizes, the plain product is 1.25 times as fast as PyTorch's fused one.
        q, k, v = split(self.q_proj(x)), split(self.k_proj(memory)), split(self.v_proj(memory))
        weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if causal:
            future = torch.full_like(weights[0, 0], float("-inf")).triu(1)
            weights = weights + future
        out = weights.softmax(-1, dtype=weights.dtype) @ v
        return self.out_proj(out.transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each behind its layer norm."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(s.width, s.heads)
        self.self_attn_layer_norm = nn.LayerNorm(s.width)
        self.fc1, self.fc2 = nn.Linear(s.width, s.encoder_ffn), nn.Linear(s.encoder_ffn, s.width)
        self.final_layer_norm, self.activation_fn = nn.LayerNorm(s.width), F.gelu

    def forward(self, x: Tensor) -> Tensor:
        h = self.self_attn_layer_norm(x)
        x = x + self.self_attn(h, h).to(x.dtype)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x)))).to(x.dtype)


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoder, feed-forward, each behind its layer norm."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(s.width, s.heads)
        self.self_attn_layer_norm = nn.LayerNorm(s.width)
        self.encoder_attn = Attention(s.width, s.heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(s.width)
        self.fc1, self.fc2 = nn.Linear(s.width, s.decoder_ffn), nn.Linear(s.decoder_ffn, s.width)
        self.final_layer_norm, self.activation_fn = nn.LayerNorm(s.width), F.gelu

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        h = self.self_attn_layer_norm(x)
        # Sums of two types are slow on a CPU.
        x = x + self.self_attn(h, h, causal=True).to(x.dtype)
        x = x + self.encoder_attn(self.encoder_attn_layer_norm(x), memory).to(x.dtype)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x)))).to(x.dtype)


class Positions(nn.Module):
    """Position embeddings [length, width] under the name that CTranslate2's loader reads."""

    def __init__(self, weight: Tensor, *, learned: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=learned)


def _sinusoids(length: int, width: int) -> Tensor:
    scale = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * scale
    return torch.cat([angles.sin(), angles.cos()], 1)


class Encoder(nn.Module):
    """Two convolutions, the second halving the frame rate, and the layers."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(s.mels, s.width, 3, padding=1)
        self.conv2 = nn.Conv1d(s.width, s.width, 3, stride=2, padding=1)
        # PyTorch's own start gives sound a fifteenth of the positions' magnitude, and nothing is
        # learned for ten minutes.
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        self.embed_positions = Positions(0.3 * _sinusoids(s.positions, s.width), learned=False)
        self.layers = nn.ModuleList(EncoderLayer(s) for _ in range(s.encoder_layers))
        self.layer_norm = nn.LayerNorm(s.width)

    def forward(self, mel: Tensor) -> Tensor:
        """[B, mels, frames] to [B, frames / 2, width]."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)


class Decoder(nn.Module):
    """Token embeddings, which are the output projection too, and the layers."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(s.vocabulary, s.width)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.embed_positions = Positions(torch.randn(s.tokens, s.width) * 0.02, learned=True)
        self.layers = nn.ModuleList(DecoderLayer(s) for _ in range(s.decoder_layers))
        self.layer_norm = nn.LayerNorm(s.width)

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        """[B, T] and [B, positions, width] to [B, T, vocabulary]."""
        x = self.embed_tokens(tokens) + self.embed_positions.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, memory)
        return self.layer_norm(x) @ self.embed_tokens.weight.T


class Whisper(nn.Module):
    """Encoder, decoder, and linear heads that say what is spoken at each encoder position."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.shape = s
        self.encoder, self.decoder = Encoder(s), Decoder(s)
        self.spoken = nn.ModuleList(
            nn.Linear(s.width, classes) for classes in (s.bases, s.tones, s.phases)
        )

    @torch.no_grad()
    def greedy(self, mel: Tensor, prompt: list[int], end: int) -> list[list[int]]:
        """Most likely tokens after the prompt, for scoring during training."""
        memory = self.encoder(mel)
        tokens = torch.tensor([prompt] * len(mel), device=mel.device)
        done = torch.zeros(len(mel), dtype=torch.bool, device=mel.device)
        for _ in range(self.shape.tokens - len(prompt) - 1):
            best = self.decoder(tokens, memory)[:, -1].argmax(-1)
            best[done] = end
            tokens = torch.cat([tokens, best[:, None]], 1)
            done |= best == end
            if done.all():
                break
        rows = [row[len(prompt) :].tolist() for row in tokens]
        return [row[: row.index(end)] if end in row else row for row in rows]
