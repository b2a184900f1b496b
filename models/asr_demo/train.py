"""Train the bundled speech model from scratch on espeak-ng's voices, on two CPU cores or a GPU.

    python train.py --work WORK --minutes 80
    python train.py --work WORK --minutes 30 --start WORK/model.pt --peak 3e-4 --seed 8

First the encoder alone learns which syllable is spoken at each position (espeak-ng tells the
times), then the decoder learns to write: on sound, and on more text without sound (reading.py).
WORK/shards must hold sentence shards (synthesise.py); shards that appear during training are taken
in at the next epoch. The learning rate follows the share of `--minutes` that has passed, so the run
ends on time on any machine. Writes WORK/model.pt, the averaged weights, and WORK/train.jsonl.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from distance import distance
from network import Shape, Whisper
from reading import Recall, sounds_and_tones
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from windows import (
    EOT,
    NO_SPEECH,
    NO_TIMES,
    PHASES,
    SOT,
    VOCABULARY,
    Batch,
    Shards,
    Windows,
)

PEAK_RATE, WARM_UP_STEPS, SMOOTHING = 1e-3, 250, 0.05
#: Weight of naming syllables once the decoder learns too.
SPOKEN_WEIGHT = 0.7
EMA_DECAY = 0.998
#: Batches read for each one heard: they hold four times the text and cost less.
READ_PER_HEARD = 2
#: Turns, of one batch heard and some read, from one line of the log to the next.
REPORT_TURNS = 50
#: Minutes from one check of the averaged weights to the next.
CHECK_MINUTES = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One run, as the command line gives it."""

    work: Path
    minutes: float
    device: str
    frames: int
    start: Path | None
    listen: float
    peak: float
    seed: int

    def model(self) -> Whisper:
        """The network to begin with, random or read from `start`; seeds PyTorch."""
        torch.manual_seed(self.seed)
        sounds, tones = sounds_and_tones()
        model = Whisper(Shape(VOCABULARY, max(sounds) + 1, max(tones) + 1, PHASES))
        if self.start:
            stored = torch.load(self.start, map_location="cpu", weights_only=True)
            model.load_state_dict(stored["weights"])
        return model.to(self.device)

    def batches(self, *, heard: bool) -> Iterator[Batch]:
        """Endless batches, spoken ones from WORK/shards or text alone, made by another process."""
        stream = Stream(self.work / "shards", self.frames, heard=heard)
        return iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=6))


class Stream(IterableDataset[Batch]):
    """Batches made in the loader's process."""

    def __init__(self, shards: Path, frames: int, *, heard: bool) -> None:
        self._shards, self._frames, self._heard = shards, frames, heard

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        windows = Windows(Shards(self._shards), int(torch.initial_seed() % 2**31))
        while True:
            # Without the encoder a window costs half.
            yield windows.batch(self._frames) if self._heard else windows.reading(2 * self._frames)


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


class Lesson:
    """The losses of a model, and what it recalls of the encoder's output."""

    def __init__(self, model: Whisper, device: str) -> None:
        self._model, self._device = model, device
        self._recall = Recall(model.shape.width, device)
        self._names = [torch.tensor(x, device=device) for x in sounds_and_tones()]
        self.right = {"sound": 0.0, "tone": 0.0}
        """Share of the positions with speech, in the last heard batch, that were named."""

    def heard(self, batch: Batch, *, write: bool) -> tuple[Tensor, Tensor]:
        """(cross-entropy of the text, of what is spoken) of a spoken batch.

        The text counts 0 unless `write`.
        """
        spoken = torch.from_numpy(batch.spoken).to(self._device)
        with torch.autocast(self._device, torch.bfloat16):
            memory = self._model.encoder(torch.from_numpy(batch.mel).to(self._device))
            named = [head(memory).float().flatten(0, 1) for head in self._model.spoken]
        self._recall.hear(memory, spoken)
        syllable, phase = spoken.flatten() // PHASES, spoken.flatten() % PHASES
        truth = [*(names[syllable] for names in self._names), phase]
        losses = [F.cross_entropy(guess, told) for guess, told in zip(named, truth, strict=True)]
        for name, guess, told in zip(self.right, named, truth, strict=False):
            self.right[name] = float((guess.argmax(-1) == told)[syllable > 0].float().mean())
        if not write:
            return torch.zeros(()), sum(losses, torch.zeros(()))
        return self._text(batch, memory), SPOKEN_WEIGHT * sum(losses, torch.zeros(()))

    def read(self, batch: Batch) -> Tensor | None:
        """Cross-entropy of text without sound; None where none as long was heard yet."""
        spoken = torch.from_numpy(batch.spoken).to(self._device)
        if not self._recall.knows(spoken):
            return None
        return self._text(batch, self._recall.imagine(spoken))

    def _text(self, batch: Batch, memory: Tensor) -> Tensor:
        tokens = torch.from_numpy(batch.tokens).to(self._device)
        with torch.autocast(self._device, torch.bfloat16):
            logits = self._model.decoder(tokens[:, :-1].clamp_min(0), memory)
        targets = tokens[:, 1:].clone()
        # Whatever prompt an empty window has, its first token should have been <|nospeech|>.
        targets[tokens[:, 2] == EOT, 0] = NO_SPEECH
        return F.cross_entropy(
            logits.float().flatten(0, 1),
            targets.flatten(),
            ignore_index=-1,
            label_smoothing=SMOOTHING,
        )


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


