"""What an operator can set: environment variables TINGBO_*, then tingbo.toml, then defaults.

This is the only module that reads the environment.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import SettingError
from pipeline.resources import resource

#: Every setting can be given as an environment variable: this prefix and the name in capitals.
ENVIRONMENT_PREFIX = "TINGBO_"

#: Names the settings file when it is not `tingbo.toml` in the working folder.
CONFIG_VARIABLE = "TINGBO_CONFIG"


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a setting's value is read, and what to say when it cannot be."""

    expects: str
    read: Callable[[object], object]
    """Raises TypeError or ValueError for a value that does not fit."""
    separator: str = ""
    """Between the items of a list in a variable."""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    if not value.strip():
        raise ValueError(value)
    return value.strip()


def _path(value: object) -> Path:
    return Path(_text(value)).expanduser()


def _items(value: object, separator: str) -> list[object]:
    """The items of a list; in the environment they are one text."""
    if isinstance(value, str):
        return [part for part in value.split(separator) if part.strip()]
    if not isinstance(value, list):
        raise TypeError(value)
    return value


def _paths(value: object) -> tuple[Path, ...]:
    return tuple(_path(item) for item in _items(value, os.pathsep))


def _names(value: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in _items(value, ","))


def _whole(minimum: int, maximum: int, unit: str) -> dict[str, _Kind]:
    def read(value: object) -> int:
        if isinstance(value, (bool, float)) or not isinstance(value, (str, int)):
            raise TypeError(value)
        number = int(value)
        if not minimum <= number <= maximum:
            raise ValueError(value)
        return number

    return {"kind": _Kind(f"a whole number of {unit} from {minimum} to {maximum}", read)}


def _number(minimum: float, maximum: float, unit: str) -> dict[str, _Kind]:
    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise TypeError(value)
        number = float(value)
        if not minimum <= number <= maximum:
            raise ValueError(value)
        return number

    return {"kind": _Kind(f"a number of {unit} from {minimum:g} to {maximum:g}", read)}


def _seconds(minimum: float, maximum: float) -> dict[str, _Kind]:
    return _number(minimum, maximum, "seconds")


def _choice(*choices: str) -> dict[str, _Kind]:
    def read(value: object) -> str:
        if value not in choices:
            raise ValueError(value)
        return str(value)

    return {"kind": _Kind(" or ".join(f'"{choice}"' for choice in choices), read)}


