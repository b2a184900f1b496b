"""One installation: stores of its own, wires to them, and the roles as processes."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import redis

from pipeline.bus import Bus
from pipeline.codec import decode
from pipeline.errors import BusError
from pipeline.metrics import Metrics
from pipeline.settings import Settings, as_environment
from pipeline.store import Store
from pipeline.streams import CASES, SEGMENTS, TRANSCRIPTS, Backlog, Stream
from tests.chaos import roles
from tests.chaos.air import Air, on_the_air
from tests.chaos.reading import Ledgers
from tests.chaos.roles import Role
from tests.chaos.servers import (
    Database,
    PostgresCluster,
    RedisServer,
    SqliteFile,
    small_disk,
    wait_for,
)
from tests.chaos.wire import Wire, wires

DATABASES: Mapping[str, Callable[[Path], Database]] = {
    "sqlite": SqliteFile,
    "postgresql": PostgresCluster,
}

#: Roles whose workers share a stream; scenarios start more of them.
SHARING = ("asr", "detect")
#: One process of each is always there.
WORKERS = (*SHARING, "janitor")
#: The groups whose work is waited for, and what they work off.
GROUPS: tuple[tuple[Stream[Any], str], ...] = ((SEGMENTS, "asr"), (TRANSCRIPTS, "detect"))
_CLIP_DISK_MB = 64


@dataclass(slots=True)
class Installation:
    """Everything runs: the harness reaches the stores directly, the roles by way of the wires."""

    folder: Path
    air: Air
    server: RedisServer
    database: Database
    redis_wire: Wire
    sql_wire: Wire | None
    """None where the database is a file."""
    clips_small: bool
    """Whether the clips lie on a small disk of their own."""
    settings: Settings
    """Of the roles."""
    bus: Bus
    client: redis.Redis
    ledgers: Ledgers
    window_ms: int = 10_000
    workers: dict[str, list[Role]] = field(default_factory=dict)
    _started: list[Role] = field(default_factory=list)

    @property
    def wires(self) -> list[Wire]:
        """Those there are."""
        return [self.redis_wire, *([self.sql_wire] if self.sql_wire else [])]

    @property
    def clips(self) -> Path:
        """Where the clips lie."""
        return Path(self.settings.effective_clips_url)

    @property
    def direct_settings(self) -> Settings:
        """As the roles' settings, past the wires."""
        return replace(
            self.settings,
            redis_url=f"redis://127.0.0.1:{self.server.port}/0",
            database_url=self.database.url(self.database.port),
        )

    def start(self, name: str, *arguments: str, extra: Mapping[str, str] | None = None) -> Role:
        """Start a process of a role; `extra` goes into its environment."""
        environment = as_environment(self.settings) | {"OMP_NUM_THREADS": "1"} | dict(extra or {})
        role = roles.start(name, list(arguments), environment, self.folder / f"{name}.log")
        self._started.append(role)
        return role

    def call(self, *words: str) -> None:
        """Call `tingbo WORDS`, which must succeed."""
        environment = as_environment(self.settings)
        command = [sys.executable, "-m", "pipeline", *words]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    def start_worker(self, name: str, extra: Mapping[str, str] | None = None) -> None:
        """Start the worker of a role, in place of those that are gone."""
        self.workers[name] = [self.start(name, extra=extra)]

    def await_workers(self, name: str) -> None:
        """Wait until all workers of a role work."""
        for role in self.workers[name]:
            ready = role.ready()
            self.window_ms = ready.window_ms or self.window_ms

    def backlog(self) -> tuple[Backlog, ...]:
        """What each group has to do. Raises BusError while the server is away."""
        return tuple(self.bus.stats(stream, group) for stream, group in GROUPS)

    def backlog_s(self) -> float:
        """Age of the oldest work; infinite while nobody knows."""
        try:
            return max(one.oldest_age_s for one in self.backlog())
        except BusError:
            return float("inf")

    def announced(self) -> set[str]:
        """Cases that the bus still tells of."""
        entries: list[Any] = self.client.xrange(CASES.key()) or []
        payloads = (next(iter(fields.values())) for _, fields in entries)
        return {decode(CASES.record, payload).case for payload in payloads}

    def held_by(self, role: Role) -> int:
        """Messages that a worker has in hand."""
        held = 0
        for stream, group in GROUPS:
            with suppress(redis.RedisError):
                consumers = self.client.xinfo_consumers(stream.key(), group)
                held += sum(
                    item["pending"]
                    for item in consumers
                    if f":{role.pid}:" in item["name"].decode()
                )
        return held

    def catch_with_work(self, role: Role) -> None:
        """Return in a moment in which a worker has messages in hand."""
        wait_for(lambda: self.held_by(role), f"{role.name} holds work", 30, 0.002)

    def judged_since(self, moment: dt.datetime, rooms: list[str]) -> bool:
        """Whether speech that ended after `moment` is judged in each of these rooms."""
        latest = self.ledgers.latest_judged()
        return all((at := latest.get(room)) is not None and at > moment for room in rooms)

    def close(self) -> None:
        """Kill what still runs."""
        for role in self._started:
            if role.alive:
                role.kill()


@contextmanager
def installation(folder: Path, database: str) -> Iterator[Installation]:
    """An installation with all workers at work, in an empty folder that others may look into."""
    folder.chmod(0o755)
    with ExitStack() as stack:
        server = RedisServer(folder / "redis")
        records = DATABASES[database](folder / database)
        for part in (server, records):
            stack.callback(part.kill)
            part.start()
        ports = [server.port, *([records.port] if records.port else [])]
        redis_wire, *rest = stack.enter_context(wires(*ports))
        sql_wire = rest[0] if rest else None
        settings = Settings(
            data_dir=folder,
            redis_url=f"redis://127.0.0.1:{redis_wire.port}/0",
            database_url=records.url(sql_wire.port if sql_wire else 0),
            clips_url=str(folder / "clips"),
            allowed_media_hosts=("127.0.0.1",),
            device="cpu",
        )
        small = stack.enter_context(small_disk(folder / "clips", _CLIP_DISK_MB))
        direct = f"redis://127.0.0.1:{server.port}/0"
        bus = stack.enter_context(Bus(direct, Metrics()))
        with Store(records.url(records.port)):
            pass  # the schema is made once, before several processes want it
        made = Installation(
            folder=folder,
            air=stack.enter_context(on_the_air()),
            server=server,
            database=records,
            redis_wire=redis_wire,
            sql_wire=sql_wire,
            clips_small=small,
            settings=settings,
            bus=bus,
            client=redis.Redis.from_url(direct),
            ledgers=Ledgers(records.url(records.port), bus),
        )
        stack.callback(made.close)
        for name in WORKERS:
            made.start_worker(name)
        for name in WORKERS:
            made.await_workers(name)
        yield made
