"""Which addresses media may be fetched from."""

from __future__ import annotations

import ipaddress

import pytest

from pipeline.errors import BadInputError, SourceUnreachableError
from pipeline.ingest.reach import Reach, is_public

PRIVATE = (
    *("127.0.0.1", "127.8.8.8", "0.0.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255"),
    *("192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255", "224.0.0.1"),
    *("239.1.1.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1"),
    *("::1", "::", "fe80::1", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::"),
    "2001:0:0:0:0:0:80ff:fffe",  # teredo of 127.0.0.1
)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_of_the_open_internet(address: str) -> None:
    """Private, loopback, link-local, shared, multicast, reserved, and each of them in IPv6."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses_are_reached(address: str) -> None:
    """The open internet may be fetched from, over IPv4 and IPv6."""
    assert Reach(resolver=lambda *_: [address]).addresses("room.example", 443) == [address]


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LocalHost", "2130706433", "0177.0.0.1", "0x7f.1", "127.1"),
        *("0x7f000001", "0", "[::1]", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1"),
    ],
)
def test_every_spelling_of_this_machine_is_refused(host: str) -> None:
    """The check is of what a host resolves to, not of how it is written."""
    with pytest.raises(BadInputError, match=r"no public address; .*allowed_media_hosts"):
        Reach().addresses(host.strip("[]"), 80)


def test_of_several_addresses_only_the_public_ones_are_used() -> None:
    """A name that answers with a private address beside a public one does not lead there."""
    reach = Reach(resolver=lambda *_: ["10.0.0.1", "8.8.8.8", "::1"])
    assert reach.addresses("room.example", 80) == ["8.8.8.8"]


@pytest.mark.parametrize(
    ("entry", "host", "port", "permitted"),
    [
        ("srs.local", "srs.local", 8080, True),
        ("SRS.local", "srs.LOCAL.", 8080, True),
        ("srs.local:8080", "srs.local", 8080, True),
        ("srs.local:8080", "srs.local", 6379, False),
        ("10.0.0.0/8", "srs.local", 8080, True),
        ("10.0.0.7", "srs.local", 8080, True),
        ("10.0.0.8", "srs.local", 8080, False),
        ("192.168.0.0/16", "srs.local", 8080, False),
        ("local", "srs.local", 8080, False),
    ],
)
def test_what_is_allowed_besides(entry: str, host: str, port: int, permitted: bool) -> None:
    """A host, one port of it, an address or a network; nothing else becomes reachable by it."""
    reach = Reach((entry,), resolver=lambda *_: ["10.0.0.7"])
    if permitted:
        assert reach.addresses(host, port) == ["10.0.0.7"]
    else:
        with pytest.raises(BadInputError, match=r"10\.0\.0\.7"):
            reach.addresses(host, port)


def test_a_typed_host_is_allowed_at_its_port_only() -> None:
    """What the operator typed may be private; the next port of the same machine may not."""
    reach = Reach().with_host("127.0.0.1", 8080)
    assert reach.addresses("127.0.0.1", 8080) == ["127.0.0.1"]
    with pytest.raises(BadInputError):
        reach.addresses("127.0.0.1", 6379)
    assert Reach().with_host("::1", 8080).addresses("::1", 8080) == ["::1"]


@pytest.mark.parametrize("host", ["room.invalid", "a" * 70 + ".example", "bad\u0000host"])
def test_an_unknown_host_is_named(host: str) -> None:
    """A host that does not resolve is a question of the address or the network."""
    with pytest.raises(SourceUnreachableError, match="is unknown"):
        Reach().addresses(host, 80)
