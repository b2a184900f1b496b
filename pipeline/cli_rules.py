"""The commands about rule packs: `tingbo rules check` and `tingbo rules backtest`."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.errors import BadInputError, ExitCode
from pipeline.settings import load_settings

_CHECK_EPILOG = "Exit codes: 0 every example holds · 2 bad input or usage, or one does not hold."
_BACKTEST_EPILOG = (
    "Exit codes: 0 no difference · 1 differences · 2 bad input or usage · "
    "3 something is missing here."
)

rules_app = typer.Typer(help="Rule packs.", no_args_is_help=True)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@rules_app.command("check", epilog=_CHECK_EPILOG)
def rules_check(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of rule packs; the ones in use (lexicons_dir) without."),
    ] = None,
) -> None:
    """Self-test of rule packs, extra ones too: what each rule says it flags and lets pass."""
    from pipeline.detect import (
        examples_in,
        extra_packs,
        legal_day,
        load_rule_pack,
        self_test,
        warnings,
    )

    folder = folder or load_settings().lexicons_dir
    pack = load_rule_pack(folder, extra_packs(folder))
    for warning in warnings(pack, legal_day(dt.datetime.now(dt.UTC))):
        err.print(f"Warning: {warning}", style="yellow", markup=False)
    failures = self_test(pack)
    for failure in failures:
        out.print(failure.message, markup=False)
    out.print(
        f"{len(pack.rules)} rules, {examples_in(pack)} examples, {len(failures)} failures; "
        f"version {pack.version}, content {pack.content_hash[:12]}"
    )
    if failures:
        raise BadInputError("The rule pack does not do what its examples say; see above.")


@rules_app.command("backtest", epilog=_BACKTEST_EPILOG)
def rules_backtest(
    *,
    pack: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of the changed rules. Without it: the present ones with every rule on "
            "trial and every extra pack turned on.",
        ),
    ] = None,
    broadcast: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this broadcast; all of them without.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """What changed rules would have raised on stored transcripts, beside what the present ones do.

    Example: tingbo rules backtest --pack my_lexicons
    """
    from pipeline.detect import load_rule_pack
    from pipeline.detect.backtest import backtest, everything_on
    from pipeline.store import Store
    from pipeline.terminal import print_backtest

    settings = load_settings()
    before = load_rule_pack(settings.lexicons_dir, settings.packs)
    if pack is None:
        after = everything_on(settings.lexicons_dir)
    else:
        after = load_rule_pack(pack, settings.packs)
    with Store(settings.effective_database_url) as store:
        result = backtest(store, before, after, broadcast)
    if as_json:
        print(json.dumps(result.plain(), ensure_ascii=False, indent=1))
    else:
        print_backtest(result, out)
    raise typer.Exit(ExitCode.FINDINGS if result.differs else ExitCode.CLEAN)
