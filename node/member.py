"""One member as its own client port sees it: the face of the loop towards `node.api`.

Structurally the `Member` port of `node.api.member`, which this module may not import. It holds no
state of its own but the watch streams' sinks and the cached parts of response headers; every call
belongs to the loop's thread, queues something and wakes the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from node.backup import Backup
from node.config import Limits, Ticks
from node.consistency import REASON
from node.loop import Loop
from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.errors import BadLeaderTransferee, NotLeader, Refusal, TooManyRequests
from node.machine.machine import Machine
from node.machine.wire import varint
from node.parts import Parts
from node.passwords import Passwords
from node.proposals import Asker
from node.proto import rpc_pb2
from node.raft.ready import Role as RaftRole
from node.status import Durations, Identity, MemberRecord, MemberStatus, PeerProgress, Role
from node.tokens import Keeper
from store.writer import SYNC_BOUNDS_SECONDS

ROLES = {
    RaftRole.FOLLOWER: Role.FOLLOWER,
    RaftRole.PRE_CANDIDATE: Role.PRE_CANDIDATE,
    RaftRole.CANDIDATE: Role.CANDIDATE,
    RaftRole.LEADER: Role.LEADER,
}

OnOutcome = Callable[[Answer | Refusal], None]
OnFresh = Callable[[Refusal | None], None]
OnLife = Callable[[int | Refusal], None]
OnTimeToLive = Callable[[tuple[int, int] | Refusal], None]
Sink = Callable[[bytes], None]


class Sinks:
    """Where the responses of each watch stream go. Made before the loop, which delivers to it."""

    def __init__(self) -> None:
        self._sinks: dict[int, Sink] = {}
        self.flush: Callable[[], None] = _nothing
        """Writes out what a turn has answered; the client port's, once there is one."""
        self.header: Callable[[int], bytes] = _no_header
        """Makes response headers; the member's, once there is one."""

    def response_header(self, revision: int) -> bytes:
        """The encoded header field of a watch response."""
        return self.header(revision)

    def add(self, stream_id: int, sink: Sink) -> None:
        """Open a stream's way out."""
        self._sinks[stream_id] = sink

    def drop(self, stream_id: int) -> None:
        """Close it; what the hub still had for it is nobody's."""
        self._sinks.pop(stream_id, None)

    def deliver(self, responses: Sequence[tuple[int, bytes]]) -> None:
        """Hand watch responses to their streams, in order."""
        for stream_id, response in responses:
            sink = self._sinks.get(stream_id)
            if sink is not None:
                sink(response)


