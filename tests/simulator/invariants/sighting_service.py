"""Sightings of what clients cause: requests, reads, watches, leases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from node.machine.answer import Answer, Event, LeaseChange, LeaseChangeKind
from node.machine.envelope import RequestKind, unpack
from node.machine.errors import LeaderFailed, LeaseNotFound, Refusal, Timeout
from node.raft.message import Entry, EntryKind, HeartbeatReply, Propose, ReadIndex, ReadIndexReply
from node.raft.ready import Proposed, Ready, Role
from node.watch.watcher import Watcher
from tests.simulator.invariants.ledger import BASE
from tests.simulator.invariants.tap import Check, Subject, overhear

Outcome = Answer | Refusal


class RequestSightings(Check):
    """Proposals on their way to a leader, and those whose fate is unknown."""

    sent: ClassVar = {Propose: "forwarded"}

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._unknown: set[tuple[int, int]] = set()
        """(origin, sequence) of requests whose clients were not told what came of them."""

    def began(self, subject: Subject) -> None:
        proposals = subject.parts.proposals
        overhear(proposals, "put_back", lambda *_: self.hit("proposal_put_back"))
        overhear(proposals, "dropped", lambda *_: self.hit("forward_refused"))
        add = proposals.add

        def adding(
            kind: RequestKind, request: bytes, done: Callable[[Outcome], None], *more: Any
        ) -> None:
            sequence = proposals._sequence + 1

            def answered(outcome: Outcome) -> None:
                if isinstance(outcome, (Timeout, LeaderFailed)):
                    self.hit("proposal_unknown")
                    self._unknown.add((subject.id, sequence))
                done(outcome)

            add(kind, request, answered, *more)

        vars(proposals)["add"] = adding

    def forwarded(self, subject: Subject, message: Propose) -> None:
        self.hit("proposal_forwarded")

    def applied(self, subject: Subject, entries: Sequence[Entry]) -> None:
        if not self._unknown:
            return
        for entry in entries:
            if entry.data and entry.kind == EntryKind.NORMAL:
                envelope = unpack(entry.data)
                name = (envelope.origin, envelope.sequence)
                if name in self._unknown:
                    self._unknown.discard(name)
                    self.hit("applied_after_unknown")

    def calmed(self, subjects: Sequence[Subject]) -> None:
        """What is unknown still, and stood in some log, was overwritten there."""
        committed = self.ledger.committed
        for (index, _), (entry, _) in self.ledger.entries.items():
            place = index - BASE
            if place >= len(committed) or committed[place] == entry or not entry.data:
                continue
            if entry.kind == EntryKind.NORMAL:
                envelope = unpack(entry.data)
                if (envelope.origin, envelope.sequence) in self._unknown:
                    self._unknown.discard((envelope.origin, envelope.sequence))
                    self.hit("overwritten_after_unknown")


class ReadSightings(Check):
    """How a read index comes about, and what a read then waits for."""

    arriving: ClassVar = {HeartbeatReply: "beat_answered"}
    taken: ClassVar = {ReadIndex: "question_taken"}

    def ready(self, subject: Subject, ready: Ready) -> None:
        raft = subject.raft
        if raft.role is not Role.LEADER:
            return
        if raft.reads.waiting and not raft.committed_in_term():
            self.hit("read_before_own_commit")
        if ready.read_states:
            self.hit("read_round")

    def question_taken(self, subject: Subject, message: ReadIndex) -> None:
        answer = subject.raft.messages[-1] if subject.raft.messages else None
        if isinstance(answer, ReadIndexReply) and answer.context == message.context:
            self.hit("read_by_question")

    def beat_answered(self, subject: Subject, message: HeartbeatReply) -> None:
        raft = subject.raft
        if raft.role is Role.LEADER and message.term == raft.term:
            reads, context = raft.reads, message.context
            if 0 < context < reads.counter and reads._acked.get(message.sender, 0) >= context:
                self.hit("read_round_repeated")

    def read_asked(self, subject: Subject, context: int, *, again: bool) -> None:
        if again:
            self.hit("read_asked_again")

    def read_confirmed(self, subject: Subject, context: int, index: int) -> None:
        parts = subject.parts
        if context != parts.reads._asked_context:
            self.hit("read_answer_late")
        elif parts.disk.installing:
            self.hit("read_during_install")
        elif index > parts.disk.applied.index:
            self.hit("read_waited_for_apply")

    def read_began(self, subject: Subject) -> Callable[[Refusal | None], None]:
        return self._answered

    def _answered(self, refusal: Refusal | None) -> None:
        if refusal is not None:
            self.hit("read_refused")


class WatchSightings(Check):
    """Watchers that fall behind, catch up, or come too late."""

    def began(self, subject: Subject) -> None:
        hub = subject.parts.hub
        overhear(hub, "_become_behind", lambda _, stream, watcher: self._behind(subject, watcher))
        overhear(hub, "_mark_synced", lambda _, watcher: self._synced(subject, watcher))
        overhear(hub, "_end_compacted", lambda *_: self.hit("watch_compacted"))
        subject.facts.update(were_synced=set(), behind=set())

    def watched(self, subject: Subject, watcher: Watcher) -> None:
        revision = subject.parts.hub.revision
        if watcher.start_revision > revision + 1:
            self.hit("watch_future")
        elif 0 < watcher.start_revision <= revision:
            self.hit("watch_past")

    def _behind(self, subject: Subject, watcher: Watcher) -> None:
        subject.facts["behind"].add(watcher)
        if watcher in subject.facts["were_synced"]:
            self.hit("watch_fell_behind")

    def _synced(self, subject: Subject, watcher: Watcher) -> None:
        subject.facts["were_synced"].add(watcher)
        if watcher in subject.facts["behind"]:
            subject.facts["behind"].discard(watcher)
            self.hit("watch_caught_up")


class LeaseSightings(Check):
    """Leases from grant to end, and whose clock ended them."""

    def began(self, subject: Subject) -> None:
        parts = subject.parts
        subject.facts.update(deleted=0, refused=[], noting=False)
        overhear(parts.applier, "_leases", lambda _, changes: self._changed(subject, changes))
        overhear(parts.applier, "_complete", lambda *told: self._completed(subject, told[-1]))
        overhear(parts.leases, "renew", lambda ttl, *_: ttl and self.hit("lease_renewed"))
        overhear(parts.leases, "checkpoints", lambda found, *_: self._noting(subject, found))
        overhear(
            parts.leases,
            "promote",
            lambda _, leases, now: leases and self.hit("lease_promoted"),
        )
        overhear(
            parts.calls,
            "_look",
            lambda _, *ask, refused: refused and self.hit("lease_renew_refused"),
        )

    def proposed(self, subject: Subject, outcome: Proposed, *, forward: bool) -> None:
        if forward:
            return  # only the leader's clock proposes otherwise
        if subject.facts["noting"]:
            subject.facts["noting"] = False
        else:
            taken = outcome is Proposed.ACCEPTED
            self.hit("lease_expired" if taken else "lease_revoke_dropped")

    def published(self, subject: Subject, events: Sequence[Event]) -> None:
        if any(event.deleted for event in events):
            subject.facts["deleted"] = events[0].revision

    def _noting(self, subject: Subject, found: Sequence[tuple[int, int]]) -> None:
        """What is found is proposed at once."""
        subject.facts["noting"] = bool(found)

    def _changed(self, subject: Subject, changes: Sequence[LeaseChange]) -> None:
        for change in changes:
            if change.kind is LeaseChangeKind.GRANTED:
                self.hit("lease_granted")
            elif change.kind is LeaseChangeKind.CHECKPOINTED:
                self.hit("lease_noted" if change.ttl else "lease_note_taken")
            elif subject.facts["deleted"] == subject.parts.machine.revision:
                self.hit("lease_keys_deleted")

    def _completed(self, subject: Subject, outcome: Outcome) -> None:
        if isinstance(outcome, LeaseNotFound):
            subject.facts["refused"].append(subject.parts.machine.applied_index)

    def applied(self, subject: Subject, entries: Sequence[Entry]) -> None:
        for index in subject.facts["refused"]:
            entry = entries[index - entries[0].index]
            if unpack(entry.data).kind == RequestKind.LEASE_REVOKE:
                self.hit("lease_revoke_again")
        subject.facts["refused"].clear()
