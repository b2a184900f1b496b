"""Make the canary: a clip whose text every speech worker must hear before it starts.

python canary.py            # writes canary.flac from canary.txt
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from espeak import Espeak, Voice, syllables
from sound import RATIOS, to_16k
from timing import RATE

HERE = Path(__file__).parent


def main() -> None:
    """Speak canary.txt once, with half a second of silence around it."""
    text = (HERE / "canary.txt").read_text(encoding="utf8").strip()
    sound = 0.5 * to_16k(Espeak().say(syllables(text), Voice("f2", 180, 50, 50)).sound, RATIOS[0])
    pcm = (np.pad(sound, RATE // 2) * 32767).astype(np.int16)
    with av.open(str(HERE / "canary.flac"), "w") as out:
        stream = out.add_stream("flac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm[None], "s16", "mono")
        frame.rate = RATE
        for part in (frame, None):
            for packet in stream.encode(part):
                out.mux(packet)


if __name__ == "__main__":
    main()
