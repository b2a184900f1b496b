"""The roles of one machine as processes: started together, and ended with whoever started them."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from pipeline.codec import decode
from pipeline.errors import ExitCode, MissingError
from pipeline.health import serve_pages
from pipeline.logs import message_of
from pipeline.metrics import SHARED_FOLDER_VARIABLE, shared_registry
from pipeline.redis_server import embedded_redis
from pipeline.settings import Settings, as_environment
from pipeline.store import Store

log = logging.getLogger(__name__)

#: How long a role may take to finish what it has in hand.
_DRAIN_S = 20.0
#: Seconds before a role that died is started again: the first time, doubling up to the last.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
#: A role that dies more often than this within the time is given up.
_MAX_DEATHS, _WITHIN_S = 5, 600.0


@dataclass(frozen=True, slots=True)
class Ready:
    """What a role says on its standard output once it works."""

    role: str
    window_ms: int = 0
    """For asr: the longest segment its model takes."""
    synthetic_only: bool = False
    """For asr: whether its model knows synthetic speech only."""


@dataclass(slots=True)
class Role:
    """A role running as a process of its own; a new one takes the place of one that died."""

    name: str
    process: subprocess.Popen[bytes]

    log: Path
    port: int = 0
    """Of its pages, 0 for none."""
    arguments: tuple[str, ...] = ()
    lasting: bool = True
    """Whether it should run for ever; an ingest of one source ends with it."""
    deaths: list[float] = field(default_factory=list)
    """When (monotonic) it died lately."""
    due: float | None = None
    """When (monotonic) it is started again; None while nothing is planned."""

    def ended(self) -> int | None:
        """Exit code, None while it runs and while it is about to be started again."""
        return self.process.poll() if self.due is None else None

    def died(self) -> bool:
        """Whether it ended and should not have."""
        code = self.process.poll()
        return code is not None and (self.lasting or code < 0)

    def ready(self) -> Ready:
        """Wait until it works and give what it says of itself. Raises MissingError when it ends."""
        line = self.process.stdout.readline() if self.process.stdout else b""
        if not line:
            self.process.wait()
            raise MissingError(self.last_words())
        return decode(Ready, line)

    def last_words(self) -> str:
        """Last line of the roles' log: why it ended."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = message_of(lines[-1]) if lines else "it said nothing"
        return f"The role {self.name} {self._end()}: {said} (log: {self.log})"

    def _end(self) -> str:
        code = self.process.poll()
        if code is None or code >= 0:
            return f"ended with code {code}"
        return f"was killed by {signal.Signals(-code).name}"

    def close_pipes(self) -> None:
        """Close what led to the process that ended."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


@dataclass(frozen=True, slots=True)
class Running:
    """What `running` gives."""

    settings: Settings
    """With the address of the bus."""
    roles: Roles
    asr: Ready


class Roles:
    """The processes of one installation. Closing it ends them all; so does the end of this process.

    Every role reads its standard input, which stays open as long as this process lives: a role
    whose starter was killed sees it close and ends by itself.
    """

    def __init__(
        self,
        settings: Settings,
        log: Path,
        shared: Path | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`shared` is the folder by which they add up what they count, None for no metrics."""
        self._settings = settings
        self._shared = shared
        self._log = log
        self._clock = clock
        self._roles: list[Role] = []

    def start(self, name: str, *arguments: str, lasting: bool = True) -> Role:
        """Start `tingbo NAME ARGUMENTS` with these settings; its log goes to the log file.

        One that is not `lasting` may end by itself.

        Where there are metrics, each role has the next port above that of the common page.
        """
        port = self._settings.metrics_port + len(self._roles) + 1 if self._shared else 0
        process = self._process(name, arguments, port)
        role = Role(name, process, self._log, port, arguments, lasting)
        self._roles.append(role)
        return role

    def check(self) -> None:
        """Start again what has died, each time after a longer pause, and say so in the log.

        A crash costs one role what it had in hand, which others take over, and no other role
        anything. Raises MissingError for one that dies again and again.
        """
        now = self._clock()
        for role in self._roles:
            if role.due is None and role.process.poll() == ExitCode.AGAIN:
                role.due = now  # it asked for it: no death, and nothing to wait for
            elif role.due is None and role.died():
                self._mourn(role, now)
            elif role.due is not None and now >= role.due:
                role.close_pipes()
                role.process = self._process(role.name, role.arguments, role.port)
                role.due = None

    def _mourn(self, role: Role, now: float) -> None:
        role.deaths = [*(at for at in role.deaths if now - at < _WITHIN_S), now]
        if len(role.deaths) > _MAX_DEATHS:
            raise MissingError(f"{role.last_words()}. It died {len(role.deaths)} times: given up.")
        wait_s = min(_FIRST_WAIT_S * 2 ** (len(role.deaths) - 1), _LONGEST_WAIT_S)
        role.due = now + wait_s
        log.warning("%s. It is started again in %g s.", role.last_words(), wait_s)

    def _process(self, name: str, arguments: tuple[str, ...], port: int) -> subprocess.Popen[bytes]:
        environment = as_environment(replace(self._settings, metrics_port=port))
        if self._shared:
            environment[SHARED_FOLDER_VARIABLE] = str(self._shared)
        command = [sys.executable, "-m", "pipeline", name, *arguments, "--until-stdin-closes"]
        with self._log.open("ab") as file:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the roles
            )

    def pages(self) -> list[tuple[str, int]]:
        """Name and port of every role that has pages."""
        return [(role.name, role.port) for role in self._roles if role.port]

    def close(self) -> None:
        """End the roles: SIGTERM, time to finish, and only then SIGKILL."""
        for role in self._roles:
            if role.process.poll() is None:
                role.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _DRAIN_S
        for role in self._roles:
            try:
                role.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                role.process.kill()
                role.process.wait()
            role.close_pipes()


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    """Bus, recognition and detection, for as long as the context lasts.

    Raises BusError, or MissingError with the role's own words when one does not start.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if settings.redis_url is None:
            url = stack.enter_context(embedded_redis(settings.redis_dir))
            settings = replace(settings, redis_url=url)
        with Store(settings.effective_database_url):
            pass  # the schema is made once, before several processes want it
        shared = _shared_pages(settings, stack) if settings.metrics_port else None
        roles = Roles(settings, settings.data_dir / "roles.log", shared)
        stack.callback(roles.close)
        started = [roles.start(name) for name in ("asr", "detect", "janitor")]
        asr, *_ = (role.ready() for role in started)
        yield Running(settings, roles, asr)


def _shared_pages(settings: Settings, stack: ExitStack) -> Path:
    """An empty folder for what the roles count, and a page that adds it up."""
    folder = settings.data_dir / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    registry = shared_registry(folder)
    stack.enter_context(serve_pages(registry, None, settings.metrics_port, settings.metrics_host))
    return folder


def interruptible() -> None:
    """Let SIGTERM and SIGINT end this process by way of its clean-up, also where they are ignored.

    A shell that starts a program in the background makes it ignore SIGINT.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that work in hand is finished."""
    stop = threading.Event()

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_with_stdin(stop: threading.Event) -> None:
    """Set `stop` when standard input closes: the process that started this one is gone."""

    def watch() -> None:
        # Not through sys.stdin: its lock, held by a thread that waits, aborts Python's shutdown.
        while os.read(0, 4096):
            pass
        stop.set()

    threading.Thread(target=watch, name="stdin", daemon=True).start()
