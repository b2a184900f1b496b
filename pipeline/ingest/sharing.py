"""How ingesters share rooms: evenly, with as few handovers as that takes."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.store.rooms import Ingester


def fair_share(rooms: int, ingesters: Sequence[Ingester], holder: str) -> tuple[int, int]:
    """How many of `rooms` the ingester `holder` should hold, and how many it should give away.

    Nobody gives away more than others lack: a room that moves is not heard for a moment. Two that
    differ by one room leave it so.
    """
    capacities = [one.max_rooms for one in ingesters]
    reachable = min(rooms, sum(capacities))
    level = 0
    while sum(min(each, level) for each in capacities) < reachable:
        level += 1
    exact = sum(min(each, level) for each in capacities) == reachable
    floor = level if exact else level - 1
    lacking = sum(max(0, min(one.max_rooms, floor) - one.holds) for one in ingesters)
    for one in ingesters:
        if one.name == holder:
            share = min(one.max_rooms, level)
            return share, min(max(0, one.holds - share), lacking)
    return 0, 0
