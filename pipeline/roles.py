"""One role in this process: made from the settings, at work until it is stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Event

from pipeline.asr import Recogniser, load_recogniser
from pipeline.asr.fit import warm_up
from pipeline.asr.load import Thresholds
from pipeline.asr.second_opinion import SecondOpinionWorker
from pipeline.asr.upkeep import Limits as UpkeepLimits
from pipeline.asr.upkeep import Upkeep
from pipeline.asr.worker import AsrWorker, Batching, Places
from pipeline.bus import Bus, consumer_name
from pipeline.clips import ClipStore
from pipeline.codec import encode
from pipeline.detect import PackWatch, load_classifier
from pipeline.detect.worker import DetectWorker
from pipeline.detect.worker import Places as DetectPlaces
from pipeline.errors import ExitCode, MissingError, SettingError
from pipeline.health import Health, serve_pages
from pipeline.ingest.ingester import Ingester
from pipeline.ingest.limits import limit_memory
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.room import RoomOptions
from pipeline.ingest.worker import SWITCH_S, IngestOptions, IngestResult, IngestWorker, Outlets
from pipeline.janitor import Janitor
from pipeline.metrics import Metrics
from pipeline.processes import Ready, stop_with_stdin, stoppable
from pipeline.settings import Settings
from pipeline.store import Store


@dataclass(frozen=True, slots=True)
class _Means:
    """What every role works with."""

    bus: Bus
    store: Store
    metrics: Metrics
    health: Health
    stop: Event


@contextmanager
def _means(settings: Settings, role: str, *needs: str, watch_stdin: bool) -> Iterator[_Means]:
    """What `role` works with; it is ready once it has what it `needs` besides bus and records."""
    if settings.redis_url is None:
        raise MissingError(
            "A single role needs a bus shared with the other roles: set redis_url "
            "(TINGBO_REDIS_URL), or run `tingbo serve`, which starts everything."
        )
    with ExitStack() as stack:
        stop = stack.enter_context(stoppable())
        metrics = Metrics()
        health = Health(role, metrics, ("bus", "records", *needs))
        if settings.metrics_port:
            port, host = settings.metrics_port, settings.metrics_host
            stack.enter_context(serve_pages(metrics.registry, health, port, host))
        bus = stack.enter_context(
            Bus(settings.redis_url, metrics, partitions=settings.bus_partitions)
        )
        store = stack.enter_context(Store(settings.effective_database_url))
        health.watch("bus", bus.ping)
        health.watch("records", store.ping)
        if watch_stdin:
            stop_with_stdin(stop)
        yield _Means(bus, store, metrics, health, stop)


def run_ingest(  # noqa: PLR0913 -- the role's command line
    settings: Settings,
    source: str,
    room: str,
    window_ms: int,
    speed: float | None,
    broadcast: str | None,
    *,
    watch_stdin: bool = False,
) -> IngestResult:
    """Listen to one source until it ends or this process is told to stop."""
    limit_memory(settings.ingest_memory_mb)
    with _means(settings, "ingest", watch_stdin=watch_stdin) as means:
        clips = ClipStore(settings.effective_clips_url, settings.clip_format)
        folders = settings.allowed_media_dirs or None
        outlets = Outlets(means.store, means.bus, clips, means.metrics)
        options = IngestOptions.of(settings, window_ms, folders)
        with Outbox(means.metrics) as outbox:
            worker = IngestWorker(outlets, options, means.stop, outbox=outbox)
            return worker.run(room, source, speed=speed, broadcast=broadcast)


def run_ingester(
    settings: Settings, window_ms: int, max_rooms: int, *, watch_stdin: bool = False
) -> None:
    """Listen to a share of the monitored rooms until told to stop."""
    limit_memory(settings.ingest_memory_mb)
    sys.setswitchinterval(SWITCH_S)
    with _means(settings, "ingest", watch_stdin=watch_stdin) as means:
        clips = ClipStore(settings.effective_clips_url, settings.clip_format)
        outlets = Outlets(means.store, means.bus, clips, means.metrics)
        # Addresses in the list of rooms come from users: private ones are refused.
        options = IngestOptions.of(settings, window_ms, (), typed=False)
        Ingester(
            outlets,
            RoomOptions(options, settings.broadcast_pause_s),
            consumer_name(),
            means.stop,
            max_rooms,
            settings.room_lease_s,
        ).run()


def run_push(settings: Settings, window_ms: int, *, watch_stdin: bool = False) -> None:
    """Take the rooms that media servers push until told to stop."""
    from pipeline.ingest.http_server import Listen, serve
    from pipeline.ingest.intake import Intake
    from pipeline.ingest.push_server import MAX_CHUNK_BYTES, SEQ_BYTES, PushServer

    if not settings.push_port:
        raise SettingError(
            "Setting push_port is 0: give the port on which media servers push "
            "(--port, or TINGBO_PUSH_PORT)."
        )
    limit_memory(settings.ingest_memory_mb)
    with _means(settings, "push", watch_stdin=watch_stdin) as means:
        clips = ClipStore(settings.effective_clips_url, settings.clip_format)
        outlets = Outlets(means.store, means.bus, clips, means.metrics)
        options = RoomOptions(IngestOptions.of(settings, window_ms), settings.broadcast_pause_s)
        listen = Listen(settings.push_host, settings.push_port, MAX_CHUNK_BYTES + SEQ_BYTES)
        with (
            Outbox(means.metrics) as outbox,
            Intake(outlets, outbox, options, means.stop, consumer_name()) as intake,
        ):
            server = PushServer(intake, means.store.push, means.metrics)
            serve(
                server.app(),
                listen,
                means.stop,
                refused=server.refused,
                ready=lambda: _say(Ready("push")),
                turned=means.metrics.loop_turned,
            )


def run_asr(
    settings: Settings, *, second_opinion: bool = False, watch_stdin: bool = False
) -> ExitCode:
    """Transcribe until told to stop, or until the process should be started again (AGAIN).

    For a `second_opinion` only clips with a finding are heard, after they were judged.
    Raises ModelError when the model does not pass its canary, at first or later.
    """
    with _means(settings, "asr", "model", watch_stdin=watch_stdin) as means:
        recogniser = load_recogniser(
            settings.asr_model, device=settings.device, progress=sys.stderr
        )
        clips = ClipStore(settings.effective_clips_url, settings.clip_format)
        warmth = warm_up(recogniser, settings.max_batch)
        thresholds = Thresholds(settings.merge_after_s, settings.shed_after_s)
        batching = Batching(
            warmth.limit, settings.batch_wait_ms, thresholds, segment_s=warmth.window_s
        )
        upkeep = _upkeep(recogniser, settings, means)
        places = Places(means.bus, means.store, clips, means.metrics)
        worker: AsrWorker | SecondOpinionWorker
        if second_opinion:
            worker = SecondOpinionWorker(recogniser, places, batching, means.stop)
        else:
            worker = AsrWorker(recogniser, places, batching, means.stop)
        means.health.watch("model", upkeep.check)
        _say(Ready("asr", recogniser.window_ms, recogniser.synthetic_only))
        worker.run(upkeep)
        return _outcome(upkeep)


def _upkeep(recogniser: Recogniser, settings: Settings, means: _Means) -> Upkeep:
    limits = UpkeepLimits(
        recycle_after_s=3600 * settings.recycle_after_h, growth_mb=settings.recycle_growth_mb
    )
    return Upkeep(recogniser, limits, means.stop, means.metrics)


def _outcome(upkeep: Upkeep) -> ExitCode:
    if upkeep.failure is not None:
        raise upkeep.failure
    return ExitCode.AGAIN if upkeep.recycled else ExitCode.CLEAN


def run_detect(settings: Settings, *, watch_stdin: bool = False) -> None:
    """Judge transcripts until told to stop. Raises RulePackError when the rules are refused.

    Changed rule files are in force within 5 s; broken ones are refused and the old rules stay.
    """
    with _means(settings, "detect", "rules", watch_stdin=watch_stdin) as means:
        rules = PackWatch(settings.lexicons_dir, settings.packs, means.metrics, time.monotonic)
        classifier = load_classifier(settings.effective_classifier_dir)
        places = DetectPlaces(means.bus, means.store, means.metrics)
        worker = DetectWorker(places, rules, classifier, means.stop)
        means.health.have("rules")
        _say(Ready("detect"))
        worker.run()


def run_janitor(settings: Settings, *, watch_stdin: bool = False) -> None:
    """Keep the streams short and the gauges of the installation up to date until told to stop."""
    with _means(settings, "janitor", watch_stdin=watch_stdin) as means:
        janitor = Janitor(means.bus, means.store, means.metrics, means.stop)
        _say(Ready("janitor"))
        janitor.run()


def _say(ready: Ready) -> None:
    """Tell whoever started this process that it works."""
    sys.stdout.write(encode(ready) + "\n")
    sys.stdout.flush()
