"""Sound and waveform, made while a recording passes."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.records import SAMPLE_RATE, AudioChunk
from pipeline.reports import SoundTrack
from tests.reports.sample import record, tone


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(frames)


def test_a_second_of_the_player_is_a_second_of_the_clock() -> None:
    """A hole becomes silence of its length and the end is padded, so times stay the media's."""
    with SoundTrack() as track:
        record(track, [*tone(2), *tone(1, start_s=4)])
        sound = track.finish(6000)
        assert sound.encoded is not None
        loudness = np.abs(decoded(sound.encoded).reshape(-1, SAMPLE_RATE)).max(axis=1)
    assert sound.duration_ms == 6000
    assert (loudness > 0.3).tolist() == [True, True, False, False, True, False]


def test_peaks_are_the_loudest_of_each_bucket() -> None:
    """Peaks are of 20 ms; half scale is half of 255, a hole is 0."""
    with SoundTrack() as track:
        sound = record(track, [*tone(1), *tone(1, start_s=2)]).finish()
    assert sound.bucket_ms == 20
    assert len(sound.peaks) == 150
    assert set(sound.peaks[:50]) == {128}
    assert set(sound.peaks[50:100]) == {0}


def test_sound_delivered_twice_is_kept_once() -> None:
    """A chunk that begins before the end of the last one adds only what is new."""
    late = AudioChunk(SAMPLE_RATE // 2, np.ones(SAMPLE_RATE, np.float32))
    with SoundTrack() as track:
        sound = record(track, [*tone(1), late]).finish()
    assert sound.duration_ms == 1500


def test_the_waveform_of_hours_stays_small() -> None:
    """2 h have fewer peaks than 2^18: buckets double, and keep the loudest."""
    minutes = np.zeros(600 * SAMPLE_RATE, np.float32)
    minutes[0] = 1.0
    with SoundTrack(max_embedded_ms=0) as track:
        for number in range(12):
            track.add(AudioChunk(number * len(minutes), minutes))
        sound = track.finish()
    assert sound.duration_ms == 7_200_000
    assert sound.bucket_ms == 40
    assert len(sound.peaks) == 180_000
    assert np.count_nonzero(np.frombuffer(sound.peaks, np.uint8)) == 12


def test_too_long_a_recording_is_not_encoded() -> None:
    """Beyond the limit there is a waveform and no sound, and nothing is left on disk."""
    with SoundTrack(max_embedded_ms=1500) as track:
        sound = record(track, tone(2)).finish()
    assert sound.encoded is None
    assert len(sound.peaks) == 100


def test_no_sound_at_all_is_no_file() -> None:
    """A recording without one sample gives an empty waveform."""
    with SoundTrack() as track:
        sound = track.finish()
    assert (sound.duration_ms, sound.encoded, sound.peaks) == (0, None, b"")


def test_the_file_goes_with_the_track() -> None:
    """Nothing is left behind, also when work is broken off in the middle."""
    with SoundTrack() as track:
        path = record(track, tone(1)).finish().encoded
        assert path is not None
        assert path.exists()
    assert not path.parent.exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0], ids=str)
def test_broken_samples_do_not_stop_it(value: float) -> None:
    """Samples that are no sound are clipped."""
    with SoundTrack() as track:
        track.add(AudioChunk(0, np.full(SAMPLE_RATE, value, np.float32)))
        assert track.finish().duration_ms == 1000
