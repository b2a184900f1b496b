"""Rules that follow their files: a change is in force within seconds, a broken one never."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from pipeline.detect import PackWatch
from pipeline.errors import RulePackError
from pipeline.metrics import Metrics
from tests.detect.packs import extra, rule, rules, write_extra, write_pack

PHONE = rules(rule(), rule("S02-phone", '"打电话"', flag=("打电话", "打电话")))
BROKEN = rules(rule(patterns='"[nobody]"'))


class Watched:
    """A watch over a small pack, with a clock that is set by hand."""

    def __init__(self, folder: Path, packs: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.now_s = 100.0
        self.metrics = Metrics()
        self.watch = PackWatch(folder, packs, self.metrics, lambda: self.now_s)

    def rules_after(self, seconds: float) -> list[str]:
        """Ids of the rules in force after some time."""
        self.now_s += seconds
        return [rule.id for rule in self.watch.current().rules]

    def reloads(self, outcome: str) -> float:
        return self.metrics.value("tingbo_rule_pack_reloads_total", outcome=outcome)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(write_pack(tmp_path / "pack"))


def test_a_changed_pack_is_in_force_within_five_seconds(watched: Watched) -> None:
    """The files are looked at every two seconds and not with every utterance."""
    before = watched.watch.current()
    write_pack(watched.folder, solicit=PHONE)
    assert watched.rules_after(1.9) == ["S01-contact"]
    assert watched.rules_after(0.1) == ["S01-contact", "S02-phone"]
    assert watched.watch.current().content_hash != before.content_hash
    assert watched.reloads("loaded") == 1


def test_a_new_and_a_removed_file_are_changes(watched: Watched) -> None:
    """Rules come and go by the file."""
    write_pack(watched.folder, more=rules(rule("S02-phone", '"打电话"', flag=("打电话", "打电话"))))
    assert watched.rules_after(2) == ["S02-phone", "S01-contact"]
    (watched.folder / "more.toml").unlink()
    assert watched.rules_after(2) == ["S01-contact"]


def test_an_extra_pack_that_is_on_is_watched_too(tmp_path: Path) -> None:
    """Its files lie in a folder of their own."""
    folder = write_extra(write_pack(tmp_path / "pack"), absolute=extra())
    watched = Watched(folder, ("absolute",))
    write_extra(folder, absolute=extra(id_="A02-first"))
    assert watched.rules_after(2) == ["S01-contact", "A02-first"]


def test_a_broken_pack_is_refused_and_the_old_one_stays(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has file, line and reason once, however often the file is looked at or touched."""
    label = watched.watch.current().label
    write_pack(watched.folder, solicit=BROKEN)
    for turn in range(3):
        assert watched.rules_after(2) == ["S01-contact"]
        os.utime(watched.folder / "solicit.toml", ns=(0, turn))
    assert watched.watch.current().label == label
    assert watched.reloads("refused") == 1
    (record,) = [item for item in caplog.records if item.levelno == logging.ERROR]
    assert "solicit.toml, line 5, S01-contact: " in record.getMessage()
    assert "unknown class [nobody]" in record.getMessage()
    assert label in record.getMessage()


def test_another_fault_is_told_again_and_a_cure_is_taken(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """Each content is refused for its own reason; a good one is in force at the next look."""
    write_pack(watched.folder, solicit=BROKEN)
    watched.rules_after(2)
    write_pack(watched.folder, solicit="category = ")
    watched.rules_after(2)
    (watched.folder / "acts.toml").unlink()
    assert watched.rules_after(2) == ["S01-contact"]
    reasons = [record.getMessage() for record in caplog.records]
    assert ["not valid TOML" in reason for reason in reasons[:2]] == [False, True]
    assert watched.reloads("refused") == 3
    write_pack(watched.folder, solicit=PHONE)
    assert watched.rules_after(2) == ["S01-contact", "S02-phone"]


def test_touching_files_changes_nothing(watched: Watched) -> None:
    """The same content is the same pack, whatever its time says."""
    before = watched.watch.current()
    os.utime(watched.folder / "solicit.toml", ns=(0, 0))
    watched.rules_after(2)
    assert watched.watch.current() is before
    assert watched.reloads("loaded") == 0


def test_a_pack_that_is_broken_at_the_start_is_refused(tmp_path: Path) -> None:
    """There is no old one to go on with."""
    with pytest.raises(RulePackError, match="nobody"):
        Watched(write_pack(tmp_path / "pack", solicit=BROKEN))


def test_a_folder_that_goes_away_leaves_the_rules_in_force(watched: Watched) -> None:
    """A share that is not mounted for a moment must not stop the judging."""
    watched.folder.rename(watched.folder.with_name("away"))
    assert watched.rules_after(2) == ["S01-contact"]
    assert watched.reloads("refused") == 1
    watched.folder.with_name("away").rename(watched.folder)
    write_pack(watched.folder, solicit=PHONE)
    assert watched.rules_after(2) == ["S01-contact", "S02-phone"]
