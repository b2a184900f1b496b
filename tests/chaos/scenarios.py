"""What goes wrong: every scenario injects its faults while rooms are on the air."""

from __future__ import annotations

import datetime as dt
import random
import time
from functools import partial
from pathlib import Path

from pipeline.orphans import Orphans
from pipeline.records import TranscriptMessage
from pipeline.store import Store
from pipeline.streams import SEGMENTS, TRANSCRIPTS
from tests.chaos.installation import SHARING, Installation
from tests.chaos.monitored import kill_ingester, pause_ingester, share_rooms
from tests.chaos.servers import wait_for
from tests.chaos.stage import Scenario, Stage

#: Longer than a silent consumer keeps its messages (RECLAIM_IDLE_MS).
_SILENT_S = 26.0
#: Sound that is forgotten for this long is published again: the usual margin is minutes.
_MARGIN_S = 5.0
_FAKETIME = "faketime/libfaketimeMT.so.1"


def kill_ingest(stage: Stage) -> None:
    """A listener is killed, and the room is listened to anew."""
    broadcast = next(iter(stage.ingests))
    stage.kill_ingest(broadcast)
    stage.fault("ingest of a room killed -9")
    stage.listen(stage.rooms[0])
    stage.over()


def kill_workers(name: str, stage: Stage) -> None:
    """All workers of a role are killed with work in hand, and started again."""
    stage.build_up(name)
    roles = stage.here.workers[name]
    roles[0].resume()
    stage.here.catch_with_work(roles[0])
    for role in roles:
        role.kill()
    stage.fault(f"{len(roles)} {name} killed -9 with work in hand")
    stage.here.start_worker(name)
    stage.here.await_workers(name)
    stage.over()


def kill_redis(stage: Stage) -> None:
    """Redis is killed and comes back ten seconds later."""
    stage.here.server.kill()
    time.sleep(10)
    stage.here.server.start()
    stage.fault("Redis killed -9, back after 10 s")
    stage.over()


def database_away(stage: Stage) -> None:
    """The database is away for a while in the worst way it has."""
    stage.fault(stage.here.database.fault(10))
    stage.over()


def restart_everything(stage: Stage) -> None:
    """Every process is killed, listeners too, and all of it starts again."""
    here = stage.here
    for broadcast in list(stage.ingests):
        stage.kill_ingest(broadcast)
    for roles in here.workers.values():
        for role in roles:
            role.kill()
    here.server.kill()
    here.database.kill()
    stage.fault("all processes and stores killed -9")
    here.server.start()
    here.database.start()
    for name in here.workers:
        here.start_worker(name)
    for room in stage.rooms:
        stage.listen(room)
    for name in here.workers:
        here.await_workers(name)
    stage.over()


def drain_workers(stage: Stage) -> None:
    """Workers are asked to stop in the middle of work: they finish it, and leave nothing."""
    for name in SHARING:
        stage.build_up(name)
        (role,) = stage.here.workers[name]
        role.resume()
        stage.here.catch_with_work(role)
        complaint = role.stop()
        if complaint:
            stage.wrong.append(complaint)
        left = stage.here.held_by(role)
        if left:
            stage.wrong.append(f"{name} left {left} messages in hand")
        stage.fault(f"{name} stopped by SIGTERM with work in hand")
        stage.here.start_worker(name)
        stage.here.await_workers(name)
    stage.over()


def paused_consumers(stage: Stage) -> None:
    """A worker of each role is paused with work in hand until others have done it, and goes on."""
    here = stage.here
    paused = []
    for name in SHARING:
        stage.build_up(name)
        (role,) = here.workers[name]
        role.resume()
        here.catch_with_work(role)
        role.pause()
        stage.fault(f"{name} paused with {here.held_by(role)} messages in hand")
        paused.append(role)
        here.workers[name].append(here.start(name))
        here.workers[name][1].ready()
    wait_for(lambda: not any(map(here.held_by, paused)), "work taken over", 120, 0.2)
    for role in paused:
        role.resume()
    stage.fault("resumed after others did their work")
    stage.over()
    stage.recover()
    for name in SHARING:
        complaint = here.workers[name].pop().stop()
        if complaint:
            stage.wrong.append(f"{name}: {complaint}")


def clips_full(stage: Stage) -> None:
    """The disk of the clips is full for a while."""
    filler = stage.here.clips / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(64 * 1024))
                file.flush()
        except OSError:
            stage.fault("clip store full for 10 s")
    time.sleep(10)
    filler.unlink()
    stage.over()


def no_small_disk(here: Installation) -> str | None:
    """Filling the machine's own disk is not done."""
    return None if here.clips_small else "mounting a small disk needs root"


