"""What may enter the leader's log.

A batch is taken or refused as one. Nothing is queued here: who is refused asks again, so that a
limit is felt where the load comes from.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from node.raft import replication
from node.raft.membership import describe_refusal
from node.raft.message import ConfChange, EntryKind, Propose, ProposeDropped
from node.raft.raft import Raft
from node.raft.ready import NoteKind, Proposed, Role

READY_PERCENT = 90
"""A learner may be promoted when it holds this share of the leader's log, as in etcd."""


def propose(raft: Raft, kind: EntryKind, data: Sequence[bytes], *, forward: bool) -> Proposed:
    """Take `data` into the log here, or send it to the leader if `forward` allows.

    What a leader makes on its own account (an expired lease, say) must not be forwarded: from a
    deposed leader it would reach the new one, which knows better.
    """
    if raft.role is Role.LEADER:
        return _take(raft, kind, data)
    if not raft.leader or not forward:
        return Proposed.NO_LEADER
    raft.forwards += 1
    raft.send(Propose(raft.id, raft.leader, raft.term, kind, list(data), raft.life, raft.forwards))
    return Proposed.FORWARDED


def handle_forwarded(raft: Raft, message: Propose) -> None:
    """A follower's proposal; when it is dropped the follower is told, and asks again later."""
    try:
        kind = EntryKind(message.kind)
    except ValueError:
        raft.note(NoteKind.MESSAGE_IGNORED, "proposal of unknown kind", message.sender)
        return
    if not _is_news(raft, message):
        raft.note(NoteKind.MESSAGE_IGNORED, "proposal that has been here", message.sender)
        return
    if _take(raft, kind, message.data) is Proposed.ACCEPTED:
        replication.await_commit(raft, message.sender, raft.log.last_index)
    else:
        dropped = raft.id, message.sender, raft.term, message.life, message.number
        raft.send(ProposeDropped(*dropped))


def handle_dropped(raft: Raft, message: ProposeDropped) -> None:
    """The leader of our term has not taken a forward. It has noted the number, so that a copy which
    comes later is not taken either, and no other leader takes what was sent in this term."""
    if message.life == raft.life:
        raft.dropped.append(message.number)


def _is_news(raft: Raft, message: Propose) -> bool:
    """Whether this forward has not been here before; from now on it has, also if it is dropped.

    A leader sees only forwards of its own term (see `step`), so it need not remember any longer.
    One that was overtaken by a later one counts as lost: the channel keeps the order, and to
    remember which numbers are missing would buy nothing.
    """
    sender = message.sender, message.life
    if message.number <= raft.forwarded.get(sender, 0):
        return False
    raft.forwarded[sender] = message.number
    return True


def _take(raft: Raft, kind: EntryKind, data: Sequence[bytes]) -> Proposed:
    if raft.transferee:
        return _drop(raft, "leadership is being transferred")
    if kind is EntryKind.CONF_CHANGE:
        return _take_conf_change(raft, data)
    if not _fits(raft, data):
        return _drop(raft, "too many uncommitted bytes")
    if data:
        raft.append_own(kind, data)
    return Proposed.ACCEPTED


def _fits(raft: Raft, data: Sequence[bytes]) -> bool:
    """An empty tail takes any single batch, and empty entries always pass: the limit must never
    keep a leader from making progress."""
    size, tail = sum(map(len, data)), raft.uncommitted_bytes
    return size == 0 or tail == 0 or tail + size <= raft.config.uncommitted_bytes_max


def _take_conf_change(raft: Raft, data: Sequence[bytes]) -> Proposed:
    if not raft.committed_in_term() or raft.log.applied < raft.pending_conf_index:
        # One at a time, and none before the own term commits: two overlapping changes of
        # different leaders could share no member in their majorities (Ongaro, 2015).
        return _drop(raft, "an earlier change may be under way")
    reason = _describe_refusal(raft, data)
    if reason is not None:
        raft.note(NoteKind.PROPOSAL_DROPPED, reason)
        return Proposed.REFUSED
    raft.append_own(EntryKind.CONF_CHANGE, data)
    raft.pending_conf_index = raft.log.last_index
    raft.find_exit()
    return Proposed.ACCEPTED


def _describe_refusal(raft: Raft, data: Sequence[bytes]) -> str | None:
    if len(data) != 1:
        return "one change at a time"
    try:
        change = msgspec.msgpack.decode(data[0], type=ConfChange)
    except msgspec.DecodeError:
        return "malformed change"
    progress = raft.roster.progress.get(change.member)
    match = progress.match if progress is not None else 0
    caught_up = match * 100 >= raft.log.commit * READY_PERCENT
    return describe_refusal(raft.roster.conf, change, lambda member: _live(raft, member), caught_up)


def _live(raft: Raft, member: int) -> bool:
    progress = raft.roster.progress.get(member)
    return member == raft.id or (progress is not None and progress.active)


def _drop(raft: Raft, reason: str) -> Proposed:
    raft.note(NoteKind.PROPOSAL_DROPPED, reason)
    return Proposed.DROPPED
