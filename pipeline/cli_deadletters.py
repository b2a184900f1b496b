"""The commands about messages that were given up: `tingbo deadletters list|show|replay|discard`."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from pipeline.bus import Bus
from pipeline.errors import BadInputError, MissingError
from pipeline.metrics import Metrics
from pipeline.redis_server import embedded_redis
from pipeline.settings import Settings, load_settings
from pipeline.streams import STREAMS, DeadLetter, Stream

_EPILOG = "Exit codes: 0 done · 2 bad input or usage · 3 something is missing here."

deadletters_app = typer.Typer(
    help="Messages that were given up: a clip nobody could read, a poison message.",
    no_args_is_help=True,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Ids, as `deadletters list` shows.")
]
AllFlag = Annotated[bool, typer.Option("--all", help="Every dead letter there is.")]
#: More than this many are shown or handled in several rounds.
_MOST = 10_000

_Found = tuple[Stream[Any], DeadLetter]


@deadletters_app.command("list", epilog=_EPILOG)
def deadletters_list(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="How many a stream.")] = 100,
) -> None:
    """What was given up, newest first, with the reason and the clip."""
    with _bus(load_settings()) as bus:
        found = [(s, letter) for s in STREAMS for letter in bus.dead_letters(s, limit)]
    if as_json:
        print(json.dumps([_plain(*one) for one in found], ensure_ascii=False, indent=1))
        return
    if not found:
        out.print("No dead letters.")
        return
    for stream, letter in found:
        # Two lines each, unwrapped: ids are there to be copied.
        line = f"{_name(stream, letter)}  {_when(letter)}  {letter.clip_uri}\n    {letter.reason}"
        out.print(line, markup=False)
    err.print("Try again: tingbo deadletters replay ID. Give up: tingbo deadletters discard ID.")


@deadletters_app.command("show", epilog=_EPILOG)
def deadletters_show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="As `deadletters list` shows it.")],
) -> None:
    """One dead letter with its whole message, as JSON."""
    with _bus(load_settings()) as bus:
        found = _find(bus, letter)
    print(json.dumps(_plain(*found), ensure_ascii=False, indent=1))


@deadletters_app.command("replay", epilog=_EPILOG)
def deadletters_replay(ids: IdsArgument = None, *, every: AllFlag = False) -> None:
    """Put messages back into their stream, after what was wrong is mended."""
    with _bus(load_settings()) as bus:
        chosen = _chosen(bus, ids or [], every=every)
        for stream, letter in chosen:
            bus.replay(stream, letter)
    out.print(f"{len(chosen)} messages will be handled again.")


@deadletters_app.command("discard", epilog=_EPILOG)
def deadletters_discard(ids: IdsArgument = None, *, every: AllFlag = False) -> None:
    """Remove messages for good; the ledger goes on saying that their sound was not heard."""
    with _bus(load_settings()) as bus:
        chosen = _chosen(bus, ids or [], every=every)
        for stream, letter in chosen:
            bus.discard(stream, letter)
    out.print(f"{len(chosen)} messages were discarded.")


@contextmanager
def _bus(settings: Settings) -> Iterator[Bus]:
    with ExitStack() as stack:
        url = settings.redis_url
        if url is None:
            if not settings.redis_dir.is_dir():
                raise MissingError(
                    f"No bus was ever started in {settings.data_dir}: set data_dir or redis_url to "
                    "those of the installation."
                )
            url = stack.enter_context(embedded_redis(settings.redis_dir))
        yield stack.enter_context(Bus(url, Metrics(), partitions=settings.bus_partitions))


def _chosen(bus: Bus, ids: list[str], *, every: bool) -> list[_Found]:
    """The letters named. All of them are found before the first is touched."""
    if every == bool(ids):
        raise BadInputError("Dead letters to handle are not named: give their ids, or --all.")
    if every:
        return [(s, letter) for s in STREAMS for letter in bus.dead_letters(s, _MOST)]
    return [_find(bus, name) for name in ids]


def _find(bus: Bus, name: str) -> _Found:
    stream_name, _, id_ = name.partition(":")
    stream = next((one for one in STREAMS if one.name == stream_name), None)
    try:
        letter = bus.find_dead_letter(stream, id_) if stream and id_ else None
    except ValueError:  # no number where the partition stands
        letter = None
    if stream is None or letter is None:
        raise BadInputError(f"Dead letter {name} does not exist: see `tingbo deadletters list`.")
    return stream, letter


def _name(stream: Stream[Any], letter: DeadLetter) -> str:
    return f"{stream.name}:{letter.letter}"


def _when(letter: DeadLetter) -> str:
    at = dt.datetime.fromtimestamp(letter.at_ms / 1000, dt.UTC)
    return at.isoformat(sep=" ", timespec="seconds")


def _plain(stream: Stream[Any], letter: DeadLetter) -> dict[str, object]:
    payload = letter.payload.decode("utf-8", "backslashreplace")
    try:
        message: object = json.loads(payload)
    except ValueError:
        message = payload
    return {
        "id": _name(stream, letter),
        "stream": stream.name,
        "group": letter.group,
        "given_up_at": _when(letter),
        "reason": letter.reason,
        "deliveries": letter.deliveries,
        "clip_uri": letter.clip_uri,
        "message": message,
    }
