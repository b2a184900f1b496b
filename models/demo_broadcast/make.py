"""Make the bundled demo broadcast from script.toml: sound (Opus) and labels with their times.

    python make.py            # writes broadcast.ogg and labels.json beside this file

Two espeak-ng voices speak the script over quiet background music; one stretch is silent, one is music alone.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import av
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "asr_demo"))

from espeak import Espeak, Voice, syllables  # noqa: E402
from sound import RATE, RATIOS, Sound, music, noise, to_16k  # noqa: E402

VOICES = {"host": Voice("f3", 190, 55, 55), "cohost": Voice("m3", 185, 45, 50)}
#: Share of full scale of speech and of the music under it: 26 dB apart.
SPEECH, BACKGROUND, ALONE = 0.5, 0.025, 0.2
BIT_RATE = 32_000


def pieces(script: list[dict[str, object]]) -> tuple[list[Sound], list[dict[str, object]]]:
    """(sounds in order, labels with start_ms and end_ms)."""
    engine, rng = Espeak(), np.random.default_rng(11)
    sounds: list[Sound] = [0.002 * noise(1.0, rng)]
    labels: list[dict[str, object]] = []
    at = len(sounds[0])

    def add(sound: Sound) -> None:
        nonlocal at
        sounds.append(sound.astype(np.float32))
        at += len(sound)

    for item in script:
        start = at
        if item["kind"] == "line":
            spoken = to_16k(engine.say(syllables(str(item["text"])), VOICES[str(item["voice"])]), RATIOS[0])
            add(SPEECH * spoken / np.abs(spoken).max())
            label = {k: item[k] for k in ("voice", "text", "category", "subtype", "note", "lookalike") if k in item}
            labels.append({"start_ms": start * 1000 // RATE, "end_ms": at * 1000 // RATE, **label})
            add(np.zeros(int(item["pause_ms"]) * RATE // 1000, np.float32))  # type: ignore[call-overload]
        else:
            seconds = int(item["duration_ms"]) / 1000  # type: ignore[call-overload]
            sound = music(seconds, rng) if item["kind"] == "music" else 0.002 * noise(seconds, rng)
            add(ALONE * sound / np.abs(sound).max() if item["kind"] == "music" else sound)
            labels.append({"start_ms": start * 1000 // RATE, "end_ms": at * 1000 // RATE, "stretch": item["kind"]})
    return sounds, labels


def main() -> None:
    """Write the broadcast and its labels."""
    script = tomllib.loads((HERE / "script.toml").read_text(encoding="utf8"))
    sounds, labels = pieces(script["item"])
    sound = np.concatenate(sounds)
    under = music(len(sound) / RATE, np.random.default_rng(12))[: len(sound)]
    under = BACKGROUND * under / np.abs(under).max()
    for label in labels:
        if "stretch" in label:  # the silent stretch stays silent, the music stretch has its own music
            under[int(label["start_ms"]) * 16 : int(label["end_ms"]) * 16] = 0  # type: ignore[call-overload]
    mixed = ((sound + under).clip(-1, 1) * 32767).astype(np.int16)
    with av.open(str(HERE / "broadcast.ogg"), "w") as out:
        stream = out.add_stream("libopus", rate=48_000, layout="mono")
        stream.bit_rate = BIT_RATE
        frame = av.AudioFrame.from_ndarray(mixed[None], "s16", "mono")
        frame.rate = RATE
        resampler = av.AudioResampler(stream.format, "mono", 48_000, frame_size=960)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            for packet in stream.encode(part):
                out.mux(packet)
    labels_file = {"title": script["title"], "duration_ms": len(sound) * 1000 // RATE, "labels": labels}
    (HERE / "labels.json").write_text(json.dumps(labels_file, ensure_ascii=False, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
