"""Planted bugs of linearizable reads."""

from __future__ import annotations

import pytest

from node.raft import leader, read_index, replication
from node.raft import raft as raft_module
from node.raft.message import HeartbeatReply
from node.raft.progress import Progress
from node.raft.quorum import Quorum
from node.raft.raft import Raft
from node.raft.read_round import ReadRounds, Round
from node.reads import Reads
from tests.simulator.mutants.mutant import mutant


@mutant(12, "a read index without a quorum", family="revolt")
def read_without_quorum(patch: pytest.MonkeyPatch) -> None:
    """A leader answers reads without asking whether it still leads. One that was deposed without
    knowing answers with what was true before.

    Caught by: 8, a read below what was acknowledged before it began; 9, the clients' history.
    """

    def release(self: ReadRounds, quorum: Quorum) -> list[Round]:
        released = list(self._open)
        self._open.clear()
        self.pending -= sum(len(done.requests) for done in released)
        return released

    patch.setattr(ReadRounds, "release", release)


@mutant(13, "a read index before the own term commits")
def read_before_commit(patch: pytest.MonkeyPatch) -> None:
    """A new leader answers with its commit index before an entry of its own term is committed: the
    leader before may have committed and acknowledged more (etcd #7331).

    Caught by: 8, a read below what was acknowledged before it began; 9, the clients' history.
    """

    def round_due(raft: Raft) -> bool:
        return bool(raft.reads.waiting)

    patch.setattr(read_index, "round_due", round_due)


@mutant(14, "a repeated question uses its context again")
def context_reused(patch: pytest.MonkeyPatch) -> None:
    """A read index that is asked again keeps its context. The late answer to the first question
    then releases readers who came in between (etcd #20418).

    Caught by: 8, a read below what was acknowledged before it began; 9, the clients' history.
    """

    def start(self: Reads, now: float) -> int:
        if not self._asking or self._asked_context is None:
            self._context += 1
        self._asked_context = self._context
        self._asked_at = now
        self._asking += self._gathering
        self._gathering = []
        return self._context

    patch.setattr(Reads, "start", start)


@mutant(15, "confirmations of a read outlive the term", family="revolt")
def confirmations_kept(patch: pytest.MonkeyPatch) -> None:
    """Who leads again starts its rounds at one, but keeps what members confirmed the last time it
    led: its first rounds are confirmed before anybody was asked.

    Caught by: 8, a read below what was acknowledged before it began; 9, the clients' history.
    """
    reset = Raft._reset

    def forgetful_reset(self: Raft, term: int) -> None:
        acked = self.reads._acked
        reset(self, term)
        self.reads._acked = acked

    patch.setattr(Raft, "_reset", forgetful_reset)


class LeaseRounds(ReadRounds):
    """Rounds that ask nobody as long as a quorum was heard from within the lease."""

    LEASE_TIMEOUTS = 1.0
    """Length of the lease, in election timeouts."""
    ENDS_WITH_TRANSFER = True

    def __init__(self, pending_max: int) -> None:
        super().__init__(pending_max)
        self.now = 0
        """Ticks of this leader."""
        self.heard: dict[int, int] = {}
        """When each member has answered last, in ticks."""

    def has_lease(self, raft: Raft) -> bool:
        """Whether a quorum answered within the lease."""
        if raft.transferee and self.ENDS_WITH_TRANSFER:
            return False
        since = self.now - self.LEASE_TIMEOUTS * raft.config.election_ticks
        self.heard[raft.id] = self.now
        newest = -(10**9)
        return raft.roster.quorum.agreed(lambda member: self.heard.get(member, newest)) >= since


class LongLeaseRounds(LeaseRounds):
    """Twice as long as voters keep to a leader."""

    LEASE_TIMEOUTS = 2.0


class TransferredLeaseRounds(LeaseRounds):
    """Short enough for the worst clocks, but kept by who hands leadership over."""

    LEASE_TIMEOUTS = 0.5
    ENDS_WITH_TRANSFER = False


def _plant_lease(patch: pytest.MonkeyPatch, rounds: type[LeaseRounds]) -> None:
    flush, tick = read_index.flush, leader.tick
    handle_heartbeat_reply = replication.handle_heartbeat_reply

    def lease_flush(raft: Raft) -> None:
        reads = raft.reads
        if isinstance(reads, rounds) and read_index.round_due(raft) and reads.has_lease(raft):
            done = Round(0, raft.log.commit, reads.waiting)
            reads.pending -= len(done.requests)
            reads.waiting = []
            read_index._answer(raft, done)
        else:
            flush(raft)

    def counting_tick(raft: Raft) -> None:
        if isinstance(raft.reads, rounds):
            raft.reads.now += 1
        tick(raft)

    def noting_reply(raft: Raft, message: HeartbeatReply, progress: Progress) -> None:
        if isinstance(raft.reads, rounds):
            raft.reads.heard[message.sender] = raft.reads.now
        handle_heartbeat_reply(raft, message, progress)

    patch.setattr(raft_module, "ReadRounds", rounds)
    patch.setattr(read_index, "flush", lease_flush)
    patch.setattr(leader, "tick", counting_tick)
    patch.setattr(replication, "handle_heartbeat_reply", noting_reply)


@mutant(16, "reads on a lease of two timeouts", family="revolt")
def lease_too_long(patch: pytest.MonkeyPatch) -> None:
    """The leader answers reads on its own for two election timeouts after a quorum has answered.
    Voters keep to it for one only, and may have elected another meanwhile.

    Caught by: 8, a read below what was acknowledged before it began; 9, the clients' history.
    """
    _plant_lease(patch, LongLeaseRounds)


@mutant(17, "the lease is kept during a transfer", family="revolt")
def lease_kept_in_transfer(patch: pytest.MonkeyPatch) -> None:
    """A leader reads on a lease that is short enough otherwise, and does not give it up when it
    tells another to campaign at once, which no voter's patience keeps from winning.

    Caught by: 8, a read below what was acknowledged before it began; 9, the clients' history.
    """
    _plant_lease(patch, TransferredLeaseRounds)
