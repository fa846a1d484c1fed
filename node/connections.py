"""Who this member is connected to: the other members of the applied configuration.

Whoever is removed is told so (`Farewell`) and stays connected for a moment, since a socket that is
closed at once takes with it what it has not sent. A member that joins has no configuration before
its first snapshot; until then it listens to everybody it was told of at its start, for one of them
is the leader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from node.raft.message import ConfState
from transport.mesh import MeshPort

LINGER_SECONDS = 1.0


class Links(Protocol):
    """The part of a status page that is about links."""

    def drop_link(self, peer: int) -> None:
        """Free the place of a member that has left."""


class Connections:
    """The peers of one member."""

    def __init__(
        self,
        member_id: int,
        known: Iterable[int],
        mesh: MeshPort,
        links: Links,
        farewell: Callable[[int], object],
        clock: Callable[[], float],
    ) -> None:
        """`known` are the members as this one was told of them at its start."""
        self._member_id = member_id
        self._known = frozenset(known)
        self._mesh = mesh
        self._links = links
        self._farewell = farewell
        self._clock = clock
        self._leaving: dict[int, float] = {}

    def adopt(self, conf: ConfState) -> None:
        """Have exactly the others of a configuration as peers, at once."""
        self._leaving.clear()
        wanted = self._connect(conf)
        for peer in set(self._mesh.peers()) - wanted:
            self._drop(peer)

    def change(self, conf: ConfState) -> None:
        """The same after a change that was applied: who has left by it hears of it first."""
        wanted = self._connect(conf)
        for peer in sorted(set(self._mesh.peers()) - wanted - set(self._leaving)):
            self._farewell(peer)
            self._leaving[peer] = self._clock() + LINGER_SECONDS

    def keep_house(self, now: float) -> None:
        """Let go of those who have had time to hear."""
        for peer in [peer for peer, until in self._leaving.items() if until <= now]:
            del self._leaving[peer]
            self._drop(peer)

    def _connect(self, conf: ConfState) -> set[int]:
        members = {*conf.voters, *conf.learners} or self._known
        wanted = set(members) - {self._member_id}
        for peer in sorted(wanted):
            self._mesh.add_peer(peer)
        return wanted

    def _drop(self, peer: int) -> None:
        self._mesh.remove_peer(peer)
        self._links.drop_link(peer)