class Trainer:
    """Steps of one run and what they gave."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self.model = plan, plan.model()
        self.average, self._optimiser = Average(self.model), optimiser_of(self.model)
        self._lesson = Lesson(self.model, plan.device)
        self._batches = plan.batches(heard=True)
        self._readings = plan.batches(heard=False)
        self.step = self.windows = 0
        self.losses: dict[str, list[float]] = defaultdict(list)

    def heard(self) -> Batch:
        """The next spoken batch."""
        return next(self._batches)

    def turn(self, passed: float) -> None:
        """One step on what is heard, and those on what is read, at a share of the time."""
        write = passed >= self._plan.listen
        batch = self.heard()
        text, spoken = self._lesson.heard(batch, write=write)
        self._learn(text + spoken, passed)
        self.windows += len(batch.tokens)
        self._note(text=text.item(), spoken=spoken.item(), **self._lesson.right)
        for _ in range(READ_PER_HEARD if write else 0):
            loss = self._lesson.read(next(self._readings))
            if loss is not None:
                self._learn(loss, passed)
                self._note(read=loss.item())

    def _learn(self, loss: Tensor, passed: float) -> None:
        self.step += 1
        for group in self._optimiser.param_groups:
            group["lr"] = rate(self.step, passed, self._plan.peak)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.average.update(self.model, self.step)

    def _note(self, **losses: float) -> None:
        for name, loss in losses.items():
            self.losses[name].append(loss)


def train(plan: Plan) -> None:
    """Train for the planned time; write WORK/model.pt every few minutes and at the end."""
    trainer = Trainer(plan)
    checks = [trainer.heard() for _ in range(2)]
    begin, next_check, turns = time.monotonic(), CHECK_MINUTES, 0
    while (passed := (time.monotonic() - begin) / 60) < plan.minutes:
        trainer.turn(passed / plan.minutes)
        turns += 1
        row: dict[str, object] = {
            "step": trainer.step,
            "minutes": round(passed, 1),
            "windows": trainer.windows,
        }
        if turns % REPORT_TURNS == 0:
            recent = {name: kept[-REPORT_TURNS:] for name, kept in trainer.losses.items()}
            means = {name: round(float(np.mean(x)), 3) for name, x in recent.items() if x}
            _report(plan.work, row | means)
        if passed > next_check:
            next_check += CHECK_MINUTES
            wrong = trainer.average.error_rate(trainer.model, checks, plan.device)
            _report(plan.work, row | {"cer_seen_shards": round(wrong, 4)})
            _save(plan.work, trainer.model.shape, trainer.average)
    _save(plan.work, trainer.model.shape, trainer.average)
    _report(plan.work, row | {"done": True})


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
        "--frames", type=int, default=6_000, help="frames a batch: 12 windows of 10 s"
    )
    parser.add_argument("--start", type=Path, help="go on from these weights")
    parser.add_argument(
        "--listen", type=float, default=0.3, help="share of the time the encoder learns alone"
    )
    parser.add_argument("--peak", type=float, default=PEAK_RATE, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=7)
    train(Plan(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
