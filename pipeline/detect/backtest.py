"""What a changed rule pack would have raised on stored transcripts, beside the present one."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.codec import plain
from pipeline.detect.basis import legal_day
from pipeline.detect.engine import CONTEXT_MS, read_rules
from pipeline.detect.lexicon import extra_packs, load_rule_pack
from pipeline.detect.pack import RulePack
from pipeline.detect.selftest import all_active
from pipeline.errors import BadInputError
from pipeline.records import Finding, Utterance
from pipeline.store import Broadcast, Store

#: Lines that are shown for a rule, of what only one of the packs raises.
EXAMPLES = 5
#: Of `Backtest.plain`. It grows when a key changes its meaning or goes; new keys are additions.
SCHEMA_VERSION = 1

_ALL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Line:
    """Where one pack raises something and the other does not."""

    broadcast: str
    start_ms: int
    """Of the utterance."""
    text: str
    span: tuple[int, int]
    """[a, b) in `text`."""


@dataclass(slots=True)
class RuleChange:
    """One rule under both packs: numbers of findings."""

    rule: str
    both: int = 0
    only_before: int = 0
    only_after: int = 0
    lines_before: list[Line] = field(default_factory=list)
    """The first EXAMPLES that only the present pack raises."""
    lines_after: list[Line] = field(default_factory=list)
    """The first EXAMPLES that only the changed pack raises."""


@dataclass(slots=True)
class Backtest:
    """All rules that raised something, by id, and the totals."""

    before: str
    """Version and hash of the present pack."""
    after: str
    """The same of the changed one."""
    broadcasts: int = 0
    utterances: int = 0
    flagged_before: int = 0
    """Utterances with a finding."""
    flagged_after: int = 0
    rules: dict[str, RuleChange] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Whether any finding is raised by one pack alone."""
        return any(rule.only_before or rule.only_after for rule in self.rules.values())

    def total(self, name: str) -> int:
        """`both`, `only_before` or `only_after` over all rules."""
        return sum(getattr(rule, name) for rule in self.rules.values())

    def of_rule(self, rule: str) -> RuleChange:
        """The numbers of a rule."""
        return self.rules.setdefault(rule, RuleChange(rule))

    def plain(self) -> dict[str, Any]:
        """The object of `tingbo rules backtest --json`."""
        names = ("before", "after", "broadcasts", "utterances", "flagged_before", "flagged_after")
        return {
            "schema_version": SCHEMA_VERSION,
            **{name: getattr(self, name) for name in names},
            "findings": {name: self.total(name) for name in ("both", "only_before", "only_after")},
            "rules": plain(tuple(self.rules.values())),
        }


def everything_on(folder: Path | None = None) -> RulePack:
    """The rules in `folder`, by default the bundled ones, with every rule on trial and every extra
    pack raised: what turning them on would bring. Raises RulePackError."""
    return all_active(load_rule_pack(folder, extra_packs(folder)))


def backtest(
    store: Store, before: RulePack, after: RulePack, broadcast: str | None = None
) -> Backtest:
    """Judge stored transcripts by both packs, of one broadcast or of all, newest first.

    Each utterance is judged as the workers do: with what was said before it, and by the law of its
    day. Raises BadInputError for a broadcast that is not stored.
    """
    result = Backtest(before.label, after.label)
    for item in _broadcasts(store, broadcast):
        result.broadcasts += 1
        for utterance, context, on in _said(store, item):
            result.utterances += 1
            raised = [read_rules(pack, utterance, context, on).findings for pack in (before, after)]
            _count(result, item.id, utterance, *raised)
    result.rules = dict(sorted(result.rules.items()))
    return result


def _broadcasts(store: Store, broadcast: str | None) -> list[Broadcast]:
    if broadcast is None:
        return store.broadcasts(_ALL)
    found = store.broadcast(broadcast)
    if found is None:
        raise BadInputError(f"Broadcast {broadcast} is not stored: give the id of one that is.")
    return [found]


def _said(
    store: Store, broadcast: Broadcast
) -> Iterator[tuple[Utterance, Sequence[Utterance], dt.date]]:
    """Every utterance in order, what was said within CONTEXT_MS before it, and its legal day."""
    context: deque[Utterance] = deque()
    for item in store.transcripts(broadcast.id):
        if not item.text:
            continue
        while context and item.start_ms - context[0].start_ms > CONTEXT_MS:
            context.popleft()
        utterance = Utterance(item.start_ms, item.end_ms, item.text, item.words)
        at = broadcast.started_at + dt.timedelta(milliseconds=item.start_ms)
        yield utterance, [one for one in context if one.start_ms < item.start_ms], legal_day(at)
        context.append(utterance)


def _count(
    result: Backtest,
    broadcast: str,
    utterance: Utterance,
    before: Sequence[Finding],
    after: Sequence[Finding],
) -> None:
    result.flagged_before += bool(before)
    result.flagged_after += bool(after)
    for finding in before:
        change = result.of_rule(finding.rule)
        if _is_among(finding, after):
            change.both += 1
        else:
            change.only_before += 1
            _keep(change.lines_before, broadcast, utterance, finding)
    for finding in after:
        change = result.of_rule(finding.rule)
        if not _is_among(finding, before):
            change.only_after += 1
            _keep(change.lines_after, broadcast, utterance, finding)


def _is_among(finding: Finding, others: Iterable[Finding]) -> bool:
    """Whether the same rule is raised at the same place, give or take a word."""
    a, b = finding.span
    return any(
        other.rule == finding.rule and other.span[0] < b and a < other.span[1] for other in others
    )


def _keep(lines: list[Line], broadcast: str, utterance: Utterance, finding: Finding) -> None:
    if len(lines) < EXAMPLES:
        lines.append(Line(broadcast, utterance.start_ms, utterance.text, finding.span))
