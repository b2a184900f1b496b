"""What an installation from the wheel gets, without a checkout beside it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PRINT_RESOURCES = """
from pipeline.resources import resource
for parts in (
    ("lexicons",),
    ("lexicons", "extra"),
    ("models", "asr_demo", "weights"),
    ("models", "asr_demo", "text", "areas"),
    ("models", "classifier", "weights"),
    ("models", "corpus", "broadcasts"),
    ("models", "demo_broadcast"),
):
    print(sum(1 for file in resource(*parts).rglob("*") if file.is_file()))
print(len(resource("models", "capacity.toml").read_bytes()))
"""


@pytest.mark.slow
def test_the_wheel_carries_rule_packs_model_and_broadcast(tmp_path: Path) -> None:
    """The same files are found through `resource` in an installed wheel as in a checkout."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)

    def counts(folder: Path) -> list[str]:
        run = [sys.executable, "-c", PRINT_RESOURCES]
        return subprocess.run(
            run, cwd=folder, check=True, capture_output=True, text=True
        ).stdout.split()

    assert counts(installed) == counts(ROOT)
    assert "0" not in counts(installed)
