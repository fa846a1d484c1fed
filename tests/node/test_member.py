"""The face that the client port sees, over whole members."""

from __future__ import annotations

import pytest

from node.config import Limits
from node.machine.answer import Answer
from node.machine.errors import (
    BadLeaderTransferee,
    NotLeader,
    Refusal,
    RequestTooLarge,
    Timeout,
    TooManyRequests,
)
from node.proto import rpc
from node.raft.ready import Role as RaftRole
from node.status import Role
from tests.support.member_cluster import CLUSTER_ID, TICK_SECONDS, TICKS, Call, MemberCluster, Node

Moved = Call[Refusal | None]


def move(node: Node, transferee: int) -> Moved:
    done: Moved = Call()
    node.member.transfer_leader(transferee, done)
    return done


# Leadership.


def test_transfer_isDoneWhenTheOtherLeads() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    target = cluster.followers()[0]

    moved = move(leader, target.id)
    cluster.settle()

    assert moved.answer is None
    assert target.role is RaftRole.LEADER
    assert leader.loop.leader == target.id


def test_transfer_keepsWhatIsUnderWay() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    target = cluster.followers()[0]
    puts = [node.put(b"%d%d" % (node.id, n), b"v") for n in range(5) for node in cluster]

    move(leader, target.id)
    puts += [node.put(b"%d+%d" % (node.id, n), b"v") for n in range(5) for node in cluster]
    cluster.until(lambda: all(put.done for put in puts))

    assert all(len(put.answers) == 1 for put in puts)


def test_transfer_toItself_isDoneAtOnce() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()

    moved = move(leader, leader.id)
    cluster.settle()

    assert moved.answer is None
    assert leader.role is RaftRole.LEADER


def test_transfer_toADeadMember_timesOut_andTheLeaderGoesOn() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    target = cluster.followers()[0]
    target.kill()

    moved = move(leader, target.id)
    put = leader.put(b"a", b"1")
    cluster.tick(1)
    while_moving = list(put.answers)
    cluster.until(lambda: put.done and moved.done)

    assert moved.answer == Timeout()
    assert while_moving == []
    assert isinstance(put.answer, Answer)


def test_transfer_atAFollower_isRefused() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()

    moved = move(cluster.followers()[0], leader.id)

    assert moved.answer == NotLeader(leader.id)


def test_transfer_toAStranger_isRefused() -> None:
    cluster = MemberCluster()

    moved = move(cluster.elect(), 99)

    assert moved.answer == BadLeaderTransferee()


def test_leaderless_isCountedFromTheLoss() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    with_leader = leader.member.leaderless_seconds()
    cluster.cut_off(leader.id)

    cluster.until(lambda: leader.member.leader == 0)
    cluster.tick(10)

    assert with_leader == 0.0
    assert leader.member.leaderless_seconds() == pytest.approx(10 * TICK_SECONDS)
    assert leader.member.election_timeout_seconds() == TICKS.election * TICK_SECONDS


# Bounds.


def test_tooLargeARequest_isRefusedAtOnce() -> None:
    cluster = MemberCluster(limits=Limits(request_bytes_max=100))
    put = cluster.elect().put(b"a", bytes(200))

    assert put.answer == RequestTooLarge()


def test_tooManyRequests_areRefusedAtOnce() -> None:
    cluster = MemberCluster(
        start=False, limits=Limits(pending_proposals_max=3, pending_reads_max=2)
    )
    node = cluster[1]
    node.start()

    puts = [node.put(b"a", b"1") for _ in range(4)]
    reads = [node.read() for _ in range(3)]
    lives = [node.keep_alive(1) for _ in range(3)]
    refused = [puts[3].answers, reads[2].answers, lives[2].answers]
    cluster.tick(800)

    assert refused == [[TooManyRequests()]] * 3
    assert all(put.answer == Timeout() for put in puts[:3])
    assert all(read.answer == Timeout() for read in reads[:2])
    assert all(life.answer == Timeout() for life in lives[:2])


# What it tells.


def test_header_namesClusterMemberRevisionAndTerm() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()

    field = leader.member.header(7)

    header = rpc.PutResponse.FromString(field).header
    assert header.cluster_id == CLUSTER_ID
    assert header.member_id == leader.id
    assert header.revision == 7
    assert header.raft_term == leader.loop.term


def test_header_withoutRevision_leavesItOut() -> None:
    cluster = MemberCluster()

    field = cluster.elect().member.header(0)

    assert rpc.PutResponse.FromString(field).header.revision == 0


def test_header_followsTheTerm() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    before = leader.member.header(1)
    follower = cluster.followers()[0]

    move(leader, follower.id)
    cluster.settle()
    after = leader.member.header(1)

    terms = [rpc.PutResponse.FromString(field).header.raft_term for field in (before, after)]
    assert terms[1] > terms[0]


def test_status_showsRoleAndProgress() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    cluster.put(3)
    cluster.converge()

    status = leader.member.status()

    assert status.role is Role.LEADER
    assert status.leader == leader.id
    assert status.revision == 4
    assert status.applied == status.commit == status.last_index == leader.applied
    assert status.proposals_pending == 0
    assert [node.member.status().role for node in cluster.followers()] == [Role.FOLLOWER] * 2


def test_members_showConfigurationBeforeAnybodyHasPublished() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()

    members = leader.member.members()

    assert [(record.id, record.name) for record in members] == [(1, ""), (2, ""), (3, "")]
    assert not leader.member.is_learner


# Watch.


def test_watch_hearsOfPutsAtAnyMember() -> None:
    cluster = MemberCluster()
    cluster.elect()
    watches = [node.watch() for node in cluster]
    cluster.settle()

    cluster.put(3)
    cluster.converge()

    assert [watching.revisions for watching in watches] == [[2, 3, 4]] * 3


def test_watch_closed_hearsNothing() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    watching = leader.watch()
    leader.turn()
    heard = len(watching.responses)

    leader.member.close_watch(1)
    cluster.put(3)

    assert heard == 1
    assert len(watching.responses) == heard


def test_watch_paused_isGivenEverythingWhenResumed() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    watching = leader.watch()
    cluster.settle()

    leader.member.pause_watch(1)
    cluster.put(5)
    while_paused = list(watching.revisions)
    leader.member.resume_watch(1)
    cluster.settle()

    assert while_paused == []
    assert watching.revisions == [2, 3, 4, 5, 6]


def test_watch_survivesASnapshot_withoutGapOrRewind() -> None:
    cluster = MemberCluster(
        limits=Limits(log_entries_max=20, log_entries_kept=5, snapshot_chunk_bytes=200)
    )
    leader = cluster.elect()
    late = cluster.followers()[0]
    watching = late.watch()
    cluster.put(5)
    cluster.converge()
    before = list(watching.revisions)
    cluster.cut_off(late.id)
    cluster.put(60, prefix=b"missed")
    cluster.until(lambda: leader.parts.disk.first_index() > late.applied + 1)

    cluster.network.heal()
    cluster.put(5, prefix=b"after")
    cluster.converge()
    cluster.tick()

    assert before == list(range(2, 7))
    assert late.journal.count("raft.snapshot_installed") == 1
    assert watching.revisions == list(range(2, 72))


def test_watch_ofHistory_isCaughtUp() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    for number in range(2_500):
        leader.put(b"k%d" % (number % 7), b"v")
    cluster.settle()

    watching = leader.watch(2)
    cluster.settle()

    assert watching.revisions == list(range(2, 2_502))
