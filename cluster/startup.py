"""Bringing all nodes up, and telling the launcher where the time goes.

    zygote warm → nodes serve → a leader is elected → a write is committed = ready

A node that does not come up is told, and does not stop the others: with a quorum the cluster is
ready, and `status` shows the rest. Without one the launch has failed.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.document import StatusDocument
from cluster.errors import ClusterError, StartFailed
from cluster.state import DOWN, State
from cluster.supervisor import Supervisor
from cluster.table import Node

PATIENCE_MS = 600_000
"""The launcher's patience is the one that counts; this only ends a wait that nobody watches."""
LOG_TAIL_LINES = 5
LOG_TAIL_BYTES = 4_096


class ProgressPipe:
    """JSON lines to the launcher; it may go away at any time."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def tell(self, phase: str, ms: float, **facts: Any) -> None:
        """Report that a phase is over."""
        self._write({"phase": phase, "ms": round(ms, 3), **facts})

    def fail(self, error: ClusterError) -> None:
        """Report that the launch has failed; the last line."""
        self._write({"error": error.document()})

    def close(self) -> None:
        """Nothing more will be told."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode() + b"\n"
        try:
            while content and self._descriptor is not None:
                content = content[os.write(self._descriptor, content) :]
        except BrokenPipeError:
            self.close()


class Startup:
    """One bring-up. Times are seconds of the monotonic clock."""

    def __init__(
        self,
        supervisor: Supervisor,
        progress: ProgressPipe,
        log_path: Callable[[str], Path],
        launched_at: float,
    ) -> None:
        self._supervisor = supervisor
        self._progress = progress
        self._log_path = log_path
        self._launched_at = launched_at
        self._mark = launched_at

    async def run(self, status: Callable[[], StatusDocument]) -> None:
        """Start all nodes and wait until a write is committed.

        Raises:
            StartFailed: fewer nodes than a quorum came up.
        """
        await self._nodes()
        leadership = self._supervisor.readiness.leadership
        await self._supervisor.until(
            lambda: leadership.leader is not None or self._supervisor.readiness.ready,
            PATIENCE_MS,
            "leader",
        )
        self._phase("leader", node=leadership.leader, term=leadership.term)
        await self._supervisor.until(
            lambda: self._supervisor.readiness.ready, PATIENCE_MS, "first write"
        )
        self._phase("write")
        ms = (time.monotonic() - self._launched_at) * 1e3
        self._progress.tell("ready", ms, status=status())

    async def _nodes(self) -> None:
        nodes = list(self._supervisor.nodes)
        bringing = [asyncio.create_task(self._bring_up(node)) for node in nodes]
        await self._supervisor.until(
            lambda: any(node.child for node in nodes) or all(node.exit for node in nodes),
            PATIENCE_MS,
            "zygote",
        )
        self._phase("zygote")
        await asyncio.gather(*bringing)
        serving = self._supervisor.nodes.voters_up
        if serving < self._supervisor.nodes.quorum_needed:
            raise self._failure(nodes, serving)
        self._phase("nodes")

    async def _bring_up(self, node: Node) -> None:
        try:
            await self._supervisor.start(node)
        except StartFailed as error:
            self._progress.tell("node-failed", 0.0, node=node.name, reason=error.message)
            return
        await self._supervisor.until(
            lambda: node.state is not State.STARTING, PATIENCE_MS, f"{node.name} serves"
        )
        ms = self._supervisor.events.now_ms() - node.started_ms
        if node.state in DOWN:
            self._progress.tell("node-failed", ms, node=node.name, reason=_reason(node))
        else:
            self._progress.tell("node", ms, node=node.name)

    def _phase(self, name: str, **facts: Any) -> None:
        now = time.monotonic()
        self._progress.tell(name, (now - self._mark) * 1e3, **facts)
        self._mark = now

    def _failure(self, nodes: list[Node], serving: int) -> StartFailed:
        failed = [node for node in nodes if node.state in DOWN]
        reasons = {node.name: _reason(node) for node in failed}
        tails = {node.name: log_tail(self._log_path(node.name)) for node in failed}
        text = ", ".join(f"{name} ended ({reason})" for name, reason in reasons.items())
        needed = self._supervisor.nodes.quorum_needed
        return StartFailed(
            f"{serving} of {len(nodes)} nodes serve, {needed} are needed: {text}",
            hint=f"conclave logs {failed[0].name}" if failed else "conclave doctor",
            data={"reasons": reasons, "log": tails},
        )


def log_tail(path: Path) -> list[str]:
    """The last lines of a log file; none when it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    except OSError:
        return []


def _reason(node: Node) -> str:
    if node.exit is None:
        return "could not be forked"
    how = node.exit["signal"] or f"exit {node.exit['code']}"
    return ": ".join(filter(None, (f"{node.exit['reason']}, {how}", node.exit["detail"])))
