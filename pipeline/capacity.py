"""How much machine so many rooms need, from measured figures (models/capacity.toml).

The load of a queue is its utilisation: above some 75 % the waiting time of the last few per cent
grows from seconds to minutes, so every stage is planned to be busy for UTILISATION of the time.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import BadInputError
from pipeline.resources import resource

#: Share of the time that a stage may be busy.
UTILISATION = 0.7
#: Rooms that one ingest process listens to: a crash of libav ends no more than these.
ROOMS_A_PROCESS = 100
_MS, _GB, _HOUR_S = 1000, 1e9, 3600


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be listened to."""

    rooms: int
    model: str
    device: Literal["cpu", "cuda"]
    windows_per_s: float | None = None
    """Of one core or card, measured by the user; None: the figure of the table."""
    speech_share: float | None = None
    """Share of the time in which a host speaks; None: that of the table."""
    segment_s: float | None = None
    """Mean length of a speech segment; None: that of the table."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What it takes."""

    segments_per_s: float
    windows_per_s_each: float
    """Of one core or card."""
    asr_units: int
    """Cores, or cards, for the speech model."""
    asr_busy: float
    """Share of the time they compute."""
    ingest_processes: int
    ingest_cores: float
    detect_cores: float
    """Detection, and the speech workers' work beside the model."""
    memory_gb: float
    network_mbit_s: float
    clips_flac_gb_per_hour: float
    clips_opus_gb_per_hour: float
    sql_gb_per_hour: float
    redis_mb: float
    """With half a minute of messages waiting."""


def figures(path: Path | None = None) -> Mapping[str, Any]:
    """The measured figures."""
    file = path or resource("models", "capacity.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def capacity(wish: Wish, table: Mapping[str, Any]) -> Capacity:
    """What `wish` takes. Raises BadInputError for a model that was not measured on that device."""
    speech = _speech(wish, table)
    each = wish.windows_per_s or float(speech["windows_per_s"])
    share = wish.speech_share or float(table["talk"]["speech_share"])
    segment_s = wish.segment_s or float(table["talk"]["segment_s"])
    segments = wish.rooms * share / segment_s
    units = max(1, math.ceil(segments / (each * UTILISATION)))
    ingest, stages, storage = table["ingest"], table["stages"], table["storage"]
    beside = float(stages["asr_cpu_ms_per_segment"]) + float(stages["detect_cpu_ms_per_segment"])
    spoken_s_per_hour = wish.rooms * share * _HOUR_S
    workers = units if wish.device == "cuda" else 1
    memory_mb = wish.rooms * float(ingest["memory_mb_per_room"]) + workers * float(
        speech["memory_mb"]
    )
    return Capacity(
        segments_per_s=segments,
        windows_per_s_each=each,
        asr_units=units,
        asr_busy=segments / (each * units),
        ingest_processes=math.ceil(wish.rooms / ROOMS_A_PROCESS),
        ingest_cores=wish.rooms * float(ingest["cpu_ms_per_s"]) / _MS / UTILISATION,
        detect_cores=segments * beside / _MS / UTILISATION,
        memory_gb=memory_mb / 1000,
        network_mbit_s=wish.rooms * float(ingest["network_mbit_per_room"]),
        clips_flac_gb_per_hour=spoken_s_per_hour * storage["flac_bytes_per_speech_s"] / _GB,
        clips_opus_gb_per_hour=spoken_s_per_hour * storage["opus_bytes_per_speech_s"] / _GB,
        sql_gb_per_hour=segments * _HOUR_S * storage["sql_bytes_per_segment"] / _GB,
        redis_mb=segments * 30 * 2 * storage["redis_bytes_per_message"] / 1e6,
    )


def _speech(wish: Wish, table: Mapping[str, Any]) -> Mapping[str, Any]:
    measured = table["speech"]
    for one in measured:
        if (one["model"], one["device"]) == (wish.model, wish.device):
            found: Mapping[str, Any] = one
            return found
    if wish.windows_per_s:
        return {"windows_per_s": wish.windows_per_s, "memory_mb": 0}
    known = ", ".join(sorted(f"{one['model']} on {one['device']}" for one in measured))
    raise BadInputError(
        f"The model {wish.model} was not measured on {wish.device} (measured: {known}): measure it "
        "with `python -m tests.bench.asr_shapes` and give --windows-per-second."
    )
