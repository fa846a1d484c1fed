"""Planted bugs of elections and terms."""

from __future__ import annotations

import pytest

from node import disk
from node.raft import election, step
from node.raft.core import Core
from node.raft.log import RaftLog
from node.raft.message import (
    NO_MEMBER,
    Append,
    HardState,
    Heartbeat,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteReply,
    Vote,
)
from node.raft.raft import Raft
from node.raft.ready import NoteKind, Role
from store import record
from tests.simulator.mutants.mutant import mutant


@mutant(1, "the vote is not persisted")
def forget_vote(patch: pytest.MonkeyPatch) -> None:
    """The record of the hard state is written without the vote, so that a member that restarts
    votes once more in the same term: two leaders of one term.

    Caught by: 6, a vote leaves that is not on disk; 1, two votes or two leaders in a term.
    """

    def as_record(hard_state: HardState) -> record.HardState:
        return record.HardState(hard_state.term, NO_MEMBER, hard_state.commit)

    patch.setattr(disk, "as_record", as_record)


@mutant(2, "the term is not persisted")
def forget_term(patch: pytest.MonkeyPatch) -> None:
    """A term that was learnt from others does not force a write, only a vote does. An answer in the
    new term leaves, the member crashes, and is back in the old term, obeying a deposed leader.

    Caught by: 6, an answer leaves in a term that is not on disk; 5, the term goes back.
    """

    def must_sync(self: Core, hard: HardState) -> bool:
        old = self._handed_hard
        voted = hard.vote != NO_MEMBER and (hard.term, hard.vote) != (old.term, old.vote)
        return voted or any(
            old.commit < index <= hard.commit for index in self._raft.log.conf_indexes
        )

    patch.setattr(Core, "_must_sync", must_sync)


@mutant(9, "votes ignore the candidate's log")
def any_log_wins(patch: pytest.MonkeyPatch) -> None:
    """Voters do not compare logs at all, so who lacks committed entries can lead.

    Caught by: 3, a leader lacks a committed entry.
    """

    def up_to_date(self: RaftLog, last_index: int, last_term: int) -> bool:
        return True

    patch.setattr(RaftLog, "up_to_date", up_to_date)


@mutant(10, "votes compare the length of the logs only", family="revolt")
def longer_log_wins(patch: pytest.MonkeyPatch) -> None:
    """The term of the last entry is not looked at: a long tail that was never committed wins
    against a shorter one that was.

    Caught by: 3, a leader lacks a committed entry.
    """

    def up_to_date(self: RaftLog, last_index: int, last_term: int) -> bool:
        return last_index >= self.last_index

    patch.setattr(RaftLog, "up_to_date", up_to_date)


@mutant(19, "a member campaigns with an unapplied change", family="churn")
def campaign_unapplied(patch: pytest.MonkeyPatch) -> None:
    """A candidate has not applied a committed change of the configuration, and counts the majority
    of the old one (etcd #12133).

    Caught by: 1, two leaders in a term; 7, a campaign with a committed change not applied.
    """

    def describe_obstacle(raft: Raft) -> str | None:
        if raft.role is Role.LEADER:
            return "leads already"
        if not raft.roster.is_voter(raft.id):
            return "not a voter"
        if raft.log.tail.snapshot is not None:
            return "a snapshot is being installed"
        return None

    patch.setattr(election, "describe_obstacle", describe_obstacle)


@mutant(22, "a pre-vote raises the term")
def pre_vote_raises_term(patch: pytest.MonkeyPatch) -> None:
    """Whoever is asked for a pre-vote follows its term as that of any other message. The question
    whether one would be elected then already ends the leader's reign.

    Caught by: 1, a term in which nobody ever was a candidate.
    """

    def accept_later_term(raft: Raft, message: Message) -> bool:
        match message:
            case Vote(force=False) | PreVote() if raft.hears_leader():
                raft.note(NoteKind.VOTE_IGNORED, f"hears leader {raft.leader}", message.sender)
                return False
            case PreVoteReply(granted=True):
                return True
            case Append() | Heartbeat() | InstallSnapshot():
                raft.become_follower(message.term, message.sender)
            case _:
                raft.become_follower(message.term, NO_MEMBER)
        return True

    patch.setattr(step, "_accept_later_term", accept_later_term)


@mutant(23, "a leader of an earlier term gets no answer", family="revolt")
def ignore_earlier_leader(patch: pytest.MonkeyPatch) -> None:
    """A member whose term ran ahead ignores the leader's messages in silence. The leader never
    learns of the later term, the member can neither be led nor elected: it is locked out for good.

    Caught by: 12, a member of the calm core does not catch up.
    """

    def answer_earlier_term(raft: Raft, message: Message) -> None:
        if isinstance(message, PreVote):
            raft.send(PreVoteReply(raft.id, message.sender, raft.term, granted=False))

    patch.setattr(step, "_answer_earlier_term", answer_earlier_term)
