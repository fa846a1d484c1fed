"""What a change of the configuration means for the member that applies it."""

from __future__ import annotations

from node.raft import replication, transfer
from node.raft.membership import changed
from node.raft.message import ConfChange, ConfState
from node.raft.raft import Raft
from node.raft.ready import NoteKind, Role


def apply(raft: Raft, change: ConfChange) -> ConfState:
    """Make `change` effective; its entry is committed. Source: Raft thesis §4.1."""
    conf = changed(raft.roster.conf, change)
    raft.roster.switch(conf, raft.log.last_index + 1)
    raft.note(NoteKind.CONF_CHANGED, f"voters {conf.voters} learners {conf.learners}")
    if raft.role is Role.LEADER:
        _go_on_leading(raft)
    return conf


def _go_on_leading(raft: Raft) -> None:
    if not raft.roster.is_voter(raft.id):
        # Not reached by a change of our own making: a successor commits those.
        raft.become_follower(raft.term, leader=0)
        return
    if not raft.roster.is_voter(raft.transferee):
        transfer.abandon(raft, "target is no voter any more")
    # A smaller quorum may have more in common than the larger one had.
    replication.maybe_commit(raft)
    raft.replicate_due = True
