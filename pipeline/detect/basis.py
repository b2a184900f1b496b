"""The laws and platform rules that findings rest on, chosen by the date of the utterance."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from pipeline.records import Basis

_BEIJING = dt.timezone(dt.timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Provision:
    """One article in one version: what it says in our words, and from when to when."""

    basis: Basis
    kind: str
    """`law`, `regulation`, `interpretation` or `platform_rule`; the last is no statute."""
    summary: str
    checked_on: dt.date

    def in_force(self, on: dt.date) -> bool:
        """Whether it holds on that day."""
        end = self.basis.effective_to
        return self.basis.effective_from <= on and (end is None or on < end)


def legal_day(at: dt.datetime) -> dt.date:
    """The day whose law applies to what is said at the wall time `at`: the day in Beijing."""
    return at.astimezone(_BEIJING).date()


@dataclass(frozen=True, slots=True)
class BasisBook:
    """Every provision by its id; an id has one version at a time."""

    versions: Mapping[str, tuple[Provision, ...]]

    def in_force(self, ids: Iterable[str], on: dt.date) -> tuple[Provision, ...]:
        """The versions of `ids` that hold on that day, in the order given."""
        return tuple(
            provision
            for id_ in ids
            for provision in self.versions.get(id_, ())
            if provision.in_force(on)
        )


def overlapping(versions: Iterable[Provision]) -> tuple[Provision, Provision] | None:
    """Two versions of one id that hold on the same day, if there are any."""
    ordered = sorted(versions, key=lambda provision: provision.basis.effective_from)
    for earlier, later in pairwise(ordered):
        end = earlier.basis.effective_to
        if end is None or later.basis.effective_from < end:
            return earlier, later
    return None
