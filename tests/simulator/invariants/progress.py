"""What only grows: term, commit, applied and the number of writes, also over restarts.

A member may forget a commit with its process, because it learns it again; everything that its disk
has shown as written it must find there in its next life.
"""

from __future__ import annotations

from typing import Any, ClassVar

from node.raft.errors import LogError
from node.raft.message import AppendReply
from node.raft.ready import Ready, Role
from tests.simulator.invariants.platter import Head
from tests.simulator.invariants.tap import Check, Subject
from tests.simulator.observer import fail


class Monotony(Check):
    """Invariant 5, and a member's log never takes back what it calls committed; nor does a leader
    forget what it knows of a member while it leads."""

    arriving: ClassVar = {AppendReply: "answer_arriving"}
    taken: ClassVar = {AppendReply: "answer_taken"}

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._heads: dict[int, Head] = {}
        self._applied: dict[int, int] = {}

    def began(self, subject: Subject) -> None:
        self._check_disk(subject)
        head, raft = subject.platter.head, subject.raft
        if (raft.term, raft.vote) != (head.term, head.vote):
            fail("a life begins with another hard state than its disk's", member=subject.id)
        if subject.applied != subject.platter.applied:
            fail("a life begins with another state than its disk's", member=subject.id)

    def written(self, subject: Subject) -> None:
        self._check_disk(subject)

    def ready(self, subject: Subject, ready: Ready) -> None:
        raft, log = subject.raft, subject.log
        if raft.term < subject.term or log.commit < subject.commit:
            fail("term or commit went back", member=subject.id, was=(subject.term, subject.commit))
        if log.commit > subject.commit:
            self._check_commit(subject)

    def answer_arriving(self, subject: Subject, message: AppendReply) -> None:
        raft = subject.raft
        progress = raft.roster.progress.get(message.sender)
        subject.facts["match"] = raft.term, progress, progress.match if progress else 0

    def answer_taken(self, subject: Subject, message: AppendReply) -> None:
        term, progress, match = subject.facts["match"]
        if progress is not None and subject.raft.term == term and progress.match < match:
            fail("a match went back", member=subject.id, of=message.sender, was=match)

    def _check_commit(self, subject: Subject) -> None:
        raft, log = subject.raft, subject.log
        try:
            term = log.term(log.commit)
        except LogError as error:
            fail("commit without an entry", member=subject.id, commit=log.commit, error=error)
        ledger = self.ledger
        if log.commit <= ledger.commit and term != ledger.term_at(log.commit):
            fail("committed another entry than others", member=subject.id, index=log.commit)
        if raft.role is Role.LEADER and term != raft.term:
            fail("an entry of an earlier term committed by count", member=subject.id, term=term)

    def _check_disk(self, subject: Subject) -> None:
        member, head = subject.id, subject.platter.head
        was = self._heads.get(member, Head())
        if head is was:
            return
        if head.write_seq < was.write_seq or head.term < was.term or head.commit < was.commit:
            fail("a disk went back", member=member, was=was, head=head)
        if head.term == was.term and was.vote not in (0, head.vote):
            fail("a vote was changed on disk", member=member, was=was, head=head)
        applied = subject.platter.applied
        if applied < self._applied.get(member, 0) or applied > head.commit:
            fail("applied went back, or ahead of the commit", member=member, applied=applied)
        self._heads[member], self._applied[member] = head, applied
