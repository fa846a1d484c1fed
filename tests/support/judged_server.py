"""Three members behind one face, whether they are conclave's or a real etcd's.

What a test asks of both it asks through this: where the members are, and that the leader dies.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import Protocol

from node.client import ClientError, EtcdClient
from node.proto import rpc
from tests.support.live_cluster import DEADLINE_S, LiveCluster
from tools.bench.etcd import EtcdCluster


class JudgedServer(Protocol):
    """Three members."""

    name: str

    @property
    def endpoints(self) -> list[str]:
        """host:port of each member."""

    def kill_leader(self) -> list[str]:
        """Kill the leader without notice; the endpoints that live on."""

    def kill_majority(self) -> str:
        """Kill two members without notice; the endpoint that lives on."""

    def heal(self) -> None:
        """Have all members run and serve again."""


class ConclaveServer:
    """Three nodes."""

    name = "conclave"

    def __init__(self, cluster: LiveCluster) -> None:
        """A cluster that is up."""
        self._cluster = cluster

    @property
    def endpoints(self) -> list[str]:
        """host:port of each node."""
        return self._cluster.endpoints

    def kill_leader(self) -> list[str]:
        """Nobody waits for the next one: that is the node's business."""
        survivors = [self._cluster.endpoint(name) for name in self._cluster.followers]
        self._cluster.client.kill(["leader"])
        return survivors

    def kill_majority(self) -> str:
        """The leader and one more."""
        survivor, other = self._cluster.followers
        self._cluster.client.kill([self._cluster.leader, other])
        return self._cluster.endpoint(survivor)

    def heal(self) -> None:
        """See `LiveCluster.heal`."""
        self._cluster.heal()


class EtcdServer:
    """Three members of the real one."""

    name = "etcd"

    def __init__(self, cluster: EtcdCluster) -> None:
        """A cluster that runs."""
        self._cluster = cluster
        self._dead: list[int] = []

    @property
    def endpoints(self) -> list[str]:
        """host:port of each member."""
        return self._cluster.endpoints

    def kill_leader(self) -> list[str]:
        """Returns when another one leads: etcd loses what is asked meanwhile."""
        self._kill(self._leader())
        survivors = [end for n, end in enumerate(self.endpoints) if n not in self._dead]
        for endpoint in survivors:
            await_reads(endpoint)
        return survivors

    def kill_majority(self) -> str:
        """The leader and one more."""
        leader = self._leader()
        survivor, other = (n for n in range(3) if n != leader)
        self._kill(leader)
        self._kill(other)
        return self.endpoints[survivor]

    def heal(self) -> None:
        """Start whoever was killed, and wait for everybody."""
        while self._dead:
            self._cluster.start(self._dead.pop())
        for endpoint in self.endpoints:
            await_reads(endpoint)

    def _kill(self, member: int) -> None:
        self._cluster.kill(member)
        self._dead.append(member)

    def _leader(self) -> int:
        for member, endpoint in enumerate(self.endpoints):
            with EtcdClient([endpoint]) as client:
                status = client.status()
            if status.leader == status.header.member_id:
                return member
        raise AssertionError("nobody leads")


def await_reads(endpoint: str) -> None:
    """Wait until a member answers a linearizable read."""
    deadline = monotonic() + DEADLINE_S
    while monotonic() < deadline:
        with suppress(ClientError), EtcdClient([endpoint], timeout_s=1.0) as client:
            client.range(rpc.RangeRequest(key=b"absent"))
            return
    raise AssertionError(f"{endpoint} does not serve")
