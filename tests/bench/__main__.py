"""Runs the benches one after the other and prints their figures as a table.

    python -m tests.bench            all of them
    python -m tests.bench ingest     bench_ingest.py alone
    python -m tests.bench asr_shapes one of those that take long: only when it is named

Each runs in a process of its own, so that memory and caches of one do not count for the next.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Figure, parse

HERE = Path(__file__).resolve().parent

#: Benches that take many minutes.
LONG = ("asr_shapes",)


def names(wanted: list[str]) -> list[str]:
    """Names of the benches to run, without `bench_` and `.py`."""
    found = sorted(file.stem.removeprefix("bench_") for file in HERE.glob("bench_*.py"))
    unknown = sorted(set(wanted) - set(found) - set(LONG))
    if unknown:
        known = ", ".join((*found, *LONG))
        sys.exit(f"There is no bench named {', '.join(unknown)}; there are {known}.")
    return wanted or found


def run(name: str) -> tuple[list[Figure], int]:
    """Figures of one bench and its exit status; its other output is passed on."""
    module = name if name in LONG else f"bench_{name}"
    command = [sys.executable, "-m", f"tests.bench.{module}"]
    figures = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, encoding="utf-8", cwd=HERE.parent.parent
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            figure = parse(line)
            if figure:
                figures.append(figure)
            else:
                print(line, end="", flush=True)
    return figures, process.returncode


def table(results: list[tuple[str, Figure]]) -> Table:
    """All figures, with the floor and the aim beside each."""
    rows = Table(title="figures")
    for heading in ("bench", "figure", "value", "floor", "aim"):
        rows.add_column(heading, justify="right" if heading in ("value", "floor") else "left")
    for bench, figure in results:
        floor = "" if figure.floor is None else f"{figure.floor:.4g} {figure.unit}"
        rows.add_row(bench, figure.name, f"{figure.value:.4g} {figure.unit}", floor, figure.aim)
    return rows


def machine() -> str:
    """What the figures were measured on, and how busy it was before they began."""
    load = os.getloadavg()[0]
    day = dt.datetime.now(dt.UTC).date().isoformat()
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {day}, "
        f"load before the start {load:.1f}"
    )


def main(wanted: list[str]) -> int:
    """Run the benches; 1 when one of them failed."""
    conditions = machine()
    results = []
    failed = []
    for name in names(wanted):
        print(f"== {name}", flush=True)
        figures, status = run(name)
        results += [(name, figure) for figure in figures]
        failed += [name] if status else []
    # Wide enough when the output goes into a file, where no terminal gives a width.
    Console(width=None if sys.stdout.isatty() else 140).print(table(results), conditions)
    if failed:
        print(f"These failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
