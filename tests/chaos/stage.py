"""One scenario on an installation: rooms on the air, faults, recovery, and the books afterwards."""

from __future__ import annotations

import datetime as dt
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.books import Books, Wrong, imbalances
from tests.chaos.installation import Installation
from tests.chaos.roles import Role
from tests.chaos.servers import wait_for

#: Work older than this is a backlog.
BACKLOG_S = 3.0
_STEADY_S, _RECOVERY_S, _DRAIN_S = 240.0, 180.0, 120.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that goes wrong."""

    name: str
    inject: Callable[[Stage], None]
    dead_letters: int = 0
    """How many are meant to be there before they are mended."""
    begin: Callable[[Stage], None] = lambda stage: stage.steady()
    """Brings the rooms on the air, and waits until they are heard."""
    impossible: Callable[[Installation], str | None] = lambda _: None
    """Why it cannot be done here; None where it can."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row of the report."""

    scenario: str
    database: str
    faults: tuple[str, ...] = ()
    segments: int = 0
    transcripts: int = 0
    dead_letters: int = 0
    shed: int = 0
    lost: int = 0
    doubled: int = 0
    recovery_s: float | None = None
    took_s: float = 0.0
    wrong: tuple[str, ...] = ()
    """What does not balance, in sentences."""
    skipped: str = ""

    @property
    def passed(self) -> bool:
        """Whether the books balance."""
        return not self.wrong


@dataclass(slots=True)
class Stage:
    """What a scenario may do. It notes its faults, and when the last one was over."""

    here: Installation
    scenario: str
    rooms: tuple[str, ...]
    faults: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    dead_letters: int = 0
    """Seen, also when they were mended afterwards."""
    ingests: dict[str, Role] = field(default_factory=dict)
    """By the broadcast they listen to."""
    ingesters: list[Role] = field(default_factory=list)
    """Those that share the monitored rooms."""
    broadcasts: dict[str, str | None] = field(default_factory=dict)
    """All of them, and the room on the air that they are as long as; None after a kill."""
    recovery_s: float | None = None
    """From the last fault's end; None while it has not recovered."""
    _announced: set[str] = field(default_factory=set)
    _over: tuple[dt.datetime, float] | None = None

    def listen(self, room: str, extra: dict[str, str] | None = None) -> str:
        """Start to listen to a room, and give its broadcast."""
        name = f"{self.scenario}-{room}-{len(self.broadcasts)}"
        window = str(self.here.window_ms)
        arguments = (self.here.air.address(name), "--room", room, "--broadcast", name)
        self.ingests[name] = self.here.start(
            "ingest", *arguments, "--window-ms", window, extra=extra
        )
        self.broadcasts[name] = name
        return name

    def kill_ingest(self, broadcast: str) -> None:
        """Kill who listens; what it had not delivered is nobody's."""
        self.ingests.pop(broadcast).kill()
        self.broadcasts[broadcast] = None

    def fault(self, text: str) -> None:
        """Note a fault."""
        self.faults.append(text)

    def over(self) -> None:
        """The last fault has ended: recovery is measured from here."""
        self._over = dt.datetime.now(dt.UTC), time.monotonic()
        self.recovery_s = None

    def steady(self) -> None:
        """Wait until every room is heard from end to end."""
        for room in self.rooms:
            self.listen(room)
        self.heard_everywhere()

    def heard_everywhere(self) -> None:
        """Wait until what is said from now on is judged in every room."""
        begun, rooms = dt.datetime.now(dt.UTC), list(self.rooms)
        wait_for(lambda: self.here.judged_since(begun, rooms), "all rooms heard", _STEADY_S, 0.2)

    def build_up(self, name: str, seconds: float = 4.0) -> None:
        """Let work pile up for a role, whose workers are paused when this returns."""
        for role in self.here.workers[name]:
            role.pause()
        time.sleep(seconds)

    def recover(self) -> None:
        """Wait until what is said since the last fault's end is judged in every room."""
        if self._over is None:
            self.over()
        assert self._over is not None
        moment, began = self._over
        rooms = list(self.rooms)

        def recovered() -> bool:
            return self.here.backlog_s() < BACKLOG_S and self.here.judged_since(moment, rooms)

        wait_for(recovered, "recovered", _RECOVERY_S, 0.2)
        self.recovery_s = time.monotonic() - began

    def caught_up(self) -> bool:
        """Whether everything that was said before the last fault's end is answered."""
        before = self._over[0] if self._over else None
        return not self.here.ledgers.unanswered(list(self.broadcasts), before)

    def end_rooms(self) -> None:
        """Stop to listen; what was said is delivered before a listener ends."""
        for broadcast in list(self.ingests):
            self.end_room(broadcast)
        if self.ingesters:
            self.end_ingesters()

    def end_room(self, broadcast: str) -> None:
        """Stop to listen to one of them."""
        complaint = self.ingests.pop(broadcast).stop()
        if complaint:
            self.wrong.append(complaint)
            self.broadcasts[broadcast] = None

    def end_ingesters(self) -> None:
        """Stop those that share the monitored rooms, and find the broadcasts they made."""
        for role in self.ingesters:
            complaint = role.stop()
            if complaint:
                self.wrong.append(complaint)
        self.ingesters.clear()
        made = self.here.ledgers.broadcasts()
        times = Counter(made.values())
        for broadcast, room in made.items():
            if room in self.rooms and broadcast not in self.broadcasts:
                self.broadcasts[broadcast] = room if times[room] == 1 else None

    def drain(self) -> None:
        """Wait until nothing is left to do."""
        names = list(self.broadcasts)

        def drained() -> bool:
            return not any(
                backlog.total for backlog in self.here.backlog()
            ) and not self.here.ledgers.unanswered(names)

        try:
            wait_for(drained, "queues drained and all segments answered", _DRAIN_S, 0.2)
        except TimeoutError as error:
            left = [f"{b.lag}+{b.pending}" for b in self.here.backlog()]
            self.wrong.append(f"{error}; lag+pending of asr, detect: {', '.join(left)}")

    def hear_announcements(self) -> None:
        """Take note of the cases that the bus tells of, before it forgets them."""
        self._announced |= self.here.announced()

    def balance(self) -> list[Books]:
        """Read the books of every broadcast of this scenario; what is wrong is noted."""
        self.hear_announcements()
        ledgers, announced = self.here.ledgers, frozenset(self._announced)
        found = []
        for name, room in self.broadcasts.items():
            played_ms = self.here.air.played_ms(room) if room else None
            found.append(ledgers.books(name, played_ms, announced))
        dead = sum(len(books.dead_segments | books.dead_transcripts) for books in found)
        self.dead_letters = max(self.dead_letters, dead)
        return found

    def check(self, when: str) -> None:
        """See in the middle of a scenario whether the books balance."""
        for entry in (entry for books in self.balance() for entry in imbalances(books)):
            self.wrong.append(f"{when}, {entry.wrong}: {entry.text}")


