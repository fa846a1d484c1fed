"""Whole members in one thread: what the order of effects promises to clients and to other members.

One case at a time; the simulator does the same with everything at once.
"""

from __future__ import annotations

import pytest

from node.machine.answer import Answer
from node.machine.errors import Refusal, Timeout
from node.raft.ready import Role
from tests.support.member_cluster import TICKS, Call, MemberCluster
from transport.frame import Channel
from transport.memory import Letter

MIB = 1 << 20

# Writes.


@pytest.mark.parametrize("asked", ["leader", "follower"])
def test_put_isAnsweredOnceAfterApplyOnAQuorum(asked: str) -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    node = leader if asked == "leader" else cluster.followers()[0]

    put = node.put(b"a", b"1")
    cluster.until(lambda: put.done)
    cluster.tick(200)

    assert isinstance(put.answer, Answer)
    assert node.value(b"a") == b"1"
    assert sum(other.value(b"a") == b"1" for other in cluster) >= 2


def test_put_isNotAnsweredBeforeAQuorumHasSynced() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    for node in cluster.followers():
        node.stalled = True

    put = leader.put(b"a", b"1")
    cluster.tick(2)
    before = list(put.answers)
    cluster.followers()[0].stalled = False
    cluster.until(lambda: put.done)

    assert before == []
    assert isinstance(put.answer, Answer)


def test_put_countsTheLeadersOwnDiskOnlyWhenItHasSynced() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    first, second = cluster.followers()
    cluster.cut_off(second.id)
    leader.stalled = True

    put = leader.put(b"a", b"1")
    cluster.tick(2)
    before = list(put.answers)
    leader.stalled = False
    cluster.until(lambda: put.done)
    cluster.tick()

    assert before == []
    assert isinstance(put.answer, Answer)
    assert first.value(b"a") == b"1"


def test_largePuts_areForwardedInFramesThatFit() -> None:
    cluster = MemberCluster()
    cluster.elect()
    follower = cluster.followers()[0]

    puts = [follower.put(b"%d" % number, bytes(MIB)) for number in range(8)]
    cluster.until(lambda: all(put.done for put in puts))

    assert all(isinstance(put.answer, Answer) for put in puts)


def test_lagOfManyMegabytes_isSentInFramesThatFit() -> None:
    cluster = MemberCluster()
    cluster.elect()
    late = cluster.followers()[0]
    cluster.cut_off(late.id)
    cluster.put(8, MIB)

    cluster.network.heal()
    cluster.converge()

    assert len(cluster.hashes()) == 1


# Reads.


@pytest.mark.parametrize("asked", ["leader", "follower"])
def test_read_seesTheLastAcknowledgedPut(asked: str) -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    node = leader if asked == "leader" else cluster.followers()[0]
    other = next(each for each in cluster if each is not node)
    seen: list[bytes | None] = []
    for number in range(20):
        put = other.put(b"a", b"%d" % number)
        cluster.until(lambda put=put: put.done)  # type: ignore[misc]

        read = node.read(lambda: seen.append(node.value(b"a")))
        cluster.until(lambda read=read: read.done)  # type: ignore[misc]

    assert seen == [b"%d" % number for number in range(20)]


def test_reads_thatArriveDuringARound_startTheNextAtItsEnd() -> None:
    """No tick, no request and no frame wakes the loop for them."""
    cluster = MemberCluster()
    leader = cluster.elect()
    first = leader.read()
    leader.turn()

    second = leader.read()
    leader.turn()
    cluster.settle()

    assert first.done
    assert second.done


def test_read_atADeposedLeader_isRefused() -> None:
    cluster = MemberCluster()
    old = cluster.elect()
    cluster.cut_off(old.id)

    read = old.read()
    cluster.until(lambda: read.done)

    assert isinstance(read.answer, Refusal)


# Leaders come and go.


def test_leaderKilled_noAcknowledgedPutIsLost() -> None:
    cluster = MemberCluster()
    puts = cluster.put(20)
    old = cluster.elect()

    old.kill()
    new = cluster.elect()
    cluster.until(lambda: new.applied == new.parts.core.status().last_index)

    assert new is not old
    assert all(new.value(put.key) == put.value for put in puts)


def test_allRestarted_keepWhatWasAcknowledged() -> None:
    cluster = MemberCluster()
    puts = cluster.put(20)

    for node in cluster:
        node.kill()
    for node in cluster:
        node.start()
    cluster.put(1, prefix=b"after")
    cluster.converge()

    assert all(node.value(put.key) == put.value for node in cluster for put in puts)
    assert len(cluster.hashes()) == 1


def test_killInsideAWrite_keepsWhatWasAcknowledged() -> None:
    """The oldest writes complete, the rest is lost: at every point what was promised is there."""
    for synced in range(4):
        cluster = MemberCluster(seed=synced)
        leader = cluster.elect()
        puts = [leader.put(b"%d" % number, b"v") for number in range(3)]
        for _ in range(3):
            for node in cluster:
                node.turn()
        for node in cluster:
            for _ in range(synced):
                node.sync(1)
                node.turn()
        acknowledged = [put for put in puts if put.done]

        for node in cluster:
            node.kill()
        for node in cluster:
            node.start()
        cluster.elect()
        cluster.converge()

        assert all(node.value(put.key) == b"v" for node in cluster for put in acknowledged)


