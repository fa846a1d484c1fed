"""The blocking client of a supervisor, and the launcher that starts one.

Standard library only, no asyncio: `conclave status` has a budget of about a tenth of a second, most
of which is the interpreter's own start.

    for progress in launch(ClusterConfig(nodes=3)):       # ends when a write was committed
        print(progress["phase"], progress["ms"])
    client = ClusterClient("default")
    client.kill(["leader"])                                # {"resolved": ["n2"], "done": ["n2"], …}
    client.wait("ready", timeout_ms=2_000)

Every method may raise `NotRunning` (nobody listens: known at once, never by a time-out),
`WaitTimeout` and the error that the daemon answered; all are `ClusterError`s with an `exit_code`.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from cluster.config import runtime_root
from cluster.document import (
    Affected,
    ConditionMet,
    Event,
    HistoryDocument,
    NodeDocument,
    StatusDocument,
)
from cluster.errors import NotRunning, WaitTimeout
from cluster.exchange import request, request_json
from cluster.launch import KnownCluster, known_clusters, launch, remove

__all__ = ["ClusterClient", "KnownCluster", "known_clusters", "launch", "remove"]

GRACE_MS = 5_000
"""Added to a verb's own deadline before the client gives up on the daemon itself."""


class ClusterClient:
    """One cluster's supervisor, by name; each call is one connection, so instances are cheap."""

    def __init__(
        self, name: str = "default", *, socket: Path | None = None, timeout_ms: int = 30_000
    ) -> None:
        self.name = name
        self._socket = socket or runtime_root() / name / "ctl.sock"
        self._timeout_ms = timeout_ms

    def status(self) -> StatusDocument:
        """The whole cluster, from the process table and the shared pages; never from a cache."""
        return cast(StatusDocument, self._get("/v1/status"))

    def node(self, name: str) -> NodeDocument:
        """One node of the status.

        Raises:
            NoSuchNode: there is none of that name.
        """
        return cast(NodeDocument, self._get(f"/v1/nodes/{name}"))

    def history(self) -> HistoryDocument:
        """Who led, from when to when, and why it ended."""
        return cast(HistoryDocument, self._get("/v1/history"))

    def events(self, *, since: int = 0, follow: bool = False) -> Iterator[Event]:
        """Events with `seq` > since, oldest first.

        Followed, the first value is a snapshot ({"type": "snapshot", "seq", "status"}), and the
        iterator goes on until the supervisor ends.
        """
        target = f"/v1/events?since={since}&follow={int(follow)}"
        timeout_s = None if follow else self._timeout_ms / 1e3
        answer = request(self._socket, "GET", target, timeout_s=timeout_s)
        for line in answer.lines():
            yield json.loads(line)

    def metrics(self) -> str:
        """Prometheus text of the supervisor and of every node's last figures."""
        timeout_s = self._timeout_ms / 1e3
        return request(self._socket, "GET", "/metrics", timeout_s=timeout_s).body().decode()

    def start(self, selectors: Sequence[str], *, wait: bool = True) -> Affected:
        """Start nodes that do not run; by default returns when they serve."""
        return self._verb("start", selectors, wait=wait)

    def stop(self, selectors: Sequence[str], *, timeout_ms: int = 10_000) -> Affected:
        """Drain (hand leadership over) and end; SIGKILL after the time-out."""
        return self._verb("stop", selectors, timeout_ms=timeout_ms)

    def restart(
        self, selectors: Sequence[str], *, timeout_ms: int = 10_000, rolling: bool = False
    ) -> Affected:
        """Stop and start; rolling waits for `converged` between nodes."""
        return self._verb("restart", selectors, timeout_ms=timeout_ms, rolling=rolling)

    def kill(
        self,
        selectors: Sequence[str],
        *,
        signal: str = "SIGKILL",
        restart_after_ms: int | None = None,
    ) -> Affected:
        """Send a signal without warning; SIGKILL returns when the processes are gone."""
        return self._verb("kill", selectors, signal=signal, restart_after_ms=restart_after_ms)

    def pause(self, selectors: Sequence[str], *, for_ms: int | None = None) -> Affected:
        """SIGSTOP; with `for_ms` the supervisor resumes by itself."""
        return self._verb("pause", selectors, for_ms=for_ms)

    def resume(self, selectors: Sequence[str]) -> Affected:
        """SIGCONT."""
        return self._verb("resume", selectors)

    def add(self, *, learner: bool = False, timeout_ms: int = 30_000) -> dict[str, Any]:
        """One node more, which has caught up when this returns; {"node", "id", "role", …}."""
        return self.call("add", deadline_ms=timeout_ms, learner=learner, timeout_ms=timeout_ms)

    def promote(self, selectors: Sequence[str], *, timeout_ms: int = 30_000) -> Affected:
        """Give learners a vote, as soon as they have caught up."""
        return self._change("promote", selectors, timeout_ms)

    def remove(self, selectors: Sequence[str], *, timeout_ms: int = 30_000) -> Affected:
        """Take nodes out of the cluster for ever, one after the other."""
        return self._change("remove", selectors, timeout_ms)

    def replace(self, selectors: Sequence[str], *, timeout_ms: int = 30_000) -> Affected:
        """Put an empty node with a new id in the place of each."""
        return self._change("replace", selectors, timeout_ms)

    def transfer(self, to: str | None = None, *, timeout_ms: int = 5_000) -> dict[str, Any]:
        """Hand leadership over; {"from", "to", "term", "ms"} once the new leader leads."""
        return self.call("transfer", deadline_ms=timeout_ms, to=to, timeout_ms=timeout_ms)

    def wait(self, condition: str, *, timeout_ms: int = 30_000, for_ms: int = 0) -> ConditionMet:
        """Block until a condition holds (for `for_ms` without a break).

        Conditions: ready, leader, no-leader, converged, down, `node n2=paused`, `term>7`,
        `event TYPE` (one that happens from now on).

        Raises:
            WaitTimeout: data holds `condition` and the status at that moment.
        """
        params = {"condition": condition, "timeout_ms": timeout_ms, "for_ms": for_ms}
        return cast(ConditionMet, self.call("wait", deadline_ms=timeout_ms, **params))

    def resolve(self, selector: str) -> list[str]:
        """The nodes that a selector means now."""
        return cast("list[str]", self.call("resolve", selector=selector)["resolved"])

    def logs(self, selectors: Sequence[str] = ("all",)) -> dict[str, str]:
        """Log file of each node; a node writes its own, the supervisor never relays."""
        return cast("dict[str, str]", self.call("logs", nodes=list(selectors))["paths"])

    def ping(self) -> dict[str, Any]:
        """{"pid", "uptime_ms"} of the supervisor."""
        return self.call("ping")

    def down(self, *, wipe: bool = False, timeout_ms: int = 10_000) -> dict[str, Any]:
        """Stop all nodes and the supervisor; returns when its process is gone.

        Raises:
            WaitTimeout: the supervisor is still there after the time-out and some grace.
        """
        pid = int(self.ping()["pid"])
        try:
            gone = os.pidfd_open(pid)
        except ProcessLookupError:
            # Somebody else's `down`, or a kill, was faster.
            raise NotRunning(f"supervisor {pid} has just ended", hint="conclave up") from None
        try:
            answer = self.call("down", deadline_ms=timeout_ms, wipe=wipe, timeout_ms=timeout_ms)
            ready, _, _ = select.select([gone], [], [], GRACE_MS / 1e3)
        finally:
            os.close(gone)
        if not ready:
            raise WaitTimeout(f"supervisor {pid} still runs", hint=f"kill -9 {pid}")
        return answer

    def call(self, method: str, *, deadline_ms: int = 0, **params: Any) -> dict[str, Any]:
        """Any verb of the management API; parameters that are None are left to the daemon."""
        given = {name: value for name, value in params.items() if value is not None}
        deadline_ms = max(deadline_ms, self._timeout_ms)
        body = {"id": 1, "method": method, "params": given, "deadline_ms": deadline_ms}
        patience_s = (deadline_ms + GRACE_MS) / 1e3
        content = json.dumps(body).encode()
        document = request_json(self._socket, "POST", "/v1/rpc", content, timeout_s=patience_s)
        return cast("dict[str, Any]", document["result"])

    def _change(self, method: str, selectors: Sequence[str], timeout_ms: int) -> Affected:
        given = {"nodes": list(selectors), "timeout_ms": timeout_ms}
        return cast(Affected, self.call(method, deadline_ms=timeout_ms, **given))

    def _verb(self, method: str, selectors: Sequence[str], **params: Any) -> Affected:
        return cast(Affected, self.call(method, nodes=list(selectors), **params))

    def _get(self, target: str) -> Mapping[str, Any]:
        return request_json(self._socket, "GET", target, timeout_s=self._timeout_ms / 1e3)
