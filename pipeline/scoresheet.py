"""What `tingbo eval` and `tingbo train` print: figures side by side, and errors to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.detect.evaluation import Evaluation, Mistake
from pipeline.records import CATEGORY_NAMES, Category


def print_sheet(trials: Mapping[str, Evaluation], out: Console) -> None:
    """One column a trial: F1, precision / recall, alarm rates, claims over several utterances."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in trials:
        table.add_column(name, justify="right")
    table.add_row("macro F1", *(f"{one.macro_f1:.3f}" for one in trials.values()), style="bold")
    for category in next(iter(trials.values())).categories:
        cells = []
        for one in trials.values():
            counts = one.categories[category]
            cells.append(f"{counts.f1:.3f}  ({counts.precision:.2f} / {counts.recall:.2f})")
        table.add_row(f"{category.value} {CATEGORY_NAMES[category]}: F1 (P / R)", *cells)
    for name, kind in (
        ("look-alikes raised", "look_alikes"),
        ("plain lines raised", "plain"),
        ("spread claims found", "claims"),
    ):
        rates = [getattr(one, kind) for one in trials.values()]
        table.add_row(name, *(f"{rate.share:.1%}  ({rate.some} of {rate.all})" for rate in rates))
    out.print(table)


def print_details(evaluation: Evaluation, errors: int, out: Console) -> None:
    """Recall by subtype, calibration, and the first `errors` mistakes."""
    subtypes = [f"{name} {rate.some}/{rate.all}" for name, rate in evaluation.subtypes.items()]
    out.print("\nfound by subtype (its category was raised)", style="bold")
    out.print("  ".join(subtypes), soft_wrap=False)
    out.print("\ncalibration: mean score of findings → share that holds", style="bold")
    out.print(
        "  ".join(
            f"{one.mean_score:.2f} → {one.hits / one.count:.2f}" for one in evaluation.calibration
        )
    )
    if errors and evaluation.mistakes:
        shown = evaluation.mistakes[:errors]
        out.print(f"\nerrors to read ({len(shown)} of {len(evaluation.mistakes)})", style="bold")
        for mistake in shown:
            out.print(_mistake(mistake))


def _mistake(mistake: Mistake) -> Text:
    missed = _names(mistake.line.categories - mistake.raised)
    wrong = _names(mistake.raised - mistake.line.categories)
    text = Text(f"{mistake.broadcast}:{mistake.number} ", "dim")
    if missed:
        text.append(f"漏 {missed} {','.join(mistake.line.subtypes)} ", "red")
    if wrong:
        text.append(f"误 {wrong} {mistake.line.look_alike} ", "yellow")
    if mistake.before:
        text.append(f"[{mistake.before}] ", "dim")
    return text.append(mistake.line.text)


def _names(categories: frozenset[Category]) -> str:
    return "、".join(sorted(CATEGORY_NAMES[category] for category in categories))


def sheet_json(trials: Mapping[str, Evaluation]) -> dict[str, Any]:
    """The same as one document."""
    return {"schema": 1, "trials": {name: figures(one) for name, one in trials.items()}}


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """The figures of one trial, as cards and JSON have them."""
    return {
        "lines": evaluation.lines,
        "broadcasts": evaluation.broadcasts,
        "macro_f1": round(evaluation.macro_f1, 4),
        "categories": {
            category.value: {
                "precision": round(counts.precision, 4),
                "recall": round(counts.recall, 4),
                "f1": round(counts.f1, 4),
                "lines": counts.true,
            }
            for category, counts in evaluation.categories.items()
        },
        "look_alikes_raised": round(evaluation.look_alikes.share, 4),
        "plain_raised": round(evaluation.plain.share, 4),
        "spread_claims_found": round(evaluation.claims.share, 4),
        "subtypes": {
            name: {"found": rate.some, "lines": rate.all}
            for name, rate in evaluation.subtypes.items()
        },
        "calibration": [
            {"mean_score": round(one.mean_score, 3), "holds": round(one.hits / one.count, 3)}
            for one in evaluation.calibration
        ],
    }
