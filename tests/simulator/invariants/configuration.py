"""Everybody goes through the same configurations, one voter at a time, and nobody comes back.

Source: Raft thesis §4.1; the rule of ids is the product's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from node.raft.message import ConfChange, ConfChangeKind, ConfState
from node.raft.ready import Ready, Role
from tests.simulator.invariants.tap import Check, Subject
from tests.simulator.observer import fail


class Configurations(Check):
    """The second half of invariant 7."""

    def began(self, subject: Subject) -> None:
        if subject.applied > 1:
            self._compare(subject, subject.applied, subject.conf)

    def adopted(self, subject: Subject) -> None:
        # A newer snapshot may be on its way to disk; its index says nothing of this one.
        self._compare(subject, subject.parts.machine.applied_index, subject.conf)

    def ready(self, subject: Subject, ready: Ready) -> None:
        """Quorums are counted by what was applied, and by nothing else; and a leader takes up a
        change when all before it are applied."""
        changes, raft = subject.log.conf_indexes, subject.raft
        if raft.role is Role.LEADER and len(changes) > 1 and changes[-1] >= raft.first_of_term:
            fail("two changes under way", leader=subject.id, at=changes, applied=subject.applied)
        roster = subject.raft.roster
        installing = subject.parts.disk.installing or subject.log.tail.snapshot is not None
        if roster.conf != subject.conf and not installing:
            fail("counts by another configuration", member=subject.id, conf=roster.conf)
        progress = roster.progress
        if len(progress) != len(roster.conf.voters) + len(roster.conf.learners):
            fail("counts others than members", member=subject.id, progress=list(progress))

    def conf_changed(
        self, subject: Subject, index: int, change: ConfChange | None, conf: ConfState
    ) -> None:
        before = subject.conf
        wanted = before if change is None else naive(before, change)
        if conf != wanted:
            fail("a change had another effect", member=subject.id, change=change, conf=conf)
        if len({*before.voters} ^ {*conf.voters}) > 1:
            fail("two voters changed at once", member=subject.id, before=before, after=conf)
        last, known = self.ledger.confs[-1]
        if index > last:
            if known != before:
                fail("a change from another configuration", member=subject.id, before=before)
            self.ledger.confs.append((index, conf))
            if change is not None and change.kind == ConfChangeKind.REMOVE:
                self.ledger.removed.add(change.member)
            back = self.ledger.removed & {*conf.voters, *conf.learners}
            if back:
                fail("who was removed is a member again", members=sorted(back), index=index)
        else:
            self._compare(subject, index, conf)

    def _compare(self, subject: Subject, index: int, conf: ConfState) -> None:
        known = self.ledger.conf_at(index)
        if conf != known:
            fail("two configurations", member=subject.id, index=index, confs=(known, conf))

    def looked(self, subjects: Sequence[Subject]) -> None:
        for subject in subjects:
            if not subject.parts.disk.installing and subject.conf.voters:
                self._compare(subject, subject.applied, subject.parts.conf)


def naive(conf: ConfState, change: ConfChange) -> ConfState:
    """What a change is said to do, once more and without the product's help."""
    voters = {voter for voter in conf.voters if voter != change.member}
    learners = {learner for learner in conf.learners if learner != change.member}
    if change.kind == ConfChangeKind.ADD_VOTER:
        voters.add(change.member)
    elif change.kind == ConfChangeKind.ADD_LEARNER:
        learners.add(change.member)
    return ConfState(voters=tuple(sorted(voters)), learners=tuple(sorted(learners)))
