"""The Python API: a cluster as a context manager, nodes as handles.

    with Cluster.up(3, ephemeral=True) as c:
        c.leader.kill()
        c.wait_leader(timeout=2)
        c["n2"].pause(for_=1.5)
        c.wait("converged", timeout=5)

Blocking, over `ClusterClient`; times are seconds here, as Python's own APIs have them. Roles are
looked up at the moment of the call: `c.leader` is whoever leads now. Every wait has a time-out and
raises `WaitTimeout` with the status of that moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from cluster.client import ClusterClient, launch
from cluster.config import ClusterConfig
from cluster.document import (
    Event,
    NodeDocument,
    StatusDocument,
    TlsDocument,
)
from cluster.errors import NoSuchNode, NotRunning, WaitTimeout
from cluster.variables import etcdctl_variables

FINDING_S = 30.0
LOOK_MS = 25


class NodeHandle:
    """One node by name. Holds no state."""

    def __init__(self, client: ClusterClient, name: str) -> None:
        self._client = client
        self.name = name

    def __repr__(self) -> str:
        return f"NodeHandle({self._client.name!r}, {self.name!r})"

    @property
    def status(self) -> NodeDocument:
        """Its row of the status."""
        return self._client.node(self.name)

    @property
    def endpoint(self) -> str:
        """Its client endpoint: host:port, with TLS https://host:port."""
        return self.status["client"]

    def start(self) -> Self:
        """Start it; returns when it serves."""
        self._client.start([self.name])
        return self

    def stop(self, timeout: float = 10.0) -> Self:
        """Drain and end it."""
        self._client.stop([self.name], timeout_ms=_ms(timeout))
        return self

    def restart(self) -> Self:
        """Stop and start it; returns when it serves."""
        self._client.restart([self.name])
        return self

    def kill(self, signal: str = "SIGKILL", restart_after: float | None = None) -> Self:
        """Signal it without warning; after SIGKILL it is gone when this returns."""
        after_ms = None if restart_after is None else _ms(restart_after)
        self._client.kill([self.name], signal=signal, restart_after_ms=after_ms)
        return self

    def promote(self, timeout: float = 30.0) -> Self:
        """Give it a vote, once it has caught up."""
        self._client.promote([self.name], timeout_ms=_ms(timeout))
        return self

    def remove(self, timeout: float = 30.0) -> None:
        """Take it out of the cluster for ever."""
        self._client.remove([self.name], timeout_ms=_ms(timeout))

    def replace(self, timeout: float = 30.0) -> Self:
        """Put an empty node with a new id in its place."""
        self._client.replace([self.name], timeout_ms=_ms(timeout))
        return self

    def pause(self, for_: float | None = None) -> Self:
        """Stop its process where it stands."""
        self._client.pause([self.name], for_ms=None if for_ is None else _ms(for_))
        return self

    def resume(self) -> Self:
        """Let it go on."""
        self._client.resume([self.name])
        return self


class Cluster:
    """A running cluster; leaving the context stops it if this object brought it up."""

    def __init__(self, name: str = "default") -> None:
        """Attach to a cluster that runs.

        Raises:
            NotRunning: it does not.
        """
        self.client = ClusterClient(name)
        self.client.ping()
        self._owned = False

    @classmethod
    def up(
        cls,
        nodes: int = 3,
        *,
        name: str = "default",
        ready_timeout: float = 30.0,
        **settings: Any,
    ) -> Self:
        """Start a cluster, or find it running; returns when a write was committed.

        Args:
            settings: other fields of `ClusterConfig`, such as `ephemeral=True`, or
                `tls=ClusterTls(own=True)` for certificates of its own.

        Raises:
            StartFailed, WaitTimeout, Held, PortHeld: as `launch`.
        """
        config = replace(ClusterConfig(name=name, nodes=nodes), **settings)
        phases = [progress["phase"] for progress in launch(config, timeout_s=ready_timeout)]
        cluster = cls(name)
        cluster._owned = phases[-1] == "ready"
        return cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._owned:
            self.down()

    def __getitem__(self, name: str) -> NodeHandle:
        if name not in {node["name"] for node in self.status()["nodes"]}:
            raise NoSuchNode(f"no node is called {name!r}", data={"selector": name})
        return NodeHandle(self.client, name)

    def __iter__(self) -> Iterator[NodeHandle]:
        return (NodeHandle(self.client, node["name"]) for node in self.status()["nodes"])

    @property
    def leader(self) -> NodeHandle:
        """Whoever leads now.

        Raises:
            NoSuchNode: nobody does.
        """
        return self.select("leader")[0]

    @property
    def followers(self) -> list[NodeHandle]:
        """Live voters that do not lead."""
        return self.select("followers")

    @property
    def endpoints(self) -> list[str]:
        """host:port of every node; with TLS https://host:port."""
        return self.status()["endpoints"]

    @property
    def tls(self) -> TlsDocument | None:
        """Whom a client has to trust, and what to show; None = plain text."""
        return self.status()["tls"]

    def env(self) -> dict[str, str]:
        """What etcd's tools read."""
        return etcdctl_variables(self.status())

    def select(self, selector: str) -> list[NodeHandle]:
        """The nodes that a selector means now."""
        return [NodeHandle(self.client, name) for name in self.client.resolve(selector)]

    def status(self) -> StatusDocument:
        """The status document."""
        return self.client.status()

    def events(self, since: int = 0) -> list[Event]:
        """What has happened after `since`."""
        return list(self.client.events(since=since))

    def start(self, selector: str = "down") -> Self:
        """Start nodes; returns when they serve."""
        self.client.start([selector])
        return self

    def rolling_restart(self) -> Self:
        """Restart node after node, each when the one before has caught up."""
        self.client.restart(["all"], rolling=True)
        return self

    def add(self, *, learner: bool = False, timeout: float = 30.0) -> NodeHandle:
        """One node more; returns when it has caught up, and has a vote unless it is a learner."""
        added = self.client.add(learner=learner, timeout_ms=_ms(timeout))
        return NodeHandle(self.client, added["node"])

    def transfer(self, to: str | None = None) -> Self:
        """Hand leadership over."""
        self.client.transfer(to)
        return self

    def wait(self, condition: str, timeout: float, for_: float = 0.0) -> Self:
        """Block until a condition holds (see `ClusterClient.wait`)."""
        self.client.wait(condition, timeout_ms=_ms(timeout), for_ms=_ms(for_))
        return self

    def wait_leader(self, timeout: float = FINDING_S) -> NodeHandle:
        """Block until somebody leads and has committed a write."""
        self.wait("ready", timeout)
        return self.leader

    def wait_for(self, true: Callable[[StatusDocument], bool], timeout: float) -> StatusDocument:
        """Block until the status satisfies a predicate; looked at after events, and often.

        Raises:
            WaitTimeout: it did not in time; data holds the status.
        """
        deadline = time.monotonic() + timeout
        while not true(status := self.status()):
            if time.monotonic() > deadline:
                raise WaitTimeout(f"not within {timeout:g} s", data={"status": status})
            with suppress(WaitTimeout):
                self.client.wait("event *", timeout_ms=LOOK_MS)
        return status

    def down(self, *, wipe: bool = False) -> None:
        """Stop everything; a cluster that is down already counts as done."""
        with suppress(NotRunning):
            self.client.down(wipe=wipe)


def _ms(seconds: float) -> int:
    return round(seconds * 1e3)
