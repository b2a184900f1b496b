"""A stream of very many lines through `tingbo check --json`: memory from its first part to its end.

    python -m tests.bench.bench_stream [LINES]

The lines are made while they are read, so that a stream may be longer than any disk: one in ten is
from the broadcasts in models/corpus, one in ten is a suspicion, the rest is short, and no two are
the same. Every line must come back, in order. Resident memory is read at every hundredth part.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO

import psutil

from tests.bench.bench_check import ROOT, spoken
from tests.bench.figures import Figure

LINES = 1_000_000
PARTS = 100
#: Of the parts: memory must not grow after it.
SETTLED = 10


def stream(count: int, texts: Sequence[str]) -> Iterator[bytes]:
    """So many lines that differ."""
    for number, text in zip(range(count), itertools.cycle(texts), strict=False):
        kind = number % 10
        line = f"{text}{number}" if kind == 5 else f"{number}号链接好看"
        yield (f"加微信{number}\n" if kind == 0 else f"{line}\n").encode()


def feed(pipe: IO[bytes], count: int, texts: Sequence[str]) -> None:
    """Write the stream and close the pipe."""
    with pipe:
        pipe.writelines(stream(count, texts))


def watch(count: int, texts: Sequence[str]) -> tuple[list[float], int]:
    """(resident MB at the end of each part, findings); ends where a line is missing."""
    command = [sys.executable, "-m", "pipeline", "check", "--json"]
    megabytes, findings = [], 0
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        writer = threading.Thread(target=feed, args=(process.stdin, count, texts))
        writer.start()
        seen = psutil.Process(process.pid)
        for number, line in enumerate(process.stdout, 1):
            if not line.startswith(b'{"line": %d, ' % number):
                sys.exit(f"Line {number} did not come back: {line!r}")
            findings += line.count(b'"subtype"')
            if number % max(1, count // PARTS) == 0:
                megabytes.append(seen.memory_info().rss / 2**20)
        writer.join()
    if number != count:
        sys.exit(f"{count} lines went in and {number} came out.")
    return megabytes, findings


def main() -> None:
    """Measure and report."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else LINES
    began = time.monotonic()
    megabytes, findings = watch(count, spoken())
    settled, after = megabytes[SETTLED - 1], megabytes[SETTLED:]
    print(f"{count} lines in {time.monotonic() - began:.0f} s, {findings} findings")
    Figure("lines that came back, in order", count, "lines").report()
    Figure("memory after a tenth of them", settled, "MB").report()
    Figure("highest memory after that", max(after), "MB", settled, "≤ 300").report()


if __name__ == "__main__":
    main()
