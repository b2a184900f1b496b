"""Train the bundled speech model from scratch on espeak-ng's voices, on two CPU cores or a GPU.

    python train.py --work WORK --minutes 80
    python train.py --work WORK --minutes 55 --start WORK/model.pt --peak 1.1e-3 --seed 8

Each run is one cosine. One with `--start` goes on from those weights, without easy batches.
WORK/shards must hold sentence shards (synthesise.py); shards that appear during training are taken
in at the next epoch. The learning rate follows the share of `--minutes` that has passed, so the run
ends on time on any machine. Writes WORK/model.pt, the averaged weights, and WORK/train.jsonl.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from distance import distance
from network import Shape, Whisper
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from windows import (
    EASY_BATCHES,
    EOT,
    NO_SPEECH,
    NO_TIMES,
    SOT,
    SYLLABLES,
    VOCABULARY,
    Batch,
    Shards,
    Windows,
)

PEAK_RATE, WARM_UP_STEPS, SMOOTHING = 1.5e-3, 250, 0.05
EMA_DECAY = 0.998
#: Steps from one line of the log to the next.
REPORT_STEPS = 50
#: Minutes to the first check of the averaged weights, and from each to the next.
FIRST_CHECK_MINUTES, CHECK_MINUTES = 6.0, 8.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One run, as the command line gives it."""

    work: Path
    minutes: float
    device: str
    frames: int
    start: Path | None
    peak: float
    seed: int
    mostly_host: bool

    @property
    def easy_steps(self) -> int:
        """Steps of the flat start; weights that go on are past it."""
        return 0 if self.start else EASY_BATCHES

    def model(self) -> Whisper:
        """The network to begin with, random or read from `start`; seeds PyTorch."""
        torch.manual_seed(self.seed)
        model = Whisper(Shape(VOCABULARY, SYLLABLES))
        if self.start:
            stored = torch.load(self.start, map_location="cpu", weights_only=True)
            model.load_state_dict(stored["weights"])
        return model.to(self.device)

    def batches(self) -> Iterator[Batch]:
        """Endless batches from WORK/shards, made by another process."""
        return iter(DataLoader(Stream(self), batch_size=None, num_workers=1, prefetch_factor=4))


class Stream(IterableDataset[Batch]):
    """Batches made in the loader's process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        plan, seed = self._plan, int(torch.initial_seed() % 2**31)
        shards = Shards(plan.work / "shards", mostly_host=plan.mostly_host)
        windows = Windows(shards, seed, plan.easy_steps)
        while True:
            yield windows.batch(plan.frames)


class Average:
    """Exponential moving average of a model's weights; short at first, EMA_DECAY in the end."""

    def __init__(self, model: Whisper) -> None:
        self.weights = {k: v.clone() for k, v in model.state_dict().items()}

    def update(self, model: Whisper, step: int) -> None:
        """Take in the weights after `step`, counted from 1."""
        keep = min(EMA_DECAY, (1 + step) / (20 + step))
        for name, value in model.state_dict().items():
            self.weights[name].lerp_(value, 1 - keep)

    def error_rate(self, model: Whisper, batches: list[Batch], device: str) -> float:
        """Character error rate with the averaged weights; `model` has its own again afterwards."""
        own = {k: v.clone() for k, v in model.state_dict().items()}
        model.load_state_dict(self.weights)
        result = error_rate(model, batches, device)
        model.load_state_dict(own)
        return result


