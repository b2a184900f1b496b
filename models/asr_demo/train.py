"""Train the bundled speech model from scratch on espeak-ng's voices, on two CPU cores or a GPU.

    python train.py --work WORK --minutes 80
    python train.py --work WORK --minutes 30 --start WORK/model.pt --peak 3e-4 --seed 8
    python train.py --work WORK --minutes 85 --start weights --listen 0 --peak 6e-4 --seed 8

The last starts from an exported folder. Its heads are not in it, so they learn alone at first.

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
from lexicon import Lexicon
from loss import text_loss
from network import Shape, Whisper
from reading import Recall, sounds_and_tones
from restore import restore
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

PEAK_RATE, WARM_UP_STEPS = 1e-3, 120
#: Weight of naming syllables once the decoder learns too.
SPOKEN_WEIGHT = 0.7
EMA_DECAY = 0.995
#: Batches read for each one heard: they hold four times the text and cost less.
READ_PER_HEARD = 4
#: Of those, so many make up one step.
READ_PER_STEP = 2
#: Batches on which only the heads learn where a run goes on from weights, and their rate: the file
#: may be without heads, and before text can be read, enough must have been heard.
SETTLING, SETTLING_RATE = 150, 3e-3
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
        if self.start and self.start.is_dir():
            restore(model, self.start)
        elif self.start:
            stored = torch.load(self.start, map_location="cpu", weights_only=True)
            model.load_state_dict(stored["weights"])
        return model.to(self.device)

    def batches(self, lexicon: Lexicon, *, heard: bool) -> Iterator[Batch]:
        """Endless batches, spoken ones from WORK/shards or text alone, made by another process."""
        stream = Stream(self.work / "shards", self.frames, lexicon, heard=heard)
        return iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=6))


class Stream(IterableDataset[Batch]):
    """Batches made in the loader's process."""

    def __init__(self, shards: Path, frames: int, lexicon: Lexicon, *, heard: bool) -> None:
        self._shards, self._frames, self._heard = shards, frames, heard
        self._lexicon = lexicon

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        seed = int(torch.initial_seed() % 2**31)
        windows = Windows(Shards(self._shards), seed, self._lexicon)
        while self._heard:
            yield windows.batch(self._frames)
        while True:
            # Without the encoder a window costs half.
            yield from windows.readings(2 * self._frames)


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

    def __init__(self, model: Whisper, device: str, lexicon: Lexicon) -> None:
        self._model, self._device, self._lexicon = model, device, lexicon
        self._recall = Recall(model.shape.width, device)
        self._names = [torch.tensor(x, device=device) for x in sounds_and_tones()]
        self.right = {"sound": 0.0, "tone": 0.0}
        """Share of the positions with speech, in the last heard batch, that were named."""

    def named(self, batch: Batch) -> Tensor:
        """Cross-entropy of what is spoken for the heads alone; the encoder stays as it is."""
        with torch.no_grad(), torch.autocast(self._device, torch.bfloat16):
            memory = self._model.encoder(torch.from_numpy(batch.mel).to(self._device))
        return self._naming(batch, memory)

    def heard(self, batch: Batch, *, write: bool) -> tuple[Tensor, Tensor]:
        """(cross-entropy of the text, of what is spoken) of a spoken batch.

        The text counts 0 unless `write`.
        """
        with torch.autocast(self._device, torch.bfloat16):
            memory = self._model.encoder(torch.from_numpy(batch.mel).to(self._device))
        naming = self._naming(batch, memory)
        if not write:
            return torch.zeros(()), naming
        return self._text(batch, memory), SPOKEN_WEIGHT * naming

    def _naming(self, batch: Batch, memory: Tensor) -> Tensor:
        spoken = torch.from_numpy(batch.spoken).to(self._device)
        with torch.autocast(self._device, torch.bfloat16):
            named = [head(memory).float().flatten(0, 1) for head in self._model.spoken]
        self._recall.hear(memory, spoken)
        syllable, phase = spoken.flatten() // PHASES, spoken.flatten() % PHASES
        truth = [*(names[syllable] for names in self._names), phase]
        losses = [F.cross_entropy(guess, told) for guess, told in zip(named, truth, strict=True)]
        for name, guess, told in zip(self.right, named, truth, strict=False):
            self.right[name] = float((guess.argmax(-1) == told)[syllable > 0].float().mean())
        return sum(losses, torch.zeros(()))

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
        loss, wrong = text_loss(logits.flatten(0, 1), targets.flatten())
        numbers = batch.words[:, 1:].ravel()
        of_words = numbers >= 0
        if of_words.any():
            self._lexicon.note(numbers[of_words], wrong.cpu().numpy()[of_words])
        return loss


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


