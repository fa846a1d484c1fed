"""The face of the consensus core: messages, ticks and requests in, `Ready` out.

The core does no I/O and therefore cannot fail, except by finding that an invariant is broken. Same
state and same input give the same output: time enters as ticks, chance as a seeded generator, the
disk as a port that is only read. It is not thread-safe; one loop owns it.

    core.step(message) … core.tick() … core.propose(…)        any number of them, then
    ready = core.ready()                                      what follows from them
    write, send, apply as `node.raft.ready` orders
    core.persisted(ready.token) … core.applied_to(index)      as the effects complete

What a turn's inputs lead to is settled in `ready`: appends to peers and the round that confirms
reads are made there, once, so that their cost does not grow with the number of inputs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from node.errors import check
from node.raft import (
    election,
    leader,
    proposal,
    read_index,
    reconfiguration,
    replication,
    transfer,
)
from node.raft.config import RaftConfig
from node.raft.election import Campaign
from node.raft.invariant import Invariants
from node.raft.log import RaftLog
from node.raft.message import (
    NO_MEMBER,
    AppendReply,
    ConfChange,
    ConfState,
    EntryKind,
    HardState,
    Message,
)
from node.raft.progress import Progress
from node.raft.raft import Raft, Random
from node.raft.ready import NoteKind, PeerStatus, PersistToken, Proposed, Ready, Role, Status
from node.raft.roster import Roster
from node.raft.step import step
from node.raft.storage import Storage


@dataclass(frozen=True, slots=True)
class Handoff:
    """One write under way: what may be done when it completes, besides sending."""

    token: PersistToken
    own_messages: list[Message]
    """Addressed to this member: its vote for itself."""
    promised: int
    """Highest index that an acknowledgement waiting for this write vouches for."""


class Core:
    """One member's consensus, without I/O."""

    __slots__ = ("_handed_hard", "_handed_soft", "_in_flight", "_invariants", "_raft")

    def __init__(
        self, config: RaftConfig, storage: Storage, random: Random, applied: int = 0
    ) -> None:
        """Start from what `storage` holds. `applied` is the index up to which the state machine has
        durably applied; the configuration in the storage is the one at that index.

        Raises: InvariantViolated, if the storage contradicts itself.
        """
        hard_state, conf = storage.initial_state()
        log = RaftLog(storage, hard_state.commit, applied)
        roster = Roster(config, conf, log.last_index + 1)
        self._raft = Raft(config, log, roster, random, hard_state)
        check(log.last_term() <= hard_state.term, "the log is ahead of the stored term")
        self._handed_hard = self._raft.hard_state
        self._handed_soft = self._raft.soft_state
        self._in_flight: deque[Handoff] = deque()
        self._invariants = Invariants(self._raft)

    @property
    def term(self) -> int:
        """The current term, also before the next `ready` shows it."""
        return self._raft.term

    @property
    def leads(self) -> bool:
        """Whether this member leads right now, also before the next `ready` shows it."""
        return self._raft.role is Role.LEADER

    @property
    def leader(self) -> int:
        """Whom this member takes for the leader of its term right now; NO_MEMBER = nobody."""
        return self._raft.leader

    @property
    def forwards(self) -> int:
        """Number of the last message of proposals that was forwarded; see `Ready.dropped`."""
        return self._raft.forwards

    def set_eager(self, eager: bool) -> None:
        """Say whether commits should be told to this member at once, because somebody watches here;
        otherwise those that nobody here waits for come with the next append or within a tick."""
        self._raft.eager = eager

    # Inputs

    def tick(self) -> None:
        """One tick of time has passed."""
        if self._raft.role is Role.LEADER:
            leader.tick(self._raft)
        else:
            election.tick(self._raft)

    def step(self, message: Message) -> None:
        """Take in a message from a peer; one that cannot be meant for us is ignored with a note."""
        raft = self._raft
        if message.to != raft.id or message.sender in (NO_MEMBER, raft.id) or message.term < 1:
            kind = type(message).__name__
            raft.note(NoteKind.MESSAGE_IGNORED, f"misdirected {kind}", message.sender)
            return
        step(raft, message)

    def campaign(self) -> None:
        """Try to become leader now, by the same two rounds as after a timeout."""
        election.campaign(self._raft, Campaign.PRE_VOTE)

    def propose(self, data: Sequence[bytes], *, forward: bool = True) -> Proposed:
        """Ask for `data` to be appended, one entry each, all or none.

        What was forwarded gets into logs as entries of the current term or not at all, and if the
        leader drops it, its number (`forwards`) comes back in `Ready.dropped`, unless that is lost.
        """
        return proposal.propose(self._raft, EntryKind.NORMAL, data, forward=forward)

    def propose_conf_change(self, change: ConfChange, *, forward: bool = True) -> Proposed:
        """Ask for one member to be added, promoted or removed."""
        data = [msgspec.msgpack.encode(change)]
        return proposal.propose(self._raft, EntryKind.CONF_CHANGE, data, forward=forward)

    def apply_conf_change(self, change: ConfChange | None) -> ConfState:
        """A committed change is being applied; None if the application refuses it. Returns the
        configuration from here on, to be stored with the applied index.

        To be called for every CONF_CHANGE entry, in its place, before `applied_to` covers it.
        """
        if change is None:
            return self._raft.roster.conf
        return reconfiguration.apply(self._raft, change)

    def read_index(self, context: int) -> bool:
        """Ask from which index on a linearizable read may run; the answer is a `ReadState` with
        the same `context`. False: no leader is known, or too many reads are pending.

        Use a fresh context per attempt, and give up all that is pending when the soft state
        changes: the answer may be lost.
        """
        return read_index.request(self._raft, context)

    def transfer_leader(self, transferee: int) -> None:
        """Ask for leadership to move to `transferee`; success shows in the soft state."""
        transfer.request(self._raft, transferee)

    def report_unreachable(self, member: int) -> None:
        """The last message to `member` could not be sent."""
        progress = self._peer(member)
        if progress is not None:
            replication.report_unreachable(progress)

    def report_snapshot(self, member: int, delivered: bool) -> None:
        """The snapshot that was to be sent to `member` arrived there as a whole, or did not."""
        progress = self._peer(member)
        if progress is not None:
            replication.report_snapshot(progress, delivered=delivered)

    # Effects

    def has_ready(self) -> bool:
        """Whether `ready` would have anything in it."""
        raft = self._raft
        return bool(
            raft.replicate_due
            or raft.messages
            or raft.messages_after_append
            or raft.log.tail.has_work
            or raft.log.has_committed(raft.config.apply_bytes_max)
            or raft.read_states
            or raft.dropped
            or raft.notes
            or read_index.round_due(raft)
            or raft.hard_state != self._handed_hard
            or raft.soft_state != self._handed_soft
        )

    def ready(self) -> Ready:
        """Hand out everything that is due; none of it will be handed out again.

        Raises: InvariantViolated.
        """
        raft = self._raft
        if raft.role is Role.LEADER:
            read_index.flush(raft)
            if raft.replicate_due:
                replication.flush(raft)
        ready = Ready(
            snapshot=raft.log.tail.hand_out_snapshot(),
            entries=raft.log.tail.hand_out(),
            messages=raft.messages,
            messages_after_append=raft.messages_after_append,
            read_states=raft.read_states,
            dropped=raft.dropped,
            notes=raft.notes,
        )
        raft.messages, raft.messages_after_append = [], []
        raft.read_states, raft.dropped, raft.notes = [], [], []
        self._take_states(ready)
        self._take_committed(ready)
        self._invariants.verify(raft, ready)
        return ready

    def persisted(self, token: PersistToken) -> None:
        """The write that came with `token` is synced, and so are all before it. From here on the
        storage must show it.

        Raises: InvariantViolated.
        """
        writes, tail = self._in_flight, self._raft.log.tail
        check(
            tail.acknowledged < token.sequence <= tail.issued,
            "a write completed twice, or was never handed out",
        )
        while writes and writes[0].token.sequence <= token.sequence:
            self._complete(writes.popleft())

    def applied_to(self, index: int) -> None:
        """Everything up to `index` is applied; `index` was handed out in `Ready.committed`."""
        self._raft.log.applied_to(index)

    def status(self) -> Status:
        """The present state, for people and metrics."""
        raft, log = self._raft, self._raft.log
        leads = raft.role is Role.LEADER
        progress = raft.roster.progress if leads else {}
        return Status(
            id=raft.id,
            role=raft.role,
            term=raft.term,
            vote=raft.vote,
            leader=raft.leader,
            commit=log.commit,
            applied=log.applied,
            stable=log.stable_index,
            last_index=log.last_index,
            first_index=log.first_index(),
            conf=raft.roster.conf,
            transferee=raft.transferee,
            pending_reads=raft.reads.pending,
            uncommitted_bytes=raft.uncommitted_bytes,
            progress={member: _describe_peer(peer) for member, peer in progress.items()},
        )

    def _peer(self, member: int) -> Progress | None:
        raft = self._raft
        if raft.role is not Role.LEADER or member == raft.id:
            return None
        return raft.roster.progress.get(member)

    def _take_states(self, ready: Ready) -> None:
        raft = self._raft
        soft, hard = raft.soft_state, raft.hard_state
        if soft != self._handed_soft:
            self._handed_soft = ready.soft_state = soft
        must_sync = bool(ready.entries or ready.snapshot is not None)
        if hard != self._handed_hard:
            must_sync |= self._must_sync(hard)
            self._handed_hard = ready.hard_state = hard
        if must_sync or (ready.messages_after_append and self._in_flight):
            self._issue_token(ready)
        elif ready.messages_after_append:
            # All that they promise is on disk already.
            ready.messages += ready.messages_after_append
            ready.messages_after_append = []

    def _must_sync(self, hard: HardState) -> bool:
        """Term and vote must, and so must a commit that makes a change of the configuration
        effective: who has removed the last other voter must not need its vote after a restart.
        Any other commit may be forgotten and learnt again."""
        old = self._handed_hard
        return (hard.term, hard.vote) != (old.term, old.vote) or any(
            old.commit < index <= hard.commit for index in self._raft.log.conf_indexes
        )

    def _issue_token(self, ready: Ready) -> None:
        raft, tail = self._raft, self._raft.log.tail
        snapshot_index = ready.snapshot.index if ready.snapshot is not None else 0
        ready.token = tail.issue(raft.term, raft.log.term(tail.handed - 1), snapshot_index)
        after = ready.messages_after_append
        own = [message for message in after if message.to == raft.id]
        if own:
            ready.messages_after_append = [message for message in after if message.to != raft.id]
        promised = [
            message.index
            for message in ready.messages_after_append
            if isinstance(message, AppendReply) and message.term == raft.term and not message.reject
        ]
        self._in_flight.append(Handoff(ready.token, own, max(promised, default=0)))

    def _take_committed(self, ready: Ready) -> None:
        raft, log = self._raft, self._raft.log
        before = log.applying_bytes
        ready.committed = log.next_committed(raft.config.apply_bytes_max)
        taken = log.applying_bytes - before
        raft.uncommitted_bytes = max(0, raft.uncommitted_bytes - taken)

    def _complete(self, handoff: Handoff) -> None:
        raft, token = self._raft, handoff.token
        raft.log.complete(token, raft.term)
        check(
            handoff.promised <= raft.log.stable_index
            or not raft.log.tail.vouches(token, raft.term),
            "an acknowledgement would leave before its entries are on disk",
        )
        if raft.role is Role.LEADER:
            leader.handle_persisted(raft)
        for message in handoff.own_messages:
            step(raft, message)


def _describe_peer(progress: Progress) -> PeerStatus:
    return PeerStatus(
        match=progress.match,
        next=progress.next,
        state=progress.state.value,
        paused=progress.paused or progress.inflight.full(),
        inflight=len(progress.inflight),
        recent_active=progress.active,
        learner=progress.learner,
    )
