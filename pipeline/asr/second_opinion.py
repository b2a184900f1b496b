"""Second opinions: clips that carry a finding are heard again by another, larger model.

What it understands is kept beside the first transcript. Nothing is judged anew and no case changes:
a reviewer sees whether the offending words were heard again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from pipeline.asr.fit import BatchFit
from pipeline.asr.hearing import Hearing, Loaded, load_segment
from pipeline.asr.holding import repeated
from pipeline.asr.recogniser import Recogniser
from pipeline.asr.upkeep import Upkeep
from pipeline.asr.worker import Batching, Places
from pipeline.consumer import IDLE_MS, Consumer
from pipeline.errors import BadInputError, ClipStoreAwayError, ClipStoreError
from pipeline.logs import concern_segment
from pipeline.records import CaseMessage, SegmentKey, SegmentMessage
from pipeline.streams import CASES, Delivery

log = logging.getLogger(__name__)

#: Consumer group of the second opinions on the stream `cases`.
GROUP = "second-opinion"

_Case = Delivery[CaseMessage]


class SecondOpinionWorker:
    """One recogniser that hears again what cases are about, together with others of its group.

    A case is acknowledged when every segment with one of its findings has an opinion, or will never
    have one; a clip that cannot be read is tried again with its case.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        places: Places,
        batching: Batching,
        stop: threading.Event,
    ) -> None:
        self._store = places.store
        self._clips = places.clips
        self._metrics = places.metrics
        self._stop = stop
        self._consumer = Consumer(places.bus, CASES, GROUP, places.metrics)
        self._fit = BatchFit(batching.max_batch, places.metrics)
        self._hearing = Hearing(recogniser, self._fit, places.metrics, lambda *_: None)
        self._upkeep: Upkeep | None = None

    def run(self, upkeep: Upkeep | None = None) -> None:
        """Work until `stop` is set; the cases in hand are finished."""
        self._upkeep = upkeep

        def step() -> None:
            if upkeep is None or upkeep.fit():
                self.step()
            else:
                self._stop.wait(1.0)

        self._consumer.work(step, self._stop)

    def step(self) -> int:
        """Hear the clips of some cases again; the number of cases read."""
        batch = self._consumer.read(self._fit.limit, IDLE_MS, self._give_up)
        ids = [item.id for item in batch]
        pause_s = self._consumer.reclaim_idle_s / 4
        with repeated(lambda: self._consumer.extend(ids), lambda: pause_s):
            self._hear(batch)
        return len(batch)

    def _hear(self, batch: Sequence[_Case]) -> None:
        wanted = {item.id: self._store.unheard_again(item.record.case) for item in batch}
        segments = {one.key: one for some in wanted.values() for one in some}
        loaded = [sound for one in segments.values() for sound in self._loaded(one)]
        settled: set[SegmentKey] = set()
        for at in range(0, len(loaded), self._fit.limit):
            settled |= self._opinions(loaded[at : at + self._fit.limit])
        done = [id_ for id_, some in wanted.items() if all(one.key in settled for one in some)]
        self._consumer.ack(done)
        if self._hearing.exhausted and self._upkeep is not None:
            self._upkeep.recycle("there is no memory for a single window")

    def _opinions(self, loaded: Sequence[Loaded]) -> set[SegmentKey]:
        """Store what is heard; the segments that need not be heard again."""
        settled = set()
        for item, result in self._hearing.hear([[one] for one in loaded]):
            key = item.record.key
            concern_segment(item.record.room, key)
            settled.add(key)
            if isinstance(result, BadInputError):
                log.warning("No second opinion on %s: %s", key, result)
                continue
            self._store.add_second_opinion(key, result)
            self._metrics.asr_second_opinions.inc()
        return settled

    def _loaded(self, message: SegmentMessage) -> list[Loaded]:
        try:
            return [(Delivery("", message), load_segment(self._clips, message))]
        except ClipStoreAwayError:
            raise
        except ClipStoreError as error:
            log.warning("No second opinion on %s yet: %s", message.key, error)
            return []

    def _give_up(self, item: _Case, reason: str) -> None:
        """Note it; the first verdict stands as it is."""
        log.error("Case %s gets no second opinion: %s", item.record.case, reason)
