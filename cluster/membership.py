"""Nodes that come and go while the cluster runs: add, promote, remove, replace.

    add      port ─► member as learner ─► on the roll ─► started ─► has a snapshot ─► promoted
    remove   out of the cluster ─► the node ends by itself, or is ended ─► off the roll
    replace  remove, then add under the same name and a new id: the way out of quarantine

A new node begins without a vote, whatever it is to become: as a voter it would count for the quorum
before it has any of the data. One change at a time, as in Raft itself. Who is removed by others
(`etcdctl member remove`) is seen off in the same way: the members tell of it.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from cluster.errors import BadRequest, ClusterError, Degraded, WaitTimeout
from cluster.params import Add, Change
from cluster.program import Program
from cluster.roll import Roll
from cluster.state import State
from cluster.supervisor import Supervisor
from cluster.table import Node
from cluster.verbs import Verbs

CALL_S = 6.0
"""A little more than the members' own patience with a request."""
RETRY_S = 0.1
LEAVE_MS = 3_000
"""How long a removed node may take to learn that it is one, and to leave."""
KILL_MS = 5_000
T = TypeVar("T")


class Membership:
    """The four verbs, and what follows from a removal that somebody else asked for."""

    def __init__(self, supervisor: Supervisor, roll: Roll, program: Program, verbs: Verbs) -> None:
        """Offer the verbs."""
        self._supervisor = supervisor
        self._roll = roll
        self._program = program
        self._verbs = verbs
        self._turn = asyncio.Lock()
        self._leaving: dict[int, asyncio.Task[None]] = {}
        supervisor.on_removed = self._see_off
        verbs.offer("add", Add, self._add)
        verbs.offer("promote", Change, self._on_each(self._promote))
        verbs.offer("remove", Change, self._on_each(self._remove))
        verbs.offer("replace", Change, self._on_each(self._replace))

    # The verbs.

    async def _add(self, params: Add) -> Mapping[str, Any]:
        began_ms = self._supervisor.events.now_ms()
        deadline = _deadline(params.timeout_ms)
        async with self._turn:
            node = await self._join(self._roll.free_name(), deadline)
            if not params.learner:
                await self._give_vote(node, deadline)
        return {
            "node": node.name,
            "id": f"{node.member_id:x}",
            "role": "learner" if node.learner else "voter",
            "client": node.endpoint,
            "ms": round(self._supervisor.events.now_ms() - began_ms, 3),
        }

    def _on_each(
        self, act: Callable[[Node, float], Awaitable[bool]]
    ) -> Callable[[Change], Awaitable[Mapping[str, Any]]]:
        async def run(params: Change) -> Mapping[str, Any]:
            deadline = _deadline(params.timeout_ms)

            async def one(node: Node) -> bool:
                async with self._turn:
                    return await act(node, deadline)

            return await self._verbs.on_each(params, one, one_by_one=True)

        return run

    async def _promote(self, node: Node, deadline: float) -> bool:
        if not node.learner:
            return False
        await self._give_vote(node, deadline)
        return True

    async def _remove(self, node: Node, deadline: float) -> bool:
        if len(self._supervisor.nodes) == 1:
            raise BadRequest("the last node stays", hint="conclave down --wipe")
        await self._ask(
            lambda endpoints: self._program.remove(endpoints, node.member_id, CALL_S),
            deadline,
            spare=node,
        )
        await self._see_off(node)
        return True

    async def _replace(self, node: Node, deadline: float) -> bool:
        learner = node.learner
        await self._remove(node, deadline)
        successor = await self._join(node.name, deadline)
        if not learner:
            await self._give_vote(successor, deadline)
        return True

    # Their steps.

    async def _join(self, name: str, deadline: float) -> Node:
        """A new member without a vote, with a node that serves and has the data."""
        self._roll.prepare(name)
        member_id = await self._ask(
            lambda endpoints: self._program.add_learner(endpoints, f"unix://{name}", CALL_S),
            deadline,
        )
        node = self._roll.enlist(name, member_id)
        self._supervisor.admit(node)
        try:
            await self._supervisor.start(node)
            await self._verbs.serving(node)
            await self._supervisor.until(
                lambda: self._has_data(node), _left_ms(deadline), f"{name} has the data"
            )
        except ClusterError as error:
            error.hint = f"it is a learner now: conclave start {name}, or conclave remove {name}"
            raise
        return node

    def _has_data(self, node: Node) -> bool:
        page = node.page.status()
        return page is not None and page.member_id == node.member_id and page.applied > 0

    async def _give_vote(self, node: Node, deadline: float) -> None:
        await self._ask(
            lambda endpoints: self._program.promote(endpoints, node.member_id, CALL_S), deadline
        )
        await self._supervisor.until(
            lambda: not node.learner, _left_ms(deadline), f"{node.name} has a vote"
        )

    async def _ask(
        self,
        request: Callable[[list[str]], T],
        deadline: float,
        *,
        spare: Node | None = None,
    ) -> T:
        """Have members do something, asking again as long as they only cannot do it yet.

        Raises:
            Degraded: nobody is there, or they could not until the deadline.
            ClusterError: they refused, or did not answer.
        """
        while True:
            try:
                return await asyncio.to_thread(request, self._endpoints(spare))
            except Degraded:
                if time.monotonic() + RETRY_S > deadline:
                    raise
            await asyncio.sleep(RETRY_S)

    def _endpoints(self, spare: Node | None) -> list[str]:
        """Voters that serve, the leader first; `spare` only if there is nobody else."""
        leader = self._supervisor.readiness.leadership.leader
        voters = [node for node in self._supervisor.nodes.serving if not node.learner]
        ranked = sorted(voters, key=lambda node: (node is spare, node.name != leader))
        if not ranked:
            raise Degraded("no voter serves", hint="conclave start all")
        return [node.endpoint for node in ranked]

    # Farewell.

    def _see_off(self, node: Node) -> asyncio.Task[None]:
        """End a removed node and strike it off the roll, once."""
        task = self._leaving.get(node.member_id)
        if task is None:
            task = self._leaving[node.member_id] = asyncio.create_task(self._bury(node))
        return task

    async def _bury(self, node: Node) -> None:
        supervisor = self._supervisor
        if node.live:
            node.ordered = "removed"
            try:
                await supervisor.until(lambda: not node.live, LEAVE_MS, f"{node.name} leaves")
            except WaitTimeout:
                node.send(signal.SIGKILL)
                await supervisor.until(lambda: not node.live, KILL_MS, f"death of {node.name}")
        if node.state is State.BACKOFF:
            node.void_timers()
        if supervisor.nodes.get(node.name) is node:
            supervisor.dismiss(node)
            self._roll.strike(node)


def _deadline(timeout_ms: int) -> float:
    return time.monotonic() + timeout_ms / 1e3


def _left_ms(deadline: float) -> float:
    return max(1.0, (deadline - time.monotonic()) * 1e3)
