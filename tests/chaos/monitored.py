"""Rooms of the list, shared by two ingesters, one of which dies."""

from __future__ import annotations

import time

from tests.chaos.servers import wait_for
from tests.chaos.stage import Stage


def share_rooms(stage: Stage) -> None:
    """Two ingesters listen to the rooms of the list."""
    stage.rooms = tuple(f"{stage.scenario}-{room}" for room in stage.rooms)
    for room in stage.rooms:
        stage.here.call("rooms", "add", stage.here.air.address(room), "--name", room)
    for _ in range(2):
        _start(stage)
    _shared(stage)
    stage.heard_everywhere()


def kill_ingester(stage: Stage) -> None:
    """One of them is killed; the other takes its rooms over, and gives some to a third one."""
    stage.ingesters.pop(0).kill()
    stage.fault("one of two ingesters killed -9")
    stage.over()
    stage.recover()
    _start(stage)
    _shared(stage)
    stage.fault("a third one came and took its share")
    stage.heard_everywhere()


def pause_ingester(stage: Stage) -> None:
    """One of them is paused until the other has its rooms, and goes on with what it had in hand."""
    role = stage.ingesters[0]
    role.pause()
    holders = stage.here.ledgers.holders
    wait_for(lambda: role.pid not in holders(), "its rooms are taken over", 120, 0.2)
    time.sleep(3)
    role.resume()
    stage.fault("one of two ingesters paused until the other had its rooms, and resumed")
    stage.over()


def _start(stage: Stage) -> None:
    stage.ingesters.append(stage.here.start("ingest", "--window-ms", str(stage.here.window_ms)))


def _shared(stage: Stage) -> None:
    """Wait until every ingester has rooms."""
    pids = {role.pid for role in stage.ingesters}
    wait_for(lambda: pids <= stage.here.ledgers.holders(), "rooms are shared", 240, 0.2)