_TEXT = {"kind": _Kind("a text that is not empty", _text)}
_PATH = {"kind": _Kind("a path", _path)}
_PATHS = {
    "kind": _Kind(f"a list of folders (joined by {os.pathsep!r} in a variable)", _paths, os.pathsep)
}
_NAMES = {"kind": _Kind("a list of names (joined by ',' in a variable)", _names, ",")}
_REDIS = {
    "kind": _Kind(
        "a URL such as redis://host:6379/0, redis-sentinel://host:26379/service or "
        "redis-cluster://host:6379",
        _text,
    )
}
_DATABASE = {"kind": _Kind("a URL such as postgresql://user@host/name or sqlite:///file", _text)}


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path("~/.local/share").expanduser()) / "tingbo"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings with their defaults. URLs may hold passwords and do not show in `repr`."""

    data_dir: Path = field(default_factory=_default_data_dir, metadata=_PATH)
    """Where the embedded Redis, SQLite and the clips live."""
    redis_url: str | None = field(default=None, repr=False, metadata=_REDIS)
    """None: a private server is started in `data_dir`."""
    bus_partitions: int = field(default=1, metadata=_whole(1, 99, "partitions"))
    """Parts of the bus that a Redis Cluster can spread; the same for every process."""
    database_url: str | None = field(default=None, repr=False, metadata=_DATABASE)
    """None: SQLite in `data_dir`."""
    clips_url: str | None = field(default=None, repr=False, metadata=_TEXT)
    """Folder or fsspec URL; None: `clips` in `data_dir`."""
    clip_format: Literal["flac", "opus"] = field(default="flac", metadata=_choice("flac", "opus"))
    asr_model: str = field(default="demo", metadata=_TEXT)
    """Name or path of a faster-whisper model; "demo" is the bundled one (synthetic speech)."""
    device: Literal["auto", "cpu", "cuda"] = field(
        default="auto", metadata=_choice("auto", "cpu", "cuda")
    )
    max_batch: int = field(default=16, metadata=_whole(1, 256, "segments"))
    """Segments transcribed in one call."""
    batch_wait_ms: int = field(default=50, metadata=_whole(0, 5_000, "milliseconds"))
    """How long the recogniser waits for a batch to fill."""
    merge_after_s: float = field(default=10.0, metadata=_seconds(0.1, 3_600))
    """So far behind live, neighbouring segments of a room are heard together."""
    shed_after_s: float = field(default=120.0, metadata=_seconds(0, 86_400))
    """So far behind in spite of that, the least risky segments are left out; 0: never."""
    recycle_after_h: float = field(default=24.0, metadata=_number(0, 8_760, "hours"))
    """After so many hours a recogniser ends with code 5, to be started again; 0: never."""
    recycle_growth_mb: int = field(default=4_096, metadata=_whole(0, 1_000_000, "MB"))
    """The same once its memory grew by so much; 0: never."""
    min_silence_ms: int = field(default=400, metadata=_whole(50, 5_000, "milliseconds"))
    """A pause this long ends a speech segment."""
    pad_ms: int = field(default=200, metadata=_whole(0, 1_000, "milliseconds"))
    """Sound kept before and after speech."""
    min_speech_ms: int = field(default=250, metadata=_whole(30, 5_000, "milliseconds"))
    """Shorter speech is no segment."""
    open_timeout_s: float = field(default=10.0, metadata=_seconds(0.1, 300))
    """How long a source may take to answer."""
    read_timeout_s: float = field(default=15.0, metadata=_seconds(0.1, 300))
    """How long an open source may stay silent on the wire."""
    allowed_media_dirs: tuple[Path, ...] = field(default=(), metadata=_PATHS)
    """Folders whose files may be monitored as rooms; the command line reads any file."""
    allowed_media_hosts: tuple[str, ...] = field(default=(), metadata=_NAMES)
    """Hosts, host:port or networks (10.0.0.0/8) with private addresses that rooms may be fetched
    from; public ones always may. The command line also reaches the host that was typed."""
    ingest_memory_mb: int = field(default=2048, metadata=_whole(0, 1_048_576, "megabytes"))
    """No source may take an ingest process beyond this; 0 sets no limit."""
    push_port: int = field(default=0, metadata=_whole(0, 65_535, "a port"))
    """Port on which media servers push rooms; 0: `tingbo serve` takes none."""
    push_host: str = field(default="127.0.0.1", metadata=_TEXT)
    """Address it listens on. Beyond this machine put a proxy with TLS before it."""
    broadcast_pause_s: float = field(default=1800.0, metadata=_seconds(1, 86_400))
    """A monitored room that was silent on the wire for longer begins another broadcast."""
    room_lease_s: float = field(default=10.0, metadata=_seconds(1, 300))
    """So long after its end the rooms of a killed ingester are taken over by others."""
    packs: tuple[str, ...] = field(default=(), metadata=_NAMES)
    """Rule packs of lexicons/extra to judge by as well; none unless named."""
    lexicons_dir: Path | None = field(default=None, metadata=_PATH)
    """Folder of rule packs to judge by; None: the bundled ones."""
    classifier_dir: Path | None = field(default=None, metadata=_PATH)
    """Weights that `tingbo train --out` made; None: the bundled ones."""
    metrics_port: int = field(default=0, metadata=_whole(0, 65_535, "a port"))
    """Port of /metrics, /healthz and /readyz; 0 turns them off. `serve` also takes those above."""
    metrics_host: str = field(default="127.0.0.1", metadata=_TEXT)
    """Address these pages listen on; "0.0.0.0" inside a container."""
    log_format: Literal["text", "json"] = field(default="text", metadata=_choice("text", "json"))
    """Form of the log lines on stderr."""

    @property
    def redis_dir(self) -> Path:
        """Folder of the embedded Redis."""
        return self.data_dir / "redis"

    @property
    def effective_database_url(self) -> str:
        """`database_url`, or SQLite in `data_dir`."""
        return self.database_url or f"sqlite:///{self.data_dir / 'tingbo.sqlite3'}"

    @property
    def effective_lexicons_dir(self) -> Path:
        """Folder of the rule packs."""
        return self.lexicons_dir or resource("lexicons")

    @property
    def effective_classifier_dir(self) -> Path:
        """Folder of the classifier's weights."""
        return self.classifier_dir or resource("models", "classifier", "weights")

    @property
    def effective_clips_url(self) -> str:
        """`clips_url`, or the folder `clips` in `data_dir`."""
        return self.clips_url or str(self.data_dir / "clips")