def optimisers_of(model: Whisper) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the rest; only matrices decay.

    In three minutes of reading Muon lowered the errors on words and on talk more than AdamW did,
    with a fifth less text: it learns faster what comes up rarely, and most words do.
    """
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    layers = [p for name, p in learned.items() if ".layers." in name and p.dim() == 2]
    others = [p for name, p in learned.items() if not (".layers." in name and p.dim() == 2)]
    matrices = {"params": [p for p in others if p.dim() > 1], "weight_decay": 0.01}
    vectors = {"params": [p for p in others if p.dim() == 1], "weight_decay": 0.0}
    return [
        torch.optim.Muon(layers, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([matrices, vectors], betas=(0.9, 0.98), fused=True),
    ]


class Trainer:
    """Steps of one run and what they gave."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self.model = plan, plan.model()
        self.average, self._optimisers = Average(self.model), optimisers_of(self.model)
        self.lexicon = Lexicon()
        self._lesson = Lesson(self.model, plan.device, self.lexicon)
        self._batches = plan.batches(self.lexicon, heard=True)
        self._readings = plan.batches(self.lexicon, heard=False)
        self.step = self.windows = 0
        self.losses: dict[str, list[float]] = defaultdict(list)

    def heard(self) -> Batch:
        """The next spoken batch."""
        return next(self._batches)

    def settle(self) -> None:
        """Hear a while, and let the heads learn what the encoder has to say as it is."""
        heads = torch.optim.AdamW(self.model.spoken.parameters(), SETTLING_RATE)
        for _ in range(SETTLING):
            self._lesson.named(self.heard()).backward()
            heads.step()
            heads.zero_grad()
        self.average = Average(self.model)

    def turn(self, passed: float) -> None:
        """A batch that is heard and those that are read, in steps, at a share of the time."""
        write = passed >= self._plan.listen
        batch = self.heard()
        text, spoken = self._lesson.heard(batch, write=write)
        (text + spoken).backward()
        self.windows += len(batch.tokens)
        self._note(text=text.item(), spoken=spoken.item(), **self._lesson.right)
        for number in range(READ_PER_HEARD if write else 0):
            if number and number % READ_PER_STEP == 0:
                self._step(passed)
            loss = self._lesson.read(next(self._readings))
            if loss is not None:
                loss.backward()
                self._note(read=loss.item())
        self._step(passed)

    def _step(self, passed: float) -> None:
        self.step += 1
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate(self.step, passed, self._plan.peak)
            optimiser.step()
            optimiser.zero_grad()
        self.average.update(self.model, self.step)

    def _note(self, **losses: float) -> None:
        for name, loss in losses.items():
            self.losses[name].append(loss)


def train(plan: Plan) -> None:
    """Train for the planned time; write WORK/model.pt every few minutes and at the end."""
    trainer = Trainer(plan)
    checks = [trainer.heard() for _ in range(2)]
    if plan.start:
        trainer.settle()
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
            unknown = {"words_wrong": round(trainer.lexicon.error_rate(), 3)}
            _report(plan.work, row | means | unknown)
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
