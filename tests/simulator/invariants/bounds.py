"""Whatever a member may have much of has a limit, and keeps it.

Source: `node.config.Limits` and the constants beside the queues.
"""

from __future__ import annotations

from node.membership import PENDING_MAX
from node.peers import PARCEL_BYTES_MAX
from node.raft.message import ENTRY_OVERHEAD_BYTES
from node.raft.ready import Role
from node.watch.stream import TURN_BYTES_MAX
from tests.simulator.invariants.tap import Check, Subject
from tests.simulator.observer import fail

ENVELOPE_BYTES = 64
"""What a request grows by on its way into the log."""


class Bounds(Check):
    """Invariant 11."""

    def began(self, subject: Subject) -> None:
        subject.facts["turns"] = -1

    def turned(self, subject: Subject) -> None:
        turns = subject.life.loop.figures.turns
        if turns == subject.facts["turns"]:
            return
        subject.facts["turns"] = turns
        self._check_requests(subject)
        self._check_core(subject)
        if subject.raft.role is Role.LEADER:
            self._check_windows(subject)

    def _check_requests(self, subject: Subject) -> None:
        limits, parts = subject.node.config.limits, subject.parts
        proposals, reads = parts.proposals, parts.reads
        if (
            proposals.pending > limits.pending_proposals_max
            or proposals._pending_bytes > limits.pending_bytes_max + ENVELOPE_BYTES
            or reads.pending > limits.pending_reads_max
            or len(parts.membership._asked) > PENDING_MAX
            or len(parts.snapshots._sending) > limits.snapshot_streams_max
        ):
            fail(
                "more waits than may",
                member=subject.id,
                proposals=proposals.pending,
                bytes=proposals._pending_bytes,
                reads=reads.pending,
                changes=len(parts.membership._asked),
                streams=len(parts.snapshots._sending),
            )
        batches, waiting = subject.life.store.writer.depth()
        config = subject.node._cluster.store_config
        if batches > config.queue_batches_max:
            fail("the writer's queue is too long", member=subject.id, batches=batches)
        if waiting > config.queue_bytes_max + PARCEL_BYTES_MAX + limits.snapshot_chunk_bytes:
            fail("the writer's queue is too large", member=subject.id, bytes=waiting)

    def _check_core(self, subject: Subject) -> None:
        limits, raft, log = subject.node.config.limits, subject.raft, subject.log
        if raft.reads.pending > limits.pending_reads_max:
            fail("too many reads at the leader", member=subject.id, reads=raft.reads.pending)
        entry_bytes_max = limits.request_bytes_max + ENVELOPE_BYTES + ENTRY_OVERHEAD_BYTES
        if log.applying_bytes > limits.apply_bytes_max + entry_bytes_max:
            fail("too much is being applied", member=subject.id, bytes=log.applying_bytes)
        entries = log.last_index - log.applying
        most = max(limits.uncommitted_bytes_max, PARCEL_BYTES_MAX + limits.request_bytes_max)
        if raft.uncommitted_bytes > most + entries * ENTRY_OVERHEAD_BYTES:
            fail("too much is not committed", member=subject.id, bytes=raft.uncommitted_bytes)
        hub = subject.parts.hub
        for stream in hub._streams.values():
            if stream.queued > 2 * TURN_BYTES_MAX + limits.request_bytes_max:
                fail("too much for one stream", member=subject.id, bytes=stream.queued)

    def _check_windows(self, subject: Subject) -> None:
        limits = subject.node.config.limits
        entry_bytes_max = limits.request_bytes_max + ENVELOPE_BYTES + ENTRY_OVERHEAD_BYTES
        bytes_max = limits.inflight_bytes_max + max(limits.append_bytes_max, entry_bytes_max)
        for member, progress in subject.raft.roster.progress.items():
            inflight = progress.inflight
            if len(inflight) > limits.inflight_messages_max or inflight.bytes > bytes_max:
                fail("a window is too large", leader=subject.id, peer=member, appends=len(inflight))
