"""Planted bugs of changes of the configuration."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from node.raft import proposal
from node.raft.membership import changed, members_of
from node.raft.message import ConfChange, ConfChangeKind, ConfState, EntryKind
from node.raft.quorum import Quorum
from node.raft.raft import Raft
from node.raft.ready import NoteKind, Proposed
from node.raft.roster import Roster
from tests.simulator.mutants.mutant import mutant


@mutant(18, "two changes of the configuration under way", family="churn")
def two_changes(patch: pytest.MonkeyPatch) -> None:
    """The leader takes a change although an earlier one is not applied. Members that are two
    changes apart need not share a member in their majorities.

    Caught by: 7, more than one change in a leader's log that is not applied.
    """

    def take_conf_change(raft: Raft, data: Sequence[bytes]) -> Proposed:
        reason = proposal._describe_refusal(raft, data)
        if reason is not None:
            raft.note(NoteKind.PROPOSAL_DROPPED, reason)
            return Proposed.REFUSED
        raft.append_own(EntryKind.CONF_CHANGE, data)
        raft.pending_conf_index = raft.log.last_index
        raft.find_exit()
        return Proposed.ACCEPTED

    patch.setattr(proposal, "_take_conf_change", take_conf_change)


@mutant(20, "a removed voter still counts", family="churn")
def removed_still_counts(patch: pytest.MonkeyPatch) -> None:
    """Who is removed is not taken out of the voters that are counted, until the next restart.

    Caught by: 7, a committed entry is on the disks of a minority of the configuration; 12, the
    calm core waits for a member that has left.
    """
    switch = Roster.switch

    def switch_but_keep(self: Roster, conf: ConfState, next_index: int) -> None:
        voters, before = self.quorum.voters, self.progress
        switch(self, conf, next_index)
        self.quorum = Quorum(tuple(sorted({*voters, *conf.voters})))
        everyone = {*self.quorum.voters, *members_of(conf)}
        self.progress = {
            member: self.progress.get(member) or before[member] for member in sorted(everyone)
        }

    patch.setattr(Roster, "switch", switch_but_keep)


@mutant(21, "a new voter counts before its change is applied", family="churn")
def counted_too_early(patch: pytest.MonkeyPatch) -> None:
    """The leader counts a new voter as soon as it has taken the change into its log, while all
    others count by the configuration before.

    Caught by: 7, a committed entry is on the disks of a minority of the configuration in force.
    """
    take_conf_change = proposal._take_conf_change

    def take_and_count(raft: Raft, data: Sequence[bytes]) -> Proposed:
        proposed = take_conf_change(raft, data)
        if proposed is Proposed.ACCEPTED:
            change = msgspec.msgpack.decode(data[0], type=ConfChange)
            if change.kind == ConfChangeKind.ADD_VOTER:
                conf = changed(raft.roster.conf, change)
                raft.roster.switch(conf, raft.log.last_index + 1)
        return proposed

    patch.setattr(proposal, "_take_conf_change", take_and_count)
