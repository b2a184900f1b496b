"""The clip store: what was heard is what is stored, or one sentence why not."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.clips import ClipStore, decode_clip, encode_clip
from pipeline.errors import ClipStoreError
from pipeline.records import SegmentKey

KEY = SegmentKey("room-1-20261111", 2, 17)


def tone(seconds: float) -> NDArray[np.float32]:
    """A tone of 440 Hz on the grid of 16-bit samples."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    wave: NDArray[np.float32] = np.rint(9_000 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    return wave / np.float32(32_768)


def test_a_flac_clip_is_bit_for_bit_what_was_written(tmp_path: Path) -> None:
    """Whisper, the reviewer and the auditor hear the same samples."""
    store = ClipStore(str(tmp_path))
    clip = store.write(KEY, tone(1.5))
    path = tmp_path / "room-1-20261111" / "2" / "000017.flac"
    assert clip.uri == f"file://{path}"
    assert clip.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert clip.bytes == path.stat().st_size < 40_000
    assert np.array_equal(store.read(clip.uri), tone(1.5))
    assert store.read(clip.uri).dtype == np.float32


def test_an_opus_clip_is_small_and_sounds_the_same(tmp_path: Path) -> None:
    """A tenth of the size, exactly the same length, the tone still the tone."""
    store = ClipStore(str(tmp_path), "opus")
    clip = store.write(KEY, tone(6.0))
    heard = store.read(clip.uri)
    assert clip.uri.endswith(".opus")
    assert clip.bytes < 6 * 24_000 / 8 * 1.5
    assert len(heard) == 6 * 16_000
    spectrum = np.abs(np.fft.rfft(heard))
    assert abs(int(np.argmax(spectrum)) / 6.0 - 440) < 1


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 40_000), st.integers(0, 2**32 - 1), st.sampled_from([0.001, 0.3, 3.0]))
def test_any_length_and_loudness_survives(length: int, seed: int, loudness: float) -> None:
    """No sample is added or lost, and overdriven sound is clipped, never wrapped."""
    samples = (np.random.default_rng(seed).standard_normal(length) * loudness).astype(np.float32)
    heard = decode_clip(encode_clip(samples, "flac"))
    assert heard.shape == samples.shape
    assert np.max(np.abs(heard - np.clip(samples, -1, 1))) <= 1.01 / 32_768


def test_writing_again_changes_nothing_and_leaves_no_parts(tmp_path: Path) -> None:
    """A segment delivered twice is one clip with one checksum."""
    store = ClipStore(str(tmp_path))
    assert store.write(KEY, tone(1)) == store.write(KEY, tone(1))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["000017.flac"]


@pytest.mark.parametrize(
    "broadcast", ["../../etc", "..", ".", "直播间/1", "a\x00b", "长" * 300, ""]
)
def test_any_broadcast_name_stays_below_the_store(tmp_path: Path, broadcast: str) -> None:
    """Names come from users; none of them may leave the folder or collide."""
    root = tmp_path / "clips"
    store = ClipStore(str(root))
    clip = store.write(SegmentKey(broadcast, 0, 0), tone(0.1))
    other = store.write(SegmentKey(broadcast + "_", 0, 0), tone(0.2))
    assert Path(clip.uri.removeprefix("file://")).resolve().is_relative_to(root)
    assert len(store.read(clip.uri)) == 1_600
    assert len(store.read(other.uri)) == 3_200


def test_an_object_store_works_the_same() -> None:
    """Any fsspec URL will do; here its memory file system."""
    store = ClipStore("memory://bucket/clips")
    clip = store.write(KEY, tone(0.5))
    assert clip.uri == "memory:///bucket/clips/room-1-20261111/2/000017.flac"
    assert np.array_equal(store.read(clip.uri), tone(0.5))


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "/etc/passwd", "{root}/../secret.flac"])
def test_only_clips_of_the_store_are_read(tmp_path: Path, uri: str) -> None:
    """A forged message cannot make a worker read other files."""
    (tmp_path / "secret.flac").write_bytes(encode_clip(tone(0.1), "flac"))
    store = ClipStore(str(tmp_path / "clips"))
    with pytest.raises(ClipStoreError, match=r"is not below .* set clips_url"):
        store.read(uri.format(root=tmp_path / "clips"))


