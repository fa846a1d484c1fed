"""Changes of the members through a whole cluster: asked anywhere, judged once, answered when done.

Members are of the product, time and network are not (tests.support.member_cluster).
"""

from __future__ import annotations

import pytest

from node.machine import errors
from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.errors import Refusal
from node.membership import VERDICTS
from node.peers import ChangeAsk, ChangeReply
from node.proto import rpc
from node.raft.ready import Role
from tests.support.member_cluster import Call, MemberCluster, Node, Outcome

ADD, REMOVE, PROMOTE = (
    RequestKind.MEMBER_ADD,
    RequestKind.MEMBER_REMOVE,
    RequestKind.MEMBER_PROMOTE,
)


def named(cluster: MemberCluster) -> None:
    """Have everybody publish its name, as the publisher of a process does."""
    for node in cluster:
        if node.up:
            publish(cluster, node)


def publish(cluster: MemberCluster, node: Node) -> None:
    member = rpc.Member(
        ID=node.id, name=f"n{node.id}", peerURLs=[url(node.id)], clientURLs=["http://c:1"]
    )
    call = cluster.elect().propose(RequestKind.MEMBER_PUBLISH, member.SerializeToString())
    cluster.until(lambda: call.done)


def url(member: int) -> str:
    return f"unix://n{member}"


def ask(
    cluster: MemberCluster, at: Node, kind: RequestKind, member: int, *, learner: bool = False
) -> Outcome:
    """The outcome of a change that is asked for at one member."""
    call: Call[Outcome] = Call()
    at.process.requests.append(call)
    request = rpc.Member(ID=member, peerURLs=[url(member)], isLearner=learner)
    at.member.change_members(kind, request, call)
    cluster.until(lambda: call.done)
    return call.answer


def grow(cluster: MemberCluster, number: int) -> None:
    """Add a member as a learner, start it, and promote it when it is ready."""
    added = ask(cluster, cluster.elect(), ADD, number, learner=True)
    assert isinstance(added, Answer)
    cluster[number].start()
    publish(cluster, cluster[number])
    cluster.until(lambda: isinstance(ask(cluster, cluster.elect(), PROMOTE, number), Answer))


@pytest.mark.parametrize("asked", ["leader", "follower"])
def test_change_isAnsweredWhereItWasAsked_onceApplied(asked: str) -> None:
    cluster = MemberCluster(3, spares=1)
    leader = cluster.elect()
    named(cluster)
    at = leader if asked == "leader" else cluster.followers()[0]

    outcome = ask(cluster, at, ADD, 4, learner=True)

    assert isinstance(outcome, Answer)
    assert at.parts.conf.learners == (4,)
    rows = {row.id: row for row in at.member.members()}
    assert (rows[4].name, rows[4].peer_urls, rows[4].is_learner) == ("", (url(4),), True)
    assert at.journal.count("member.added") == 1


def test_cluster_growsFromOneToFive_whileItIsWrittenTo() -> None:
    cluster = MemberCluster(1, spares=4)
    cluster.elect()
    named(cluster)
    puts = cluster.put(5)
    for number in range(2, 6):
        grow(cluster, number)
        puts += cluster.put(5, prefix=b"%d/" % number)

    cluster.converge()

    leader = cluster.elect()
    assert leader.parts.conf.voters == (1, 2, 3, 4, 5)
    assert len(cluster.hashes()) == 1
    assert all(leader.value(put.key) == put.value for put in puts)
    assert all(
        [row.name for row in node.member.members()] == ["n1", "n2", "n3", "n4", "n5"]
        for node in cluster
    )


def test_joiner_startsWithASnapshot_andCannotBeElectedBefore() -> None:
    cluster = MemberCluster(3, spares=1)
    leader = cluster.elect()
    named(cluster)
    cluster[4].start()
    cluster.tick(200)

    assert cluster[4].role is Role.FOLLOWER
    assert cluster[4].applied == 0

    assert isinstance(ask(cluster, leader, ADD, 4, learner=True), Answer)
    cluster.until(lambda: cluster[4].journal.count("raft.snapshot_installed"))
    cluster.converge()
    assert cluster[4].parts.is_learner


def test_member_thatMissedItsLeadersArrival_isLedAgain() -> None:
    """Its configuration does not name the leader, so that it did not even listen to it; the others
    heard a leader and ignored its pre-votes. It came back when another one led, or never."""
    cluster = MemberCluster(3, spares=1)
    cluster.elect()
    named(cluster)
    absent = cluster.followers()[0]
    absent.kill()
    grow(cluster, 4)
    done: Call[Refusal | None] = Call()
    cluster.elect().member.transfer_leader(4, done)
    cluster.until(lambda: cluster[4].parts.core.leads)

    absent.start()
    cluster.converge()

    assert cluster.elect().id == 4
    assert absent.parts.conf.voters == (1, 2, 3, 4)
    assert not cluster[4].parts.membership.removed, "a guest is not one who was removed"


@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_removed_member_hearsOfIt(victim: str) -> None:
    cluster = MemberCluster(3)
    leader = cluster.elect()
    named(cluster)
    gone = leader if victim == "leader" else cluster.followers()[0]
    at = next(node for node in cluster if node is not gone)

    outcome = ask(cluster, at, REMOVE, gone.id)

    assert isinstance(outcome, Answer)
    cluster.until(lambda: gone.parts.membership.removed)
    gone.kill()
    cluster.until(lambda: gone.id not in at.process.mesh.peers())
    assert gone.id not in cluster.elect().parts.conf.voters
    assert all(isinstance(put.answer, Answer) for put in cluster.put(3))


