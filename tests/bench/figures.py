"""The form in which a bench reports a figure, so that one table can hold all of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

_MARK = "figure "


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number and what it is to be compared with."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    """The same work without us, in the same unit, measured in the same run."""
    aim: str = ""
    """What was asked for, e.g. `≤ 5`."""

    def report(self) -> None:
        """Print it on a line of its own, for people and for the runner."""
        print(_MARK + json.dumps(asdict(self), ensure_ascii=False), flush=True)


def parse(line: str) -> Figure | None:
    """The figure that a line of a bench's output carries, if it carries one."""
    return Figure(**json.loads(line.removeprefix(_MARK))) if line.startswith(_MARK) else None
