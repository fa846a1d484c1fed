"""Where the members of a cluster listen for each other.

Members that one supervisor starts share a private directory: member m has the unix sockets
`<directory>/<m as 16 hex digits>.<channel number>`, one per channel, and a lock beside them.
Members that are started one by one have nothing but addresses, which change while they run: one
TCP port each, for all channels. The port is loopback's, always: the lives of a member are ordered
by the host's clock (`transport.link`), so that members on two hosts would not understand each
other.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Protocol

from transport.claim import Claim
from transport.frame import Channel


class Routes(Protocol):
    """Addresses as `transport.zeromq` takes them."""

    def claim(self) -> Claim | None:
        """Make sure that the own addresses are nobody else's, if binding them does not tell.

        Raises:
            Claimed: they are.
        """

    def own(self) -> list[tuple[Channel | None, str]]:
        """Return where to listen, and for which channel; None = for all of them."""

    def to(self, member: int, channel: Channel) -> str:
        """Return where a member listens; "" = nobody knows, at this moment."""


class UnixRoutes:
    """Sockets in one directory: absolute, 0700, and short (107 bytes with the name)."""

    def __init__(self, directory: str, member: int) -> None:
        """Of `member`, whose own sockets these are."""
        self._directory = directory
        self._member = member

    def claim(self) -> Claim:
        """Lock the member's name in the directory."""
        return Claim(f"{self._directory}/{self._member:016x}.lock")

    def own(self) -> list[tuple[Channel | None, str]]:
        """Return a socket for each channel."""
        return [(channel, self.to(self._member, channel)) for channel in Channel]

    def to(self, member: int, channel: Channel) -> str:
        """Return a member's socket; it need not be there."""
        return f"{self._directory}/{member:016x}.{channel.value}"


class TcpRoutes:
    """A port of loopback for each member."""

    def __init__(self, address: str, address_of: Callable[[int], str]) -> None:
        """Listen at `address`, "host:port"; `address_of` finds a member's, "" if it cannot."""
        self._address = address
        self._address_of = address_of

    def claim(self) -> None:
        """No need: nobody binds a port that is bound."""

    def own(self) -> list[tuple[Channel | None, str]]:
        """Return the one address."""
        return [(None, f"tcp://{self._address}")]

    def to(self, member: int, channel: Channel) -> str:
        """Return a member's address, the same for every channel."""
        address = self._address_of(member)
        return f"tcp://{address}" if address else ""


def loopback_address(host: str, port: int) -> str:
    """Return "127.0.0.1:2380" for localhost and 2380; "" if the host is not this one by its name.

    Nothing is looked up: a name may be resolved to something else tomorrow.
    """
    if not 0 < port < 1 << 16:
        return ""
    if host == "localhost":
        return f"127.0.0.1:{port}"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if not address.is_loopback:
        return ""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
