"""The commands about the review queue: `tingbo cases list|show`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from pipeline.errors import BadInputError
from pipeline.settings import load_settings

_EPILOG = "Exit codes: 0 done · 2 bad input or usage · 3 something is missing here."

cases_app = typer.Typer(help="The review queue.", no_args_is_help=True)
out = Console(highlight=False, soft_wrap=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@cases_app.command("list", epilog=_EPILOG)
def cases_list(
    *,
    as_json: JsonFlag = False,
    state: Annotated[str, typer.Option(help="open, claimed, decided or all.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
) -> None:
    """The review queue, newest first."""
    from pipeline.codec import plain
    from pipeline.records import CaseState
    from pipeline.store import Store
    from pipeline.terminal import print_cases

    if state != "all" and state not in set(CaseState):
        raise BadInputError(f"Case state {state} is unknown: give open, claimed, decided or all.")
    with Store(load_settings().effective_database_url) as store:
        found = store.cases(None if state == "all" else CaseState(state), limit)
    if as_json:
        print(json.dumps([plain(case) for case in found], ensure_ascii=False, indent=1))
    else:
        print_cases(found, out)


@cases_app.command("show", epilog=_EPILOG)
def cases_show(
    case: Annotated[str, typer.Argument(help="Id of the case, as `cases list` shows it.")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """One case: all its times, why, basis, facts to check, and where the clip is."""
    from pipeline.codec import plain
    from pipeline.review import Opinion
    from pipeline.store import Store
    from pipeline.terminal import print_case

    with Store(load_settings().effective_database_url) as store:
        found = store.case(case)
        earlier = store.earlier_cases(found) if found else []
        opinions = [Opinion.of(*pair) for pair in store.second_opinions(case)]
    if found is None:
        raise BadInputError(f"Case {case} does not exist: see `tingbo cases list --state all`.")
    if as_json:
        shown = {**plain(found), "second_opinions": [plain(one) for one in opinions]}
        print(json.dumps(shown, ensure_ascii=False, indent=1))
    else:
        print_case(found, earlier, opinions, out)
