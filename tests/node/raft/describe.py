"""Raft values as short lines for people: scenario scripts and failing tests print them.

A log position is written term/index, as in 2/15.
"""

from __future__ import annotations

from node.raft import Entry, EntryKind, Message, Ready, Status
from node.raft.message import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    PreVote,
    PreVoteReply,
    Propose,
    ProposeDropped,
    ReadIndex,
    ReadIndexReply,
    TransferLeader,
    Vote,
    VoteReply,
)


def describe_entry(entry: Entry) -> str:
    if entry.kind == EntryKind.CONF_CHANGE:
        return f"{entry.term}/{entry.index} conf-change"
    text = entry.data.decode()
    shown = text if len(text) <= 16 else f"{len(text)} bytes"
    return f"{entry.term}/{entry.index} {shown}".rstrip()


def describe_entries(entries: list[Entry]) -> str:
    return "[" + ", ".join(map(describe_entry, entries)) + "]"


def describe_message(message: Message) -> str:
    head = f"{message.sender}->{message.to} {type(message).__name__} term {message.term}"
    return f"{head} {_describe_body(message)}".rstrip()


def _describe_body(message: Message) -> str:
    match message:
        case PreVote() | Vote():
            forced = " force" if isinstance(message, Vote) and message.force else ""
            return f"log ends {message.last_term}/{message.last_index}{forced}"
        case PreVoteReply() | VoteReply():
            return "granted" if message.granted else "refused"
        case Append():
            entries = f" {describe_entries(message.entries)}" if message.entries else ""
            return (
                f"after {message.prev_term}/{message.prev_index} commit {message.commit}{entries}"
            )
        case AppendReply():
            hint = f" refused, hint {message.hint_term}/{message.hint_index}"
            return f"index {message.index}{hint if message.reject else ''}"
        case Heartbeat():
            return f"commit {message.commit} round {message.context}"
        case HeartbeatReply():
            return f"round {message.context}"
        case InstallSnapshot():
            meta = message.meta
            voters, learners = list(meta.conf.voters), list(meta.conf.learners)
            return f"snapshot {meta.term}/{meta.index} voters {voters} learners {learners}"
        case Propose():
            return " ".join(item.decode() for item in message.data)
        case ProposeDropped():
            return f"number {message.number}"
        case TransferLeader():
            return f"to {message.transferee}"
        case ReadIndex():
            return f"context {message.context}"
        case ReadIndexReply():
            return f"context {message.context} index {message.index}"
        case _:
            return ""


def describe_ready(ready: Ready) -> list[str]:
    """One line per duty, in the order in which they are due."""
    lines = [f"note {note.kind.name}: {note.detail}" + _by(note.member) for note in ready.notes]
    if ready.soft_state is not None:
        soft = ready.soft_state
        lines.append(f"state {soft.role.name} term {soft.term} leader {soft.leader or '-'}")
    lines += [f"send {describe_message(message)}" for message in ready.messages]
    if ready.token is not None:
        lines.append(f"write #{ready.token.sequence}{_describe_write(ready)}")
    elif ready.hard_state is not None:
        lines.append(f"later write commit {ready.hard_state.commit}")
    lines += [f"then {describe_message(message)}" for message in ready.messages_after_append]
    lines += [f"apply {describe_entry(entry)}" for entry in ready.committed]
    lines += [f"forward {number} was dropped" for number in ready.dropped]
    lines += [f"read {read.context} may run at {read.index}" for read in ready.read_states]
    return lines


def _by(member: int) -> str:
    return f" ({member})" if member else ""


def _describe_write(ready: Ready) -> str:
    parts = []
    if ready.hard_state is not None:
        hard = ready.hard_state
        parts.append(f"term {hard.term} vote {hard.vote or '-'} commit {hard.commit}")
    if ready.snapshot is not None:
        parts.append(f"snapshot {ready.snapshot.term}/{ready.snapshot.index}")
    if ready.entries:
        parts.append(describe_entries(ready.entries))
    return f" {'; '.join(parts)}" if parts else " nothing"


def describe_status(status: Status) -> str:
    line = (
        f"{status.id}: {status.role.name} term {status.term} vote {status.vote or '-'}"
        f" leader {status.leader or '-'} applied {status.applied} commit {status.commit}"
        f" stable {status.stable} last {status.last_index}"
    )
    for member, peer in status.progress.items():
        flags = " paused" if peer.paused else ""
        flags += " learner" if peer.learner else ""
        line += (
            f"\n   {member}: {peer.state} match {peer.match} next {peer.next}"
            f" inflight {peer.inflight}{flags}"
        )
    return line
