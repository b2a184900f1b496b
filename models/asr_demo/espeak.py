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
_END_OF_LIST, _WORD = 0, 1


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_int64),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
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


@dataclass(frozen=True, slots=True)
class Speech:
    """What espeak-ng said."""

    sound: NDArray[np.float32]
    """Mono at ESPEAK_RATE, shape [n], trimmed of silence."""
    starts: NDArray[np.int64]
    """Sample at which each syllable begins, shape [syllables]."""


def syllables(text: str) -> list[str]:
    """Pinyin with tone digits of `text`, neutral tone as 5; one per character."""
    return lazy_pinyin(text, style=Style.TONE3, neutral_tone_with_five=True)


class Espeak:
    """One espeak-ng engine; the library keeps global state, so one per process."""

    def __init__(self) -> None:
        library = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        self._lib = ctypes.CDLL(library)
        self._chunks: list[bytes] = []
        self._begins: dict[int, int] = {}
        rate = self._lib.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        if rate != ESPEAK_RATE:
            raise OSError(f"espeak-ng could not start (espeak_Initialize gave {rate})")
        self._callback = _CALLBACK(self._receive)  # keep a reference: C holds only the pointer
        self._lib.espeak_SetSynthCallback(self._callback)
        self._variant: str | None = None

    def _receive(
        self,
        wav: ctypes._Pointer[ctypes.c_short],
        count: int,
        events: ctypes._Pointer[_Event],
    ) -> int:
        i = 0
        while events[i].type != _END_OF_LIST:
            if events[i].type == _WORD:
                self._begins.setdefault(events[i].text_position, events[i].sample)
            i += 1
        if wav and count > 0:
            self._chunks.append(ctypes.string_at(wav, count * 2))
        return 0

    def say(self, pinyin: list[str], voice: Voice) -> Speech:
        """The syllables, one a word, spoken; ValueError where espeak-ng did not name each one."""
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
        self._begins.clear()
        text = " ".join(pinyin).encode()
        self._lib.espeak_Synth(text, len(text) + 1, 0, 0, 0, _UTF8, None, None)
        sound = np.frombuffer(b"".join(self._chunks), np.int16).astype(np.float32) / 32768
        loud = np.flatnonzero(np.abs(sound) > 0.004)
        first, end = (loud[0], loud[-1] + 1) if len(loud) else (0, 0)
        # espeak-ng counts characters from 1, and now and then names a word twice.
        places = np.cumsum([1, *(len(syllable) + 1 for syllable in pinyin[:-1])])
        if not self._begins.keys() >= set(places.tolist()):
            raise ValueError(f"espeak-ng passed over a syllable of {' '.join(pinyin)}")
        starts = np.array([self._begins[place] for place in places.tolist()]) - first
        return Speech(sound[first:end], np.clip(starts, 0, max(0, end - first - 1)))