def test_forwardedPut_lostOnItsWay_isAnsweredByATimeout() -> None:
    cluster = MemberCluster()
    cluster.elect()
    follower = cluster.followers()[0]

    def fate(letter: Letter) -> tuple[int, ...]:
        lost = letter.channel is Channel.APPEND and letter.sender == follower.id
        return () if lost else (0,)

    cluster.network.fate = fate
    put = follower.put(b"a", b"1")
    cluster.tick(2)
    cluster.network.fate = None
    cluster.until(lambda: put.done)

    assert put.answer == Timeout()


def test_putsWithoutALeader_waitForOne() -> None:
    cluster = MemberCluster(start=False)
    cluster[1].start()
    put = cluster[1].put(b"a", b"1")
    cluster.tick(50)
    before = list(put.answers)

    cluster[2].start()
    cluster.until(lambda: put.done)

    assert before == []
    assert isinstance(put.answer, Answer)


def test_newLeader_isGivenWhatWaitedInTheSameTurn() -> None:
    """A member that learns of a leader does not leave its requests to the next tick."""
    cluster = MemberCluster()
    leader = cluster.elect()
    leader.kill()
    left = cluster.followers()
    cluster.network.partition([1], [2], [3])
    cluster.until(lambda: all(not node.loop.leader for node in left))
    puts = [node.put(b"%d" % node.id, b"v") for node in left]
    reads = [node.read() for node in left]

    cluster.network.heal()
    cluster.elect()

    assert all(put.done for put in puts)
    assert all(read.done for read in reads)


def test_everyRequest_isAnsweredOnce_throughALeaderChange() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    kept = cluster.followers()
    calls = [node.put(b"%d" % number, b"v") for number in range(10) for node in kept]
    reads = [node.read() for _ in range(10) for node in kept]
    lives = [node.keep_alive(7) for _ in range(10) for node in kept]
    for node in cluster:
        node.turn()

    leader.kill()
    cluster.tick(1_000)

    assert all(len(call.answers) == 1 for call in calls)
    assert all(len(call.answers) == 1 for call in reads)
    assert all(len(call.answers) == 1 for call in lives)


# Time.


def test_pausedFollower_doesNotDisturbAStableLeader() -> None:
    for seed in range(5):
        cluster = MemberCluster(seed=seed)
        leader = cluster.elect()
        term = leader.loop.term
        follower = cluster.followers()[0]

        follower.paused = True
        cluster.tick(300)
        follower.paused = False
        cluster.tick(100)

        assert leader.role is Role.LEADER
        assert {node.loop.term for node in cluster} == {term}
        assert follower.loop.leader == leader.id


def test_pausedFollower_wantsNoElection_whenItsInboxTellsOfTheLeader() -> None:
    cluster = MemberCluster()
    cluster.elect()
    follower = cluster.followers()[0]
    campaigns = follower.journal.count("raft.campaign")

    follower.paused = True
    cluster.tick(300)
    follower.paused = False
    follower.turn()

    assert follower.journal.count("raft.campaign") == campaigns
    assert follower.loop.leader


def test_pausedLeader_followsItsSuccessorAtOnce() -> None:
    """What waits in its inbox tells it that it was replaced; the time that it has missed is not
    counted against the new leader."""
    for seed in range(5):
        cluster = MemberCluster(seed=seed)
        old = cluster.elect()
        campaigns = old.journal.count("raft.campaign")
        old.paused = True
        cluster.until(lambda: cluster.leader is not None)  # noqa: B023 - it is the same cluster
        new = cluster.elect()
        term = new.loop.term
        cluster.tick(1_000)

        old.paused = False
        cluster.tick(1)

        assert old.journal.count("raft.campaign") == campaigns
        assert old.loop.leader == new.id
        assert new.loop.term == term


def test_hostThatStoodStill_keepsItsLeader() -> None:
    """Everybody is late by the same time, as after a suspended laptop."""
    cluster = MemberCluster()
    cluster.elect()

    cluster.now += 3_600
    cluster.tick(20)
    leader = cluster.elect()
    put = leader.put(b"a", b"1")
    cluster.until(lambda: put.done)

    assert isinstance(put.answer, Answer)


def test_leaderCutOff_stepsDownWithinTwoElectionTimeouts() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    cluster.cut_off(leader.id)

    cluster.tick(2 * TICKS.election + 1)

    assert leader.role is not Role.LEADER
    assert leader.loop.leader == 0


# What reaches the disk without a request.


def test_effects_reachTheDiskSoonAfterTheLastRequest() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    put = leader.put(b"a", b"1")
    cluster.until(lambda: put.done)

    cluster.tick(30)

    for node in cluster:
        assert node.parts.disk.durable_applied.index == node.applied
        assert node.parts.core.status().applied == node.applied
        node.kill()
        node.start()
        assert node.value(b"a") == b"1"


def test_idleCluster_writesNothing() -> None:
    cluster = MemberCluster()
    cluster.put(3)
    cluster.tick(50)
    before = [node.process.store.writer.next_seq for node in cluster]

    cluster.tick(500)

    assert [node.process.store.writer.next_seq for node in cluster] == before


# Compaction of the history.


def test_compaction_takesHistoryAwayInSlices() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    for number in range(600):
        leader.put(b"a", b"%d" % number)
    cluster.settle()
    revision = leader.machine.revision

    compact: Call[Answer | Refusal] = leader.compact(revision)
    cluster.until(lambda: compact.done)
    cluster.until(lambda: all(node.machine.physically_compacted(revision) for node in cluster))

    assert len(list(leader.machine.events(revision, revision + 1))) == 1
    assert len(cluster.hashes()) == 1
