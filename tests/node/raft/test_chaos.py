"""Clusters under storms keep the safety rules, and come to rest when the storm is over.

A failure prints the seed: `Chaos(seed).run(STEPS)` replays it. The second half plants bugs that
have been seen in the wild, to prove that the ledger would find them.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.errors import InvariantViolated
from node.raft import Entry, ReadState, Role, raft, read_index
from node.raft.log import RaftLog
from node.raft.message import AppendReply, PreVoteReply, Vote, VoteReply
from node.raft.raft import Raft
from tests.node.raft.chaos import Chaos

STEPS = 1200

storm = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(min_value=0, max_value=2**32)


@storm
@given(seeds)
def test_chaos_three_members_and_a_spare(seed: int) -> None:
    cluster = Chaos(seed, members=3, spares=1)

    cluster.run(STEPS)
    cluster.calm()


@settings(storm, max_examples=12)
@given(seeds)
def test_chaos_five_members_and_two_spares(seed: int) -> None:
    cluster = Chaos(seed, members=5, spares=2)

    cluster.run(STEPS)
    cluster.calm()


@settings(storm, max_examples=5)
@given(seeds)
def test_chaos_single_member(seed: int) -> None:
    cluster = Chaos(seed, members=1, spares=1)

    cluster.run(STEPS)
    cluster.calm()


def test_chaos_same_seed_same_run() -> None:
    """Determinism: the core draws no chance and no order from anywhere else."""
    runs = [Chaos(7), Chaos(7)]

    for cluster in runs:
        cluster.run(600)

    states = [[member.core.status() for member in cluster.members.values()] for cluster in runs]
    assert states[0] == states[1]
    assert runs[0].wire == runs[1].wire


def test_chaos_reaches_every_part() -> None:
    """The storms are worth something: they elect, commit, read, transfer, change and snapshot."""
    total: dict[str, int] = {}
    for seed in range(12):
        cluster = Chaos(seed)
        cluster.run(STEPS)
        total["commit"] = total.get("commit", 0) + cluster.ledger.commit
        for name, count in cluster.coverage.items():
            total[name] = total.get(name, 0) + count

    assert total["commit"] > 100
    wanted = "InstallSnapshot snapshot TimeoutNow read ReadIndexReply ACCEPTED dropped"
    for name in wanted.split():
        assert total.get(name, 0) > 0, name


def everyone_is_up_to_date(self: RaftLog, last_index: int, last_term: int) -> bool:
    """Votes for logs that lack committed entries."""
    return True


def answer_reads_at_once(self: Raft) -> None:
    """The leader believes that it leads (RedisRaft, TiKV leases)."""
    for asked in self.reads.waiting:
        if asked.member == self.id:
            self.read_states.append(ReadState(asked.context, self.log.commit))
    self.reads.waiting = []


def truncate_for_old_appends(self: RaftLog, entries: list[Entry]) -> int:
    """Old appends erase good entries (RaftOS #26)."""
    return 0


def any_leader_will_do(self: Raft) -> bool:
    """Reads before the own term commits (etcd #7331)."""
    return self.role is Role.LEADER


NOTHING: frozenset[type] = frozenset()
VOTES = frozenset({Vote, VoteReply, PreVoteReply})
ACKNOWLEDGEMENTS = frozenset({AppendReply})


def storms(seeds: range) -> None:
    for seed in seeds:
        Chaos(seed).run(STEPS)


PLANTED: dict[str, tuple[object, str, object]] = {
    "any log wins": (RaftLog, "up_to_date", everyone_is_up_to_date),
    "answers before sync": (raft, "AFTER_APPEND", NOTHING),
    "acknowledgements before sync": (raft, "AFTER_APPEND", VOTES),
    "votes before sync": (raft, "AFTER_APPEND", ACKNOWLEDGEMENTS),
    "reads without a quorum": (read_index, "flush", answer_reads_at_once),
    "reads before the no-op": (Raft, "committed_in_term", any_leader_will_do),
    "old appends truncate": (RaftLog, "_first_conflict", truncate_for_old_appends),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_chaos_finds_planted(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some storm out of a few must notice; the core's own checks count as noticing."""
    where, name, replacement = PLANTED[bug]
    monkeypatch.setattr(where, name, replacement)

    with pytest.raises((AssertionError, InvariantViolated)):
        storms(range(60))
