"""The commands about the classifier: `tingbo train` and `tingbo eval`."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from pipeline.errors import BadInputError, ExitCode
from pipeline.resources import resource
from pipeline.settings import load_settings

if TYPE_CHECKING:
    from pipeline.detect.learning import Learned

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

#: Character error rates at which `eval --noise` repeats itself.
_NOISE = (0.1, 0.2)


def train(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            metavar="TSV",
            help="Labelled lines of your own, or a folder of them: TEXT, LABEL (PRICE, DISP, OFFS, "
            "EFFI or none), SUBTYPE; one broadcast a file. May be given several times.",
        ),
    ] = None,
    *,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Where the weights go; the ones in use by default."
        ),
    ] = None,
) -> None:
    """Train the classifier anew; worse weights than those that are there are not kept.

    Both are compared on the same broadcasts, a tenth of the bundled corpus that training never
    sees. The same corpus, data and rules give the same weights.

    Example: tingbo train --data my_reviewers_decisions.tsv --out my_classifier
    """
    from pipeline.detect import load_rule_pack
    from pipeline.detect.learning import Material, keep, learn
    from pipeline.scoresheet import figures

    settings = load_settings()
    folder = out_dir or settings.effective_classifier_dir
    material = Material(
        resource("models", "corpus", "broadcasts"),
        resource("models", "asr_demo", "text", "areas"),
        tuple(data or ()),
    )
    today = dt.datetime.now(dt.UTC).date()
    pack = load_rule_pack(settings.lexicons_dir)
    with Progress(console=err, transient=True) as bars:
        tasks = {
            "read": bars.add_task("reading broadcasts", total=None),
            "fold": bars.add_task("training", total=None),
        }

        def progress(step: str, done: int, total: int) -> None:
            bars.update(tasks[step], completed=done, total=total)

        learned = learn(pack, material, folder, today, progress)
    _report(learned)
    if learned.is_worse:
        raise BadInputError(
            f"The new weights are worse than those in {folder}, which stay: "
            "look at the labels of the data, or give another folder with --out."
        )
    keep(learned, folder, figures(learned.new))
    out.print(f"kept in {folder}")


def _report(learned: Learned) -> None:
    from pipeline.scoresheet import print_sheet

    lines = sum(len(broadcast.lines) for broadcast in learned.learned_from)
    out.print(
        f"{lines} lines of {len(learned.learned_from)} broadcasts in {learned.seconds:.0f} s; "
        f"tested on {learned.new.lines} lines of {learned.new.broadcasts} others:"
    )
    old = {} if learned.old is None else {"in use": learned.old}
    print_sheet(old | {"new": learned.new}, out)


def evaluate(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Labelled TSV, or a folder of them, one broadcast a file: TEXT, LABEL, SUBTYPE or "
            "hn:LABEL:KIND, CLAIM. Without: the test part of the bundled corpus.",
        ),
    ] = None,
    *,
    independent: Annotated[
        bool, typer.Option("--independent", help="Lines have no context from other lines.")
    ] = False,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Rules alone and the classifier alone beside both.")
    ] = False,
    noise: Annotated[
        bool,
        typer.Option(
            "--noise", help="Again with made-up recognition errors, 10 and 20 % of characters."
        ),
    ] = False,
    errors: Annotated[int, typer.Option(min=0, help="So many errors to read.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Precision, recall and F1 on labelled broadcasts, alarm rates, and the errors to read.

    Example: tingbo eval --ablate --noise
    """
    from pipeline.detect import load_detector
    from pipeline.detect.corpus import alone, read_corpus
    from pipeline.detect.training import split
    from pipeline.detect.trial import Part, trial
    from pipeline.scoresheet import print_details, print_sheet, sheet_json

    settings = load_settings()
    detector = load_detector(
        settings.packs, settings.effective_classifier_dir, settings.lexicons_dir
    )
    broadcasts = read_corpus(path or resource("models", "corpus", "broadcasts"))
    if path is None:
        broadcasts = split(broadcasts)[1]
    if independent:
        broadcasts = alone(broadcasts)
    today = dt.datetime.now(dt.UTC).date()
    trials = {"rules + model": trial(detector, broadcasts, today)}
    if ablate:
        trials["rules alone"] = trial(detector, broadcasts, today, part=Part.RULES)
        trials["model alone"] = trial(detector, broadcasts, today, part=Part.MODEL)
    for rate in _NOISE if noise else ():
        trials[f"{rate:.0%} misheard"] = trial(detector, broadcasts, today, error_rate=rate)
    if as_json:
        print(json.dumps(sheet_json(trials), ensure_ascii=False, indent=1))
        raise typer.Exit(ExitCode.CLEAN)
    whole = trials["rules + model"]
    out.print(f"{whole.lines} lines of {whole.broadcasts} broadcasts")
    print_sheet(trials, out)
    print_details(whole, errors, out)
