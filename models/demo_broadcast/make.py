"""Make the bundled demo broadcast from script.toml: sound (Opus) and labels with their times.

    python make.py            # writes broadcast.ogg and labels.json beside this file

Two espeak-ng voices speak the script over quiet background music; one stretch is silent, one is
music alone.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import av
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "asr_demo"))

from espeak import Espeak, Voice, syllables  # noqa: E402 -- found on the path set above
from sound import RATIOS, Sound, music, noise, to_16k  # noqa: E402 -- as above
from timing import RATE  # noqa: E402 -- as above

VOICES = {"host": Voice("f3", 190, 55, 55), "cohost": Voice("m3", 185, 45, 50)}
#: Peaks of speech, of the music under it, 26 dB lower, and of music alone; 1 is full scale.
SPEECH, BACKGROUND, ALONE = 0.5, 0.025, 0.2
#: Loudest of the room's own noise, which fills silence; digital zeros would be no room.
ROOM = 0.002
BIT_RATE = 32_000
COPIED = ("voice", "text", "category", "subtype", "note", "lookalike")


class Tape:
    """Sounds one after the other, and labels with the times at which they lie."""

    def __init__(self) -> None:
        self._engine, self._rng = Espeak(), np.random.default_rng(11)
        self.sounds: list[Sound] = []
        self.labels: list[dict[str, Any]] = []
        self._at = 0
        self._add(ROOM * noise(1.0, self._rng))

    def _add(self, sound: Sound) -> None:
        self.sounds.append(sound.astype(np.float32))
        self._at += len(sound)

    def _label(self, start: int, **more: Any) -> None:
        times = {"start_ms": start * 1000 // RATE, "end_ms": self._at * 1000 // RATE}
        self.labels.append(times | more)

    def say(self, item: dict[str, Any]) -> None:
        """A line of the script and the pause after it."""
        start, voice = self._at, VOICES[item["voice"]]
        spoken = to_16k(self._engine.say(syllables(item["text"]), voice).sound, RATIOS[0])
        self._add(SPEECH * spoken / np.abs(spoken).max())
        self._label(start, **{key: item[key] for key in COPIED if key in item})
        self._add(np.zeros(item["pause_ms"] * RATE // 1000, np.float32))

    def wait(self, kind: str, duration_ms: int) -> None:
        """A stretch without speech: "music" or "silence"."""
        start, seconds = self._at, duration_ms / 1000
        if kind == "music":
            sound = music(seconds, self._rng)
            self._add(ALONE * sound / np.abs(sound).max())
        else:
            self._add(ROOM * noise(seconds, self._rng))
        self._label(start, stretch=kind)


def mixed(tape: Tape) -> Sound:
    """The whole broadcast with music under the speech."""
    sound = np.concatenate(tape.sounds)
    under = music(len(sound) / RATE, np.random.default_rng(12))[: len(sound)]
    under = BACKGROUND * under / np.abs(under).max()
    for label in tape.labels:
        if "stretch" in label:  # silence stays silent, and music alone is music of its own
            under[label["start_ms"] * RATE // 1000 : label["end_ms"] * RATE // 1000] = 0
    return sound + under


def write_opus(path: Path, sound: Sound) -> None:
    """Write mono sound as Opus in Ogg."""
    pcm = (sound.clip(-1, 1) * 32767).astype(np.int16)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libopus", rate=48_000, layout="mono")
        stream.bit_rate = BIT_RATE
        frame = av.AudioFrame.from_ndarray(pcm[None], "s16", "mono")
        frame.rate = RATE
        resampler = av.AudioResampler(stream.format, "mono", 48_000, frame_size=960)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            for packet in stream.encode(part):
                out.mux(packet)


def main() -> None:
    """Write the broadcast and its labels."""
    script = tomllib.loads((HERE / "script.toml").read_text(encoding="utf8"))
    tape = Tape()
    for item in script["item"]:
        if item["kind"] == "line":
            tape.say(item)
        else:
            tape.wait(item["kind"], item["duration_ms"])
    sound = mixed(tape)
    write_opus(HERE / "broadcast.ogg", sound)
    duration_ms = len(sound) * 1000 // RATE
    labels = {"title": script["title"], "duration_ms": duration_ms, "labels": tape.labels}
    text = json.dumps(labels, ensure_ascii=False, indent=1) + "\n"
    (HERE / "labels.json").write_text(text, encoding="utf8")


if __name__ == "__main__":
    main()
