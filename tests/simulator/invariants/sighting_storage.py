"""Sightings around disks: writes, restarts, snapshots; and of members that come and go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from node.machine.envelope import RequestKind
from node.membership import ACCEPTED, BUSY
from node.peers import Call, ChangeAsk, Farewell
from node.proto import rpc_pb2
from node.raft.message import ConfChange, ConfChangeKind, ConfState, InstallSnapshot
from node.raft.progress import ProgressState
from node.raft.ready import PersistToken, Ready, Role
from node.snapshots import Chunk
from tests.simulator.invariants.tap import Check, Subject, overhear


class StorageSightings(Check):
    """How writes end, and what a life finds of the one before."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._ends: dict[int, tuple[int, int]] = {}
        """Member → commit and last index as its last life knew them."""

    def began(self, subject: Subject) -> None:
        disk = subject.parts.disk
        overhear(disk, "has_room", lambda room: room or self.hit("disk_full_queue"))
        overhear(disk, "compact", lambda _, index: self._compacted(subject))
        if subject.id not in self._ends:
            return
        commit, last = self._ends[subject.id]
        head = subject.platter.head
        self.hit("restart")
        if head.commit > subject.platter.applied:
            self.hit("restart_commit_ahead")
        if head.commit < commit:
            self.hit("restart_commit_forgotten")
        if head.last > head.commit:
            self.hit("restart_tail")
        if head.last < last:
            self.hit("restart_lost_tail")

    def ended(self, subject: Subject) -> None:
        parts, log = subject.parts, subject.log
        self._ends[subject.id] = (log.commit, log.last_index)
        if subject.raft.role is Role.LEADER:
            self.hit("killed_leader")
        elif subject.raft.role is Role.CANDIDATE:
            self.hit("killed_candidate")
        if parts.disk.busy:
            self.hit("killed_with_writes")
        if log.commit > subject.applied:
            self.hit("killed_with_unapplied")
        if subject.life.store.view.staged_records:
            self.hit("killed_with_staged")

    def ready(self, subject: Subject, ready: Ready) -> None:
        nothing = ready.hard_state is None and ready.snapshot is None and not ready.entries
        if ready.token is not None and ready.messages_after_append and nothing:
            self.hit("acks_behind_write")

    def persisting(self, subject: Subject, token: PersistToken) -> None:
        tail = subject.log.tail
        if tail.vouches(token, subject.raft.term):
            return
        self.hit("completion_void")
        count = token.last_index - tail.offset + 1
        if 0 < count <= len(tail.entries) and tail.entries[count - 1].term == token.last_term:
            self.hit("completion_aba")

    def _compacted(self, subject: Subject) -> None:
        self.hit("log_compacted")
        if subject.raft.role is Role.LEADER:
            states = {progress.state for progress in subject.raft.roster.progress.values()}
            if ProgressState.PROBE in states:
                self.hit("compacted_in_probe")
            if ProgressState.SNAPSHOT in states:
                self.hit("compacted_in_snapshot")


