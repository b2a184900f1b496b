"""Whether a process works, told over HTTP: /metrics, /healthz and /readyz on one port.

/healthz answers for the process alone: a hanging loop is cured by a restart, an absent database is
not. /readyz also asks for what the role cannot work without.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from pipeline.errors import MissingError, TingboError
from pipeline.metrics import Metrics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

#: A loop that has not turned for this long hangs. A batch of a large model on a CPU takes less.
STALLED_S = 120.0

#: How long /readyz waits for the bus and the database.
_PATIENCE_S = 2.0

_OK = "200 OK"
_UNAVAILABLE = "503 Service Unavailable"


class Health:
    """What a role says of itself. Threads may share it.

    It is ready when everything that it `needs` is there: named by `have`, or asked for by `watch`
    every time somebody wants to know.
    """

    def __init__(
        self, role: str, metrics: Metrics, needs: Iterable[str], patience_s: float = _PATIENCE_S
    ) -> None:
        """A check that has not answered after `patience_s` counts as failed."""
        self.role = role
        self._patience_s = patience_s
        self._metrics = metrics
        self._missing = set(needs)
        self._checks: dict[str, Callable[[], object]] = {}
        self._running: dict[str, Future[str]] = {}
        self._lock = threading.Lock()

    def have(self, name: str) -> None:
        """Something that stays once it is there: a model, the rules."""
        self._missing.discard(name)

    def watch(self, name: str, check: Callable[[], object]) -> None:
        """Something that comes and goes; `check` raises TingboError while it is away."""
        self._checks[name] = check
        self.have(name)

    def alive(self) -> tuple[bool, dict[str, object]]:
        """Whether the loop turns, and what to tell."""
        age_s = self._metrics.loop_age_s
        if age_s is None:
            return True, {"role": self.role, "loop": "starting"}
        turns = age_s < STALLED_S
        told = {"role": self.role, "loop": "turning" if turns else "stalled"}
        return turns, {**told, "loop_age_s": round(age_s, 1)}

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Whether the role can work, and what of all that it needs is there."""
        checks = dict.fromkeys(sorted(self._missing), "is not there yet") | self._asked()
        ready = all(said == "ok" for said in checks.values())
        return ready, {"role": self.role, "ready": ready, "checks": checks}

    def _asked(self) -> dict[str, str]:
        with self._lock:  # a check that hangs is not asked a second time
            for name, check in self._checks.items():
                if name not in self._running:
                    self._running[name] = _asked(name, check)
            asked = dict(self._running)
        wait(asked.values(), timeout=self._patience_s)
        return {name: self._answer(name, future) for name, future in asked.items()}

    def _answer(self, name: str, future: Future[str]) -> str:
        if not future.done():
            return f"does not answer within {self._patience_s:g} s"
        with self._lock:
            self._running.pop(name, None)
        return future.result()


def _asked(name: str, check: Callable[[], object]) -> Future[str]:
    """What `check` says, when it says it. Its thread does not keep the process from ending."""
    answer: Future[str] = Future()

    def ask() -> None:
        said = "fails in a way nobody foresaw: see the log"
        try:
            check()
            said = "ok"
        except TingboError as error:
            said = str(error)
        finally:
            answer.set_result(said)

    threading.Thread(target=ask, name=f"ready-{name}", daemon=True).start()
    return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Whoever asks may break off or never finish asking; that is no news either."""
        # socketserver calls this while it handles the exception.
        log.info("A request to the pages was not answered", exc_info=True)  # noqa: LOG014 -- as said


class _Silent(WSGIRequestHandler):
    timeout = 10.0  # seconds for a request to arrive

    def log_message(self, *_: object) -> None:
        """A scrape every few seconds is no news."""


def pages(registry: CollectorRegistry, health: Health | None) -> WSGIApplication:
    """The pages of a process; without `health` there is only /metrics."""
    metrics_page: WSGIApplication = make_wsgi_app(registry)

    def answer(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics_page(environment, start)
        if health is None or path not in ("/healthz", "/readyz"):
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics, and of a role also /healthz and /readyz\n"]
        good, told = health.alive() if path == "/healthz" else health.ready()
        start(_OK if good else _UNAVAILABLE, [("Content-Type", "application/json")])
        return [json.dumps(told).encode() + b"\n"]

    return answer


@contextmanager
def serve_pages(
    registry: CollectorRegistry, health: Health | None, port: int, host: str = "127.0.0.1"
) -> Iterator[int]:
    """Serve the pages on `host:port` and give the port (a free one when `port` is 0).

    Raises MissingError when the port cannot be had.
    """
    try:
        server = make_server(host, port, pages(registry, health), _Server, _Silent)
    except (OSError, OverflowError) as error:
        raise MissingError(
            f"The metrics page cannot listen on {host}:{port} ({error}): "
            "set metrics_port to a free port or to 0."
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="pages", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
