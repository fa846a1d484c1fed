"""Who leads, whether a quorum serves, and whether the cluster is ready.

Nodes say when they are elected and when they step down; the supervisor says when one dies, is
paused or is killed. Ready is more than both: a write of ours was committed in the leader's term.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from cluster.event import EventLog
from cluster.leadership import Leadership
from cluster.table import Node, Table
from node.telemetry import RoleCode

Probe = Callable[[str], Awaitable[float]]
"""Commit a write through the member at an endpoint; returns milliseconds. Retries by itself."""
Spawn = Callable[[Coroutine[None, None, None]], asyncio.Task[None]]


class Readiness:
    """A fold over what is known of all nodes; every change of it is an event."""

    def __init__(self, nodes: Table, events: EventLog, probe: Probe, spawn: Spawn) -> None:
        self.leadership = Leadership()
        self.ready_term = 0
        """The latest term in which a write of ours was committed."""
        self.was_ready = False
        self._nodes = nodes
        self._events = events
        self._probe = probe
        self._spawn = spawn
        self._probing: asyncio.Task[None] | None = None
        self._quorum_up = False

    @property
    def ready(self) -> bool:
        """A quorum serves, a leader is known, and a write was committed in its term."""
        led = self.leadership.leader is not None and self.ready_term == self.leadership.term
        return led and self._nodes.voters_up >= self._nodes.quorum_needed

    def elected(self, node: Node, term: int) -> None:
        """A node says that it leads."""
        if node.doomed:
            return
        before = self._nodes.get(self.leadership.leader)
        if before is not None and before is not node and term > self.leadership.term:
            self.lost(before, f"{node.name} elected in term {term}")
        change = self.leadership.elected(node.name, term, self._events.now_ms())
        if change is None:
            return
        self._events.append(f"leader.{change}", node.name, term=term)
        if self._probing is not None:
            self._probing.cancel()
        self._probing = self._spawn(self._prove(node, term))

    def lost(self, node: Node, cause: str) -> None:
        """A node does not lead, or does so no more."""
        if self.leadership.lost(node.name, self._events.now_ms()):
            self._events.append("leader.lost", node.name, term=self.leadership.term, cause=cause)

    def weigh_quorum(self) -> None:
        """Some node came, went, or changed its state or its vote."""
        up = self._nodes.voters_up >= self._nodes.quorum_needed
        if up != self._quorum_up:
            self._quorum_up = up
            kind = "quorum.regained" if up else "quorum.lost"
            nodes = self._nodes
            self._events.append(kind, up=nodes.voters_up, needed=nodes.quorum_needed)

    def reconcile(self, changed_at: int) -> None:
        """Mend what a lost report would have told: who leads, by the pages of running nodes.

        A page is written every TICK_S, so it may be older than what the node has reported since:
        by that page a leader that has just stepped down would lead again, until the next one.

        Args:
            changed_at: index of the last change of the members that is known.
        """
        for node in self._nodes.serving:
            page = node.page.status()
            if page is None or node.child is None or page.pid != node.child.pid:
                continue
            if page.updated_at_ns < node.heard_ns:
                continue
            # Before that it does not know what others have told of it meanwhile.
            if page.applied >= max(1, changed_at):
                node.learner = bool(page.is_learner)
            if page.role == RoleCode.LEADER:
                self.elected(node, page.term)
            elif page.term >= self.leadership.term:
                self.lost(node, f"{node.name} stepped down")

    async def _prove(self, node: Node, term: int) -> None:
        """Commit a write under a new leader: nothing less counts as ready."""
        ms = await self._probe(node.endpoint)
        if self.leadership.term == term and self.leadership.leader == node.name:
            self.ready_term, self.was_ready = term, True
            self._events.append("cluster.ready", leader=node.name, term=term, ms=round(ms, 3))
