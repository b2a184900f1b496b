"""The command line. Results go to stdout, progress and logs to stderr.

Exit codes: 0 nothing found, 1 findings, 2 bad input or usage, 3 something is missing here,
4 source unreachable, 5 the recogniser wants to be started again.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from pipeline import (
    __version__,
    cli_capacity,
    cli_cases,
    cli_deadletters,
    cli_model,
    cli_ops,
    cli_push,
    cli_rooms,
    cli_rules,
)
from pipeline.errors import BadInputError, ExitCode, TingboError
from pipeline.logs import logs_json, set_up_logs
from pipeline.settings import load_settings

if TYPE_CHECKING:
    from pipeline.reports.replay import Replay

_EPILOG = (
    "Exit codes: 0 nothing found · 1 findings · 2 bad input or usage · "
    "3 something is missing here · 4 source unreachable · 5 asr: start it again."
)
app = typer.Typer(
    help="tingbo (听播) listens to live rooms and finds what a host must not say.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.add_typer(cli_cases.cases_app, name="cases")
app.add_typer(cli_rules.rules_app, name="rules")
app.add_typer(cli_rooms.rooms_app, name="rooms")
app.add_typer(cli_deadletters.deadletters_app, name="deadletters")

AsrOption = Annotated[
    str | None,
    typer.Option(
        "--asr",
        metavar="MODEL",
        help='Speech model: "demo" (bundled, synthetic speech only), a faster-whisper name such '
        "as small or large-v3-turbo, or a folder.",
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu or cuda.", metavar="DEVICE")
]
JsonLinesFlag = Annotated[
    bool, typer.Option("--json", help="One JSON object a line, in input order, clean lines too.")
]
UntilStdinCloses = Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)]

#: As the value of an option that names a file.
_STDOUT = Path("-")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line; every TingboError is one sentence on stderr and its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8 whatever the terminal's locale
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    try:
        code = app(args=argv, standalone_mode=False)
    except TingboError as error:
        if logs_json():
            logging.getLogger("tingbo").error("%s", error)  # noqa: TRY400 -- foreseen: no traceback
        else:
            err.print(str(error), style="red", markup=False)
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has enough
        sys.stderr.close()
        sys.exit(ExitCode.CLEAN)
    except TyperException as error:  # a usage error
        err.print(f"{error.format_message()} See `tingbo --help`.", style="red", markup=False)
        sys.exit(ExitCode.BAD_INPUT)
    sys.exit(code or ExitCode.CLEAN)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _top(
    *,
    version: Annotated[  # noqa: ARG001 -- answered by its callback
        bool,
        typer.Option(
            "--version", help="Print the version and end.", callback=_version, is_eager=True
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more to stderr.")] = False,
) -> None:
    set_up_logs(load_settings().log_format, verbose=verbose)


@app.command(epilog=_EPILOG)
def check(
    file: Annotated[str, typer.Argument(help="Text file, or - for standard input.")] = "-",
    *,
    as_json: JsonLinesFlag = False,
    independent: Annotated[
        bool, typer.Option("--independent", help="Lines have no context from lines before.")
    ] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="All of a finding; and what rules let pass, with why."),
    ] = False,
) -> None:
    """Check text: one utterance a line, or START_MS<TAB>TEXT; consecutive lines are one broadcast.

    Example: echo 专柜九百八今天九十九 | tingbo check
    """
    from pipeline.detect import check_lines, legal_day, load_detector, opened_text
    from pipeline.terminal import print_checked_line, print_excused

    settings, on = load_settings(), legal_day(dt.datetime.now(dt.UTC))
    detector = load_detector(
        settings.packs, settings.effective_classifier_dir, settings.lexicons_dir
    )
    findings = errors = 0
    with opened_text(file) as stream:
        for line in check_lines(stream, detector, independent=independent, on=on):
            findings += len(line.findings)
            if line.error:
                errors += 1
                err.print(line.error, style="red", markup=False)
            if as_json:
                shown = line.explained() if explain else line.plain()
                print(json.dumps(shown, ensure_ascii=False))
            else:
                print_checked_line(line, out)
                if explain:
                    print_excused(line, out)
    if errors:
        raise BadInputError(f"{errors} lines could not be read as they are; see above.")
    raise typer.Exit(ExitCode.FINDINGS if findings else ExitCode.CLEAN)


@app.command("replay", epilog=_EPILOG)
def replay_command(
    media: Annotated[str, typer.Argument(help="Recording (any common container) or address.")],
    *,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the result as JSON (- for stdout)."),
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write one page with player and findings."),
    ] = None,
    asr: AsrOption = None,
    device: DeviceOption = None,
) -> None:
    """Self-check of a recording, in private: nothing is stored and nothing is sent.

    Example: tingbo replay last_night.mp4 --html report.html
    """
    from pipeline.ingest import SourceOptions, open_source
    from pipeline.replay import load_ears, replay
    from pipeline.reports import SoundTrack, write_replay_html
    from pipeline.reports.replay import check_place
    from pipeline.terminal import ReplayProgress

    settings = load_settings(asr_model=asr, device=device)
    for file in (json_file, html_file):
        if file is not None and file != _STDOUT:
            check_place(file)
    # Opened before the model is loaded, so that a wrong path is told at once.
    with open_source(media, SourceOptions.of(settings)) as source, ExitStack() as stack:
        ears = load_ears(settings, sys.stderr)
        track = stack.enter_context(SoundTrack()) if html_file else None
        with ReplayProgress(err, source.info.duration_ms) as progress:
            result = replay(source, ears, progress=progress.at, track=track)
        if track is not None and html_file is not None:
            write_replay_html(result, track.finish(result.duration_ms), html_file)
            err.print(f"Page: {html_file}", markup=False)
    _show(result, json_file)
    if result.failure is not None:
        raise BadInputError(result.failure)
    raise typer.Exit(ExitCode.FINDINGS if result.suspicions else ExitCode.CLEAN)


def _show(result: Replay, json_file: Path | None) -> None:
    from pipeline.reports.replay import replay_text, write_replay_json
    from pipeline.reports.table import replay_table

    if json_file == _STDOUT:
        print(replay_text(result))
        return
    replay_table(result, out)
    if json_file is not None:
        write_replay_json(result, json_file)
        err.print(f"JSON: {json_file}", markup=False)


@app.command(epilog=_EPILOG)
def demo(
    *,
    speed: Annotated[
        float, typer.Option(min=0.5, max=16, help="Media time per wall time; 1 is live.")
    ] = 4.0,
) -> None:
    """Play the bundled broadcast as a live room through the whole pipeline, with its alerts."""
    from pipeline.demo import run_demo
    from pipeline.processes import interruptible
    from pipeline.terminal import SYNTHETIC, print_alert, print_outcome

    interruptible()
    out.print(SYNTHETIC, style="yellow")
    outcome = run_demo(load_settings(), speed, lambda alert: print_alert(alert, out))
    print_outcome(outcome, speed, out)


@app.command(epilog=_EPILOG)
def serve(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Live addresses or recordings; the rooms of `tingbo rooms` without."),
    ] = None,
    *,
    asr: AsrOption = None,
    device: DeviceOption = None,
    speed: Annotated[
        float | None,
        typer.Option(help="Play recordings at this speed; as fast as they go without."),
    ] = None,
) -> None:
    """Everything on this machine: listens and prints alerts until Ctrl-C.

    Monitor rooms with `tingbo rooms add URL` before or while it runs, and see with `tingbo rooms
    list` whether they are heard. With addresses or recordings it listens to those instead, and ends
    when they have ended.
    """
    from pipeline.serve import listen_to
    from pipeline.terminal import print_alert

    settings = load_settings(asr_model=asr, device=device)
    for item in listen_to(settings, sources or (), speed):
        if isinstance(item, str):
            err.print(item, markup=False)
        else:
            print_alert(item, out)


@app.command(epilog=_EPILOG)
def ingest(  # noqa: PLR0913 -- the role's command line
    source: Annotated[
        str | None,
        typer.Argument(help="Live address or recording; the rooms of `tingbo rooms` without."),
    ] = None,
    *,
    max_rooms: Annotated[
        int, typer.Option(min=1, max=1000, help="Without a source: how many rooms at most.")
    ] = 100,
    room: Annotated[str, typer.Option(help="Name of the room of a source.")] = "room",
    speed: Annotated[float | None, typer.Option(help="Play a recording at this speed.")] = None,
    window_ms: Annotated[
        int, typer.Option(min=1000, max=30_000, help="Longest segment: the speech model's window.")
    ] = 10_000,
    broadcast: Annotated[str | None, typer.Option(hidden=True)] = None,
    until_stdin_closes: UntilStdinCloses = False,
) -> None:
    """One role: listen, cut speech into segments, write clips and messages.

    Without a source it shares the monitored rooms with all other ingesters: it takes over those of
    one that died, gives some to one that starts, and follows `tingbo rooms` within 5 s.
    """
    from pipeline.roles import run_ingest, run_ingester

    if source is None:
        settings = load_settings()
        run_ingester(settings, window_ms, max_rooms, watch_stdin=until_stdin_closes)
        return
    result = run_ingest(
        load_settings(), source, room, window_ms, speed, broadcast, watch_stdin=until_stdin_closes
    )
    if result.failure is not None:
        raise result.failure


@app.command(epilog=_EPILOG)
def asr(
    *,
    model: AsrOption = None,
    device: DeviceOption = None,
    second_opinion: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Hear nothing but clips that carry a finding, again, with this larger model.",
        ),
    ] = None,
    until_stdin_closes: UntilStdinCloses = False,
) -> None:
    """One role: transcribe segments of all rooms in batches."""
    from pipeline.roles import run_asr

    if model is not None and second_opinion is not None:
        raise BadInputError(
            "A process has one speech model: start another `tingbo asr` for the second opinion."
        )
    settings = load_settings(asr_model=second_opinion or model, device=device)
    again = second_opinion is not None
    raise typer.Exit(run_asr(settings, second_opinion=again, watch_stdin=until_stdin_closes))


@app.command(epilog=_EPILOG)
def detect(*, until_stdin_closes: UntilStdinCloses = False) -> None:
    """One role: judge transcripts and open cases."""
    from pipeline.roles import run_detect

    run_detect(load_settings(), watch_stdin=until_stdin_closes)


@app.command(epilog=_EPILOG)
def janitor(*, until_stdin_closes: UntilStdinCloses = False) -> None:
    """One role: keep the streams short, find lost messages, and measure backlog and rooms."""
    from pipeline.roles import run_janitor

    run_janitor(load_settings(), watch_stdin=until_stdin_closes)


app.command("capacity", epilog=cli_capacity.EPILOG)(cli_capacity.reckon)
app.command("backup", epilog=cli_ops.EPILOG)(cli_ops.backup)
app.command("restore", epilog=cli_ops.EPILOG)(cli_ops.restore)
app.command("push", epilog=_EPILOG)(cli_push.push)
cli_rooms.rooms_app.command("token", epilog=_EPILOG)(cli_push.token)
app.command("train", epilog=_EPILOG)(cli_model.train)
app.command("eval", epilog=_EPILOG)(cli_model.evaluate)


@app.command(epilog=_EPILOG)
def doctor() -> None:
    """Versions, binaries, device, disk: what is missing and how to get it."""
    from pipeline.doctor import examine

    bad = 0
    for item in examine(load_settings()):
        bad += not item.good
        mark = "[green]ok[/green]     " if item.good else "[red]missing[/red]"
        out.print(f"{mark} {item.name:<13}", end="")
        out.print(item.found, markup=False)
    if bad:
        raise typer.Exit(ExitCode.MISSING)
