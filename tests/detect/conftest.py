"""The bundled rule pack, loaded once."""

from __future__ import annotations

import pytest

from pipeline.detect import RulePack, load_rule_pack


@pytest.fixture(scope="session")
def pack() -> RulePack:
    """The rules of lexicons/."""
    return load_rule_pack()
