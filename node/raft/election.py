"""Campaigns and votes.

A campaign has two rounds. In the first (pre-vote) the member asks whether it *would* be elected;
nobody's term or vote changes, so a member that is cut off cannot unseat a healthy leader when it
comes back. In the second it raises its term and asks for votes. Voters that hear a leader refuse
both rounds by silence (`step` sees to that), unless leadership is being transferred.
Source: Raft paper §5.2, §5.4.1; thesis §4.2.3, §9.6.
"""

from __future__ import annotations

from enum import Enum

from node.raft.message import NO_MEMBER, PreVote, PreVoteReply, Vote, VoteReply
from node.raft.quorum import Verdict
from node.raft.raft import Raft
from node.raft.ready import NoteKind, Role


class Campaign(Enum):
    """Why a member asks for votes."""

    PRE_VOTE = "pre-vote"
    ELECTION = "election"
    TRANSFER = "transfer"
    """The leader asked it to: no pre-vote, and voters are to disregard that they hear a leader."""


def tick(raft: Raft) -> None:
    """Time passes for one that does not lead.

    Who has no vote cannot campaign, but it notices as well that nobody leads it any more: the
    leader may be one that it does not know yet, and it has to ask.
    """
    raft.election_elapsed += 1
    if raft.election_elapsed < raft.election_timeout:
        return
    if raft.roster.is_voter(raft.id):
        raft.election_elapsed = 0
        campaign(raft, Campaign.PRE_VOTE)
    else:
        raft.leader = NO_MEMBER


def campaign(raft: Raft, kind: Campaign) -> None:
    """Begin a campaign of `kind`, unless this member must not lead now."""
    obstacle = describe_obstacle(raft)
    if obstacle is not None:
        raft.note(NoteKind.CAMPAIGN_REFUSED, obstacle)
        return
    raft.note(NoteKind.CAMPAIGN, kind.value)
    if kind is Campaign.PRE_VOTE:
        _ask_pre_votes(raft)
    else:
        _ask_votes(raft, force=kind is Campaign.TRANSFER)


def describe_obstacle(raft: Raft) -> str | None:
    """Why this member must not campaign, whatever made it want to; None when it may.

    Changes of the configuration take effect when applied. A candidate that has not applied a
    committed one would count the wrong majority: two leaders in one term (etcd #12133).
    """
    if raft.role is Role.LEADER:
        return "leads already"
    if not raft.roster.is_voter(raft.id):
        return "not a voter"
    if raft.log.tail.snapshot is not None:
        return "a snapshot is being installed"
    if raft.log.has_unapplied_conf_change():
        return "a committed configuration change is not applied yet"
    return None


def handle_request(raft: Raft, message: Vote | PreVote) -> None:
    """Somebody campaigns, at our term or (pre-vote) at a later one.

    Who is asked answers, whatever its own configuration says of the candidate or of itself: a
    learner may have been promoted without knowing it yet, and may be the vote that is needed.
    """
    free = raft.vote == message.sender or (raft.vote == 0 and raft.leader == 0)
    later = isinstance(message, PreVote) and message.term > raft.term
    if not (free or later) or not raft.log.up_to_date(message.last_index, message.last_term):
        _refuse(raft, message)
        return
    raft.note(
        NoteKind.VOTE_GRANTED, f"{type(message).__name__} term {message.term}", message.sender
    )
    if isinstance(message, PreVote):
        # The answer names the term that was asked about: ours may be lower, and must not be raised.
        raft.send(PreVoteReply(raft.id, message.sender, message.term, granted=True))
        return
    raft.election_elapsed = 0
    raft.grant(message.sender)
    raft.send(VoteReply(raft.id, message.sender, message.term, granted=True))


def handle_reply(raft: Raft, message: VoteReply | PreVoteReply) -> None:
    """Count an answer, if it belongs to the round under way."""
    asked = raft.term + 1 if raft.role is Role.PRE_CANDIDATE else raft.term
    waits = {Role.PRE_CANDIDATE: PreVoteReply, Role.CANDIDATE: VoteReply}.get(raft.role)
    if waits is not type(message) or (message.granted and message.term != asked):
        raft.note(NoteKind.MESSAGE_IGNORED, "vote of another round", message.sender)
        return
    _count(raft, message.sender, granted=message.granted)


def _ask_pre_votes(raft: Raft) -> None:
    raft.become_pre_candidate()
    index, term = raft.log.last_index, raft.log.last_term()
    for voter in raft.roster.quorum.members():
        if voter != raft.id:
            raft.send(PreVote(raft.id, voter, raft.term + 1, index, term))
    # The own pre-vote promises nothing, so it need not wait for the disk.
    _count(raft, raft.id, granted=True)


def _ask_votes(raft: Raft, *, force: bool) -> None:
    raft.become_candidate()
    index, term = raft.log.last_index, raft.log.last_term()
    for voter in raft.roster.quorum.members():
        if voter != raft.id:
            raft.send(Vote(raft.id, voter, raft.term, index, term, force))
    # The own vote counts when it is on disk, like everybody's; so does a lone voter's.
    raft.send(VoteReply(raft.id, raft.id, raft.term, granted=True))


def _count(raft: Raft, voter: int, *, granted: bool) -> None:
    match raft.roster.record_vote(voter, granted):
        case Verdict.WON if raft.role is Role.PRE_CANDIDATE:
            campaign(raft, Campaign.ELECTION)
        case Verdict.WON:
            raft.become_leader()
        case Verdict.LOST:
            raft.become_follower(raft.term, leader=0)
        case Verdict.PENDING:
            pass


def _refuse(raft: Raft, message: Vote | PreVote) -> None:
    raft.note(
        NoteKind.VOTE_REFUSED, f"{type(message).__name__} term {message.term}", message.sender
    )
    reply = PreVoteReply if isinstance(message, PreVote) else VoteReply
    raft.send(reply(raft.id, message.sender, raft.term, granted=False))