def rate(step: int, passed: float, peak: float) -> float:
    """Learning rate: warm-up by steps, then a cosine over the share of time that has passed."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * min(1.0, passed))
    return peak * min(1.0, step / WARM_UP_STEPS) * cosine


def loss_of(model: Whisper, batch: Batch, device: str, *, easy: bool) -> tuple[Tensor, Tensor]:
    """(cross-entropy of the text, loss of the encoder's syllables) of a batch.

    The encoder learns with CTC. CTC alone stays on a plateau for the first ten minutes; evenly
    spread syllables, wrong as they are, lead it off, so `easy` batches use those instead.
    """
    ctc_weight, flat_weight = (0.0, 1.0) if easy else (0.3, 0.0)
    tokens = torch.from_numpy(batch.tokens).to(device)
    mel = torch.from_numpy(batch.mel).to(device)
    with torch.autocast(device, torch.bfloat16):
        memory = model.encoder(mel)
        logits = model.decoder(tokens[:, :-1].clamp_min(0), memory)
        ctc = model.ctc(memory)
    targets = tokens[:, 1:].clone()
    # Whatever prompt an empty window has, <|nospeech|> is what its first token should have been.
    targets[tokens[:, 2] == EOT, 0] = NO_SPEECH
    text = F.cross_entropy(
        logits.float().flatten(0, 1),
        targets.flatten(),
        ignore_index=-1,
        label_smoothing=SMOOTHING,
    )
    spoken = ctc.float().log_softmax(-1).transpose(0, 1)
    alignment = F.ctc_loss(
        spoken,
        torch.from_numpy(batch.syllables).to(device),
        torch.full((len(tokens),), spoken.shape[0], dtype=torch.long),
        torch.from_numpy(batch.syllable_counts),
        zero_infinity=True,
    )
    frames = torch.from_numpy(batch.frames).to(device).flatten()
    evenly = F.cross_entropy(ctc.float().flatten(0, 1), frames)
    return text, ctc_weight * alignment + flat_weight * evenly


def error_rate(model: Whisper, batches: list[Batch], device: str) -> float:
    """Character error rate of greedy decoding on windows in notimestamps form."""
    wrong = total = 0
    model.eval()
    for batch in batches:
        with torch.autocast(device, torch.bfloat16):
            heard = model.greedy(torch.from_numpy(batch.mel).to(device), [SOT, NO_TIMES], EOT)
        for row, ids in zip(batch.tokens, heard, strict=True):
            truth = [t for t in row.tolist() if 0 <= t < EOT]
            wrong += distance(truth, [t for t in ids if t < EOT])
            total += len(truth)
    model.train()
    return wrong / max(1, total)


def optimiser_of(model: Whisper) -> torch.optim.Optimizer:
    """AdamW; only matrices decay."""
    learned = [p for p in model.parameters() if p.requires_grad]
    matrices = {"params": [p for p in learned if p.dim() > 1], "weight_decay": 0.01}
    vectors = {"params": [p for p in learned if p.dim() == 1], "weight_decay": 0.0}
    return torch.optim.AdamW([matrices, vectors], betas=(0.9, 0.98), fused=True)


def take_step(
    model: Whisper, optimiser: torch.optim.Optimizer, batch: Batch, device: str, *, easy: bool
) -> tuple[float, float]:
    """One update of the weights; returns the losses before it."""
    text, syllables = loss_of(model, batch, device, easy=easy)
    (text + syllables).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad()
    return text.item(), syllables.item()


def train(plan: Plan) -> None:
    """Train for the planned time; write WORK/model.pt every few minutes and at the end."""
    model = plan.model()
    average, optimiser, loader = Average(model), optimiser_of(model), plan.batches()
    checks = [next(loader) for _ in range(2)]
    begin, step, windows = time.monotonic(), 0, 0
    losses: list[tuple[float, float]] = []
    next_check = FIRST_CHECK_MINUTES
    while (passed := (time.monotonic() - begin) / 60) < plan.minutes:
        step += 1
        for group in optimiser.param_groups:
            group["lr"] = rate(step, passed / plan.minutes, plan.peak)
        batch = next(loader)
        losses.append(take_step(model, optimiser, batch, plan.device, easy=step <= plan.easy_steps))
        average.update(model, step)
        windows += len(batch.tokens)
        row: dict[str, object] = {"step": step, "minutes": round(passed, 1), "windows": windows}
        if step % REPORT_STEPS == 0:
            ce, ctc = np.mean(losses[-REPORT_STEPS:], axis=0)
            _report(plan.work, row | {"ce": round(float(ce), 3), "ctc": round(float(ctc), 3)})
        if passed > next_check:
            next_check += CHECK_MINUTES
            wrong = average.error_rate(model, checks, plan.device)
            _report(plan.work, row | {"cer_seen_shards": round(wrong, 4)})
            _save(plan.work, model.shape, average)
    _save(plan.work, model.shape, average)
    done: dict[str, object] = {"steps": step, "windows": windows, "minutes": plan.minutes}
    _report(plan.work, {"done": True} | done)


def _save(work: Path, shape: Shape, average: Average) -> None:
    torch.save({"shape": asdict(shape), "weights": average.weights}, work / "model.pt")


def _report(work: Path, row: dict[str, object]) -> None:
    with (work / "train.jsonl").open("a", encoding="utf8") as out:
        out.write(json.dumps(row) + "\n")
    print(row, flush=True)


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=80)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--frames", type=int, default=12_000, help="frames a batch: 24 windows of 10 s"
    )
    parser.add_argument("--start", type=Path, help="go on from these weights: no easy batches")
    parser.add_argument("--peak", type=float, default=PEAK_RATE, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--mostly-host", action="store_true", help="fewer random word runs")
    train(Plan(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
