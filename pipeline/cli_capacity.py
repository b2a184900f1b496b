"""The command `tingbo capacity`: how much machine so many rooms need."""

from __future__ import annotations

import json
from typing import Annotated, Literal, cast

import typer
from rich.console import Console

from pipeline.capacity import UTILISATION, Capacity, Wish, capacity, figures
from pipeline.codec import plain
from pipeline.errors import BadInputError

EPILOG = "Exit codes: 0 done · 2 bad input or usage, or a model that was not measured."

out = Console(highlight=False, soft_wrap=True)


def reckon(  # noqa: PLR0913 -- the command line
    *,
    rooms: Annotated[int, typer.Option(min=1, max=1_000_000, help="Live rooms at once.")],
    model: Annotated[str, typer.Option(help="Speech model, as for --asr.")] = "demo",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    windows_per_second: Annotated[
        float | None,
        typer.Option(min=0.001, help="Of one core or card, as you measured it yourself."),
    ] = None,
    speech: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Share of the time a host speaks.")
    ] = None,
    segment: Annotated[
        float | None, typer.Option(min=0.5, max=30, help="Mean seconds of a speech segment.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Cores, cards, memory, network and disk for so many rooms, from measured figures.

    Example: tingbo capacity --rooms 200 --model small
    """
    if device not in ("cpu", "cuda"):
        raise BadInputError(f"Device {device} is unknown: give cpu or cuda.")
    where = cast("Literal['cpu', 'cuda']", device)
    table = figures()
    wish = Wish(rooms, model, where, windows_per_second, speech, segment)
    needed = capacity(wish, table)
    if as_json:
        print(json.dumps(plain(needed) | {"measured_on": table["measured_on"]}, indent=1))
        return
    for name, value in _lines(needed, wish):
        out.print(f"{name:<24}{value}", markup=False)
    out.print(
        f"Planned to be busy {UTILISATION:.0%} of the time. Figures of {table['measured_on']}, "
        f"{table['machine']}; speech share and segment length are assumptions.",
        style="dim",
    )


def _lines(needed: Capacity, wish: Wish) -> list[tuple[str, str]]:
    unit = "cores" if wish.device == "cpu" else "cards"
    return [
        ("speech segments", f"{needed.segments_per_s:.1f} a second"),
        (
            "speech model",
            f"{needed.asr_units} {unit} of {needed.windows_per_s_each:g} windows a second, "
            f"busy {needed.asr_busy:.0%}",
        ),
        ("ingest", f"{needed.ingest_cores:.1f} cores, {needed.ingest_processes} processes"),
        ("detection and the rest", f"{needed.detect_cores:.1f} cores"),
        ("memory", f"{needed.memory_gb:.1f} GB, Redis {needed.redis_mb:.1f} MB"),
        ("network", f"{needed.network_mbit_s:.0f} Mbit/s"),
        (
            "clips",
            f"{needed.clips_flac_gb_per_hour:.2f} GB an hour as FLAC, "
            f"{needed.clips_opus_gb_per_hour:.2f} as Opus",
        ),
        ("database", f"{needed.sql_gb_per_hour:.3f} GB an hour"),
    ]
