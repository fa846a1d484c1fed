"""What a member is made of: the parts that the loop orders, as one value.

The composition root makes them and joins them; here is only their list, so that loop, housekeeping
and the member's face can share it without knowing how it came about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from node.applier import Applier
from node.auto_compaction import AutoCompaction
from node.backup import Backup
from node.chain import Chain
from node.connections import Connections
from node.consistency import Consistency
from node.defragmentation import Defragmentation
from node.disk import Disk
from node.lease_call import LeaseCalls
from node.lease_expiry import LeaseExpiry
from node.machine.machine import Machine
from node.membership import Membership
from node.passwords import Passwords
from node.peers import Peers
from node.proposals import Proposals
from node.quota import Quota
from node.raft.core import Core
from node.raft.message import ConfState
from node.raft.ready import Note
from node.reads import Reads
from node.snapshots import Snapshots
from node.status import PeerFigures
from node.tokens import Keeper
from node.transfers import Transfers
from node.watch import WatchHub
from transport.mesh import MeshPort


class Reporter(Protocol):
    """Where a member tells what has happened: its log, and whoever supervises it."""

    def report(self, event: str, **facts: object) -> None:
        """One event, by its dotted name."""

    def log(self, event: str, **facts: object) -> None:
        """One line that is of no interest to the supervisor."""

    def notes(self, notes: Iterable[Note]) -> None:
        """What the core has noticed."""


@dataclass(slots=True)
class Parts:
    """Everything that a loop orders; made by the composition root."""

    core: Core
    disk: Disk
    mesh: MeshPort
    peers: Peers
    applier: Applier
    chain: Chain
    consistency: Consistency
    reads: Reads
    proposals: Proposals
    leases: LeaseExpiry
    calls: LeaseCalls
    membership: Membership
    connections: Connections
    snapshots: Snapshots
    transfers: Transfers
    defragmentation: Defragmentation
    quota: Quota
    auto_compaction: AutoCompaction
    hub: WatchHub
    tokens: Keeper
    passwords: Passwords
    machine: Machine
    """Replaced when a snapshot is installed."""
    new_machine: Callable[[int], Machine]
    """Loads the state that is current, of which the index says where in the log it stands."""
    new_backup: Callable[[], Backup]
    """Opens the durable applied state for a snapshot that somebody outside will keep."""
    adopt_conf: Callable[[ConfState], None]
    """Makes a configuration the applied one: sets `conf`, connects to whom it names."""
    reporter: Reporter
    member_id: int
    conf: ConfState
    """The applied configuration."""
    backups: list[Backup] = field(default_factory=list)
    """Those under way."""

    @property
    def is_learner(self) -> bool:
        """Whether this member has no vote in it."""
        return self.member_id in self.conf.learners

    def peer_figures(self) -> tuple[PeerFigures, ...]:
        """What has passed between this member and each other one."""
        counters = self.mesh.counters.peers
        return tuple(
            PeerFigures(
                member_id=peer,
                connected=self.mesh.connected(peer),
                sent_bytes=counters[peer].sent_bytes,
                received_bytes=counters[peer].received_bytes,
                unsent=counters[peer].unsent,
                round_trips=self.peers.durations(peer),
            )
            for peer in self.mesh.peers()
        )
