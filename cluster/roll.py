"""The roll: which nodes there are, and what each of them needs beyond a process.

A node is an id, a client port, shared memory, a directory, and a line in the files that outlive the
supervisor. All of that is made and let go here. The order of the writes is such that a supervisor
which dies between any two of them finds a cluster again: a port without a node is a spare one, and
a member that never got a node shows in `etcdctl member list` as unstarted.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from functools import partial

import msgspec

from cluster import config as configuration
from cluster.config import NODES_MAX, ClusterConfig, ClusterPaths, Identity, node_number
from cluster.errors import Conflict
from cluster.layout import Shared, node_config
from cluster.pages import Pages
from cluster.ports import Reservation, remember
from cluster.record import ServiceRecord
from cluster.table import Node
from node.telemetry import StatusPageReader, create_page
from transport.arena import create_arena
from transport.tls import ServerFiles


class Roll:
    """The nodes of one cluster; the supervisor's loop is the only caller."""

    def __init__(
        self,
        config: ClusterConfig,
        identity: Identity,
        paths: ClusterPaths,
        reservation: Reservation,
        record: ServiceRecord,
        tls: ServerFiles | None = None,
        own_token: str = "",
    ) -> None:
        """Make the shared memory of everybody on it; `tls` are the papers that all of them show,
        `own_token` is what they know their supervisor by.

        Raises:
            StartFailed: there is not enough memory.
        """
        self.config = config
        self._identity = identity
        self._paths = paths
        self._reservation = reservation
        self._record = record
        self._tls = tls
        self._own_token = own_token
        self._pages = Pages()
        self._shared = {name: self._share(name) for name, _ in identity.members}

    def rows(self) -> list[Node]:
        """A row of the process table for each node."""
        return [self._row(name, member_id) for name, member_id in self._identity.members]

    def free_name(self) -> str:
        """The name of a further node.

        Raises:
            Conflict: there cannot be more.
        """
        if len(self._identity.members) >= NODES_MAX:
            raise Conflict(f"a cluster has at most {NODES_MAX} nodes")
        return self._identity.free_name()

    def prepare(self, name: str) -> None:
        """Have a port for a node that is to be; it keeps its number for ever.

        Raises:
            Conflict: none is free.
        """
        while len(self._reservation.ports) < node_number(name):
            self._reservation.extend(self.config.port_base)
        remember(self._paths.ports, self._reservation.ports)

    def enlist(self, name: str, member_id: int) -> Node:
        """Take a member that the cluster knows; its node can be started then.

        Raises:
            StartFailed: there is no shared memory for it.
        """
        self._shared[name] = self._share(name)
        self._record.forget(name)
        self._keep(self._identity.enlist(name, member_id))
        return self._row(name, member_id, learner=True)

    def strike(self, node: Node) -> None:
        """Let go of a node that has been removed and has ended; its files are set aside."""
        self._keep(self._identity.strike(node.name))
        self._record.forget(node.name)
        kept = self._paths.removed(node.name, node.member_id)
        kept.parent.mkdir(exist_ok=True, mode=0o700)
        with suppress(FileNotFoundError):
            os.replace(self._paths.database(node.name).parent, kept)
        del self._shared[node.name]
        self._pages.drop(node.name)

    def payload(self, name: str, *, anybody_serves: bool) -> bytes:
        """What a node's process is told; its directory is there when it reads it."""
        self._paths.database(name).parent.mkdir(exist_ok=True, mode=0o700)
        told = node_config(
            self.config,
            self._identity,
            self._paths,
            self._shared,
            name,
            bootstrap=not self._record.has_served(name),
            own_token=self._own_token,
            campaign_first=name == self.config.first_leader and not anybody_serves,
            tls=self._tls,
        )
        return msgspec.msgpack.encode(told)

    def close(self) -> None:
        """Free the shared memory."""
        self._pages.close()

    def _keep(self, identity: Identity) -> None:
        self._identity = identity
        size, first = len(identity.members), self.config.first_leader
        first = first if node_number(first) <= size else "n1"
        self.config = replace(self.config, nodes=size, first_leader=first)
        configuration.save(self._paths.config, self.config, identity)

    def _share(self, name: str) -> Shared:
        create = partial(self._pages.create, name)
        port = self._reservation.ports[node_number(name) - 1]
        return Shared(port, create("page", create_page), create("arena", create_arena))

    def _row(self, name: str, member_id: int, *, learner: bool = False) -> Node:
        shared = self._shared[name]
        scheme = "" if self._tls is None else "https://"
        return Node(
            name=name,
            member_id=member_id,
            endpoint=f"{scheme}{self.config.host}:{shared.port}",
            page=StatusPageReader(shared.page_path),
            learner=learner,
        )
