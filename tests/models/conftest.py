"""The scripts that made the speech model, imported as they import each other."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from pipeline.resources import resource


def script(name: str) -> ModuleType:
    """A module of models/asr_demo; the folder is on the path only while it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(resource("models", "asr_demo")))
        return importlib.import_module(name)


@pytest.fixture(scope="session")
def sentences() -> ModuleType:
    """What writes the training text; needs neither torch nor espeak-ng."""
    return script("sentences")


@pytest.fixture(scope="session")
def vocabulary() -> ModuleType:
    """The tables of tokens and syllables; needs neither torch nor espeak-ng."""
    return script("vocabulary")
