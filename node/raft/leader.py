"""The leader's clock: heartbeats, the check that a quorum is still there, and its own disk.

A leader that no longer hears a majority must stop on its own: nobody who could tell it to is within
reach, and clients would wait for it for ever. Source: Raft thesis §6.2.
"""

from __future__ import annotations

from node.raft import read_index, replication, transfer
from node.raft.message import AppendReply, HeartbeatReply
from node.raft.raft import Raft
from node.raft.ready import NoteKind, Role


def tick(raft: Raft) -> None:
    """Time passes for a leader."""
    raft.election_elapsed += 1
    raft.heartbeat_elapsed += 1
    _watch_disk(raft)
    if raft.role is Role.LEADER and raft.election_elapsed >= raft.config.election_ticks:
        _close_period(raft)
    if raft.role is Role.LEADER:
        replication.push_commits(raft)
    if raft.role is Role.LEADER and raft.heartbeat_elapsed >= raft.config.heartbeat_ticks:
        raft.heartbeat_elapsed = 0
        replication.send_heartbeats(raft, period=True)


def handle_reply(raft: Raft, message: AppendReply | HeartbeatReply) -> None:
    """A peer answers; whoever is not in the configuration is not counted."""
    progress = raft.roster.progress.get(message.sender)
    if progress is None:
        raft.note(NoteKind.MESSAGE_IGNORED, "answer of a stranger", message.sender)
    elif isinstance(message, AppendReply):
        replication.handle_append_reply(raft, message, progress)
        transfer.maybe_finish(raft, message.sender, progress)
    else:
        replication.handle_heartbeat_reply(raft, message, progress)
        read_index.acknowledge(raft, message.sender, message.context)


def handle_persisted(raft: Raft) -> None:
    """Own entries reached the disk: only now does the leader count itself."""
    raft.stalled_ticks = 0
    own = raft.roster.progress.get(raft.id)
    if own is not None and own.maybe_update(raft.log.stable_index):
        replication.maybe_commit(raft)


def _close_period(raft: Raft) -> None:
    raft.election_elapsed = 0
    if not raft.roster.check_quorum(raft.id):
        raft.note(NoteKind.QUORUM_LOST, f"steps down at term {raft.term}")
        raft.become_follower(raft.term, leader=0)
        return
    transfer.abandon(raft, "timed out")
    replication.maybe_commit(raft)


def _watch_disk(raft: Raft) -> None:
    """Heartbeats do not need the disk, so a leader whose disk hangs would lead for ever without
    committing anything. After an election timeout it hands over, after two it steps down."""
    tail = raft.log.tail
    if tail.issued == tail.acknowledged:
        raft.stalled_ticks = 0
        return
    raft.stalled_ticks += 1
    if raft.stalled_ticks == raft.config.election_ticks:
        target = transfer.best_target(raft)
        raft.note(NoteKind.DISK_STALLED, "own writes do not complete", target)
        if target:
            transfer.begin(raft, target)
    elif raft.stalled_ticks >= 2 * raft.config.election_ticks:
        raft.note(NoteKind.DISK_STALLED, "steps down")
        raft.become_follower(raft.term, leader=0)
