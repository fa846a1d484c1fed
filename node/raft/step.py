"""One message arrives: first its term is judged, then it goes to whom its kind concerns.

The rule of terms is the same for every kind and role and therefore stands here, once:

- a higher term makes us its follower, except that pre-votes and granted pre-votes change nothing,
  and that (pre-)votes are ignored while we hear a leader, unless leadership is being transferred;
- a lower term is refused so that the sender learns of ours, where silence would lock it out: a
  member whose term ran ahead could otherwise never be led again, nor a pre-candidate ever catch up.

A stale or odd message is ignored with a note. Source: Raft paper §5.1; etcd-io/raft, Step.
"""

from __future__ import annotations

from typing import assert_never

from node.errors import check
from node.raft import election, follower, leader, proposal, read_index, transfer
from node.raft.election import Campaign
from node.raft.message import (
    NO_MEMBER,
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteReply,
    Propose,
    ProposeDropped,
    ReadIndex,
    ReadIndexReply,
    TimeoutNow,
    TransferLeader,
    Vote,
    VoteReply,
)
from node.raft.raft import Raft
from node.raft.ready import NoteKind, ReadState, Role


def step(raft: Raft, message: Message) -> None:
    """Take in one message that is addressed to this member."""
    if message.term > raft.term:
        if not _accept_later_term(raft, message):
            return
    elif message.term < raft.term:
        _answer_earlier_term(raft, message)
        return
    _dispatch(raft, message)


def _accept_later_term(raft: Raft, message: Message) -> bool:
    """Follow the later term where the kind asks for it; False when the message is ignored."""
    match message:
        case Vote(force=False) | PreVote() if raft.hears_leader():
            raft.note(NoteKind.VOTE_IGNORED, f"hears leader {raft.leader}", message.sender)
            return False
        case PreVote() | PreVoteReply(granted=True):
            return True
        case Append() | Heartbeat() | InstallSnapshot():
            raft.become_follower(message.term, message.sender)
        case _:
            raft.become_follower(message.term, NO_MEMBER)
    return True


def _answer_earlier_term(raft: Raft, message: Message) -> None:
    match message:
        case Append() | Heartbeat() | InstallSnapshot():
            raft.send(AppendReply(raft.id, message.sender, raft.term, 0, reject=True))
        case PreVote():
            raft.send(PreVoteReply(raft.id, message.sender, raft.term, granted=False))
        case _:
            kind = type(message).__name__
            raft.note(NoteKind.MESSAGE_IGNORED, f"{kind} of term {message.term}", message.sender)


def _dispatch(raft: Raft, message: Message) -> None:
    match message:
        case Append() | Heartbeat() | InstallSnapshot():
            _hear_leader(raft, message)
        case AppendReply() | HeartbeatReply() | Propose() | ReadIndex() | TransferLeader():
            if _expect(raft, message, Role.LEADER):
                _ask_leader(raft, message)
        case Vote() | PreVote():
            election.handle_request(raft, message)
        case VoteReply() | PreVoteReply():
            election.handle_reply(raft, message)
        case ReadIndexReply():
            if message.sender == raft.leader:
                raft.read_states.append(ReadState(message.context, message.index))
        case ProposeDropped():
            proposal.handle_dropped(raft, message)
        case TimeoutNow():
            if _expect(raft, message, Role.FOLLOWER):
                election.campaign(raft, Campaign.TRANSFER)
        case _:
            assert_never(message)


def _ask_leader(
    raft: Raft, message: AppendReply | HeartbeatReply | Propose | ReadIndex | TransferLeader
) -> None:
    match message:
        case AppendReply() | HeartbeatReply():
            leader.handle_reply(raft, message)
        case Propose():
            proposal.handle_forwarded(raft, message)
        case ReadIndex():
            read_index.handle_request(raft, message)
        case TransferLeader():
            transfer.begin(raft, message.transferee)
        case _:
            assert_never(message)


def _hear_leader(raft: Raft, message: Append | Heartbeat | InstallSnapshot) -> None:
    """The leader of our term speaks, so any campaign of ours in it is over."""
    check(
        raft.role is not Role.LEADER and raft.leader in (NO_MEMBER, message.sender),
        f"two leaders at term {raft.term}: {raft.leader} and {message.sender}",
    )
    if raft.leader == NO_MEMBER or raft.role is not Role.FOLLOWER:
        raft.become_follower(message.term, message.sender)
    raft.election_elapsed = 0
    match message:
        case Append():
            follower.handle_append(raft, message)
        case Heartbeat():
            follower.handle_heartbeat(raft, message)
        case InstallSnapshot():
            follower.handle_snapshot(raft, message)
        case _:
            assert_never(message)


def _expect(raft: Raft, message: Message, role: Role) -> bool:
    if raft.role is role:
        return True
    kind = type(message).__name__
    raft.note(NoteKind.MESSAGE_IGNORED, f"{kind} is not for a {raft.role.name}", message.sender)
    return False
