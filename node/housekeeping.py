"""What a member looks after ten times a second, because nobody asks for it: deadlines of requests,
leases that are due, effects that found no batch, the length of the log, streams that fell silent.

Nothing here is on the way of a request, and nothing waits: whatever has no room now is looked at
again a tenth of a second later.
"""

from __future__ import annotations

from node.config import Limits
from node.machine.envelope import RequestKind
from node.parts import Parts
from node.proto import rpc_pb2
from node.retention import dispensable

HOUSEKEEPING_MS = 100
"""How often `keep` is to be called."""
CHECKPOINTS_MAX = 1_000
"""Leases in one entry that notes what is left of them; as in etcd."""
EFFECTS_IDLE_SECONDS = 0.05
"""Applied effects that found no batch to ride along with are written after this time."""


class Housekeeping:
    """The chores of one member."""

    def __init__(self, parts: Parts, limits: Limits, now: float) -> None:
        self._parts = parts
        self._limits = limits
        self._effects_since = now

    def keep(self, now: float) -> None:
        """Look after everything once."""
        parts = self._parts
        parts.reads.expire(now)
        parts.proposals.expire(now)
        parts.calls.expire(now)
        parts.membership.expire(now)
        parts.connections.keep_house(now, parts.core.leader)
        parts.transfers.expire(now)
        parts.defragmentation.keep()
        parts.quota.keep(now)
        parts.auto_compaction.keep(now, parts.core.leads)
        parts.hub.tick()
        parts.tokens.kind.expire()
        parts.consistency.keep()
        parts.core.set_eager(parts.hub.watchers > 0)
        self._expire_leases(now)
        self._checkpoint_leases(now)
        self._flush_effects(now)
        self._compact_log()
        for member, delivered in parts.snapshots.keep_house(now):
            parts.core.report_snapshot(member, delivered)

    def _expire_leases(self, now: float) -> None:
        """Only the leader's clock fills `due`; a deposed leader's revocation is not forwarded."""
        parts = self._parts
        per_round = max(1, int(self._limits.lease_expiries_per_second * HOUSEKEEPING_MS / 1000))
        due = parts.leases.due(now, per_round)
        if due:
            parts.core.propose(
                [parts.proposals.unasked(RequestKind.LEASE_REVOKE, revocation(i)) for i in due],
                forward=False,
            )

    def _checkpoint_leases(self, now: float) -> None:
        """As above: only the leader has any, and a deposed one's are not forwarded."""
        parts = self._parts
        found = parts.leases.checkpoints(now, CHECKPOINTS_MAX)
        if found:
            notes = [rpc_pb2.LeaseCheckpoint(ID=i, remaining_TTL=left) for i, left in found]
            request = rpc_pb2.LeaseCheckpointRequest(checkpoints=notes).SerializeToString()
            envelope = parts.proposals.unasked(RequestKind.LEASE_CHECKPOINT, request)
            parts.core.propose([envelope], forward=False)

    def promote_leases(self, now: float) -> None:
        """This member leads: from now on its clock counts for every lease."""
        parts = self._parts
        parts.leases.promote(parts.machine.leases(), now)

    def _flush_effects(self, now: float) -> None:
        parts = self._parts
        if parts.disk.applied == parts.disk.durable_applied or parts.disk.busy:
            self._effects_since = now
        elif now - self._effects_since >= EFFECTS_IDLE_SECONDS:
            parts.disk.flush_effects()

    def _compact_log(self) -> None:
        disk, core = self._parts.disk, self._parts.core
        excess = disk.durable_applied.index - disk.first_index() + 1 - self._limits.log_entries_max
        if excess > 0 and disk.has_room():
            peers = core.status().progress.values()
            cut = dispensable(disk.durable_applied.index, peers, self._limits)
            if cut >= disk.first_index():
                disk.compact(cut)


def revocation(lease_id: int) -> bytes:
    """The request that ends a lease."""
    return rpc_pb2.LeaseRevokeRequest(ID=lease_id).SerializeToString()
