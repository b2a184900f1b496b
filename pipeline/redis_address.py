"""Where the bus is: one Redis or Valkey, the master that Sentinels know, or a Cluster.

redis://host:6379/0   rediss://…   unix:///path
redis-sentinel://:password@host1:26379,host2:26379/mymaster/0
redis-cluster://host1:6379,host2:6379     rediss-cluster://…
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from pipeline.errors import BusError

#: Above the longest blocking read, so that only a dead connection times out.
_SOCKET_SECONDS = 30.0
_RETRIES = 8
#: A failover takes Sentinel some seconds; writes meanwhile meet a replica, or nobody.
_RETRIED = [
    redis.ConnectionError,
    redis.TimeoutError,
    redis.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
]
_FORMS = (
    "redis://host:port/0, rediss://…, unix:///path, redis-sentinel://host:26379/service/0 or "
    "redis-cluster://host:port"
)


class RedisAddress:
    """A client for the bus at `url`, and its errors as one sentence. Threads may share it.

    Raises BusError for an address that is not understood; connects with the first command, except
    to a Cluster, whose nodes are asked for at once.
    """

    def __init__(self, url: str) -> None:
        self.place = _without_password(url)
        """The address as it may be printed."""
        scheme = url.partition("://")[0].lower()
        try:
            with self.errors():
                # redis-py's types are unions over two protocols; the answers here are of RESP2.
                self.client: Any = _CLIENTS.get(scheme, _single)(url)
        except ValueError as error:
            raise BusError(
                f"The bus address {self.place} is not understood: set redis_url to {_FORMS}."
            ) from error

    @property
    def clustered(self) -> bool:
        """Whether keys lie on several servers, so that a command may name those of one slot."""
        return isinstance(self.client, RedisCluster)

    def server_time_s(self, key: str) -> float:
        """Wall time in seconds of the server that holds `key`: message ids are in its time."""
        client = self.client
        if isinstance(client, RedisCluster):
            # redis-py leaves its cluster and Sentinel untyped.
            node = client.get_node_from_key(key)  # type: ignore[no-untyped-call]
            client = client.get_redis_connection(node)
        seconds, microseconds = client.time()
        return float(seconds + microseconds / 1e6)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Say in one sentence what went wrong: raises BusError for everything Redis raises."""
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError, MasterNotFoundError) as error:
            raise BusError(
                f"The bus at {self.place} cannot be reached ({error}): "
                "start the server or correct redis_url."
            ) from error
        except redis.exceptions.RedisClusterException as error:
            raise BusError(
                f"The bus at {self.place} cannot be reached as a cluster ({error}): "
                "start its nodes or correct redis_url."
            ) from error
        except redis.RedisError as error:
            raise BusError(
                f"The bus at {self.place} refuses a command ({error}): "
                "it must be Redis 7.0 or newer (or Valkey) with free memory."
            ) from error


def _retry() -> Retry:
    return Retry(ExponentialWithJitterBackoff(base=0.05, cap=2.0), _RETRIES)


def _options() -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_timeout": _SOCKET_SECONDS,
        "retry": _retry(),
        "retry_on_error": _RETRIED,
    }


def _single(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, **_options())


def _sentinel(url: str) -> Any:
    """The master of the service that the Sentinels name; found again after a failover."""
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError(url)
    login = _login(url)
    # The Sentinels are asked again by the retries of the command: no need to wait for each.
    sentinels = _hosts(url, 26379)
    sentinel = Sentinel(sentinels, sentinel_kwargs={"socket_timeout": 2.0})  # type: ignore[no-untyped-call]  # as above
    return sentinel.master_for(  # type: ignore[no-untyped-call]  # as above
        service, db=int(database or 0), **_options(), **login
    )


def _cluster(url: str) -> RedisCluster:
    options = _options()
    del options["retry_on_error"]  # the cluster's client retries by itself, also after a failover
    nodes = [ClusterNode(*place) for place in _hosts(url, 6379)]  # type: ignore[no-untyped-call]  # as above
    secure: dict[str, Any] = {"ssl": True} if url.lower().startswith("rediss") else {}
    return RedisCluster(startup_nodes=nodes, **options, **_login(url), **secure)


_CLIENTS = {
    "redis-sentinel": _sentinel,
    "redis-cluster": _cluster,
    "rediss-cluster": _cluster,
}


def _hosts(url: str, default_port: int) -> list[tuple[str, int]]:
    """Hosts and ports of an address that names several."""
    places = urlsplit(url).netloc.rpartition("@")[2].split(",")
    found = []
    for place in places:
        host, _, port = place.partition(":")
        if not host:
            raise ValueError(url)
        found.append((host, int(port or default_port)))
    return found


def _login(url: str) -> dict[str, Any]:
    user, _, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
    given = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(unreadable address)"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
