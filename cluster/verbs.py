"""The verbs of the management API: what a request may say, and what is then done to which nodes.

A verb is a method here and a class in `cluster.params`; an unknown verb or field is refused, so
that a misspelt option never silently does nothing. Selectors are resolved once, when the verb
acts, and the answer says what they meant. A verb whose caller gives up stops waiting, but what it
has begun with a node goes on.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, Protocol

import msgspec

from cluster.condition import EventCondition, StatusCondition, parse
from cluster.document import Affected, StatusDocument
from cluster.errors import (
    BadRequest,
    ClusterError,
    Degraded,
    PartlyDone,
    Stopping,
    WaitTimeout,
)
from cluster.params import (
    Down,
    Kill,
    OnNodes,
    Params,
    Pause,
    Resolve,
    RestartNodes,
    Start,
    Stop,
    Transfer,
    Wait,
)
from cluster.selector import Candidate, resolve, resolve_all
from cluster.state import DOWN, State
from cluster.supervisor import Supervisor
from cluster.table import Node

START_PATIENCE_MS = 30_000
KILL_PATIENCE_MS = 5_000
STOPS = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
SIGNALS = {name: number for number in signal.Signals for name in (number.name, number.name[3:])}


class Surroundings(Protocol):
    """What verbs need of the daemon beyond the supervisor."""

    def status(self) -> StatusDocument:
        """The status document at this moment."""

    def log_path(self, node: str) -> str:
        """Where a node logs."""

    async def move_leader(self, leader: Node, to: Node, timeout_ms: int) -> None:
        """Ask the leading member to hand over.

        Raises:
            ClusterError: it refused or did not answer.
        """

    async def shut_down(self, *, wipe: bool, timeout_ms: int) -> None:
        """Stop all nodes; the daemon ends once the answer is out."""


Result = Mapping[str, Any]
Handler = Callable[[Any], Awaitable[Result]]


class Verbs:
    """The dispatcher. Verbs on nodes run one at a time per call, several calls may overlap."""

    def __init__(self, supervisor: Supervisor, surroundings: Surroundings, random: Random) -> None:
        self._supervisor = supervisor
        self._around = surroundings
        self._random = random
        self._table: dict[str, tuple[type[Params], Handler]] = {
            "ping": (Params, self._ping),
            "status": (Params, self._status),
            "resolve": (Resolve, self._resolve),
            "logs": (OnNodes, self._logs),
            "start": (Start, self._start),
            "stop": (Stop, self._stop),
            "restart": (RestartNodes, self._restart),
            "kill": (Kill, self._kill),
            "pause": (Pause, self._pause),
            "resume": (OnNodes, self._resume),
            "transfer": (Transfer, self._transfer),
            "wait": (Wait, self._wait),
            "down": (Down, self._down),
        }

    def offer(self, method: str, kind: type[Params], handler: Handler) -> None:
        """Add a verb that is done elsewhere."""
        self._table[method] = (kind, handler)

    async def call(self, method: str, params: Mapping[str, Any]) -> Result:
        """Run one verb.

        Raises:
            BadRequest: unknown verb, unknown or ill-typed parameter.
            ClusterError: what the verb itself refuses.
        """
        if method not in self._table:
            raise BadRequest(f"unknown verb {method!r}", data={"verbs": sorted(self._table)})
        kind, handler = self._table[method]
        try:
            parsed = msgspec.convert(params, kind)
        except msgspec.ValidationError as error:
            raise BadRequest(f"{method}: {error}") from error
        return await handler(parsed)

    async def _ping(self, _: Params) -> Result:
        status = self._around.status()
        return {"pid": status["supervisor"]["pid"], "uptime_ms": status["uptime_ms"]}

    async def _status(self, _: Params) -> Result:
        return self._around.status()

    async def _resolve(self, params: Resolve) -> Result:
        names = resolve(params.selector, self._candidates(), self._random)
        return {"selector": params.selector, "resolved": names}

    async def _logs(self, params: OnNodes) -> Result:
        nodes = self._select(params)
        return {"paths": {node.name: self._around.log_path(node.name) for node in nodes}}

    async def _start(self, params: Start) -> Result:
        async def act(node: Node) -> bool:
            if node.live:
                return False
            await self._supervisor.start(node)
            if params.wait:
                await self.serving(node)
            return True

        return await self.on_each(params, act)

    async def _stop(self, params: Stop) -> Result:
        async def act(node: Node) -> bool:
            return await self._stop_one(node, params.timeout_ms)

        return await self.on_each(params, act)

    async def _restart(self, params: RestartNodes) -> Result:
        async def act(node: Node) -> bool:
            await self._stop_one(node, params.timeout_ms)
            await self._supervisor.start(node)
            await self.serving(node)
            if params.rolling:
                await self._until("converged", START_PATIENCE_MS)
            return True

        return await self.on_each(params, act, one_by_one=params.rolling)

    async def _kill(self, params: Kill) -> Result:
        number = SIGNALS.get(params.signal.upper())
        if number is None:
            raise BadRequest(f"unknown signal {params.signal!r}", hint="for example SIGTERM")
        if number in STOPS:
            raise BadRequest(f"{number.name} would only pause it", hint="conclave pause")

        async def act(node: Node) -> bool:
            child = node.child
            if not self._supervisor.kill(node, number, params.restart_after_ms):
                return False
            if number is signal.SIGKILL:
                # Gone means gone: what is asked next finds no half-dead process.
                await self._supervisor.until(
                    lambda: node.child is not child, KILL_PATIENCE_MS, f"death of {node.name}"
                )
            return True

        return await self.on_each(params, act)

    async def _pause(self, params: Pause) -> Result:
        async def act(node: Node) -> bool:
            paused = self._supervisor.pause(node, params.for_ms)
            if paused and node.child is not None:
                await node.child.stopped()
            return paused

        return await self.on_each(params, act)

    async def _resume(self, params: OnNodes) -> Result:
        async def act(node: Node) -> bool:
            return self._supervisor.resume(node)

        return await self.on_each(params, act)

    async def _transfer(self, params: Transfer) -> Result:
        leadership = self._supervisor.readiness.leadership
        if leadership.leader is None:
            raise Degraded("no leader is known now", hint="conclave wait leader")
        leader = self._supervisor.nodes[leadership.leader]
        to = self._transferee(leader, params.to)
        began_ms = self._supervisor.events.now_ms()
        if to is not leader:
            await self._around.move_leader(leader, to, params.timeout_ms)
            await self._supervisor.until(
                lambda: leadership.leader == to.name, params.timeout_ms, f"{to.name} leads"
            )
        ms = round(self._supervisor.events.now_ms() - began_ms, 3)
        return {"from": leader.name, "to": to.name, "term": leadership.term, "ms": ms}

    async def _wait(self, params: Wait) -> Result:
        began_ms = self._supervisor.events.now_ms()
        await self._until(params.condition, params.timeout_ms, params.for_ms)
        waited_ms = round(self._supervisor.events.now_ms() - began_ms, 3)
        return {"condition": params.condition, "waited_ms": waited_ms}

    async def _down(self, params: Down) -> Result:
        names = [node.name for node in self._supervisor.nodes if node.live]
        await self._around.shut_down(wipe=params.wipe, timeout_ms=params.timeout_ms)
        return {"stopped": names, "wiped": params.wipe}

    # Parts of verbs.

    def _candidates(self) -> list[Candidate]:
        status = self._around.status()
        lags = {row["name"]: row["lag"] or 0 for row in status["nodes"]}
        learners = {row["name"] for row in status["nodes"] if row["role"] == "learner"}
        return [
            Candidate(
                node.name,
                node.state,
                leads=node.name == self._supervisor.readiness.leadership.leader,
                learner=node.name in learners,
                lag=lags[node.name],
                started=node.started_ms,
            )
            for node in self._supervisor.nodes
        ]

    def _select(self, params: OnNodes) -> list[Node]:
        names = resolve_all(params.nodes, self._candidates(), self._random)
        return [self._supervisor.nodes[name] for name in names]

    def _transferee(self, leader: Node, selector: str | None) -> Node:
        """The follower that is asked for, or else the one that has caught up most."""
        if selector is None:
            rows = sorted(self._candidates(), key=lambda row: row.lag)
            selector = next((row.name for row in rows if _can_lead(row)), None)
            if selector is None:
                raise Degraded("no running follower could take over", hint="conclave status")
        names = resolve(selector, self._candidates(), self._random)
        if len(names) != 1:
            raise BadRequest(f"{selector} means {len(names)} nodes; leadership goes to one")
        node = self._supervisor.nodes[names[0]]
        if node.state is not State.RUNNING and node is not leader:
            raise Degraded(f"{node.name} is {node.state.value}", hint=f"conclave start {node.name}")
        return node

    async def on_each(
        self,
        params: OnNodes,
        act: Callable[[Node], Awaitable[bool]],
        *,
        one_by_one: bool = False,
    ) -> Result:
        """Do a thing to every selected node.

        Raises:
            PartlyDone: it failed for some; ClusterError: for all of them.
        """
        began_ms = self._supervisor.events.now_ms()
        nodes = self._select(params)
        if one_by_one:
            outcomes = [await _outcome(act, node) for node in nodes]
        else:
            outcomes = list(await asyncio.gather(*(_outcome(act, node) for node in nodes)))
        rows = list(zip((node.name for node in nodes), outcomes, strict=True))
        answer: Affected = {
            "selector": " ".join(params.nodes),
            "resolved": [name for name, _ in rows],
            "done": [name for name, outcome in rows if outcome is True],
            "unchanged": [name for name, outcome in rows if outcome is False],
            "failed": {name: str(outcome) for name, outcome in rows if isinstance(outcome, str)},
            "ms": round(self._supervisor.events.now_ms() - began_ms, 3),
        }
        _refuse_failures(answer)
        return answer

    async def _stop_one(self, node: Node, timeout_ms: int) -> bool:
        """Drain, then force; False when the node was stopped already."""
        if node.state is State.STOPPED:
            return False
        life = node.starts

        def over() -> bool:
            # Another verb may have started it again before we got to look.
            return not node.live or node.starts != life

        self._supervisor.stop(node)
        try:
            await self._supervisor.until(over, timeout_ms, "stop")
        except WaitTimeout:
            node.send(signal.SIGKILL)
            await self._supervisor.until(over, KILL_PATIENCE_MS, f"death of {node.name}")
        return True

    async def serving(self, node: Node) -> None:
        """Wait until a node that starts serves.

        Raises:
            ClusterError: it ended instead. WaitTimeout: it takes too long.
        """
        await self._supervisor.until(
            lambda: node.state is not State.STARTING, START_PATIENCE_MS, f"{node.name} serves"
        )
        if node.state in DOWN:
            ended = node.exit
            reason = (ended["detail"] or ended["reason"]) if ended else "could not be forked"
            raise ClusterError(f"ended before it served: {reason}")

    async def _until(self, text: str, timeout_ms: int, for_ms: int = 0) -> None:
        condition = parse(text)
        match condition:
            case StatusCondition(holds):
                await self._until_holds(holds, text, timeout_ms, for_ms)
            case EventCondition(matches):
                await self._until_event(matches, text, timeout_ms)

    async def _until_holds(
        self, holds: Callable[[StatusDocument], bool], text: str, timeout_ms: int, for_ms: int
    ) -> None:
        clock = self._supervisor.events.now_ms
        since: float | None = None

        def held() -> bool:
            nonlocal since
            if not holds(self._around.status()):
                since = None
                return False
            since = clock() if since is None else since
            return clock() - since >= for_ms

        await self._patiently(held, text, timeout_ms)

    async def _until_event(
        self, matches: Callable[[Any], bool], text: str, timeout_ms: int
    ) -> None:
        seen: list[Any] = []
        unfollow = self._supervisor.events.follow(
            lambda event: seen.append(event) if matches(event) else None
        )
        try:
            await self._patiently(lambda: bool(seen), text, timeout_ms)
        finally:
            unfollow()

    async def _patiently(self, true: Callable[[], bool], text: str, timeout_ms: int) -> None:
        try:
            await self._supervisor.until(true, timeout_ms, text)
        except WaitTimeout as error:
            status = self._around.status()
            error.data = {"condition": text, "status": status}
            raise


def _can_lead(row: Candidate) -> bool:
    return row.state is State.RUNNING and not row.leads and not row.learner


async def _outcome(act: Callable[[Node], Awaitable[bool]], node: Node) -> bool | str:
    """Done, unchanged, or why not."""
    try:
        return await act(node)
    except Stopping:
        raise  # no fault of this node
    except ClusterError as error:
        return error.message


def _refuse_failures(answer: Affected) -> None:
    failed = answer["failed"]
    if not failed:
        return
    text = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
    hint = f"conclave logs {next(iter(failed))}"
    if len(failed) == len(answer["resolved"]):
        raise ClusterError(text, hint=hint, data=dict(answer))
    raise PartlyDone(text, hint=hint, data=dict(answer))
