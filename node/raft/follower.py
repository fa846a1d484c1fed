"""What a follower does with what the leader sends.

Everything it promises (`AppendReply`) leaves after the write that makes it true. Messages may be
lost, repeated and reordered; an old one must not undo what newer ones did.
"""

from __future__ import annotations

from node.raft.membership import members_of
from node.raft.message import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    SnapshotMeta,
)
from node.raft.raft import Raft
from node.raft.ready import NoteKind


def handle_append(raft: Raft, message: Append) -> None:
    """Source: Raft paper §5.3, figure 2 "AppendEntries"."""
    log = raft.log
    if message.prev_index < log.commit:
        # Old: all of it up to the commit is there. Never truncate for it.
        _accept(raft, message.sender, log.commit)
        return
    if log.tail.snapshot_waits:
        # Lost, as it were: a snapshot is handed out alone, and this would follow it.
        raft.note(NoteKind.MESSAGE_IGNORED, "append behind a snapshot", message.sender)
        return
    if not contiguous(message):
        raft.note(NoteKind.MESSAGE_IGNORED, "append with a hole", message.sender)
        return
    last = log.maybe_append(message.prev_index, message.prev_term, message.entries)
    if last is None:
        _refuse_append(raft, message)
        return
    log.commit_to(min(message.commit, last))
    _accept(raft, message.sender, last)


def contiguous(message: Append) -> bool:
    """Whether the entries follow the previous one and each other, their terms never decreasing."""
    index, term = message.prev_index, message.prev_term
    for entry in message.entries:
        index += 1
        if entry.index != index or entry.term < term:
            return False
        term = entry.term
    return term <= message.term


def handle_heartbeat(raft: Raft, message: Heartbeat) -> None:
    """The leader lives. The commit in it never exceeds what it knows us to hold."""
    raft.log.commit_to(message.commit)
    raft.send(HeartbeatReply(raft.id, message.sender, raft.term, message.context, raft.eager))


def handle_snapshot(raft: Raft, message: InstallSnapshot) -> None:
    """A snapshot has arrived as a whole; install it if it brings us forward.

    Source: Raft paper §7.
    """
    meta = message.meta
    reason = _describe_useless(raft, meta)
    if reason is None:
        raft.log.restore(meta)
        raft.roster.switch(meta.conf, raft.log.last_index + 1)
        raft.note(NoteKind.SNAPSHOT, f"installing {meta.index}", message.sender)
    else:
        raft.note(NoteKind.SNAPSHOT, f"ignoring {meta.index}: {reason}", message.sender)
    _accept(raft, message.sender, raft.log.last_index if reason is None else raft.log.commit)


def _describe_useless(raft: Raft, meta: SnapshotMeta) -> str | None:
    if meta.index <= raft.log.commit:
        return "not ahead of the commit"
    if raft.id not in members_of(meta.conf):
        return "its configuration lacks this member"
    if raft.log.matches(meta.index, meta.term):
        raft.log.commit_to(meta.index)
        return "the log has it all; commit moved"
    return None


def _accept(raft: Raft, leader: int, index: int) -> None:
    raft.send(AppendReply(raft.id, leader, raft.term, index, eager=raft.eager))


def _refuse_append(raft: Raft, message: Append) -> None:
    """Say where the logs can still agree, so that the leader skips a whole term per probe."""
    start = min(message.prev_index, raft.log.last_index)
    index, term = raft.log.conflict_by_term(start, message.prev_term)
    raft.note(
        NoteKind.APPEND_REFUSED,
        f"no entry {message.prev_index} of term {message.prev_term}; hint {index} of term {term}",
        message.sender,
    )
    raft.send(
        AppendReply(
            raft.id,
            message.sender,
            raft.term,
            message.prev_index,
            reject=True,
            hint_index=index,
            hint_term=term,
        )
    )
