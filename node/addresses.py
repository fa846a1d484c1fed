"""Where the other members are, for members that have addresses of their own.

A supervisor's nodes find each other in a directory. Members that are started one by one are told of
each other at their start, and later learn from the roster who has come and who has moved. One case
remains: a leader that came while this member was away stands in no configuration that it knows, so
whoever names that leader also says where it is (`node.connections`).

Whoever is to join knows nothing but the addresses of some members. It asks one of them for all
(`Introduction`), before it has an id, as a member of etcd does.

Source: etcd server/etcdserver/cluster_util.go (GetClusterFromRemotePeers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import msgspec

from node.config import MemberSpec
from node.status import MemberRecord
from transport.route import loopback_address


class Introduced(msgspec.Struct, frozen=True, kw_only=True):
    """One member as others see it; no name = it has not been started yet."""

    id: int
    name: str
    peer_urls: tuple[str, ...]


class Introduction(msgspec.Struct, frozen=True, kw_only=True):
    """What a member tells of its cluster to whoever asks."""

    cluster_id: int
    members: tuple[Introduced, ...]


class AddressBook:
    """Addresses ("host:port") by member id. It is made before the member that it belongs to."""

    def __init__(self, cluster_id: int, told: Iterable[MemberSpec]) -> None:
        """`told` are the members as this one was told of them at its start."""
        self._cluster_id = cluster_id
        self._told = {spec.id: spec for spec in told}
        self._hints: dict[int, str] = {}
        self.members: Callable[[], Iterable[MemberRecord]] = tuple
        """The applied configuration with what it knows of the members; the member's, once there
        is one."""

    def address(self, member: int) -> str:
        """Where a member listens for others; "" = nobody here knows."""
        for record in self.members():
            if record.id == member and (address := address_of(record.peer_urls)):
                return address
        told = self._told.get(member)
        return (address_of(told.peer_urls) if told else "") or self._hints.get(member, "")

    def note(self, member: int, address: str) -> None:
        """Somebody says where a member is; it counts as long as nothing better is known."""
        host, _, port = address.rpartition(":")
        if port.isdecimal() and loopback_address(host.strip("[]"), int(port)) == address:
            self._hints = {member: address}  # of the one that leads; others are of no interest

    def introduction(self) -> bytes:
        """The members as this one knows them, in JSON."""
        members = tuple(self._introduced(record) for record in self.members())
        return msgspec.json.encode(Introduction(cluster_id=self._cluster_id, members=members))

    def _introduced(self, record: MemberRecord) -> Introduced:
        """A founding member that has not published anything is where everybody was told it is."""
        told = self._told.get(record.id)
        urls = record.peer_urls or (told.peer_urls if told else ())
        return Introduced(id=record.id, name=record.name, peer_urls=urls)


def address_of(urls: Iterable[str]) -> str:
    """The first of a member's peer URLs that is a port of loopback, as "host:port", else ""."""
    for url in urls:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or 0
        except ValueError:
            continue
        if parts.scheme == "http" and (address := loopback_address(host, port)):
            return address
    return ""
