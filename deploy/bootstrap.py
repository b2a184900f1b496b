"""Make a virtual environment with pip in it, on a machine that has nothing but Python.

    python3 deploy/bootstrap.py .venv

Debian and Ubuntu keep `ensurepip` in a package of its own (python3-venv). Where it is absent, pip
comes from the package index that pip itself would ask: PIP_INDEX_URL, `index-url` of a pip.conf,
else the public one. Runs before anything is installed, so it uses the standard library alone.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import html.parser
import importlib.util
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from pathlib import Path

NEEDED = (3, 11)
PUBLIC_INDEX = "https://pypi.org/simple"
REMEDY = "install the package python3-venv, or name a reachable package index in PIP_INDEX_URL"


class BootstrapError(Exception):
    """Raised when pip cannot be had; the message is a sentence for the user."""


class Links(html.parser.HTMLParser):
    """Collects the target of every link of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep where a link leads."""
        self.found += [value for name, value in attrs if (tag, name) == ("a", "href") and value]


def pip_setting(name: str) -> str | None:
    """Value of a pip setting such as `index-url`; the environment wins over the files."""
    value = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    files = [
        Path("/etc/pip.conf"),
        Path.home() / ".pip/pip.conf",
        Path.home() / "Library/Application Support/pip/pip.conf",
        config_home / "pip/pip.conf",
        Path(os.environ.get("PIP_CONFIG_FILE") or os.devnull),
    ]
    # Like pip, a later file overrides an earlier one, and [install] overrides [global].
    config = configparser.RawConfigParser()
    config.read(files, encoding="utf-8")
    for section in ("install", "global"):
        value = value or config.get(section, name, fallback=None)
    return value


def fetch(url: str) -> tuple[bytes, str]:
    """Content of a URL, and the URL its relative links start from, login included."""
    parts = urllib.parse.urlsplit(url)
    credentials, _, host = parts.netloc.rpartition("@")
    # S310: the address is the user's own pip setting, or the public index.
    request = urllib.request.Request(parts._replace(netloc=host).geturl())  # noqa: S310
    if credentials:
        token = base64.b64encode(urllib.parse.unquote(credentials).encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    context = ssl.create_default_context(cafile=pip_setting("cert"))
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:  # noqa: S310
            final = urllib.parse.urlsplit(answer.geturl())
            login = parts.netloc if final.netloc == host else final.netloc
            return answer.read(), final._replace(netloc=login).geturl()
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise BootstrapError(f"Cannot read {request.full_url} ({reason}); {REMEDY}.") from error


def pip_version(url: str) -> tuple[int, ...]:
    """Version of the released pip wheel behind a link; empty for any other file."""
    found = re.search(r"/pip-(\d+(?:\.\d+)*)-py3-none-any\.whl$", urllib.parse.urlsplit(url).path)
    return tuple(int(number) for number in found[1].split(".")) if found else ()


def fetch_pip(folder: Path) -> Path:
    """Download the newest pip of the index into `folder`, checked against the index's sha256."""
    index = (pip_setting("index-url") or PUBLIC_INDEX).rstrip("/")
    page, address = fetch(f"{index}/pip/")
    links = Links()
    links.feed(page.decode("utf-8"))
    newest = max(
        (urllib.parse.urljoin(address, link) for link in links.found), key=pip_version, default=""
    )
    if not pip_version(newest):
        raise BootstrapError(f"The package index lists no pip; {REMEDY}.")
    url, fragment = urllib.parse.urldefrag(newest)
    wheel, _ = fetch(url)
    promised = urllib.parse.parse_qs(fragment).get("sha256")
    if promised and hashlib.sha256(wheel).hexdigest() != promised[0]:
        raise BootstrapError(
            "The pip of the package index came damaged (its sha256 differs); try again."
        )
    file = folder / Path(urllib.parse.urlsplit(url).path).name
    file.write_bytes(wheel)
    return file


def make(folder: Path) -> None:
    """Make the environment; what lay in `folder` before is gone."""
    has_ensurepip = importlib.util.find_spec("ensurepip") is not None
    venv.create(folder, symlinks=True, with_pip=has_ensurepip, clear=True)
    if has_ensurepip:
        return
    print("Python's ensurepip is not installed here: taking pip from the package index.")
    with tempfile.TemporaryDirectory() as scratch:
        wheel = fetch_pip(Path(scratch))
        # A wheel is a zip archive that Python can run a package from, so pip installs itself.
        subprocess.run(
            [folder / "bin/python", wheel / "pip", "install", "--quiet", "--no-index", wheel],
            check=True,
        )


def main(folder: Path) -> int:
    """Make the environment or nothing; 3 is tingbo's exit code for "something is missing here"."""
    if sys.version_info < NEEDED:
        have = ".".join(str(number) for number in sys.version_info[:3])
        print(
            f"tingbo needs Python 3.11 or newer and {sys.executable} is {have}; name a newer one:"
            " make demo PYTHON=/path/to/python3",
            file=sys.stderr,
        )
        return 3
    made = False
    try:
        make(folder)
        made = True
    except (BootstrapError, subprocess.CalledProcessError, OSError) as error:
        print(f"No Python environment in {folder}: {error}", file=sys.stderr)
    finally:
        if not made:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if made else 3


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
