"""A PostgreSQL of our own for tests and benches, on a unix socket, without the system's."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def postgres_program(name: str) -> str:
    """Path of a program of PostgreSQL. Raises FileNotFoundError where it is not installed."""
    found = shutil.which(name)
    if found:
        return found
    # Debian keeps them off PATH, one folder for each version.
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if not installed:
        raise FileNotFoundError(f"PostgreSQL's {name} is not installed")
    return str(installed[-1])


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root: the account to use instead, None when we are not root."""
    if os.geteuid() != 0:
        return None
    names = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def make_cluster(folder: Path) -> None:
    """Make an empty cluster in `folder`, which other accounts must be able to reach."""
    user = _unprivileged_user()
    if user:
        shutil.chown(folder, user)
    command = [postgres_program("initdb"), "-D", f"{folder}/data", "--encoding=UTF8", "--locale=C"]
    subprocess.run(
        [*command, "--auth=trust", "--username=postgres", "--no-sync"],
        user=user,
        cwd="/",
        check=True,
        capture_output=True,
    )


def start_cluster(folder: Path, port: int, *settings: str) -> subprocess.Popen[bytes]:
    """Start the cluster in `folder`, with its socket there, and wait until it answers.

    Raises RuntimeError where it does not start.
    """
    command = [postgres_program("postgres"), "-D", f"{folder}/data", "-k", str(folder)]
    server = subprocess.Popen(
        [*command, f"--port={port}", *(f"--{setting}" for setting in settings)],
        user=_unprivileged_user(),
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _wait(server, folder, port)
    return server


@contextmanager
def postgres_server(*, durable: bool = True) -> Iterator[Path]:
    """Folder with the socket of a new cluster; what it holds is gone afterwards.

    Not `durable`: it does not wait for the disk, as nothing has to last. Raises FileNotFoundError
    where PostgreSQL is not installed and RuntimeError where it does not start.
    """
    settings = ["listen_addresses="]
    settings += [] if durable else ["fsync=off", "full_page_writes=off"]
    # Not under pytest's own folder: that one is closed to other accounts.
    with tempfile.TemporaryDirectory(prefix="tingbo-pg-") as name:
        folder = Path(name)
        make_cluster(folder)
        server = start_cluster(folder, 5432, *settings)
        try:
            yield folder
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait(server: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    import psycopg

    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(host=str(folder), port=port, user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    server.kill()
    server.wait()
    raise RuntimeError("PostgreSQL does not start")


@contextmanager
def postgres_database(folder: Path) -> Iterator[str]:
    """URL of an empty database of the cluster in `folder`, dropped afterwards."""
    import psycopg

    name = f"test_{time.monotonic_ns()}"
    with psycopg.connect(
        host=str(folder), user="postgres", dbname="postgres", autocommit=True
    ) as control:
        control.execute(f"CREATE DATABASE {name}".encode())
        yield f"postgresql+psycopg://postgres@/{name}?host={folder}"
        control.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
