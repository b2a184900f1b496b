"""espeak-ng in this process: pinyin with tone numbers to sound, some 400 times real time.

The `cmn` voice of espeak-ng 1.51 spells many characters as letter names; `cmn-latn-pinyin` reads
pinyin with tone digits and misses nothing, so text goes through pypinyin first.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pypinyin import Style, lazy_pinyin

#: espeak-ng's output rate, Hz (fixed by its phoneme data).
ESPEAK_RATE = 22_050
_SYNCHRONOUS, _UTF8, _RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 2, 1, 1, 2, 3, 4, 7
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True, slots=True)
class Voice:
    """One way espeak-ng speaks."""

    variant: str
    """espeak-ng voice variant, e.g. "f3", "" for the plain voice."""
    speed: int
    """Words a minute as espeak-ng counts; 150 to 260 is 3.3 to 6 characters a second."""
    pitch: int
    """0 to 99, 50 is the voice's own."""
    pitch_range: int
    """0 to 99, how far the melody moves."""


def syllables(text: str) -> list[str]:
    """Pinyin with tone digits of `text`, neutral tone as 5; one per character."""
    return lazy_pinyin(text, style=Style.TONE3, neutral_tone_with_five=True)


class Espeak:
    """One espeak-ng engine; the library keeps global state, so one per process."""

    def __init__(self) -> None:
        library = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        self._lib = ctypes.CDLL(library)
        self._chunks: list[bytes] = []
        rate = self._lib.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        if rate != ESPEAK_RATE:
            raise OSError(f"espeak-ng could not start (espeak_Initialize gave {rate})")
        self._callback = _CALLBACK(self._receive)  # keep a reference: C holds only the pointer
        self._lib.espeak_SetSynthCallback(self._callback)
        self._variant: str | None = None

    def _receive(self, wav: ctypes._Pointer[ctypes.c_short], count: int, _events: int) -> int:
        if wav and count > 0:
            self._chunks.append(ctypes.string_at(wav, count * 2))
        return 0

    def say(self, pinyin: list[str], voice: Voice) -> NDArray[np.float32]:
        """Sound of the syllables: mono float32 at ESPEAK_RATE, shape [n], trimmed of silence."""
        if voice.variant != self._variant:
            name = "cmn-latn-pinyin" + (f"+{voice.variant}" if voice.variant else "")
            if self._lib.espeak_SetVoiceByName(name.encode()) != 0:
                raise OSError(f"espeak-ng has no voice {name}")
            self._variant = voice.variant
        for parameter, value in (
            (_RATE, voice.speed),
            (_PITCH, voice.pitch),
            (_RANGE, voice.pitch_range),
        ):
            self._lib.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        text = " ".join(pinyin).encode()
        self._lib.espeak_Synth(text, len(text) + 1, 0, 0, 0, _UTF8, None, None)
        sound = np.frombuffer(b"".join(self._chunks), np.int16).astype(np.float32) / 32768
        loud = np.flatnonzero(np.abs(sound) > 0.004)
        return sound[loud[0] : loud[-1] + 1] if len(loud) else sound[:0]
