"""A leader is replaced while requests are under way: their clients wait for the next one, get their
one answer, and nothing happens twice.

Every case is chosen step by step here; the simulator meets them by chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from node.config import Limits
from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.errors import LeaderFailed, Refusal, Timeout
from node.proto import kv, rpc
from node.raft.ready import Role
from tests.support.member_cluster import TICKS, Call, MemberCluster, Node, Put
from transport.frame import Channel
from transport.memory import Letter

ELECTION_SECONDS = 2 * TICKS.election * TICKS.tick_ms / 1000
"""The longest that a follower waits before it campaigns."""
PATIENCE_SECONDS = 2 * ELECTION_SECONDS + 0.1
"""A split vote included; far below the request timeout."""


def times_written(node: Node) -> Counter[bytes]:
    """How often each value is in the history."""
    machine = node.machine
    events = machine.events(1, machine.revision + 1)
    return Counter(kv.Event.FromString(event.kv).kv.value for event in events)


def assert_written_once(cluster: MemberCluster, puts: Iterable[Put]) -> None:
    """Whoever is down comes back, all agree, each put was acknowledged and happened once."""
    come_back(cluster)
    assert len(cluster.hashes()) == 1
    written = times_written(cluster[1])
    for put in puts:
        assert isinstance(put.answer, Answer), put.answer
        assert written[put.value] == 1


def come_back(cluster: MemberCluster) -> None:
    """All members run and are up to date."""
    for node in cluster:
        if not node.up:
            node.start()
    cluster.elect()
    cluster.converge()


def moments(cluster: MemberCluster, order: Iterable[Node]) -> Iterator[None]:
    """Turns and writes one by one: what happens between two of them happens at any time."""
    while True:
        for node in order:
            node.turn()
            yield
            node.sync()
            yield


@pytest.mark.parametrize("moment", range(24))
@pytest.mark.parametrize("kept", [0, 1], ids=["asked turns first", "other turns first"])
def test_leaderKilledAtAnyMoment_followersPutIsWrittenOnce(moment: int, kept: int) -> None:
    """Before the forward arrives, after it was appended here or there, committed but not told."""
    cluster = MemberCluster(seed=moment)
    leader = cluster.elect()
    asked, other = cluster.followers()
    puts = [asked.put(b"a", b"1"), asked.put(b"b", b"2")]
    order = [asked, leader, other] if kept == 0 else [other, leader, asked]

    for _, _ in zip(range(moment), moments(cluster, order), strict=False):
        pass
    leader.kill()
    since = cluster.now
    cluster.until(lambda: all(put.done for put in puts))

    assert cluster.now - since < PATIENCE_SECONDS
    assert_written_once(cluster, puts)


@pytest.mark.parametrize("moment", range(16))
def test_leaderCutOffAtAnyMoment_itsOwnPutIsWrittenOnce(moment: int) -> None:
    """It steps down and follows; what it had appended is in its successor's log, or replaced."""
    cluster = MemberCluster(seed=moment)
    leader = cluster.elect()
    puts = [leader.put(b"a", b"1"), leader.put(b"b", b"2")]

    for _, _ in zip(range(moment), moments(cluster, [leader, *cluster.followers()]), strict=False):
        pass
    cluster.cut_off(leader.id)
    cluster.until(lambda: leader.role is not Role.LEADER)
    cluster.until(lambda: cluster.leader is not None)
    cluster.network.heal()
    cluster.until(lambda: all(put.done for put in puts))

    assert_written_once(cluster, puts)


def test_leaderThatComesBackInALaterTerm_writesOnce() -> None:
    """Nobody else led in between: its own log still has what it took in before."""
    cluster = MemberCluster()
    leader = cluster.elect()
    cluster.cut_off(leader.id)
    puts = [leader.put(b"a", b"1")]
    term = leader.loop.term
    cluster.until(lambda: leader.role is not Role.LEADER)
    first, second = [node for node in cluster if node is not leader]
    cluster.network.partition([leader.id, first.id], [second.id])
    first.paused = True
    cluster.tick(2 * TICKS.election)
    first.paused = False
    cluster.until(lambda: leader.role is Role.LEADER or first.role is Role.LEADER)

    cluster.network.heal()
    cluster.until(lambda: all(put.done for put in puts))

    assert leader.loop.term > term
    assert_written_once(cluster, puts)


