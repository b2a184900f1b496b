"""What this machine has, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata

from pipeline import __version__
from pipeline.asr import load_recogniser
from pipeline.clips import ClipStore
from pipeline.detect import load_classifier, load_rule_pack
from pipeline.errors import TingboError
from pipeline.redis_server import find_redis_binary
from pipeline.settings import Settings
from pipeline.store import Store

_PACKAGES = (
    "av",
    "faster-whisper",
    "ctranslate2",
    "onnxruntime",
    "redis",
    "SQLAlchemy",
    "jieba",
    "scikit-learn",
)
#: Bytes below which a day of one room no longer fits (about 50 MB of FLAC clips an hour).
_LITTLE_SPACE = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    good: bool
    found: str
    """What is there, or what is wrong and how to mend it."""


def examine(settings: Settings) -> Iterator[Check]:
    """Every check in turn; none raises."""
    yield Check("tingbo", good=True, found=f"{__version__} on Python {platform.python_version()}")
    yield Check("packages", good=True, found=", ".join(_versions()))
    yield _bus(settings)
    yield _attempt("records", lambda: _records(settings))
    yield _attempt("clips", lambda: _clips(settings))
    yield _disk(settings)
    yield _attempt("rule packs", lambda: _rules(settings))
    yield _attempt("classifier", lambda: _classifier(settings))
    yield _device()
    yield _attempt("speech model", lambda: _model(settings))


def _versions() -> Iterator[str]:
    for name in _PACKAGES:
        yield f"{name} {metadata.version(name)}"


def _attempt(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, good=True, found=look())
    except TingboError as error:
        return Check(name, good=False, found=str(error))


def _bus(settings: Settings) -> Check:
    if settings.redis_url is not None:
        return Check("bus", good=True, found="redis_url is set; the embedded server is not used")

    def look() -> str:
        binary = find_redis_binary()
        return (
            f"{binary.path} {binary.version}, embedded, AOF synced always, in {settings.redis_dir}"
        )

    return _attempt("bus", look)


def _records(settings: Settings) -> str:
    with Store(settings.effective_database_url):
        return (
            "PostgreSQL or other, by database_url"
            if settings.database_url
            else f"SQLite in {settings.data_dir}"
        )


def _clips(settings: Settings) -> str:
    ClipStore(settings.effective_clips_url, settings.clip_format)
    return f"{settings.effective_clips_url}, {settings.clip_format}"


def _disk(settings: Settings) -> Check:
    folder = next(p for p in (settings.data_dir, *settings.data_dir.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    found = f"{free / 1024**3:.1f} GiB free where {settings.data_dir} lies"
    if free < _LITTLE_SPACE:
        return Check(
            "disk", good=False, found=f"only {found}: free some, or set data_dir elsewhere"
        )
    return Check("disk", good=True, found=found)


def _classifier(settings: Settings) -> str:
    classifier = load_classifier(settings.effective_classifier_dir)
    return f"version {classifier.version}, {len(classifier.squares)} features"


def _rules(settings: Settings) -> str:
    pack = load_rule_pack(settings.lexicons_dir, settings.packs)
    return (
        f"{len(pack.rules)} rules, version {pack.version}, content {pack.content_hash[:12]}, "
        f"in {settings.effective_lexicons_dir}"
    )


def _device() -> Check:
    import ctranslate2

    count = ctranslate2.get_cuda_device_count()
    return Check("device", good=True, found=f"{os.cpu_count()} CPU cores, {count} CUDA devices")


def _model(settings: Settings) -> str:
    recogniser = load_recogniser(settings.asr_model, device=settings.device, progress=None)
    note = "; it knows synthetic speech only" if recogniser.synthetic_only else ""
    return (
        f"{settings.asr_model}, window {recogniser.window_ms / 1000:g} s, canary understood{note}"
    )