def test_a_missing_clip_is_one_sentence(tmp_path: Path) -> None:
    """The sentence names the clip and the remedy."""
    store = ClipStore(str(tmp_path))
    with pytest.raises(ClipStoreError, match=r"gone\.flac does not exist: restore it"):
        store.read(f"file://{tmp_path}/gone.flac")


def test_a_broken_clip_is_one_sentence(tmp_path: Path) -> None:
    """A clip that a disk fault destroyed names itself."""
    (tmp_path / "broken.flac").write_bytes(b"nothing of the kind" * 50)
    with pytest.raises(ClipStoreError, match=r"broken\.flac cannot be decoded \(Invalid data"):
        ClipStore(str(tmp_path)).read(f"file://{tmp_path}/broken.flac")


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    """Place, reason, remedy when the folder cannot be made."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ClipStoreError) as error:
        ClipStore(str(tmp_path / "file" / "clips"))
    assert str(error.value) == (
        f"The clip folder {tmp_path}/file/clips cannot be used (Not a directory): "
        "check the place or set clips_url to another one."
    )


def test_an_unknown_scheme_is_one_sentence() -> None:
    """A URL that no installed package serves says what to do."""
    with pytest.raises(ClipStoreError, match=r"cannot be opened .* set clips_url to a folder"):
        ClipStore("carrier-pigeon://loft")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_sentence(tmp_path: Path) -> None:
    """A read-only folder is told apart from a full disk."""
    store = ClipStore(str(tmp_path / "clips"))
    (tmp_path / "clips").chmod(0o500)
    with pytest.raises(ClipStoreError, match=r"\(Permission denied\): give this user write"):
        store.write(KEY, tone(1))


def test_a_failed_write_leaves_the_old_clip_whole(tmp_path: Path) -> None:
    """When the disk gives out in the middle of a clip, readers still find the earlier one."""
    store = ClipStore(str(tmp_path))
    clip = store.write(KEY, tone(0.5))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        with pytest.raises(ClipStoreError, match=r"cannot be used \(File too large\)"):
            store.write(KEY, tone(5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert np.array_equal(store.read(clip.uri), tone(0.5))
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


FULL = """
import sys
import numpy as np
from pipeline.clips import ClipStore
from pipeline.errors import ClipStoreError
from pipeline.records import SegmentKey
store = ClipStore(sys.argv[1])
noise = np.random.default_rng(0).standard_normal(160_000).astype("f4") * 0.1
try:
    store.write(SegmentKey("b", 0, 0), noise)
except ClipStoreError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("options", "prepare", "expected"),
    [
        ("size=64k", "", "(No space left on device): free some space or set clips_url"),
        ("size=9m", "mount -o remount,ro {0} &&", "(Read-only file system): mount it writable or"),
    ],
)
def test_a_full_or_read_only_disk_is_one_sentence(
    tmp_path: Path, options: str, prepare: str, expected: str
) -> None:
    """On a real small file system: the reason is the disk's and the remedy fits it."""
    script = f"mount -t tmpfs -o {options} none {{0}} && {prepare} {{1}} -c '{FULL}' {{0}}"
    answer = subprocess.run(
        ["unshare", "-m", "sh", "-c", script.format(tmp_path, sys.executable)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in answer.stderr or "mount" in answer.stderr:
        pytest.skip("this account may not mount")
    assert expected in answer.stdout
    assert answer.stderr == ""


@pytest.mark.parametrize("samples", [np.empty(0, np.float32), np.zeros((2, 5), np.float32)])
def test_nothing_and_stereo_are_no_clip(samples: NDArray[np.float32]) -> None:
    """A segment without sound, or of another shape, is a defect of the caller."""
    with pytest.raises(ValueError, match="a clip needs samples"):
        encode_clip(samples, "flac")


def test_other_programs_read_the_clip(tmp_path: Path) -> None:
    """A plain FLAC file, mono, 16 kHz, 16 bit."""
    clip = ClipStore(str(tmp_path)).write(KEY, tone(0.2))
    with av.open(clip.uri.removeprefix("file://"), "r") as container:
        codec = container.streams.audio[0].codec_context
        assert (codec.name, codec.sample_rate, codec.layout.name) == ("flac", 16_000, "mono")
        assert codec.format.name == "s16"
