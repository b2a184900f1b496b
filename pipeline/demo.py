"""The bundled broadcast as a live room: what is raised, and how it compares with its script."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import __version__
from pipeline.alerts import Alert, alerts
from pipeline.bus import Bus
from pipeline.detect import load_rule_pack
from pipeline.errors import BadInputError, MissingError
from pipeline.ingest import SourceOptions, open_source
from pipeline.metrics import Metrics
from pipeline.processes import Running, running
from pipeline.records import AudioChunk, Category, Finding, Verdict, Versions
from pipeline.redis_server import embedded_redis
from pipeline.reports.html import write_replay_html
from pipeline.reports.replay import Replay
from pipeline.reports.sound import SoundTrack
from pipeline.resources import resource
from pipeline.settings import Settings
from pipeline.store import Store

#: A finding belongs to a line of the script when they overlap, give or take this much.
_SLACK_MS = 300
_ROOM = "demo"


@dataclass(frozen=True, slots=True)
class Label:
    """A line of the demo's script with its place in the sound."""

    start_ms: int
    end_ms: int
    text: str
    category: Category | None
    """None: the line is fine."""
    lookalike: bool
    """Fine, though it holds words that a word list would flag."""
    note: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A broadcast's findings against its script."""

    found: tuple[Label, ...]
    missed: tuple[Label, ...]
    false_alarms: tuple[Finding, ...]
    """Raised where the script says nothing of that category is wrong."""
    lookalikes: int
    lookalikes_flagged: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo ends with."""

    comparison: Comparison
    latencies_ms: tuple[int, ...]
    replay: Replay
    page: Path
    data_dir: Path


def read_labels(path: Path) -> tuple[Label, ...]:
    """Lines of a script's labels.json, in time order; stretches without speech are left out."""
    rows = json.loads(path.read_text(encoding="utf-8"))["labels"]
    return tuple(
        Label(
            row["start_ms"],
            row["end_ms"],
            row["text"],
            Category(row["category"]) if "category" in row else None,
            bool(row.get("lookalike", False)),
            row.get("note", ""),
        )
        for row in rows
        if "text" in row
    )


def compare(labels: tuple[Label, ...], findings: tuple[Finding, ...]) -> Comparison:
    """What was found, what was missed, and what was raised on a line that is fine."""

    def overlaps(finding: Finding, label: Label) -> bool:
        middle = (finding.start_ms + finding.end_ms) // 2
        return label.start_ms - _SLACK_MS < middle < label.end_ms + _SLACK_MS

    def matches(finding: Finding, label: Label) -> bool:
        return finding.category is label.category and overlaps(finding, label)

    raised = [one for one in findings if one.verdict is not Verdict.PASS]
    violating = [label for label in labels if label.category is not None]
    found = tuple(label for label in violating if any(matches(one, label) for one in raised))
    false = tuple(one for one in raised if not any(matches(one, label) for label in violating))
    lookalikes = [label for label in labels if label.lookalike]
    return Comparison(
        found=found,
        missed=tuple(label for label in violating if label not in found),
        false_alarms=false,
        lookalikes=len(lookalikes),
        lookalikes_flagged=sum(any(overlaps(one, label) for one in false) for label in lookalikes),
    )


def run_demo(settings: Settings, speed: float, on_alert: Callable[[Alert], None]) -> Outcome:
    """Play the bundled broadcast at `speed` through all roles, on embedded parts in its own folder.

    The folder is emptied first and stays afterwards, so that the queue can be looked at. Raises
    BadInputError while another demo runs there, MissingError when a role ends.
    """
    media, labels = (
        resource("models", "demo_broadcast", name) for name in ("broadcast.ogg", "labels.json")
    )
    with _own_folder(settings.data_dir / "demo") as folder:
        own = replace(
            settings,
            data_dir=folder,
            redis_url=None,
            database_url=None,
            clips_url=None,
            asr_model="demo",
        )
        broadcast = f"demo-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"
        latencies = []
        with running(own) as live:
            for alert in _played(live, media, broadcast, speed):
                latencies.append(alert.latency_ms)
                on_alert(alert)
        page = folder / "report.html"
        result = _report(own, broadcast, media, page)
        comparison = compare(read_labels(labels), result.findings)
        return Outcome(comparison, tuple(latencies), result, page, folder)


@contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = (folder.parent / "demo.lock").open("wb")
    except OSError as error:
        raise MissingError(
            f"The data folder {folder.parent} cannot be written ({error.strerror}): "
            "set TINGBO_DATA_DIR to a folder of yours."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInputError(
                f"A demo is already running in {folder}: wait for its end, or set TINGBO_DATA_DIR."
            ) from None
        if (folder / "redis").is_dir():
            with embedded_redis(folder / "redis"):
                pass  # leaving it ends the server of a demo that was killed
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder


def _played(live: Running, media: Path, broadcast: str, speed: float) -> Iterator[Alert]:
    with (
        Bus(
            str(live.settings.redis_url), Metrics(), partitions=live.settings.bus_partitions
        ) as bus,
        Store(live.settings.effective_database_url) as store,
    ):
        ingest = live.roles.start(
            "ingest",
            str(media),
            "--room",
            _ROOM,
            "--broadcast",
            broadcast,
            "--speed",
            str(speed),
            "--window-ms",
            str(live.asr.window_ms),
            lasting=False,
        )

        def finished() -> bool:
            live.roles.check()
            if ingest.ended():
                raise MissingError(ingest.last_words())
            return ingest.ended() is not None

        yield from alerts(bus, store, finished)


def _report(settings: Settings, broadcast: str, media: Path, page: Path) -> Replay:
    """Write the page of a stored broadcast, and give what it shows."""
    pack = load_rule_pack(settings.lexicons_dir, settings.packs)
    with Store(settings.effective_database_url) as store:
        stretches = tuple(store.stretches(broadcast))
        result = Replay(
            media=media.name,
            duration_ms=max((item.end_ms for item in stretches), default=0),
            coverage=store.coverage(broadcast),
            stretches=stretches,
            transcripts=tuple(store.transcripts(broadcast)),
            findings=tuple(store.findings(broadcast)),
            versions=Versions(
                engine=__version__,
                rule_pack=f"{pack.version}+{pack.content_hash[:12]}",
                asr=settings.asr_model,
            ),
            made_at=dt.datetime.now(dt.UTC),
            synthetic_only=True,
        )
    with SoundTrack() as track:
        with open_source(str(media), SourceOptions(10, 10)) as source:
            for item in source.read():
                if isinstance(item, AudioChunk):
                    track.add(item)
        write_replay_html(result, track.finish(result.duration_ms), page)
    return result
