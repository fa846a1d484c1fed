"""Nothing is promised before it is durable: neither by one member, nor by the cluster.

A message that rests on the disk is compared with the disk in the moment in which it leaves; an
entry that is called committed for the first time is looked for on the disks of the voters.

Source: Raft thesis §3.8, §10.2.1; paper §5.3, §5.4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from node.raft.errors import LogError
from node.raft.message import (
    Append,
    AppendReply,
    ConfState,
    Entry,
    Heartbeat,
    PreVoteReply,
    Vote,
    VoteReply,
)
from node.raft.quorum import majority
from node.raft.ready import Ready, Role
from tests.simulator.invariants.tap import Check, Subject
from tests.simulator.observer import fail


class Promises(Check):
    """Invariant 6: what one member says of itself."""

    sent: ClassVar = {
        AppendReply: "acknowledged",
        Vote: "asked_for_vote",
        VoteReply: "answered_vote",
        PreVoteReply: "answered_pre_vote",
        Append: "led",
        Heartbeat: "led",
    }

    def acknowledged(self, subject: Subject, message: AppendReply) -> None:
        platter, index = subject.platter, message.index
        self._check_term(subject, message.term, message)
        if message.reject:
            return
        wanted = self.ledger.term_in_log_of(message.term, index)
        if platter.holds(index, wanted) if wanted is not None else index <= platter.head.last:
            return
        # A group of writes may hold the promise and, from a later leader, what undoes it. Whoever
        # voted for that leader had the entries in its log when it judged the candidate's.
        undone = platter.head.term > message.term and not subject.log.matches(index, wanted or 0)
        if not undone:
            fail("acknowledged what is not on disk", member=subject.id, message=message)

    def asked_for_vote(self, subject: Subject, message: Vote) -> None:
        self._check_vote(subject, message.term, subject.id, message)

    def answered_vote(self, subject: Subject, message: VoteReply) -> None:
        if message.granted:
            self._check_vote(subject, message.term, message.to, message)
        else:
            self._check_term(subject, message.term, message)

    def answered_pre_vote(self, subject: Subject, message: PreVoteReply) -> None:
        if not message.granted:  # a grant names the term that was asked about
            self._check_term(subject, message.term, message)

    def led(self, subject: Subject, message: Append) -> None:
        head = subject.platter.head
        if head.term < message.term or (head.term == message.term and head.vote != subject.id):
            fail("leads without its own vote on disk", member=subject.id, head=head)

    def _check_term(self, subject: Subject, term: int, message: object) -> None:
        if subject.platter.head.term < term:
            fail("speaks of a term that is not on disk", member=subject.id, message=message)
        if not subject.platter.synced:
            fail("speaks of what is not synced", member=subject.id, message=message)

    def _check_vote(self, subject: Subject, term: int, candidate: int, message: object) -> None:
        self._check_term(subject, term, message)
        head = subject.platter.head
        if head.term == term and head.vote != candidate:
            fail("a vote that is not on disk", member=subject.id, message=message, head=head)


class Stability(Check):
    """What a core takes for written is on the disk as it stands in its log: the rest of what it
    does relies on that, since it applies and counts by it."""

    def ready(self, subject: Subject, ready: Ready) -> None:
        self._check(subject)

    def written(self, subject: Subject) -> None:
        self._check(subject)

    def _check(self, subject: Subject) -> None:
        log, platter = subject.log, subject.platter
        if log.tail.snapshot is not None or platter.damaged:
            return
        index = log.stable_index
        term = log.term(index)
        if not platter.holds(index, term):
            fail("not on disk as it is in the log", member=subject.id, index=index, term=term)


class Commits(Check):
    """Invariant 7, and that only leaders commit what nobody has committed before."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._newest: tuple[int, int, ConfState] | None = None
        """Index and term of the last commit whose majority was seen, and of which voters."""

    def ready(self, subject: Subject, ready: Ready) -> None:
        ledger, log = self.ledger, subject.log
        if log.commit <= ledger.commit:
            return
        lo, hi = ledger.commit + 1, log.commit + 1
        entries: list[Entry] = []
        try:
            while lo + len(entries) < hi:
                entries += log.entries(lo + len(entries), hi, 1 << 40)
        except LogError as error:
            fail("committed what it does not hold", member=subject.id, lo=lo, hi=hi, error=error)
        term = entries[-1].term
        if ledger.leaders.get(term, (0, 0))[0] != subject.id:
            fail("committed what its leader has not", member=subject.id, term=term)
        if subject.raft.role is Role.LEADER:
            self._check_quorum(subject, log.commit, term)
        ledger.commit_entries(entries, term)

    def looked(self, subjects: Sequence[Subject]) -> None:
        """Disks never lose what was committed. Who votes by now is another question: a voter that
        was added since then need not hold it yet."""
        if self._newest is None:
            return
        index, term, conf = self._newest
        if self._holders(conf, index, term) < majority(len(conf.voters)):
            fail("a majority has lost what it had committed", index=index, term=term, conf=conf)

    def _check_quorum(self, subject: Subject, index: int, term: int) -> None:
        for conf in (subject.conf_at_ready, subject.conf):
            if self._holders(conf, index, term) >= majority(len(conf.voters)):
                self._newest = (index, term, conf)
                return
        fail(
            "committed without a durable majority",
            leader=subject.id,
            index=index,
            term=term,
            conf=subject.conf,
            heads=[(voter, self.platters[voter].head) for voter in subject.conf.voters],
        )

    def _holders(self, conf: ConfState, index: int, term: int) -> int:
        """A disk that was damaged after it was promised something still counts as promised: its
        owner must notice, and never takes part again."""
        platters = self.platters
        return sum(
            platters[voter].holds(index, term) or platters[voter].damaged for voter in conf.voters
        )
