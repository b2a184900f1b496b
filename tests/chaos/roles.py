"""Processes of the product: started, paused, stopped and killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.codec import decode
from pipeline.processes import Ready

#: A role that is asked to stop must have ended by then.
STOP_S = 30.0


@dataclass(slots=True)
class Role:
    """One process of a role."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def ready(self) -> Ready:
        """Wait until it says that it works."""
        line = self.process.stdout.readline() if self.process.stdout else b""
        if not line:
            raise RuntimeError(f"{self.name} ended with {self.process.wait()}, see {self.log}")
        return decode(Ready, line)

    def pause(self) -> None:
        """Stop it where it is; it does not know of it."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self._end()

    def stop(self) -> str | None:
        """SIGTERM; what was wrong with how it ended, None for an end in time with code 0."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"{self.name} had not stopped after {STOP_S:.0f} s"
        self._end()
        took_s = time.monotonic() - began
        code = self.process.returncode
        return f"{self.name} ended with code {code} after {took_s:.0f} s" if code else None

    def _end(self) -> None:
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


def start(name: str, arguments: list[str], environment: Mapping[str, str], log: Path) -> Role:
    """Start `tingbo NAME ARGUMENTS`, which ends at the latest with this process."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", name, *arguments, "--until-stdin-closes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            env=dict(environment),
            start_new_session=True,
        )
    return Role(name, process, log)
