"""Breaks a running installation in every way we know, and sees whether its books balance.

    python -m tests.chaos                                 all scenarios, on both databases
    python -m tests.chaos kill-redis --database sqlite    one of them
    python -m tests.chaos --report FILE                   writes the report elsewhere

Exit code 1 when books do not balance. The databases are tried beside each other.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from tests.chaos.installation import DATABASES, installation
from tests.chaos.report import report
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.stage import Outcome, Scenario, play
from tests.databases import postgres_program

_ROOMS = 3
_REPORT = Path("build/chaos.txt")
_WIDTH = 170


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for and print the report; 1 when books do not balance."""
    wanted = _parser().parse_args(arguments)
    unknown = set(wanted.scenarios) - {one.name for one in SCENARIOS}
    if unknown:
        print(f"There is no scenario {', '.join(sorted(unknown))}.", file=sys.stderr)
        return 2
    chosen = [one for one in SCENARIOS if not wanted.scenarios or one.name in wanted.scenarios]
    databases = [wanted.database] if wanted.database else list(DATABASES)
    began = time.monotonic()
    with ThreadPoolExecutor(len(databases)) as threads:
        runs = [threads.submit(run, database, chosen) for database in databases]
        outcomes = [outcome for one in runs for outcome in one.result()]
    shown = report(outcomes)
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(shown)
    wanted.report.parent.mkdir(parents=True, exist_ok=True)
    with wanted.report.open("w", encoding="utf-8") as file:
        Console(file=file, width=_WIDTH).print(shown)
    print(f"{time.monotonic() - began:.0f} s; report: {wanted.report}")
    return 0 if all(one.passed for one in outcomes) else 1


def run(database: str, scenarios: Sequence[Scenario]) -> list[Outcome]:
    """All scenarios on one database, on one installation as long as its books balance."""
    if database == "postgresql":
        try:
            postgres_program("initdb")
        except FileNotFoundError as error:
            return [Outcome(one.name, database, skipped=str(error)) for one in scenarios]
    outcomes: list[Outcome] = []
    left = list(scenarios)
    while left:
        folder = Path(tempfile.mkdtemp(prefix=f"tingbo-chaos-{database}-"))
        with installation(folder, database) as here:
            while left:
                outcomes.append(play(here, left.pop(0), database, _ROOMS))
                _tell(outcomes[-1])
                if not outcomes[-1].passed:  # the next one is not to suffer from it
                    break
        if outcomes[-1].passed:
            shutil.rmtree(folder)
        else:
            print(f"{database}: logs and data are left in {folder}", flush=True)
    return outcomes


def _tell(one: Outcome) -> None:
    said = one.skipped and f"skipped, {one.skipped}"
    said = said or ("balances" if one.passed else "DOES NOT BALANCE: " + "; ".join(one.wrong))
    print(f"{one.database} {one.scenario}: {one.took_s:.0f} s, {said}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    names = [one.name for one in SCENARIOS]
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(names))
    parser.add_argument("--database", choices=list(DATABASES))
    parser.add_argument("--report", type=Path, default=_REPORT, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
