"""A Redis Cluster and a Redis with Sentinels on loopback, of the server program that is here."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import redis

from pipeline.redis_server import find_redis_binary

_SLOTS = 16_384


def free_port() -> int:
    """A port nobody listens on; a cluster's own port is 10,000 above it."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            if port > 55_000:
                continue
            try:
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port


def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait for `condition`, which may fail with a Redis error meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except redis.RedisError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s")


@contextmanager
def server(folder: Path, port: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """One server on 127.0.0.1:`port` that keeps nothing on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        str(find_redis_binary().path),
        *arguments,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
    ]
    command += ["--dir", str(folder), "--logfile", str(folder / "log")]
    process = subprocess.Popen(command, cwd=folder)
    try:
        with redis.Redis(port=port) as client:
            until(client.ping, f"the start of the server on {port}")
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def cluster(folder: Path) -> Iterator[list[int]]:
    """Three masters without replicas that share the slots; gives their ports."""
    ports = [free_port() for _ in range(3)]
    memory_only = ("--save", "", "--appendonly", "no")
    with ExitStack() as stack:
        for port in ports:
            node = ("--cluster-enabled", "yes", "--cluster-config-file", f"{port}.conf")
            stack.enter_context(server(folder / str(port), port, *node, *memory_only))
        clients = [stack.enter_context(redis.Redis(port=port)) for port in ports]
        edges = [_SLOTS * i // len(ports) for i in range(len(ports) + 1)]
        for client, first, end in zip(clients, edges, edges[1:], strict=False):
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
        for port in ports[1:]:
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port)
        for client in clients:
            until(partial(_agrees, client, len(ports)), "agreement of the cluster")
        yield ports


def _agrees(client: redis.Redis, nodes: int) -> bool:
    info = client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]  # of redis-py
    text = info if isinstance(info, dict) else {}
    return text.get("cluster_state") == "ok" and text.get("cluster_known_nodes") == str(nodes)


@contextmanager
def sentinel(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes], int]]:
    """A master, its replica, one Sentinel; gives the Sentinel's port, the master, the replica's."""
    master, replica, watcher = free_port(), free_port(), free_port()
    memory_only = ("--save", "", "--appendonly", "no")
    with ExitStack() as stack:
        process = stack.enter_context(server(folder / "master", master, *memory_only))
        follow = ("--replicaof", f"127.0.0.1 {master}", "--repl-diskless-sync-delay", "0")
        stack.enter_context(server(folder / "replica", replica, *memory_only, *follow))
        config = folder / "sentinel.conf"
        config.write_text(
            f"sentinel monitor tingbo 127.0.0.1 {master} 1\n"
            "sentinel down-after-milliseconds tingbo 500\n"
            "sentinel failover-timeout tingbo 3000\n",
            encoding="ascii",
        )
        stack.enter_context(server(folder / "watcher", watcher, str(config), "--sentinel"))
        with redis.Redis(port=watcher, decode_responses=True) as client:
            until(
                lambda: len(client.execute_command("SENTINEL REPLICAS", "tingbo")) == 1,
                "the Sentinel's meeting the replica",
            )
        with redis.Redis(port=replica) as client:
            until(
                lambda: client.info("replication")["master_link_status"] == "up",
                "the first synchronisation",
            )
        yield watcher, process, replica
