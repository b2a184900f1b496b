"""Which law holds on which day."""

from __future__ import annotations

import datetime as dt

from pipeline.detect import RulePack, legal_day


def test_the_day_whose_law_applies_is_that_of_beijing() -> None:
    """Late in the afternoon in Europe the next day's law already applies."""
    midnight = dt.datetime(2026, 1, 31, 16, 0, tzinfo=dt.UTC)
    assert legal_day(midnight) == dt.date(2026, 2, 1)
    assert legal_day(midnight - dt.timedelta(seconds=1)) == dt.date(2026, 1, 31)


def test_every_provision_can_be_looked_up(pack: RulePack) -> None:
    """By who issued it and its number; links lead to official sites only, one text one address."""
    addresses: dict[tuple[str, str], set[str]] = {}
    for versions in pack.basis.versions.values():
        for one in versions:
            assert len(one.basis.source) >= 20, one.basis.id
            assert one.kind != "platform_rule" or not one.basis.verified, one.basis.id
            if one.basis.link:
                host = one.basis.link.split("/")[2]
                assert host.endswith(".gov.cn"), one.basis.id
                addresses.setdefault((one.basis.title, host), set()).add(one.basis.link)
    assert len(addresses) >= 7
    assert all(len(found) == 1 for found in addresses.values())


def test_the_link_of_a_law_is_that_of_its_version(pack: RulePack) -> None:
    """The text of 2025 is no proof for what was said before it was in force."""
    old, new = pack.basis.versions["unfair-competition-disparagement"]
    assert (old.basis.link, new.basis.link != "") == ("", True)
    assert "2025-06-27" in new.basis.source
