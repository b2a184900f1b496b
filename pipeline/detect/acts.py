"""Speech acts that excuse words a rule would flag: refusal, denied question, rule reading, ….

What counts as which act is data (lexicons/acts.toml); this is the reading of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.detect.normalize import NormalText

#: An act is looked for this many characters around the span, within its sentence.
REACH = 60

_Regex = re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class Case:
    """One form of an act: every pattern that is given must be found, `unless` must not."""

    before: _Regex = None
    """Ends where the span begins."""
    inside: _Regex = None
    after: _Regex = None
    """Begins where the span ends."""
    around: _Regex = None
    """Anywhere in the sentence of the span."""
    unless: _Regex = None
    """Nowhere in the sentence of the span."""

    def holds(self, text: NormalText, start: int, end: int) -> bool:
        """Whether [start, end) of the normal form is said in this way."""
        left, right = text.sentence(start, end)
        left, right = max(left, start - REACH), min(right, end + REACH)
        found = (
            self.before is None or self.before.search(text.text, left, start),
            self.inside is None or self.inside.search(text.text, start, end),
            self.after is None or self.after.match(text.text, end, right),
            self.around is None or self.around.search(text.text, left, right),
            self.unless is None or not self.unless.search(text.text, left, right),
        )
        return all(found)


@dataclass(frozen=True, slots=True)
class SpeechAct:
    """A way of saying something that is no claim of the host's own."""

    name: str
    cases: tuple[Case, ...]

    def covers(self, text: NormalText, start: int, end: int) -> bool:
        """Whether [start, end) of the normal form is said in this act."""
        return any(case.holds(text, start, end) for case in self.cases)