class SnapshotSightings(Check):
    """Snapshots on their way, and what becomes of them."""

    arriving: ClassVar = {InstallSnapshot: "snapshot_arrives"}
    taken: ClassVar = {InstallSnapshot: "snapshot_taken"}

    def began(self, subject: Subject) -> None:
        snapshots = subject.parts.snapshots
        subject.facts.update(fresh=False, joined=bool(subject.conf.voters), tail_waits=False)
        overhear(snapshots, "_end", lambda _, sending, delivered: self._stream_ended(delivered))
        inner, begin, start = snapshots._send, snapshots._begin, snapshots.start

        def send(to: int, payload: bytes) -> bool:
            seen = subject.facts.setdefault("chunks", set())
            if payload in seen:
                self.hit("snapshot_chunk_lost")
            elif len(seen) < 1_000:
                seen.add(payload)
            return inner(to, payload)

        def begun(sender: int, chunk: Chunk, now: float) -> Any:
            before = snapshots._receiving
            after = begin(sender, chunk, now)
            if before is not None and after is not None:
                self.hit("snapshot_superseded")
            return after

        def starting(message: InstallSnapshot, now: float) -> None:
            full = len(snapshots._sending) >= snapshots._streams_max
            if full and message.to not in snapshots._sending:
                self.hit("snapshot_streams_full")
            start(message, now)

        snapshots.start = starting  # type: ignore[method-assign]
        snapshots._send = send
        snapshots._begin = begun  # type: ignore[method-assign]
        overhear(
            subject.parts.disk,
            "make_way_for_install",
            lambda way: way or self.hit("snapshot_waited_for_room"),
        )

    def ended(self, subject: Subject) -> None:
        snapshots = subject.parts.snapshots
        if snapshots._receiving is not None or snapshots._arrived is not None:
            self.hit("snapshot_crash_receiving")
        if subject.parts.disk.installing:
            self.hit("snapshot_crash_installing")
        if snapshots._sending:
            self.hit("snapshot_crash_sending")

    def ready(self, subject: Subject, ready: Ready) -> None:
        if ready.entries:
            subject.facts["fresh"] = False

    def adopted(self, subject: Subject) -> None:
        self.hit("snapshot_installed")
        facts = subject.facts
        if facts["fresh"]:
            self.hit("snapshot_in_a_row")
        if subject.id in subject.conf.learners:
            self.hit("snapshot_of_learner")
        if not facts["joined"]:
            self.hit("joined_by_snapshot")
        if subject.parts.hub.watchers:
            self.hit("watch_over_snapshot")
        facts["fresh"] = facts["joined"] = True

    def snapshot_arrives(self, subject: Subject, message: InstallSnapshot) -> None:
        subject.facts["tail_waits"] = subject.log.last_index > subject.log.commit

    def snapshot_taken(self, subject: Subject, message: InstallSnapshot) -> None:
        if subject.log.tail.snapshot_waits:
            if subject.facts["tail_waits"]:
                self.hit("snapshot_replaced_tail")
        else:
            self.hit("snapshot_abandoned")

    def _stream_ended(self, delivered: bool) -> None:
        if not delivered:
            self.hit("snapshot_failed")


class MembershipSightings(Check):
    """Changes of the members: made, refused, lost, asked again."""

    def began(self, subject: Subject) -> None:
        membership = subject.parts.membership
        subject.facts["exit"] = 0
        connections = subject.parts.connections
        known = connections._welcome

        def welcome(leader: int, address: str) -> None:
            before = len(connections._guests)
            known(leader, address)
            if len(connections._guests) > before:
                self.hit("unknown_leader_met")

        connections._welcome = welcome  # type: ignore[method-assign]
        overhear(membership, "_judge", lambda verdict, _, ask: self._judged(verdict, ask))
        overhear(membership, "take", lambda _, sender, calls: self._called(calls))
        usual = membership.term_applied

        def term_applied(term: int) -> None:
            waiting = len(membership._waiting)
            usual(term)
            if len(membership._waiting) > waiting:
                self.hit("change_asked_again")

        membership.term_applied = term_applied  # type: ignore[method-assign]

    def ready(self, subject: Subject, ready: Ready) -> None:
        exit_index = subject.raft.exit_index
        if exit_index and exit_index != subject.facts["exit"]:
            self.hit("leader_proposed_own_removal")
        subject.facts["exit"] = exit_index

    def conf_changed(
        self, subject: Subject, index: int, change: ConfChange | None, conf: ConfState
    ) -> None:
        if change is None:
            self.hit("change_refused_at_apply")
        elif change.kind == ConfChangeKind.REMOVE:
            self.hit("member_removed")
            leaders = self.ledger.leaders
            if leaders.get(self.ledger.term_at(index), (0, 0))[0] == change.member:
                self.hit("leader_removed")
        elif change.kind == ConfChangeKind.ADD_LEARNER:
            self.hit("learner_added")
        elif change.member in subject.conf.learners:
            self.hit("learner_promoted")
        else:
            self.hit("voter_added")

    def _judged(self, verdict: str, ask: ChangeAsk) -> None:
        if verdict == ACCEPTED:
            return
        if verdict == BUSY:
            self.hit("change_busy")
            return
        self.hit("change_refused")
        if ask.kind == RequestKind.MEMBER_ADD:
            member = rpc_pb2.Member.FromString(ask.request)
            if member.ID in self.ledger.removed:
                self.hit("readd_refused")

    def _called(self, calls: Sequence[Call]) -> None:
        if any(isinstance(call, Farewell) for call in calls):
            self.hit("farewell_heard")