def play(here: Installation, scenario: Scenario, database: str, rooms: int) -> Outcome:
    """One scenario from beginning to end. What the harness trips over is an imbalance too."""
    reason = scenario.impossible(here)
    if reason:
        return Outcome(scenario.name, database, skipped=reason)
    began = time.monotonic()
    stage = Stage(here, scenario.name, tuple(f"room{number}" for number in range(1, rooms + 1)))
    books: list[Books] = []
    try:
        _go_through(stage, scenario)
        stage.end_rooms()
        stage.drain()
        books = stage.balance()
    except Exception as error:  # noqa: BLE001 -- the report must tell it, and the others be played
        stage.wrong.append("".join(traceback.format_exception(error, limit=-3)))
    return _outcome(stage, scenario, database, books, time.monotonic() - began)


def _go_through(stage: Stage, scenario: Scenario) -> None:
    try:
        scenario.begin(stage)
        scenario.inject(stage)
        if stage.recovery_s is None:
            stage.recover()
    except TimeoutError as error:  # what was said until then has books all the same
        stage.wrong.append(str(error))


def _outcome(
    stage: Stage,
    scenario: Scenario,
    database: str,
    books: list[Books],
    took_s: float,
) -> Outcome:
    entries = [entry for one in books for entry in imbalances(one)]
    wrong = [*stage.wrong, *(f"{entry.wrong}: {entry.text}" for entry in entries)]
    if stage.dead_letters != scenario.dead_letters:
        wrong.append(f"{stage.dead_letters} dead letters, {scenario.dead_letters} are right")
    workers = (role for group in stage.here.workers.values() for role in group)
    wrong += [f"{role.name} is not running at the end" for role in workers if not role.alive]
    return Outcome(
        scenario=scenario.name,
        database=database,
        faults=tuple(stage.faults),
        segments=sum(len(one.segments) for one in books),
        transcripts=sum(len(one.transcripts) for one in books),
        dead_letters=stage.dead_letters,
        shed=sum(len(one.shed()) for one in books),
        lost=sum(entry.wrong is Wrong.LOST for entry in entries),
        doubled=sum(entry.wrong is Wrong.DOUBLED for entry in entries),
        recovery_s=stage.recovery_s,
        took_s=took_s,
        wrong=tuple(wrong),
    )
