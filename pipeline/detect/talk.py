"""A broadcast as it goes on: each utterance is judged when those after it are known."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from pipeline.corrections import corrected
from pipeline.detect.corrections import (
    WITHIN,
    WITHIN_MS,
    Raised,
    correction_of,
    is_correction,
    taken_back,
)
from pipeline.detect.detector import LOOK_AHEAD, Detected, Detector
from pipeline.records import Utterance

#: Utterances kept as context.
_CONTEXT = 120


class Talk:
    """Utterances of one broadcast in order.

    A clean one is told of when LOOK_AHEAD more are known; one with findings when no later one can
    take them back any more, and all those after it then.
    """

    def __init__(self, detector: Detector, on: dt.date) -> None:
        self._detector, self._on = detector, on
        self._before: deque[Utterance] = deque(maxlen=_CONTEXT)
        self._waiting: deque[Utterance] = deque()
        self._judged: deque[tuple[Utterance, Detected]] = deque()
        """What was not told of yet."""

    def add(self, utterance: Utterance) -> Iterator[tuple[Utterance, Detected]]:
        """Take the next one; what can be told now."""
        self._waiting.append(utterance)
        self._judge(LOOK_AHEAD)
        while self._judged and self._is_settled():
            yield self._judged.popleft()

    def rest(self) -> Iterator[tuple[Utterance, Detected]]:
        """Judge what waits, with nothing after it, and tell of all."""
        self._judge(0)
        while self._judged:
            yield self._judged.popleft()

    def _judge(self, ahead: int) -> None:
        while len(self._waiting) > ahead:
            one = self._waiting.popleft()
            after = list(islice(self._waiting, LOOK_AHEAD))
            detected = self._detector.detect(one, list(self._before), after, self._on)
            self._before.append(one)
            if any(past.findings for _, past in self._judged):
                self._take_back(one, detected)
            self._judged.append((one, detected))

    def _take_back(self, one: Utterance, detected: Detected) -> None:
        pack = self._detector.pack
        if not is_correction(pack, one):
            return
        past = [Raised(utterance, found.findings) for utterance, found in self._judged]
        for raised, finding in taken_back(pack, one, detected, past):
            at = past.index(raised)
            utterance, found = self._judged[at]
            findings = tuple(
                corrected(other, correction_of(one)) if other == finding else other
                for other in found.findings
            )
            self._judged[at] = utterance, replace(found, findings=findings)

    def _is_settled(self) -> bool:
        """Whether nothing that is still to come changes the first that waits to be told."""
        first, detected = self._judged[0]
        last = self._judged[-1][0]
        return (
            not detected.findings
            or len(self._judged) > WITHIN
            or last.start_ms - first.start_ms > WITHIN_MS
        )