def test_twoLeadersDieInARow_theClientWaitsForTheThird() -> None:
    cluster = MemberCluster(5)
    first = cluster.elect()
    asked = cluster.followers()[0]

    def fate(letter: Letter) -> tuple[int, ...]:
        forward = letter.sender == asked.id and letter.channel is Channel.APPEND
        return () if forward else (0,)

    cluster.network.fate = fate
    put = asked.put(b"a", b"1")
    asked.turn()
    first.kill()
    cluster.until(lambda: asked.parts.proposals.repeated == 1)
    second = cluster.elect()
    before = put.done
    second.kill()
    cluster.network.fate = None
    cluster.until(lambda: put.done)

    assert asked not in (first, second)
    assert not before
    assert asked.parts.proposals.repeated == 2
    assert_written_once(cluster, [put])


def test_forwardThatArrivesAtALeaderElectedAgain_isDropped() -> None:
    """By then it was proposed once more, so it must not get into the log of a later term."""
    cluster = MemberCluster()
    leader = cluster.elect()
    asked, other = cluster.followers()
    late: list[int] = [200]

    def fate(letter: Letter) -> tuple[int, ...]:
        forward = letter.sender == asked.id and letter.channel is Channel.APPEND
        return (late.pop(),) if forward and late else (0,)

    cluster.network.fate = fate
    put = asked.put(b"a", b"1")
    cluster.settle()
    leader.member.transfer_leader(other.id, lambda refusal: None)
    cluster.until(lambda: other.role is Role.LEADER)
    cluster.until(lambda: put.done)
    other.member.transfer_leader(leader.id, lambda refusal: None)
    cluster.until(lambda: leader.role is Role.LEADER)
    before = cluster.network.in_flight()
    cluster.tick(200)

    assert (before, cluster.network.in_flight()) == (1, 0)
    assert leader.role is Role.LEADER
    assert_written_once(cluster, [put])


def test_forwardThatArrivesTwice_isWrittenOnce() -> None:
    cluster = MemberCluster()
    cluster.elect()
    asked = cluster.followers()[0]
    cluster.network.fate = lambda letter: (0, 0, 3)

    puts = [asked.put(b"%d" % number, b"%d" % number) for number in range(5)]
    cluster.until(lambda: all(put.done for put in puts))
    cluster.tick(10)
    cluster.network.fate = None

    assert_written_once(cluster, puts)


def test_leaderThatHandsOver_losesNothingThatIsForwardedMeanwhile() -> None:
    """It takes no proposals any more, and says nothing; its successor is asked."""
    cluster = MemberCluster()
    leader = cluster.elect()
    asked, other = cluster.followers()
    asked.paused = True
    leader.member.transfer_leader(asked.id, lambda refusal: None)  # who cannot take over now
    leader.turn()

    puts = [other.put(b"a", b"1"), leader.put(b"b", b"2")]
    cluster.settle()
    asked.paused = False
    cluster.until(lambda: all(put.done for put in puts))

    assert_written_once(cluster, puts)


def test_handoverThatFails_costsNoPut() -> None:
    """The leader refuses forwards until it gives up, and says so."""
    cluster = MemberCluster()
    leader = cluster.elect()
    asked, other = cluster.followers()
    other.paused = True
    leader.member.transfer_leader(other.id, lambda refusal: None)
    leader.turn()
    term = leader.loop.term

    puts = [asked.put(b"a", b"1")]
    since = cluster.now
    cluster.until(lambda: all(put.done for put in puts))
    took = cluster.now - since
    other.paused = False

    assert took < PATIENCE_SECONDS
    assert leader.loop.term == term
    assert_written_once(cluster, puts)


def test_leaderThatIsFull_takesForwardsLater() -> None:
    cluster = MemberCluster(limits=Limits(uncommitted_bytes_max=2_000, request_bytes_max=1_500))
    leader = cluster.elect()
    asked = cluster.followers()[0]
    leader.stalled = True
    for node in cluster.followers():
        node.stalled = True

    puts = []
    for number in range(20):
        puts.append(asked.put(b"%d" % number, b"%d" % number + bytes(400)))
        cluster.settle()
    cluster.tick(2)
    for node in cluster:
        node.stalled = False
    since = cluster.now
    cluster.until(lambda: all(put.done for put in puts))

    assert leader.journal.count("raft.proposal_dropped") > 0
    assert cluster.now - since < 2.0
    assert_written_once(cluster, puts)


def test_putWhoseClientIsGone_isNotProposedAgain() -> None:
    """Its time ran out while there was no leader."""
    cluster = MemberCluster(limits=Limits(request_timeout_ms=0))
    leader = cluster.elect()
    asked = cluster.followers()[0]
    asked.put(b"k", b"0")
    cluster.tick(2)
    cluster.network.partition([1], [2], [3])
    put = asked.put(b"a", b"1")
    cluster.tick(100)

    cluster.network.heal()
    cluster.elect()
    cluster.converge()

    assert put.answer == Timeout()
    assert times_written(leader)[put.value] == 0


