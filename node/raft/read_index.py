"""Linearizable reads without writing to the log.

The leader notes the commit index, proves by a round of heartbeats that it still led after the read
arrived, and answers with the index; the reader waits until that much is applied. There are no reads
on a lease: a lease needs clocks that nobody can vouch for when processes are paused.
Source: Raft thesis §6.4; Raft paper §8.
"""

from __future__ import annotations

from node.raft import replication
from node.raft.message import ReadIndex, ReadIndexReply
from node.raft.raft import Raft
from node.raft.read_round import ReadRequest, Round
from node.raft.ready import NoteKind, ReadState, Role


def request(raft: Raft, context: int) -> bool:
    """A read of this member's own; False when nobody can be asked or too many are waiting."""
    if raft.role is Role.LEADER:
        return raft.reads.request(raft.id, context)
    if not raft.leader:
        return False
    raft.send(ReadIndex(raft.id, raft.leader, raft.term, context))
    return True


def handle_request(raft: Raft, message: ReadIndex) -> None:
    """A follower's read; an answer that never comes is retried by who asked.

    The question is itself a proof: it left the asker after the read began, and at this leader's
    term. Where leader and asker are a quorum (three voters or fewer), nobody can have been elected
    in a later term before the read began, and a round would only prove it once more. It proves
    nothing for other reads, which may have begun after it was sent.
    """
    if raft.committed_in_term() and _confirmed_by(raft, message.sender):
        _answer(raft, Round(0, raft.log.commit, [ReadRequest(message.sender, message.context)]))
        return
    if not raft.reads.request(message.sender, message.context):
        raft.note(NoteKind.READS_DROPPED, "too many are pending", message.sender)


def round_due(raft: Raft) -> bool:
    """Whether reads wait and a round may open. Before the first commit of the term the leader's
    commit index may be older than what was acknowledged to clients."""
    return bool(raft.reads.waiting) and raft.committed_in_term()


def flush(raft: Raft) -> None:
    """Open one round for all reads that arrived since the last turn."""
    if round_due(raft):
        counter = raft.reads.open(raft.log.commit)
        replication.send_heartbeats(raft, period=False)
        acknowledge(raft, raft.id, counter)


def acknowledge(raft: Raft, member: int, counter: int) -> None:
    """`member` confirmed at `counter` that this leader leads."""
    if 0 < counter <= raft.reads.counter:
        raft.reads.acknowledge(member, counter)
        for done in raft.reads.release(raft.roster.quorum):
            _answer(raft, done)


def _confirmed_by(raft: Raft, member: int) -> bool:
    """Whether this leader and `member` are a quorum."""
    return raft.roster.quorum.agreed(lambda voter: int(voter in (raft.id, member))) > 0


def _answer(raft: Raft, done: Round) -> None:
    for asked in done.requests:
        if asked.member == raft.id:
            raft.read_states.append(ReadState(asked.context, done.index))
        else:
            raft.send(ReadIndexReply(raft.id, asked.member, raft.term, asked.context, done.index))
            replication.await_commit(raft, asked.member, done.index)
