"""Where the data that belongs to the code lies: rule packs and models."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(*parts: str) -> Path:
    """Path of a bundled file or folder, e.g. `resource("models", "asr_demo")`.

    In a checkout the data folders stand beside `pipeline/`; an installed wheel carries them
    inside it, as `pipeline/_data/`. The path need not exist.
    """
    installed = _PACKAGE / "_data"
    return (installed if installed.is_dir() else _PACKAGE.parent).joinpath(*parts)