def test_memberThatRestarts_proposesNothingAgain() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    asked, other = cluster.followers()
    cluster.network.cut(asked.id, leader.id)
    put = asked.put(b"a", b"1")
    cluster.settle()
    asked.kill()
    asked.start()
    leader.kill()
    cluster.network.heal()

    cluster.elect()
    come_back(cluster)

    assert put.lost
    assert times_written(other)[put.value] == 0


def test_snapshotThatMayContainIt_leavesItUnknown() -> None:
    """Who is given a state instead of a log cannot tell what became of its own requests."""
    limits = Limits(log_entries_max=24, log_entries_kept=8)
    cluster = MemberCluster(limits=limits)
    leader = cluster.elect()
    asked, other = cluster.followers()
    inside, lost = asked.put(b"in", b"in"), None
    asked.turn()
    leader.turn()  # the forward has arrived and will commit
    cluster.cut_off(asked.id)
    lost = asked.put(b"out", b"out")
    asked.turn()
    write(cluster, leader, 60)
    leader.member.transfer_leader(other.id, lambda refusal: None)
    cluster.until(lambda: other.role is Role.LEADER)
    write(cluster, other, 60)

    cluster.network.heal()
    cluster.until(lambda: inside.done and lost.done)
    cluster.converge()

    assert asked.journal.count("raft.snapshot_installed") == 1
    assert [inside.answer, lost.answer] == [LeaderFailed()] * 2
    written = times_written(asked)
    assert (written[b"in"], written[b"out"]) == (1, 0)


def test_snapshotThatMayContainAChangeOfMembers_leavesItUnknown() -> None:
    """Asked again, it would be refused as made already: a failure that was none."""
    cluster = MemberCluster(limits=Limits(log_entries_max=24, log_entries_kept=8), spares=1)
    leader = cluster.elect()
    asked, other = cluster.followers()
    for node in cluster:
        if node.up:
            name = rpc.Member(ID=node.id, name=f"n{node.id}")
            leader.propose(RequestKind.MEMBER_PUBLISH, name.SerializeToString())
    cluster.tick(10)
    done: Call[Answer | Refusal] = Call()
    learner = rpc.Member(ID=4, peerURLs=["unix://n4"], isLearner=True)
    asked.member.change_members(RequestKind.MEMBER_ADD, learner, done)
    asked.turn()
    leader.turn()
    cluster.cut_off(asked.id)
    write(cluster, leader, 60)
    leader.member.transfer_leader(other.id, lambda refusal: None)
    cluster.until(lambda: other.role is Role.LEADER)
    write(cluster, other, 60)

    cluster.network.heal()
    cluster.until(lambda: done.done)

    assert 4 in asked.parts.conf.learners
    assert done.answer == LeaderFailed()


def write(cluster: MemberCluster, node: Node, count: int) -> None:
    """Puts through one member, all acknowledged."""
    puts = [node.put(b"%d" % number, b"%d/%d" % (node.id, number)) for number in range(count)]
    cluster.until(lambda: all(put.done for put in puts))
    cluster.tick(20)


def test_readsUnderWay_areAskedAgain() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    kept = cluster.followers()
    seen: list[bytes | None] = []
    put = leader.put(b"a", b"1")
    cluster.until(lambda: put.done)
    reads = [node.read(lambda node=node: seen.append(node.value(b"a"))) for node in kept]  # type: ignore[misc]
    for node in kept:
        node.turn()

    leader.kill()
    since = cluster.now
    cluster.until(lambda: all(read.done for read in reads))

    assert [read.answer for read in reads] == [None, None]
    assert seen == [b"1", b"1"]
    assert cluster.now - since < PATIENCE_SECONDS


def test_ordersOfOneClient_areKept() -> None:
    """What was proposed again comes in the order in which it was asked for."""
    cluster = MemberCluster()
    leader = cluster.elect()
    asked = cluster.followers()[0]
    cluster.network.cut(asked.id, leader.id)
    puts = [asked.put(b"a", b"%d" % number) for number in range(20)]
    asked.turn()

    leader.kill()
    cluster.until(lambda: all(put.done for put in puts))

    revisions = [put.revision for put in puts]
    assert revisions == sorted(revisions)
    assert_written_once(cluster, puts)
