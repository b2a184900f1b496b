"""The commands about rooms that media servers push to us: `tingbo push`, `tingbo rooms token`."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer
from rich.console import Console

from pipeline.settings import load_settings

err = Console(stderr=True, highlight=False, soft_wrap=True)


def push(
    *,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port to listen on; else push_port.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; this machine alone without.")
    ] = None,
    window_ms: Annotated[
        int, typer.Option(min=1000, max=30_000, help="Longest segment: the speech model's window.")
    ] = 10_000,
    until_stdin_closes: Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)] = False,
) -> None:
    """One role: take rooms that media servers push, by WebSocket or HTTP.

    Example: tingbo rooms token shop1; tingbo push --port 8310
    """
    from pipeline.roles import run_push

    settings = load_settings(push_port=port, push_host=host)
    run_push(settings, window_ms, watch_stdin=until_stdin_closes)


def token(
    name: Annotated[str, typer.Argument(help="Name of the room; a new one is added.")],
) -> None:
    """A token with which a room's sound is pushed to us; the one before stops working.

    It is shown once: only its hash is stored.
    """
    from pipeline.room_list import check_name
    from pipeline.store import Store

    check_name(name)
    with Store(load_settings().effective_database_url) as store:
        issued = store.push.issue_token(name, dt.datetime.now(dt.UTC))
    err.print(f"Token of room {name}, shown once; ingesters no longer fetch it:", markup=False)
    print(issued)
