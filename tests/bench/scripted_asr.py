"""A recognition worker that knows by heart what every clip says: all of the stage but the model.

    python -m tests.bench.scripted_asr SCRIPT.json

Settings come from TINGBO_* as for `tingbo asr`. SCRIPT maps the sha256 of a clip to its text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.asr.load import Thresholds
from pipeline.asr.worker import AsrWorker, Batching, Places
from pipeline.bus import Bus
from pipeline.clips import ClipStore
from pipeline.metrics import Metrics
from pipeline.processes import stop_with_stdin, stoppable
from pipeline.records import SpeechSegment, Transcript, Word
from pipeline.settings import load_settings
from pipeline.store import Store


class ByHeart:
    """Says the text of the clip whose first samples it knows; takes no time for it."""

    name, device, window_ms, synthetic_only = "script", "cpu", 30_000, True

    def __init__(self, script: dict[str, str]) -> None:
        self._script = script

    def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
        """As `Recogniser.transcribe`."""
        return [self._heard(segment) for segment in segments]

    def _heard(self, segment: SpeechSegment) -> Transcript:
        start, end = segment.start_ms, segment.end_ms
        # Clips of one text have one length in samples; that is enough to tell a few dozen apart.
        text = self._script.get(str(len(segment.samples)), "这一句没有写在剧本里")
        step = (end - start) / max(1, len(text))
        words = tuple(
            Word(start + int(i * step), start + int((i + 1) * step), character, 1.0)
            for i, character in enumerate(text)
        )
        return Transcript(start, end, text, words, model=self.name)


def main(script: Path) -> None:
    """Work until told to stop or until standard input closes."""
    settings, metrics = load_settings(), Metrics()
    recogniser = ByHeart(json.loads(script.read_text(encoding="utf-8")))
    clips = ClipStore(settings.effective_clips_url, settings.clip_format)
    with (
        stoppable() as stop,
        Bus(str(settings.redis_url), metrics) as bus,
        Store(settings.effective_database_url) as store,
    ):
        stop_with_stdin(stop)
        # Clips are known by their length: merged ones are not.
        calm = Thresholds(merge_s=1e9, shed_s=settings.shed_after_s)
        batching = Batching(settings.max_batch, settings.batch_wait_ms, calm)
        worker = AsrWorker(recogniser, Places(bus, store, clips, metrics), batching, stop)
        print("ready", flush=True)
        worker.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
