"""Handing leadership to a chosen member without waiting for an election timeout.

The leader stops taking proposals, brings the target's log up to its own and tells it to campaign at
once. If the target does not take over within an election timeout, the leader takes proposals again.
Source: Raft thesis §3.10.
"""

from __future__ import annotations

from node.raft.message import NO_MEMBER, TimeoutNow, TransferLeader
from node.raft.progress import Progress
from node.raft.raft import Raft
from node.raft.ready import NoteKind, Role


def request(raft: Raft, transferee: int) -> None:
    """This member's own wish: granted here if it leads, else forwarded."""
    if raft.role is Role.LEADER:
        begin(raft, transferee)
    elif raft.leader:
        raft.send(TransferLeader(raft.id, raft.leader, raft.term, transferee))
    else:
        raft.note(NoteKind.TRANSFER, "no leader to ask", transferee)


def begin(raft: Raft, transferee: int) -> None:
    """Start handing over; a newer wish replaces an older one. Appends bring the target up to date
    as they do anyway."""
    if transferee in (raft.id, raft.transferee) or not raft.roster.is_voter(transferee):
        raft.note(NoteKind.TRANSFER, "declined", transferee)
        return
    raft.transferee = transferee
    raft.election_elapsed = 0
    raft.note(NoteKind.TRANSFER, "begins", transferee)
    maybe_finish(raft, transferee, raft.roster.progress[transferee])


def hand_over(raft: Raft) -> None:
    """This leader is to leave: let the best successor take over."""
    target = best_target(raft)
    if target and not raft.transferee:
        begin(raft, target)


def maybe_finish(raft: Raft, member: int, progress: Progress) -> None:
    """Tell `member` to campaign if it is the target and holds the whole log."""
    if member == raft.transferee and progress.match == raft.log.last_index:
        raft.send(TimeoutNow(raft.id, member, raft.term))


def abandon(raft: Raft, reason: str) -> None:
    """Take proposals again."""
    if raft.transferee:
        raft.note(NoteKind.TRANSFER, reason, raft.transferee)
        raft.transferee = NO_MEMBER


def best_target(raft: Raft) -> int:
    """The live voter with the longest log, the lowest id among equals; 0 when there is none."""
    candidates = [
        (-progress.match, member)
        for member, progress in raft.roster.progress.items()
        if member != raft.id and raft.roster.is_voter(member) and progress.active
    ]
    return min(candidates)[1] if candidates else NO_MEMBER
