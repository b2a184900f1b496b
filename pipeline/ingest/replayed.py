"""Sound that a server sends again after a reconnect: recognised by its packets, not judged twice.

Some servers begin every connection with the last half minute. Their packets are the same to the
byte, whatever their timestamps say; packets of new sound never are, but for silence.
"""

from __future__ import annotations

import zlib
from array import array

from av.packet import Packet
from av.stream import Stream

#: Packets that are remembered: two minutes of AAC, 48 KB a room.
_KEEP = 6000
#: So many different packets in a row are no chance: silence repeats one or two.
_DIFFERENT = 8
#: The last packets of a broken connection may be cut: a replay that comes so far has missed none.
_CUT = 3


class Replays:
    """Remembers the packets of a room over its connections."""

    def __init__(self) -> None:
        self._heard = array("Q")
        self._places: list[int] | None = []
        """Where the packets of this connection may have been heard; None once they are new."""
        self._held: list[Packet[Stream]] = []
        self._keys: list[int] = []
        self.seamless = False
        """Whether this connection goes on where the last one ended."""

    def begin(self) -> None:
        """A new connection: its first packets may have been heard before."""
        self._places = None
        self._held, self._keys = [], []
        self.seamless = False
        if self._heard:
            self._places = list(range(len(self._heard)))

    def unheard(self, packet: Packet[Stream]) -> list[Packet[Stream]]:
        """What of the connection up to here is to be decoded now, this packet included."""
        if not packet.size:  # the end of the stream
            return [*self._resolve(), packet]
        key = _key(packet)
        if self._places is None:
            self._remember(key)
            return [packet]
        step = len(self._keys)
        places = [at for at in self._places if self._at(at + step) == key]
        if not places:
            found = self._resolve()
            self._remember(key)
            return [*found, packet]
        self._places = places
        self._held.append(packet)
        self._keys.append(key)
        return []

    def _resolve(self) -> list[Packet[Stream]]:
        """End the comparison: packets to be decoded because they were no replay after all."""
        places, held, keys = self._places, self._held, self._keys
        self._places, self._held, self._keys = None, [], []
        if not places or not keys:
            return []
        if len(set(keys)) >= _DIFFERENT:
            self.seamless = max(places) + len(keys) >= len(self._heard) - _CUT
            return []
        for key in keys:
            self._remember(key)
        return held

    def _at(self, position: int) -> int | None:
        return self._heard[position] if position < len(self._heard) else None

    def _remember(self, key: int) -> None:
        self._heard.append(key)
        if len(self._heard) > 2 * _KEEP:
            del self._heard[:_KEEP]


def _key(packet: Packet[Stream]) -> int:
    data = bytes(packet)
    return zlib.crc32(data) << 32 | zlib.adler32(data)
