"""Which machines media may be fetched from: addresses of rooms come from users.

A name is resolved once for each connection, what it resolves to is checked, and the connection
goes to exactly that: a name that answers differently the next time gains nothing by it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.errors import BadInputError, SourceUnreachableError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

Resolver = Callable[[str, int], list[str]]
"""Numeric addresses of a host in any spelling. Raises OSError or ValueError for an unknown one."""

#: IPv6 addresses that translators turn into the IPv4 address in their last 32 bits.
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))


def resolved(host: str, port: int) -> list[str]:
    """What the system's resolver says."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(place[0]) for *_, place in found]


@dataclass(frozen=True, slots=True)
class Reach:
    """Every public address, and besides them what is `allowed`."""

    allowed: tuple[str, ...] = ()
    """Hosts, `host:port`, addresses or networks (10.0.0.0/8) that may be private."""
    resolver: Resolver = resolved

    def with_host(self, host: str, port: int) -> Reach:
        """The same, and this port of this host wherever it lies."""
        return replace(self, allowed=(*self.allowed, _joined(host, port)))

    def addresses(self, host: str, port: int) -> list[str]:
        """Numeric addresses of `host` to connect to; at least one.

        Raises SourceUnreachableError for an unknown host and BadInputError for one that lies
        where media may not be fetched from. Nothing was sent there by then.
        """
        try:
            found = self.resolver(host, port)
        except (OSError, ValueError) as error:
            raise SourceUnreachableError(
                f"Host {host} is unknown ({error}): check the address and the network."
            ) from error
        permitted = [one for one in found if self._permits(host, port, one)]
        if permitted:
            return permitted
        raise BadInputError(
            f"{host} is refused: it lies at {', '.join(sorted(set(found)))}, which is no public "
            "address; if rooms may be fetched from there, add it to allowed_media_hosts."
        )

    def _permits(self, host: str, port: int, address: str) -> bool:
        place = ipaddress.ip_address(address.partition("%")[0])
        return is_public(place) or any(_covers(entry, host, port, place) for entry in self.allowed)


def is_public(place: _Address) -> bool:
    """Whether an address is one of the open internet, seen through every wrapping of IPv4 in IPv6.

    Private, loopback, link-local, shared (CGNAT), multicast and reserved ones are not.
    """
    inner = _inner(place)
    if inner is not None:
        return is_public(inner)
    if isinstance(place, ipaddress.IPv6Address) and place.is_site_local:
        return False  # given up by the standard, routed inside old networks, and "global" to Python
    return place.is_global and not place.is_multicast and not place.is_reserved


def _inner(place: _Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if isinstance(place, ipaddress.IPv4Address):
        return None
    for wrapped in (place.ipv4_mapped, place.sixtofour, place.teredo and place.teredo[1]):
        if wrapped is not None:
            return wrapped
    if any(place in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(int(place) & 0xFFFF_FFFF)
    return None


def _covers(entry: str, host: str, port: int, place: _Address) -> bool:
    """Whether one entry of `allowed` means this host, this port of it, or its network."""
    network = _network(entry)
    if network is not None:
        # An address written as IPv4 in IPv6 is still that address.
        return place in network or ((inner := _inner(place)) is not None and inner in network)
    return entry.lower().rstrip(".") in {_plain(host), _joined(host, port)}


def _network(entry: str) -> _Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _joined(host: str, port: int) -> str:
    plain = _plain(host)
    return f"[{plain}]:{port}" if ":" in plain else f"{plain}:{port}"
