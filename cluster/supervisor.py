"""The supervisor: single writer of the process table and of the events.

Everything here runs on one event loop. What arrives (a death by pidfd, a report by pipe, a verb by
socket, a timer) changes the table, appends an event and wakes those who wait for a condition. What
blocks, fork requests and probe writes, runs on a thread of its own and comes back as a value.

Consensus is none of its business: it believes what nodes report and what their pages show. Reports
arrive within a millisecond but may be lost when a pipe is full; pages are always there. So reports
drive, and `Readiness.reconcile` compares with the pages every TICK_S and mends what was missed.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from cluster.config import ClusterConfig
from cluster.errors import ClusterError, StartFailed, Stopping, WaitTimeout
from cluster.event import EventLog
from cluster.policy import STEADY_MS, GiveUp, Leave, Restart, decide
from cluster.process import ChildProcess
from cluster.readiness import Probe, Readiness
from cluster.state import LIVE, State, Trigger, allowed
from cluster.table import Node, Table, exit_document
from cluster.zygote import Birth

TICK_S = 0.05
LAG_WINDOW_TICKS = 20
Fork = Callable[[str], Awaitable[Birth]]
"""Fork the node of that name; may wait for the zygote to be warm.

Raises:
    StartFailed: the zygote cannot do it.
"""


class Supervisor:
    """All nodes of one cluster."""

    def __init__(
        self,
        config: ClusterConfig,
        nodes: Iterable[Node],
        events: EventLog,
        fork: Fork,
        probe: Probe,
    ) -> None:
        self.config = config
        self.nodes = Table(nodes)
        self.events = events
        self.readiness = Readiness(self.nodes, events, probe, self._spawn)
        self.closing = False
        """Everything stops for good: nothing is started any more."""
        self.loop_lag_ms = 0.0
        self._fork = fork
        self._waiting: set[asyncio.Future[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed_at = 0
        self.on_removed: Callable[[Node], object] = lambda _: None
        """Called when a node has been removed from the cluster, whoever asked for that."""
        events.follow(lambda _: self._wake())

    # Nodes that come and go.

    def admit(self, node: Node) -> None:
        """Take a row into the table."""
        self.nodes.admit(node)
        self.readiness.weigh_quorum()

    def dismiss(self, node: Node) -> None:
        """Take a row out; its process has ended."""
        node.void_timers()
        self.nodes.dismiss(node)
        self.readiness.weigh_quorum()

    def _members_changed(self, kind: str, report: dict[str, Any]) -> None:
        """Every member reports every change when it applies it; the first report counts."""
        index = int(report.get("index", 0))
        if index <= self._changed_at:
            return
        self._changed_at = index
        name = self.nodes.name_of(int(str(report.get("member", "0")), 16))
        self.events.append(kind, name, **report)
        node = self.nodes.get(name)
        if node is not None and kind == "member.promoted":
            node.learner = False
            self.readiness.weigh_quorum()
        if node is not None and kind == "member.removed":
            self.on_removed(node)

    # Waiting for what others do.

    async def until(self, true: Callable[[], bool], timeout_ms: float, what: str) -> None:
        """Wait until a condition holds; it is looked at after every event and every tick.

        Raises:
            WaitTimeout: it did not come to hold in time.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_ms / 1e3):
                while not true():
                    waiter: asyncio.Future[None] = loop.create_future()
                    self._waiting.add(waiter)
                    await waiter
        except TimeoutError:
            raise WaitTimeout(f"{what}: not within {timeout_ms:g} ms") from None

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    # Lives of a node.

    async def start(self, node: Node) -> None:
        """Fork a node's process; returns when it has a pid, not yet when it serves.

        Goes on even if its caller gives up: a fork that is under way has an outcome. A node that
        somebody else has started meanwhile (two restarts may meet) is left as it is.

        Raises:
            StartFailed: it could not be forked; the node is EXITED.
            Stopping: the cluster is on its way down.
        """
        if self.closing:
            raise Stopping("the cluster is being stopped", hint="conclave up")
        if node.live:
            return
        # Claimed here and now: a task would begin only after others had looked at the state.
        self._begin(node)
        await asyncio.shield(self._spawn(self._start(node)))

    def _begin(self, node: Node) -> None:
        node.void_timers()
        node.move(Trigger.START)
        node.started_ms = self.events.now_ms()
        node.serving_ms, node.ordered, node.last_words, node.exit = None, "", "", None
        node.doomed = False
        node.restarts += node.starts > 0
        node.starts += 1
        self.events.append("node.starting", node.name)

    async def _start(self, node: Node) -> None:
        try:
            birth = await self._fork(node.name)
        except StartFailed:
            node.move(Trigger.DEATH)
            self.events.append("node.exited", node.name, reason="could not be forked")
            raise
        node.child = ChildProcess(birth)
        self.events.append("node.spawned", node.name, pid=node.child.pid)
        self._spawn(self._attend(node, node.child))
        if node.state is State.STOPPING:
            node.send(signal.SIGKILL)  # ordered while the fork was waited for

    def stop(self, node: Node, *, hand_over: bool = True) -> None:
        """Ask a node to drain and leave; a paused one is woken to hear it.

        Args:
            hand_over: false when the others stop as well, so that nobody could lead.
        """
        node.void_timers()
        if not allowed(node.state, Trigger.STOP):
            return
        node.move(Trigger.STOP)
        if node.live:
            node.ordered = "stopped"
            self.events.append("node.stopping", node.name)
            node.send(signal.SIGTERM if hand_over else signal.SIGINT)
            node.send(signal.SIGCONT)

    def kill(self, node: Node, number: signal.Signals, restart_after_ms: int | None) -> bool:
        """Send a signal; False when there is no process."""
        if number is signal.SIGCONT and self.resume(node):
            return True
        if not node.send(number):
            return False
        if number not in HARMLESS and node.state is not State.STOPPING:
            node.ordered = "killed"
        self.events.append("node.signalled", node.name, signal=number.name)
        if number is signal.SIGKILL:
            node.void_timers()
            # From here on, not from when its status is known: another may lead before that.
            node.doomed = True
            self.readiness.lost(node, f"{node.name} killed")
        if restart_after_ms is not None:
            self._later(node, restart_after_ms, self._start_again)
        return True

    def pause(self, node: Node, for_ms: int | None) -> bool:
        """Stop a running node's process where it stands; False when it does not run.

        One that is paused already is only told when to wake.
        """
        if node.state is State.PAUSED and for_ms is not None:
            node.void_waking()
            self.events.append("node.paused", node.name, for_ms=for_ms)
            node.waking = self._later(node, for_ms, self._resume_if_paused)
            return True
        if node.state is not State.RUNNING or not node.send(signal.SIGSTOP):
            return False
        node.move(Trigger.PAUSE)
        self.events.append("node.paused", node.name, for_ms=for_ms)
        self.readiness.lost(node, f"{node.name} paused")
        self.readiness.weigh_quorum()
        if for_ms is not None:
            node.waking = self._later(node, for_ms, self._resume_if_paused)
        return True

    def resume(self, node: Node) -> bool:
        """Let a paused process go on; False when it is not paused."""
        if node.state is not State.PAUSED or not node.send(signal.SIGCONT):
            return False
        node.void_waking()
        node.move(Trigger.RESUME)
        node.heard_ns = time.monotonic_ns()
        self.events.append("node.resumed", node.name)
        self.readiness.weigh_quorum()
        return True

    # What nodes do.

    async def _attend(self, node: Node, child: ChildProcess) -> None:
        """Follow one process to its end."""
        reading = asyncio.create_task(self._read_reports(node, child))
        await child.ended()
        reading.cancel()
        while reports := child.read_reports():
            self._take_reports(node, reports)
        status = await child.status()
        child.close()
        self._died(node, status)

    async def _read_reports(self, node: Node, child: ChildProcess) -> None:
        while True:
            await child.report_ready()
            reports = child.read_reports()
            if reports is None:
                return
            self._take_reports(node, reports)

    def _take_reports(self, node: Node, reports: list[dict[str, Any]]) -> None:
        for report in reports:
            kind = report.pop("event")
            report = {name: value for name, value in report.items() if name not in RESERVED}
            match kind:
                case "serving":
                    self._serves(node, report)
                case "leader.elected":
                    node.heard_ns = time.monotonic_ns()
                    self.readiness.elected(node, int(report.get("term", 0)))
                case "raft.stepdown":
                    node.heard_ns = time.monotonic_ns()
                    self.events.append(kind, node.name, **report)
                    self.readiness.lost(node, f"{node.name} stepped down")
                case "stopping" | "published":
                    continue  # the one was ordered, and told when it was; the other is no news
                case "refused" | "quarantined" | "storage_failed" | "invariant" | "removed":
                    node.last_words = str(report.get("reason", ""))
                    self.events.append(f"node.{kind}", node.name, **report)
                    if kind == "removed":
                        self.on_removed(node)
                case "member.added" | "member.promoted" | "member.removed":
                    self._members_changed(kind, report)
                case _:
                    self.events.append(kind, node.name, **report)

    def _serves(self, node: Node, report: dict[str, Any]) -> None:
        if not allowed(node.state, Trigger.SERVING):
            return
        node.move(Trigger.SERVING)
        node.serving_ms = self.events.now_ms()
        ms = round(node.serving_ms - node.started_ms, 3)
        self.events.append("node.serving", node.name, **{**report, "ms": ms})
        self.readiness.weigh_quorum()

    def _died(self, node: Node, status: int) -> None:
        ordered, stopping = node.ordered, node.state is State.STOPPING
        uptime_ms = self.events.now_ms() - node.started_ms
        node.failures = 0 if stopping or uptime_ms > STEADY_MS else node.failures + 1
        node.child, node.ordered = None, ""
        node.void_waking()
        node.exit = exit_document(status, ordered, node.last_words)
        node.move(Trigger.DEATH)
        self.events.append("node.exited", node.name, **node.exit, uptime_ms=round(uptime_ms, 3))
        self.readiness.lost(node, f"{node.name} {node.exit['reason']}")
        self.readiness.weigh_quorum()
        if not stopping and ordered != "removed":
            self._apply_policy(node, status)

    def _apply_policy(self, node: Node, status: int) -> None:
        if node.timers:
            return  # the kill brought its own restart
        match decide(self.config.restart_policy, status, max(0, node.failures - 1)):
            case Restart(after_ms):
                node.move(Trigger.RETRY)
                self.events.append("node.backoff", node.name, after_ms=after_ms)
                self._later(node, after_ms, self._start_again)
            case GiveUp(reason):
                node.move(Trigger.GIVE_UP)
                self.events.append("node.failed", node.name, reason=reason)
            case Leave():
                return

    # Time.

    async def tick(self) -> None:
        """Compare with the pages and measure the loop's own lag, until cancelled."""
        loop = asyncio.get_running_loop()
        lags = [0.0] * LAG_WINDOW_TICKS
        turn = 0
        while True:
            due = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            lags[turn % LAG_WINDOW_TICKS] = (loop.time() - due) * 1e3
            turn += 1
            self.loop_lag_ms = max(lags)
            self.readiness.reconcile(self._changed_at)
            self._wake()

    def _later(self, node: Node, after_ms: int, act: Callable[[Node], None]) -> asyncio.TimerHandle:
        def fire() -> None:
            node.timers.discard(timer)
            act(node)

        timer = asyncio.get_running_loop().call_later(after_ms / 1e3, fire)
        node.timers.add(timer)
        return timer

    def _resume_if_paused(self, node: Node) -> None:
        self.resume(node)

    def _start_again(self, node: Node) -> None:
        if node.state in LIVE:
            # Killed, but not dead yet; SIGKILL is asynchronous.
            self._later(node, 5, self._start_again)
        else:
            self._spawn(self._start_quietly(node))

    async def _start_quietly(self, node: Node) -> None:
        try:
            await self.start(node)
        except Stopping:
            return
        except StartFailed as error:
            self.events.append("node.failed", node.name, reason=error.message)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        """A failed start has told its caller; nothing else may fail unnoticed."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ClusterError):
            raise error  # into the loop's exception handler


HARMLESS = frozenset(
    {signal.SIGCONT, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE}
)
"""Signals that do not end a node; its death after one of them would be a surprise."""
RESERVED = frozenset({"seq", "ts", "t_ms", "type", "node"})
"""Fields that a node's report cannot set."""
