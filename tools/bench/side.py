"""The two clusters that are compared, behind one face: this project's and a real etcd's.

Both have three members on loopback and a fresh temporary directory on the same file system, run
with their own defaults, and are measured by the same client.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import psutil

from cluster.client import ClusterClient
from node.client import ClientError, EtcdClient
from tools.bench.errors import BenchFailed
from tools.bench.etcd import EtcdCluster

_NODES: Final = 3
_SERVING_SECONDS_MAX: Final = 30.0
_POLL_S: Final = 0.001


class Side(AbstractContextManager["Side"], Protocol):
    """One cluster while it runs; entering starts it, leaving wipes it."""

    name: str
    start_s: float
    """From the start command to the first committed write."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """host:port of every member."""

    def memory_bytes(self) -> list[int]:
        """Resident memory of each member's process."""

    def restart_member(self) -> float:
        """Kill the last member, start it again, and give the seconds until it serves reads."""


class EtcdSide:
    """Three real etcd processes; without flags with etcd's defaults, as comparisons want it."""

    name = "etcd"

    def __init__(self, flags: Sequence[str] = ()) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="bench-etcd-")
        self._cluster = EtcdCluster(Path(self._directory.name), _NODES, flags)
        self.start_s = 0.0

    def __enter__(self) -> Self:
        """Start, until a write is committed."""
        began = time.perf_counter()
        self._cluster.__enter__()
        self.start_s = time.perf_counter() - began
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill, and delete the data."""
        self._cluster.stop()
        self._directory.cleanup()

    @property
    def endpoints(self) -> tuple[str, ...]:
        """host:port of every member."""
        return tuple(self._cluster.endpoints)

    def memory_bytes(self) -> list[int]:
        """Resident memory of each member's process."""
        return [psutil.Process(pid).memory_info().rss for pid in self._cluster.pids]

    def restart_member(self) -> float:
        """Kill the last member, start it again, and time it."""
        member = _NODES - 1
        self._cluster.kill(member)
        return _time_to_serve(lambda: self._cluster.start(member), self.endpoints[member])


class ConclaveSide:
    """A cluster as `conclave up` makes it."""

    name = "conclave"

    def __init__(self) -> None:
        self._cluster = f"bench-{os.getpid()}"
        self._client = ClusterClient(self._cluster)
        self._endpoints: tuple[str, ...] = ()
        self.start_s = 0.0

    def __enter__(self) -> Self:
        """Run `conclave up`, which returns when a write is committed.

        Raises:
            BenchFailed: it did not come up.
        """
        command = [sys.executable, "-m", "tools.cli", "-c", self._cluster]
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "up", "--nodes", str(_NODES), "--ephemeral"], capture_output=True, text=True
        )
        self.start_s = time.perf_counter() - began
        if done.returncode != 0:
            raise BenchFailed(f"conclave up: {done.stderr}")
        self._endpoints = tuple(self._client.status()["endpoints"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Run `conclave down`; an ephemeral cluster's data goes with it."""
        self._client.down()

    @property
    def endpoints(self) -> tuple[str, ...]:
        """host:port of every member."""
        return self._endpoints

    def memory_bytes(self) -> list[int]:
        """Resident memory of each member's process."""
        pids = [node["pid"] for node in self._client.status()["nodes"]]
        return [psutil.Process(pid).memory_info().rss for pid in pids if pid]

    def restart_member(self) -> float:
        """Kill the last member, start it again, and time it."""
        name = f"n{_NODES}"
        self._client.kill([name])
        return _time_to_serve(
            lambda: self._client.start([name], wait=False), self._endpoints[_NODES - 1]
        )


def _time_to_serve(start: Callable[[], object], endpoint: str) -> float:
    """Start something and give the seconds until it answers Status with a leader."""
    began = time.perf_counter()
    start()
    while time.perf_counter() - began < _SERVING_SECONDS_MAX:
        with suppress(ClientError), EtcdClient([endpoint], timeout_s=1.0) as client:
            if client.status().leader:
                return time.perf_counter() - began
        time.sleep(_POLL_S)
    raise BenchFailed(f"{endpoint} does not serve")
