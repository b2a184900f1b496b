"""The imports keep the layering of CONTRIBUTING.md, so that a stage can be read on its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "pipeline"

#: Folders of the stages, in the order of the data. A stage imports top-level modules and itself.
STAGES = ("ingest", "asr", "detect", "review", "reports", "console")

#: The only modules that may import stages other than their own: they join them.
JOINERS = {
    *(
        "cli",
        "cli_capacity",
        "cli_cases",
        "cli_deadletters",
        "cli_model",
        "cli_ops",
        "cli_push",
        "cli_rooms",
    ),
    *("cli_rules", "scoresheet", "terminal"),
    *("replay", "demo", "serve", "doctor", "roles"),
}

FILES = sorted(ROOT.rglob("*.py"))


def imported(source: str) -> Iterator[str]:
    """Names of all modules of ours that a source imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "pipeline":
            names = [f"pipeline.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "pipeline")


def layer_of(module: str) -> str:
    """Second part of a module's name: `pipeline.asr.worker` → `asr`, `pipeline` → ``."""
    return module.partition(".")[2].partition(".")[0]


def breaches(module: str, source: str) -> list[str]:
    """What a module imports although its place in the layout forbids it."""
    own = layer_of(module)
    if own in JOINERS or module.endswith(("__main__", ".worker")):
        # A worker joins stages, but nothing below the command line may reach up to it.
        forbidden = set() if own in JOINERS or module.endswith("__main__") else JOINERS
    else:
        forbidden = JOINERS | (set(STAGES) - {own})
    return sorted(name for name in imported(source) if layer_of(name) in forbidden)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_its_layer_allows(file: Path) -> None:
    """A stage imports top-level modules and its own folder; only joiners and workers join."""
    module = ".".join(("pipeline", *file.relative_to(ROOT).with_suffix("").parts))
    assert breaches(module, file.read_text(encoding="utf-8")) == []


def test_every_folder_of_the_package_has_a_place_in_the_layering() -> None:
    """A new folder is a stage or a shared one; it cannot slip past the check above."""
    folders = {file.parent.name for file in FILES if file.parent.parent == ROOT}
    assert folders - set(STAGES) <= {"store"}


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("pipeline.detect.price", "from pipeline.asr import Recogniser", ["pipeline.asr"]),
        ("pipeline.detect.price", "def f():\n    import pipeline.review", ["pipeline.review"]),
        ("pipeline.bus", "from pipeline import detect", ["pipeline.detect"]),
        ("pipeline.asr.worker", "from pipeline.cli import main", ["pipeline.cli"]),
        ("pipeline.asr.worker", "from pipeline.ingest import Vad", []),
        ("pipeline.asr.guards", "from pipeline.asr.text import simplify", []),
        ("pipeline.asr.guards", "from pipeline.records import Word", []),
        ("pipeline.cli", "from pipeline.reports import html", []),
    ],
)
def test_the_check_sees_a_breach(module: str, source: str, expected: list[str]) -> None:
    """The check itself can fail: it finds forbidden imports in every form they take."""
    assert breaches(module, source) == expected