class Member:
    """All that the client port may ask for."""

    def __init__(
        self,
        loop: Loop,
        parts: Parts,
        sinks: Sinks,
        identity: Identity,
        ticks: Ticks,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        """Present `loop` and its parts."""
        self.identity = identity
        self.limits = limits
        self.now = clock
        self._loop = loop
        self._parts = parts
        self._sinks = sinks
        self._election_seconds = ticks.election * ticks.tick_ms / 1000
        ids = b"\x08" + varint(identity.cluster_id) + b"\x10" + varint(identity.member_id)
        self._header_ids = ids
        self._header_term = (-1, b"")

    @property
    def machine(self) -> Machine:
        """The applied state; another object after a snapshot was installed."""
        return self._parts.machine

    @property
    def tokens(self) -> Keeper:
        """By which clients are known while authentication is enabled."""
        return self._parts.tokens

    @property
    def passwords(self) -> Passwords:
        """Hashes passwords and compares them, beside the loop."""
        return self._parts.passwords

    @property
    def is_learner(self) -> bool:
        """Whether this member has no vote."""
        return self._parts.is_learner

    @property
    def accused(self) -> bool:
        """Whether this member's state is not to be trusted, so that nothing may be read of it."""
        return self._parts.machine.accused

    @property
    def leader(self) -> int:
        """Member id of the known leader; 0 = none."""
        return self._loop.leader

    def leaderless_seconds(self) -> float:
        """How long no leader has been known."""
        return 0.0 if self._loop.leader else self.now() - self._loop.leaderless_since

    def election_timeout_seconds(self) -> float:
        """The shortest election timeout."""
        return self._election_seconds

    def header(self, revision: int) -> bytes:
        """The encoded header field of a response."""
        term, encoded = self._header_term
        if term != self._loop.term:
            term = self._loop.term
            encoded = b"\x20" + varint(term) if term else b""
            self._header_term = (term, encoded)
        if revision:
            body = self._header_ids + b"\x18" + varint(revision) + encoded
        else:
            body = self._header_ids + encoded
        return b"\x0a" + bytes((len(body),)) + body

    def propose(
        self, kind: RequestKind, request: bytes, done: OnOutcome, asker: Asker | None = None
    ) -> None:
        """Put a request through the log."""
        if self._loop.apply_lag > self.limits.apply_lag_entries_max:
            done(TooManyRequests())
            return
        if self._parts.quota.admits(kind, request):
            self._parts.proposals.add(kind, request, done, self.now(), asker)
        else:
            self._parts.quota.refuse(done)
        self._loop.wake()

    def read(self, done: OnFresh) -> None:
        """Ask for a linearizable moment."""
        self._parts.reads.add(done, self.now())
        self._loop.wake()

    def keep_alive(self, lease_id: int, done: OnLife) -> None:
        """Renew a lease at the leader."""
        self._parts.calls.ask(
            lease_id, True, lambda life: done(life if isinstance(life, Refusal) else life[0])
        )
        self._loop.wake()

    def time_to_live(self, lease_id: int, done: OnTimeToLive) -> None:
        """Look at a lease on the leader's clock."""
        self._parts.calls.ask(lease_id, False, done)
        self._loop.wake()

    def transfer_leader(self, member_id: int, done: OnFresh) -> None:
        """Hand leadership to another voter; only the leader can."""
        if self._loop.role != RaftRole.LEADER:
            done(NotLeader(self._loop.leader))
            return
        if member_id not in self._parts.conf.voters:
            done(BadLeaderTransferee())
            return
        if member_id == self._parts.member_id:
            done(None)  # as in etcd: it leads already
            return
        self._parts.transfers.add(member_id, done, self.now())
        self._parts.core.transfer_leader(member_id)
        self._loop.wake()

    def defragment(self, done: OnFresh) -> None:
        """Give back the space of everything dead; the next housekeeping begins."""
        self._parts.defragmentation.ask(done)

    def change_members(self, kind: RequestKind, member: rpc_pb2.Member, done: OnOutcome) -> None:
        """Add, remove or promote a member, through the leader and the log."""
        self._parts.membership.ask(kind, member, done, self.now())
        self._loop.wake()

    def members(self) -> list[MemberRecord]:
        """The members of the applied configuration, with what they have published."""
        conf = self._parts.conf
        published = {record.id: record for record in self._parts.machine.members()}
        return [
            replace(
                published.get(member_id) or MemberRecord(member_id, "", (), ()),
                is_learner=member_id in conf.learners,
            )
            for member_id in sorted({*conf.voters, *conf.learners})
        ]

    def status(self) -> MemberStatus:
        """This moment's figures."""
        parts, figures = self._parts, self._loop.figures
        core = parts.core.status()
        size = parts.disk.state_size()
        counted = parts.consistency.figures.bytes
        syncs = parts.disk.sync_figures()
        return MemberStatus(
            role=ROLES[core.role],
            term=core.term,
            leader=core.leader,
            commit=core.commit,
            applied=core.applied,
            last_index=core.last_index,
            is_learner=parts.is_learner,
            revision=parts.machine.revision,
            compact_revision=parts.machine.compact_revision,
            db_size=size,
            db_size_in_use=min(size, counted) if counted else size,
            disk_size=parts.disk.size_on_disk(),
            alarms=tuple(parts.machine.alarms()),
            quarantined=REASON if parts.machine.accused else "",
            state_checks=parts.consistency.figures.checks,
            state_records=parts.consistency.figures.records,
            state_mismatches=parts.consistency.figures.mismatches,
            vote=core.vote,
            transferee=core.transferee,
            progress=tuple(
                PeerProgress(member, peer.match, peer.next, peer.state)
                for member, peer in core.progress.items()
            ),
            leader_changes=figures.leader_changes,
            proposals_pending=parts.proposals.pending,
            proposals_failed=parts.proposals.failed,
            reads_failed=parts.reads.failed,
            writer_batches=parts.disk.queue_depth(),
            sync_times=Durations(SYNC_BOUNDS_SECONDS, syncs.buckets, syncs.sum_seconds),
            slow_turns=figures.slow_turns,
            tally=replace(parts.machine.tally),
            auth_revision=parts.machine.auth.revision,
            leases_renewed=parts.leases.renewed,
            leases_expired=parts.leases.expired,
            watch_streams=parts.hub.streams,
            watchers=parts.hub.watchers,
            watchers_behind=parts.hub.watchers_unsynced,
            events_told=parts.hub.events_told,
            installing=parts.disk.installing,
            defragmenting=parts.defragmentation.busy,
            peers=parts.peer_figures(),
        )

    @property
    def applied(self) -> int:
        """Index of the last applied entry."""
        return self._parts.disk.applied.index

    def open_backup(self, index: int) -> Backup | Refusal | None:
        """Begin a snapshot for the outside, once `index` is durably applied."""
        disk = self._parts.disk
        if disk.durable_applied.index < index:
            disk.flush_effects()
            return None
        backups = self._parts.backups
        backups[:] = [backup for backup in backups if not backup.closed]
        if len(backups) >= self.limits.snapshot_streams_max:
            return TooManyRequests()
        backups.append(self._parts.new_backup())
        return backups[-1]

    # -- watch ---------------------------------------------------------------------------------

    def open_watch(self, sink: Sink) -> int:
        """Open a watch stream."""
        stream_id = self._parts.hub.open_stream()
        self._sinks.add(stream_id, sink)
        return stream_id

    def watch_request(self, stream_id: int, request: rpc_pb2.WatchRequest) -> None:
        """Hand one request of the client to its stream."""
        self._parts.hub.handle(stream_id, request)
        self._parts.core.set_eager(True)  # until the next housekeeping looks again
        self._loop.wake()

    def reject_watch(self, stream_id: int, reason: str) -> None:
        """Answer a request for a watcher that may not be made."""
        self._parts.hub.reject(stream_id, reason)
        self._loop.wake()

    def pause_watch(self, stream_id: int) -> None:
        """Send the stream nothing more until it is resumed."""
        self._parts.hub.pause(stream_id)

    def resume_watch(self, stream_id: int) -> None:
        """Let a paused stream catch up and go on."""
        self._parts.hub.resume(stream_id)
        self._loop.wake()

    def close_watch(self, stream_id: int) -> None:
        """End the stream and its watchers."""
        self._parts.hub.close_stream(stream_id)
        self._sinks.drop(stream_id)


def _nothing() -> None:
    """Before there is a client port, a turn has nothing to write out."""


def _no_header(revision: int) -> bytes:
    """Before there is a member, nothing is answered."""
    return b""
