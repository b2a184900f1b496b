"""A recording of many hours: memory of `tingbo replay` from its first hour to its end.

    python -m tests.bench.bench_long [HOURS]

The recording is the bundled broadcast again and again, its packets copied with running times. A
`tingbo replay` of it runs as a process of its own, and its resident memory is read every second.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import psutil

from pipeline.resources import resource
from tests.bench.figures import Figure

BROADCAST = resource("models", "demo_broadcast", "broadcast.ogg")
HOURS = 1.0


def recording(path: Path, hours: float) -> None:
    """Write at least so many hours of the broadcast into `path`."""
    with av.open(str(BROADCAST)) as source, av.open(str(path), "w") as out:
        track = source.streams.audio[0]
        copy = out.add_stream_from_template(track)
        packets = [packet for packet in source.demux(track) if packet.dts is not None]
        base = packets[0].time_base or Fraction(1, track.rate)
        length = (packets[-1].pts or 0) + (packets[-1].duration or 0)
        for turn in range(int(hours * 3600 / float(length * base)) + 1):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.time_base, again.stream = base, copy
                again.pts = again.dts = (packet.pts or 0) + turn * length
                again.duration = packet.duration
                out.mux(again)


def watch(command: list[str]) -> tuple[list[float], float, int]:
    """(resident MB a second, wall seconds, exit status) of a process."""
    began = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        seen = psutil.Process(process.pid)
        megabytes = []
        while process.poll() is None:
            try:
                megabytes.append(seen.memory_info().rss / 2**20)
            except psutil.NoSuchProcess:
                break
            time.sleep(1)
    return megabytes, time.monotonic() - began, process.returncode


def main(hours: float) -> int:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as folder:
        path, result = Path(folder) / "long.ogg", Path(folder) / "long.json"
        recording(path, hours)
        command = [sys.executable, "-m", "pipeline", "replay", str(path), "--json", str(result)]
        megabytes, wall_s, status = watch(command)
        if status not in (0, 1):
            print(f"tingbo replay ended with {status}", file=sys.stderr)
            return 1
        heard = json.loads(result.read_text(encoding="utf-8"))
    length_h = heard["duration_ms"] / 3_600_000
    early = megabytes[: max(1, int(len(megabytes) / length_h))]
    findings, transcripts = len(heard["findings"]), len(heard["transcripts"])
    print(f"{length_h:.2f} h: {transcripts} segments, {findings} findings, {wall_s:.0f} s")
    Figure("replay, × real time", length_h * 3600 / wall_s, "×").report()
    Figure("peak memory in the first hour", max(early), "MB").report()
    growth = (max(megabytes) - max(early)) / max(1e-9, length_h - 1)
    Figure("growth of the peak after it", growth, "MB/h", aim="flat but for the results").report()
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else HOURS))
