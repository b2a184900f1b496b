"""Downloading a model, from a small hub on this machine that speaks the hub's own protocol."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipeline.asr.hub import repository
from tests.asr.random_whisper import DEMO, write_random_whisper

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "Systran/faster-whisper-small"
COMMIT = "c" * 40

#: Opens a model with a terminal to draw on, and prints its name and what was drawn.
PROGRAM = """
import io, sys
from pipeline.asr.model import open_recogniser
from pipeline.errors import ModelError

class Terminal(io.StringIO):
    def isatty(self):
        return True

screen = Terminal()
try:
    print(open_recogniser(sys.argv[1], device="cpu", progress=screen, threads=1).name)
except ModelError as error:
    print(error)
print(screen.getvalue().replace("\\r", "\\n"))
"""


class Hub(ThreadingHTTPServer):
    """One repository, whose files are those of `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), HubRequest)
        self.folder = folder
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubRequest(BaseHTTPRequestHandler):
    """The four requests that a download makes."""

    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(f"{self.command} {path}")
        files = sorted(self.server.folder.iterdir())
        if path == f"/api/models/{REPOSITORY}/revision/main":
            names = [{"rfilename": file.name} for file in files]
            self.answer(json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": names}).encode())
        elif path == f"/api/models/{REPOSITORY}/tree/{COMMIT}":
            tree = [
                {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": digest(f)}
                for f in files
            ]
            self.answer(json.dumps(tree).encode())
        elif path.startswith(f"/{REPOSITORY}/resolve/{COMMIT}/"):
            file = self.server.folder / path.rpartition("/")[2]
            self.answer(file.read_bytes(), {"ETag": f'"{digest(file)}"', "X-Repo-Commit": COMMIT})
        else:
            self.answer(b"{}", {"X-Error-Code": "RepoNotFound"}, status=404)

    def answer(self, body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


def digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(write_random_whisper(tmp_path / "served", DEMO)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def open_model(name: str, endpoint: str, home: Path) -> str:
    """What the program prints; the hub's client reads its variables when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name],
        env={"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
def test_a_model_is_downloaded_once_with_a_bar(hub: Hub, tmp_path: Path) -> None:
    """HF_ENDPOINT is asked, the bar reaches 100 %, and the second start needs no hub."""
    home = tmp_path / "home"
    first = open_model("small", hub.url, home)
    assert first.startswith("small\nDownloading speech model small …\n")
    assert "100%" in first
    asked = len(hub.asked)
    assert open_model("small", hub.url, home).strip() == "small"
    assert len(hub.asked) == asked


@pytest.mark.slow
def test_a_repository_the_hub_does_not_have_is_named(hub: Hub, tmp_path: Path) -> None:
    """A wrong owner or name is no network fault and is not called one."""
    answer = open_model("nobody/nothing", hub.url, tmp_path / "home")
    assert answer.startswith("The model hub has no speech model nobody/nothing: give one of tiny")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small", REPOSITORY),
        ("someone/whisper-zh", "someone/whisper-zh"),
        ("smal", None),
        ("./models/mine", None),
        ("/models/mine", None),
        ("../models", None),
        ("a/b/c", None),
    ],
)
def test_names_of_the_hub_are_told_from_paths(name: str, expected: str | None) -> None:
    """A path that does not exist is never asked for on the network."""
    assert repository(name) == expected