def test_removed_member_answersWhoAskedItForItsOwnRemoval() -> None:
    cluster = MemberCluster(3)
    cluster.elect()
    named(cluster)
    for number in range(2):  # a follower, then a leader
        gone = cluster.followers()[0] if number == 0 else cluster.elect()

        outcome = ask(cluster, gone, REMOVE, gone.id)

        assert isinstance(outcome, Answer)
        cluster.until(lambda: gone.parts.membership.removed)  # noqa: B023
        gone.kill()


def test_voter_isNotAdded_whereTooFewWereEverStarted() -> None:
    """Three voters of which one never started, and another that may never come."""
    cluster = MemberCluster(2, spares=3)
    cluster.elect()
    named(cluster)
    assert isinstance(ask(cluster, cluster.elect(), ADD, 3), Answer)

    assert ask(cluster, cluster.elect(), ADD, 4) == errors.NotEnoughStarted()
    assert isinstance(ask(cluster, cluster.elect(), ADD, 4, learner=True), Answer)


def test_voter_isNotRemoved_whenTheRestWouldBeNoQuorum() -> None:
    cluster = MemberCluster(3)
    leader = cluster.elect()
    named(cluster)
    dead, alive = cluster.followers()
    dead.kill()
    cluster.until(lambda: not leader.parts.core.status().progress[dead.id].recent_active)

    assert ask(cluster, leader, REMOVE, alive.id) == errors.Unhealthy()
    assert isinstance(ask(cluster, leader, REMOVE, dead.id), Answer)


def test_last_voter_stays() -> None:
    cluster = MemberCluster(1)
    leader = cluster.elect()
    named(cluster)

    assert ask(cluster, leader, REMOVE, leader.id) == errors.NotEnoughStarted()


def test_learner_isNotPromoted_beforeItHasCaughtUp() -> None:
    cluster = MemberCluster(3, spares=1)
    leader = cluster.elect()
    named(cluster)
    ask(cluster, leader, ADD, 4, learner=True)

    assert ask(cluster, cluster.followers()[0], PROMOTE, 4) == errors.LearnerNotReady()
    assert ask(cluster, leader, PROMOTE, leader.id) == errors.MemberNotLearner()


def test_change_thatAnotherOneForestalled_isRefusedWhenItIsApplied() -> None:
    """Both were judged before either was applied; only the first may take effect."""
    cluster = MemberCluster(3, spares=2)
    leader = cluster.elect()
    named(cluster)
    calls: list[Call[Outcome]] = [Call(), Call()]
    for number, call in enumerate(calls):
        leader.member.change_members(ADD, rpc.Member(ID=4 + number, peerURLs=["unix://same"]), call)

    cluster.until(lambda: all(call.done for call in calls))

    assert isinstance(calls[0].answer, Answer)
    assert calls[1].answer == errors.PeerUrlExists()
    assert leader.parts.conf.voters == (1, 2, 3, 4)


def test_change_survivesTheDeathOfTheLeaderThatWasAsked() -> None:
    """The question is lost with the leader; the successor is asked, and once is enough."""
    cluster = MemberCluster(4)
    leader = cluster.elect()
    named(cluster)
    at, other = cluster.followers()[:2]
    call: Call[Outcome] = Call()
    leader.kill()
    at.member.change_members(REMOVE, rpc.Member(ID=other.id), call)

    cluster.until(lambda: call.done)

    assert isinstance(call.answer, Answer)
    assert other.id not in at.parts.conf.voters
    assert at.journal.count("member.removed") == 1


def test_change_thatADeposedLeaderHadTaken_happensOnce() -> None:
    """It was appended there and nowhere else: lost with that leader's log, and asked for again."""
    cluster = MemberCluster(3, spares=1)
    leader = cluster.elect()
    named(cluster)
    cluster.cut_off(leader.id)
    call: Call[Outcome] = Call()
    leader.member.change_members(ADD, rpc.Member(ID=4, peerURLs=[url(4)], isLearner=True), call)
    cluster.until(lambda: cluster.leader not in (None, leader))
    cluster.network.heal()

    cluster.until(lambda: call.done)

    assert isinstance(call.answer, Answer)
    assert leader.journal.count("member.added") == 1


def test_change_isRefusedByTheClock_withoutALeader() -> None:
    cluster = MemberCluster(3)
    leader = cluster.elect()
    for node in cluster.followers():
        node.kill()
    cluster.until(lambda: not leader.loop.leader)

    assert ask(cluster, leader, REMOVE, 3) == errors.Timeout()


def test_nonsense_ofAPeer_getsNowhere() -> None:
    cluster = MemberCluster(3)
    leader, last = cluster.elect(), cluster.elect().parts.core.status().last_index
    good = rpc.Member(ID=leader.id).SerializeToString()

    leader.parts.membership.take(
        2,
        [
            ChangeAsk(1, leader.loop.term, ADD, b"\xff"),
            ChangeAsk(2, leader.loop.term, 99, good),
            ChangeAsk(3, leader.loop.term - 1, REMOVE, good),
            ChangeReply(4, leader.loop.term, "gibberish"),
        ],
    )
    cluster.settle()

    assert leader.parts.core.status().last_index == last


def test_every_verdict_travels() -> None:
    assert all(isinstance(refusal, Refusal) for refusal in VERDICTS.values())
    assert {type(refusal).__name__ for refusal in VERDICTS.values()} == set(VERDICTS)