def poison_clips(stage: Stage) -> None:
    """Two clips are broken before they are heard; mended, their dead letters are handled again."""
    here = stage.here
    known = set(here.clips.glob("**/*.flac"))
    stage.build_up("asr", 1.0)
    wait_for(lambda: len(set(here.clips.glob("**/*.flac")) - known) >= 2, "two clips", 60)
    whole = {
        path: path.read_bytes() for path in sorted(set(here.clips.glob("**/*.flac")) - known)[:2]
    }
    (cut, data), (garbled, _) = whole.items()
    cut.write_bytes(data[: len(data) // 3])
    garbled.write_bytes(random.Random(7).randbytes(4000))
    for role in here.workers["asr"]:
        role.resume()
    stage.fault("one clip cut short, one garbled")
    stage.over()
    stage.recover()  # the others are heard meanwhile
    stage.end_rooms()
    stage.drain()
    stage.check("with dead letters")
    for path, data in whole.items():
        path.write_bytes(data)
    here.call("deadletters", "replay", "--all")
    stage.drain()


def messages_again(stage: Stage) -> None:
    """What was said so far is published once more, in another order."""
    here = stage.here
    time.sleep(10)  # so that something was said
    said = here.ledgers.transcribed(list(stage.broadcasts))
    order = random.Random(11)
    for _ in range(2):
        order.shuffle(said)
        for one in said:
            here.bus.publish(SEGMENTS, one)
        order.shuffle(said)
        for one in said:
            here.bus.publish(TRANSCRIPTS, TranscriptMessage(one.key, one.room, one.at))
    stage.fault(f"{len(said)} segments and their transcripts published twice again, shuffled")
    stage.over()


def no_faketime(_: Installation) -> str | None:
    """A clock of its own for a process comes from a library of Debian."""
    return None if _faketime() else "libfaketime is not installed"


def clock_jumps(stage: Stage) -> None:
    """The wall clock of a listener and of both workers jumps an hour on, and back."""
    here = stage.here
    offset = here.folder / "clock"
    offset.write_text("+0\n", encoding="ascii")
    clock = {
        "LD_PRELOAD": str(_faketime()),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # With it, threads of Python that wait for each other wait for an hour after a jump.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }
    room = stage.rooms[0]
    stage.end_room(next(iter(stage.ingests)))
    stage.listen(room, clock)
    for name, roles in here.workers.items():
        for role in roles:
            role.kill()
        here.start_worker(name, clock)
        here.await_workers(name)
    stage.over()
    stage.recover()
    offset.write_text("+1h\n", encoding="ascii")
    stage.fault("clock of ingest, asr and detect +1 h for 10 s, and back")
    time.sleep(10)
    offset.write_text("+0\n", encoding="ascii")
    stage.over()
    stage.recover()
    for name, roles in here.workers.items():
        for role in roles:
            role.kill()
        here.start_worker(name)
        here.await_workers(name)
    stage.over()


def connections_cut(stage: Stage) -> None:
    """All connections to the stores break off three times; for a while nobody gets through."""
    cut = 0
    for _ in range(3):
        for wire in stage.here.wires:
            wire.refusing = True
            cut += wire.cut()
        time.sleep(3)
        for wire in stage.here.wires:
            wire.refusing = False
        time.sleep(1)
    stage.fault(f"{cut} connections cut, and 3 times refused for 3 s")
    stage.over()


def connections_slow(stage: Stage) -> None:
    """Everything takes 500 ms longer in each direction; then only 20 KB/s pass."""
    for wire in stage.here.wires:
        wire.delay_s = 0.5
    time.sleep(10)
    for wire in stage.here.wires:
        wire.delay_s, wire.bytes_per_s = 0.0, 20_000
    time.sleep(10)
    for wire in stage.here.wires:
        wire.bytes_per_s = None
    stage.fault("500 ms delay for 10 s, 20 KB/s for 10 s")
    stage.over()


def flush(stage: Stage) -> None:
    """Redis forgets everything while work waits in it; what SQL remembers is published again."""
    here = stage.here
    for name in SHARING:
        stage.build_up(name)
    lost = sum(backlog.total for backlog in here.backlog())
    stage.hear_announcements()  # whoever waits for cases has heard of them
    here.client.flushall()
    for roles in here.workers.values():
        for role in roles:
            role.resume()
    stage.fault(f"FLUSHALL with {lost} messages in the streams")
    stage.over()
    direct = here.direct_settings
    with Store(direct.effective_database_url) as store:
        orphans = Orphans(here.bus, store, margin_s=_MARGIN_S)

        def all_found() -> bool:
            orphans.publish_again(dt.datetime.now(dt.UTC))
            return stage.caught_up()

        wait_for(all_found, "lost work published again and done", 120, 1.0)


def _faketime() -> Path | None:
    return next(iter(sorted(Path("/usr/lib").glob(f"*/{_FAKETIME}"))), None)


SCENARIOS = (
    Scenario("kill-ingest", kill_ingest),
    Scenario("kill-ingester", kill_ingester, begin=share_rooms),
    Scenario("pause-ingester", pause_ingester, begin=share_rooms),
    Scenario("kill-asr", partial(kill_workers, "asr")),
    Scenario("kill-detect", partial(kill_workers, "detect")),
    Scenario("kill-redis", kill_redis),
    Scenario("database-away", database_away),
    Scenario("restart-everything", restart_everything),
    Scenario("drain", drain_workers),
    Scenario("paused-consumers", paused_consumers),
    Scenario("clips-full", clips_full, impossible=no_small_disk),
    Scenario("poison-clips", poison_clips, dead_letters=2),
    Scenario("messages-again", messages_again),
    Scenario("clock-jumps", clock_jumps, impossible=no_faketime),
    Scenario("connections-cut", connections_cut),
    Scenario("connections-slow", connections_slow),
    Scenario("flush", flush),
)
