"""One leader per term and one vote per member and term, over all time; a leader has it all.

Source: Raft paper, figure 3: election safety, leader completeness.
"""

from __future__ import annotations

from typing import Any, ClassVar

from node.raft.errors import LogError
from node.raft.message import Append, Heartbeat, InstallSnapshot, TimeoutNow, Vote, VoteReply
from node.raft.ready import Ready, Role
from node.raft.storage import FOUNDING_TERM
from tests.simulator.invariants.ledger import BASE
from tests.simulator.invariants.tap import Check, Subject
from tests.simulator.observer import fail

LEADERS = (Append, Heartbeat, InstallSnapshot, TimeoutNow)
"""What only a leader says."""
CAMPAIGNING = (Role.PRE_CANDIDATE, Role.CANDIDATE)


class Election(Check):
    """Invariants 1 and 3."""

    sent: ClassVar = {
        **dict.fromkeys(LEADERS, "leader_spoke"),
        Vote: "asked_for_vote",
        VoteReply: "answered_vote",
    }

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._campaigns = {FOUNDING_TERM}
        """Terms in which somebody has stood for election."""

    def began(self, subject: Subject) -> None:
        subject.facts["led"] = 0

    def ready(self, subject: Subject, ready: Ready) -> None:
        raft = subject.raft
        if raft.role is Role.LEADER and subject.facts["led"] != raft.term:
            subject.facts["led"] = raft.term
            if self.ledger.lead(raft.term, subject.id, subject.number):
                self._open_term(subject)
        elif raft.role in CAMPAIGNING:
            self._check_campaign(subject)
        if raft.term > subject.term:
            if raft.vote == subject.id:
                self._campaigns.add(raft.term)
            elif raft.term not in self._campaigns:
                fail("a term that nobody has stood for", member=subject.id, term=raft.term)

    def written(self, subject: Subject) -> None:
        head = subject.platter.head
        if head.vote:
            self.ledger.vote(subject.id, head.term, head.vote)

    def leader_spoke(self, subject: Subject, message: Append) -> None:
        if message.term != subject.facts["led"]:
            self.ledger.lead(message.term, subject.id, subject.number)

    def asked_for_vote(self, subject: Subject, message: Vote) -> None:
        self.ledger.vote(subject.id, message.term, subject.id)
        self._campaigns.add(message.term)

    def answered_vote(self, subject: Subject, message: VoteReply) -> None:
        if message.granted:
            self.ledger.vote(subject.id, message.term, message.to)

    def _check_campaign(self, subject: Subject) -> None:
        """Who has not applied a change that it knows to be committed would count another majority
        than others (etcd #12133)."""
        applied, commit = subject.applied, subject.log.commit
        waiting = [each for each in subject.log.conf_indexes if applied < each <= commit]
        if waiting:
            fail("campaigns with a change not applied", member=subject.id, waiting=waiting)

    def _open_term(self, leader: Subject) -> None:
        ledger, log = self.ledger, leader.log
        term, first = leader.raft.term, leader.raft.first_of_term
        ledger.opened[term] = (first, log.term(first - 1))
        before = [index for each, index in ledger.committed_in.items() if each < term]
        index = max(before, default=BASE - 1)
        if index < log.first_index() - 1:
            return  # compacted, so it was applied, and is compared there
        wanted = ledger.term_at(index)
        try:
            found = log.term(index) if index < first else 0
        except LogError:
            found = 0
        if found != wanted:
            fail(
                "a leader lacks what was committed before",
                leader=leader.id,
                term=term,
                index=index,
                wanted=wanted,
                found=found,
            )
