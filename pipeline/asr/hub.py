"""Models that are not on this machine: downloaded from the model hub, or a mirror of it.

The hub's address is HF_ENDPOINT where that is set, its cache HF_HOME: huggingface_hub reads both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TextIO

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils.tqdm import tqdm

from pipeline.errors import ModelError

_FILES = ["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"]
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
#: Root of the HTTP client's errors: huggingface_hub lets some through, and its client changes name.
_HTTP_ERROR: type[BaseException] = next(
    cls for cls in HfHubHTTPError.__mro__ if cls.__name__ == "HTTPError"
)


def repository(name: str) -> str | None:
    """The hub's repository for a model name ("small") or itself ("owner/name"), else None."""
    from faster_whisper.utils import _MODELS

    known = _MODELS.get(name)
    if known is not None:
        return str(known)
    return name if _REPOSITORY.fullmatch(name) and not name.startswith(".") else None


def names() -> list[str]:
    """Model names that can be downloaded."""
    from faster_whisper import available_models

    return list(available_models())


def fetch(name: str, repository: str, progress: TextIO | None) -> Path:
    """Folder of a model, downloaded unless it is in the cache; the bar goes to `progress`.

    Raises ModelError when it cannot be had.
    """
    try:
        return Path(snapshot_download(repository, allow_patterns=_FILES, local_files_only=True))
    except OSError:
        pass  # Not in the cache, or not wholly.
    if progress is not None:
        progress.write(f"Downloading speech model {name} …\n")
    try:
        folder = snapshot_download(repository, allow_patterns=_FILES, tqdm_class=_bar(progress))
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"The model hub has no speech model {repository}: give one of {', '.join(names())}, "
            "the path of a CTranslate2 folder, or demo for the bundled model."
        ) from error
    except (OSError, _HTTP_ERROR) as error:
        raise ModelError(
            f"Speech model {name} is not on this machine and cannot be downloaded "
            f"({_reason(error)}): give the path of a CTranslate2 folder, set HF_ENDPOINT to a "
            "mirror of the hub, or use the bundled model demo."
        ) from error
    return Path(folder)


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words; addresses are left out, they may hold credentials."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids it"
    text = str(cause).strip().splitlines()
    return re.sub(r"\S+://\S+", "the hub", text[0])[:120] if text else type(cause).__name__


def _bar(stream: TextIO | None) -> type[tqdm]:
    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            # None: only where `stream` is a terminal.
            options.update(file=stream, disable=True if stream is None else None)
            super().__init__(*args, **options)  # type: ignore[no-untyped-call]  # untyped there

    return Bar
