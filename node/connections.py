"""Who this member is connected to: the other members of the applied configuration.

Whoever is removed is told so (`Farewell`) and stays connected for a moment, since a socket that is
closed at once takes with it what it has not sent. A member that joins has no configuration before
its first snapshot; until then it listens to everybody it was told of at its start, for one of them
is the leader.

Who was away while members came may not know the one that leads by now, and would not listen to it;
the others hear a leader and do not answer its campaigns. So whoever has heard none for long asks
them who leads, and takes that one for a *guest*: a peer until a configuration decides.

Source: etcd server/etcdserver/api/rafthttp (addRemoteFromRequest), for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from node.peers import Call, Farewell, LeaderAsk, LeaderReply
from node.raft.message import NO_MEMBER, ConfState
from transport.mesh import MeshPort

LINGER_SECONDS = 1.0


class Links(Protocol):
    """The part of a status page that is about links."""

    def drop_link(self, peer: int) -> None:
        """Free the place of a member that has left."""


class Addresses(Protocol):
    """Where members are to be found that have addresses of their own."""

    def address(self, member: int) -> str:
        """Return where a member is; "" = not known, or none of its own."""

    def note(self, member: int, address: str) -> None:
        """Remember where another one says that a member is."""


class Connections:
    """The peers of one member."""

    def __init__(
        self,
        member_id: int,
        known: Iterable[int],
        mesh: MeshPort,
        links: Links,
        addresses: Addresses,
        call: Callable[[int, list[Call]], object],
        clock: Callable[[], float],
        patience_seconds: float,
    ) -> None:
        """`known` are the members as this one was told of them at its start; `call` carries calls
        to one member. Without a leader the others are asked every `patience_seconds`."""
        self._member_id = member_id
        self._known = frozenset(known)
        self._mesh = mesh
        self._links = links
        self._addresses = addresses
        self._call = call
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._led_at = clock()
        """When a leader was known, or the others were asked for one."""
        self._guests: set[int] = set()
        self._leaving: dict[int, float] = {}

    def adopt(self, conf: ConfState) -> None:
        """Have exactly the others of a configuration as peers, at once."""
        self._leaving.clear()
        wanted = self._connect(conf)
        self._guests.clear()
        for peer in set(self._mesh.peers()) - wanted:
            self._drop(peer)

    def change(self, conf: ConfState) -> None:
        """The same after a change that was applied: who has left by it hears of it first."""
        wanted = self._connect(conf)
        self._guests -= wanted
        for peer in sorted(set(self._mesh.peers()) - wanted - set(self._leaving) - self._guests):
            self._call(peer, [Farewell()])
            self._leaving[peer] = self._clock() + LINGER_SECONDS

    def keep_house(self, now: float, leader: int) -> None:
        """Let go of those who have had time to hear; look for who has moved, and for a leader
        while there is none."""
        self._mesh.refresh()
        for peer in [peer for peer, until in self._leaving.items() if until <= now]:
            del self._leaving[peer]
            self._drop(peer)
        if leader:
            self._led_at = now
            for guest in sorted(self._guests - {leader}):
                self._guests.discard(guest)
                self._drop(guest)
        elif now - self._led_at >= self._patience_seconds:
            self._led_at = now
            for peer in self._mesh.peers():
                self._call(peer, [LeaderAsk()])

    def take(self, sender: int, calls: Sequence[Call], leader: int) -> None:
        """Calls of another member arrived; `leader` is whom this one hears, 0 = nobody."""
        for call in calls:
            if isinstance(call, LeaderAsk) and leader:
                self._call(sender, [LeaderReply(leader, self._addresses.address(leader))])
            elif isinstance(call, LeaderReply) and not leader:
                self._welcome(call.leader, call.address)

    def _welcome(self, leader: int, address: str) -> None:
        """Listen to a leader that no configuration here knows of."""
        if leader not in (NO_MEMBER, self._member_id, *self._mesh.peers()):
            self._addresses.note(leader, address)
            self._guests.add(leader)
            self._mesh.add_peer(leader)

    def _connect(self, conf: ConfState) -> set[int]:
        members = {*conf.voters, *conf.learners} or self._known
        wanted = set(members) - {self._member_id}
        for peer in sorted(wanted):
            self._mesh.add_peer(peer)
        return wanted

    def _drop(self, peer: int) -> None:
        self._mesh.remove_peer(peer)
        self._links.drop_link(peer)
