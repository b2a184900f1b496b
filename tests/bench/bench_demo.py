"""Time from the end of an utterance to its alert, in the demo's processes.

Plays the bundled broadcast at 1× (or the speed given as argument) through embedded Redis, SQLite
and all roles. The floor is what no pipeline can avoid: the pause that tells that an utterance is
over. The clock starts when the last sample of the segment has come, padding included.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from pipeline.alerts import Alert
from pipeline.demo import run_demo
from pipeline.settings import Settings
from tests.bench.figures import Figure


def main() -> None:
    """Print the figures."""
    speed = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    latencies: list[int] = []

    def note(alert: Alert) -> None:
        latencies.append(alert.latency_ms)

    settings = Settings()
    with tempfile.TemporaryDirectory() as folder:
        run_demo(replace(settings, data_dir=Path(folder)), speed, note)
    latencies.sort()
    floor = (settings.min_silence_ms - settings.pad_ms) / 1000 / speed
    p95 = latencies[round(0.95 * (len(latencies) - 1))] / 1000
    median = latencies[len(latencies) // 2] / 1000
    Figure(f"end of utterance → alert, p95 at {speed:g}×", p95, "s", floor, "≤ 2").report()
    Figure(f"end of utterance → alert, median at {speed:g}×", median, "s", floor).report()


if __name__ == "__main__":
    main()