def load_settings(path: Path | None = None, **given: object) -> Settings:
    """Settings from the command line (`given`), the environment, the file, then defaults.

    A `given` value of None leaves its setting alone. `path` is the settings file; None means the
    one TINGBO_CONFIG names, else `tingbo.toml` in the working folder if there is one. Raises
    SettingError naming the key, the value and what fits.
    """
    kinds = {item.name: item.metadata["kind"] for item in fields(Settings)}
    values = {name: _read(name, v, kinds[name]) for name, v in given.items() if v is not None}
    return replace(read_settings(os.environ, path), **values)  # type: ignore[arg-type]


def read_settings(environment: Mapping[str, str], path: Path | None = None) -> Settings:
    """As `load_settings`, with the environment given."""
    values: dict[str, Any] = {}
    kinds = {item.name: item.metadata["kind"] for item in fields(Settings)}
    for key, value in _file_values(environment, path).items():
        if key not in kinds:
            raise SettingError(
                f"Setting {key} is unknown: remove it or use one of {', '.join(sorted(kinds))}."
            )
        values[key] = _read(key, value, kinds[key])
    for key, kind in kinds.items():
        variable = ENVIRONMENT_PREFIX + key.upper()
        # An empty variable is how container files leave a setting alone.
        if environment.get(variable):
            values[key] = _read(variable, environment[variable], kind)
    return Settings(**values)


def _read(name: str, value: object, kind: _Kind) -> object:
    try:
        return kind.read(value)
    except (TypeError, ValueError):
        shown = "a value that is not shown" if name.lower().endswith("_url") else repr(value)
        raise SettingError(f"Setting {name} is {shown}: give {kind.expects}.") from None


def _file_values(environment: Mapping[str, str], path: Path | None) -> dict[str, object]:
    variable = environment.get(CONFIG_VARIABLE, "")
    named = path or (Path(variable) if variable else None)
    file = named or Path("tingbo.toml")
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named is None:
            return {}
        raise SettingError(
            f"Settings file {file} does not exist: give the path of a TOML file."
        ) from None
    except OSError as error:
        raise SettingError(
            f"Settings file {file} cannot be read ({error.strerror}): check its permissions."
        ) from error
    except ValueError as error:
        raise SettingError(
            f"Settings file {file} is not valid TOML ({error}): correct it."
        ) from error


def as_environment(settings: Settings) -> dict[str, str]:
    """This process's environment with every setting in it: what a role started from here reads."""
    given = {
        ENVIRONMENT_PREFIX + item.name.upper(): _written(
            getattr(settings, item.name), item.metadata["kind"]
        )
        for item in fields(Settings)
        if getattr(settings, item.name) is not None
    }
    return {**os.environ, **given}


def _written(value: object, kind: _Kind) -> str:
    return kind.separator.join(map(str, value)) if isinstance(value, tuple) else str(value)
