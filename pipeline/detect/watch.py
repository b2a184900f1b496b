"""The rules of a running worker: a changed pack is taken, a broken one refused and the old kept."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipeline.detect.lexicon import EXTRA, load_rule_pack
from pipeline.detect.pack import RulePack
from pipeline.errors import RulePackError
from pipeline.metrics import Metrics
from pipeline.resources import resource

#: How often the files are looked at; with a pause of the worker and the time to load, a change is
#: in force within 5 s.
EVERY_S = 2.0

_LOG = logging.getLogger(__name__)

#: Name, size and time of every file.
_Look = tuple[tuple[str, int, int], ...]


class PackWatch:
    """A rule pack that follows its files. One thread uses it."""

    def __init__(
        self,
        folder: Path | None,
        packs: Sequence[str],
        metrics: Metrics,
        clock: Callable[[], float],
        every_s: float = EVERY_S,
    ) -> None:
        """`folder` None: the bundled rules; `clock` gives monotonic seconds.

        Raises RulePackError when the pack is refused at once: then there is no old one to keep.
        """
        self._folder = folder or resource("lexicons")
        self._packs = tuple(packs)
        self._metrics = metrics
        self._clock = clock
        self._every_s = every_s
        self._look = _look(self._folder)
        self._looked_s = clock()
        self._pack = load_rule_pack(self._folder, self._packs)
        self._refused = ""

    def current(self) -> RulePack:
        """The pack as it is now, or the last one that was good."""
        now = self._clock()
        if now - self._looked_s >= self._every_s:
            self._looked_s = now
            # Looked at before it is read: what is written meanwhile is seen the next time.
            look = _look(self._folder)
            if look != self._look:
                self._look = look
                self._reload()
        return self._pack

    def _reload(self) -> None:
        content = _digest(self._folder)
        try:
            pack = load_rule_pack(self._folder, self._packs)
        except RulePackError as error:
            if content != self._refused:
                self._refused = content
                self._metrics.rule_pack_reloads.labels("refused").inc()
                _LOG.error("%s Rules %s stay in force.", error, self._pack.label)
            return
        self._refused = ""
        if pack.content_hash != self._pack.content_hash:
            self._pack = pack
            self._metrics.rule_pack_reloads.labels("loaded").inc()
            _LOG.warning("Rules %s are in force.", pack.label)


def _files(folder: Path) -> Iterator[Path]:
    for part in (folder, folder / EXTRA):
        yield from sorted(part.glob("*.toml"))


def _look(folder: Path) -> _Look:
    found = []
    for file in _files(folder):
        try:
            status = file.stat()
        except OSError:  # gone since the folder was listed; loading says what is missing
            continue
        found.append((str(file), status.st_size, status.st_mtime_ns))
    return tuple(found)


def _digest(folder: Path) -> str:
    """Of all files, to know a content that was refused before; loading tells what is unreadable."""
    digest = hashlib.sha256()
    for file in _files(folder):
        try:
            content = file.read_bytes()
        except OSError:
            content = b""
        digest.update(b"%s\0%d\0%s" % (file.name.encode(), len(content), content))
    return digest.hexdigest()
