"""Questions to the lease clock reach the leader, from wherever they are asked."""

from __future__ import annotations

from node.lease_call import RETRY_SECONDS, LeaseCalls
from node.lease_expiry import LeaseExpiry
from node.machine.errors import Refusal, Timeout
from node.peers import Call as LeaseMessage
from node.peers import LeaseAsk, LeaseReply
from node.raft.ready import Role
from node.reads import OnFresh
from tests.support.member_cluster import Call, MemberCluster

Answer = tuple[int, int] | Refusal
ME, LEADER = 1, 2


class Desk:
    """One member's calls with everything around them in the test's hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.barriers: list[OnFresh] = []
        self.sent: list[tuple[int, list[LeaseMessage]]] = []
        self.clock = LeaseExpiry(0.0)
        self.calls = LeaseCalls(
            self.clock, self.barriers.append, self._send, lambda: self.now, 5.0, 10, 0
        )

    def ask(self, renew: bool = True) -> Call[Answer]:
        call: Call[Answer] = Call()
        self.calls.ask(7, renew, call)
        return call

    def fresh(self, refusal: Refusal | None = None) -> None:
        """The read barrier answers."""
        barriers, self.barriers[:] = list(self.barriers), []
        for barrier in barriers:
            barrier(refusal)

    def _send(self, to: int, calls: list[LeaseMessage]) -> None:
        self.sent.append((to, calls))


def test_atTheLeader_theBarrierComesBeforeTheClock() -> None:
    desk = Desk()
    desk.clock.promote([(7, 30, 0)], desk.now)
    call = desk.ask()
    desk.calls.pump(ME, ME)
    before = list(call.answers)

    desk.fresh()

    assert before == []
    assert call.answer == (30, 30)
    assert desk.sent == []


def test_questionsOfOneTurn_shareABarrierAndAFrame() -> None:
    desk = Desk()
    for _ in range(5):
        desk.ask()

    desk.calls.pump(LEADER, ME)

    [(to, calls)] = desk.sent
    assert to == LEADER
    assert len(calls) == 5


def test_withoutALeader_questionsWait() -> None:
    desk = Desk()
    desk.ask()
    desk.calls.pump(0, ME)
    before = list(desk.sent)

    desk.calls.pump(LEADER, ME)

    assert before == []
    assert len(desk.sent) == 1


def test_reply_answersOnce() -> None:
    desk = Desk()
    call = desk.ask()
    desk.calls.pump(LEADER, ME)

    desk.calls.take(LEADER, [LeaseReply(1, 30, 30, False)])
    desk.calls.take(LEADER, [LeaseReply(1, 29, 30, False)])

    assert call.answer == (30, 30)


def test_refusedReply_isAskedAgain() -> None:
    desk = Desk()
    call = desk.ask()
    desk.calls.pump(LEADER, ME)
    desk.calls.take(LEADER, [LeaseReply(1, 0, 0, True)])

    desk.now += RETRY_SECONDS
    desk.calls.expire(desk.now)
    desk.calls.pump(3, ME)

    assert not call.done
    assert desk.sent[-1] == (3, [LeaseAsk(1, 7, True)])


def test_lostQuestion_isAskedAgain_untilItsTimeIsOver() -> None:
    desk = Desk()
    call = desk.ask()
    for _ in range(11):
        desk.calls.pump(LEADER, ME)
        desk.now += RETRY_SECONDS
        desk.calls.expire(desk.now)

    assert call.answer == Timeout()
    assert len(desk.sent) == 10
    desk.calls.pump(LEADER, ME)
    assert len(desk.sent) == 10


def test_lateReply_toAQuestionThatIsToBeAskedAgain_answersIt() -> None:
    """The reply comes between the housekeeping that gave it up and the turn's end."""
    desk = Desk()
    call = desk.ask()
    desk.calls.pump(LEADER, ME)
    desk.now += RETRY_SECONDS
    desk.calls.expire(desk.now)

    desk.calls.take(LEADER, [LeaseReply(1, 30, 30, False)])
    desk.calls.pump(LEADER, ME)

    assert call.answer == (30, 30)
    assert len(desk.sent) == 1


def test_asked_byAnotherMember_isAnsweredAfterTheBarrier() -> None:
    desk = Desk()
    desk.clock.promote([(7, 30, 0)], desk.now)
    desk.now += 10

    desk.calls.take(3, [LeaseAsk(5, 7, False), LeaseAsk(6, 8, False)])
    before = list(desk.sent)
    desk.fresh()

    assert before == []
    assert desk.sent == [(3, [LeaseReply(5, 20, 30, False), LeaseReply(6, -1, 0, False)])]


def test_asked_whoCannotVouchForItself_refuses() -> None:
    desk = Desk()
    desk.clock.promote([(7, 30, 0)], desk.now)

    desk.calls.take(3, [LeaseAsk(5, 7, True)])
    desk.fresh(Timeout())

    assert desk.sent == [(3, [LeaseReply(5, 0, 0, True)])]


def test_asked_whoNoLongerLeads_refuses() -> None:
    desk = Desk()
    desk.clock.promote([(7, 30, 0)], desk.now)

    desk.calls.take(3, [LeaseAsk(5, 7, True)])
    desk.clock.demote()
    desk.fresh()

    assert desk.sent == [(3, [LeaseReply(5, 0, 0, True)])]


def test_overdueLease_isNeitherAliveNorGone_untilItsRevocationIsApplied() -> None:
    desk = Desk()
    desk.clock.promote([(7, 30, 0)], desk.now)
    desk.now += 30
    desk.calls.take(3, [LeaseAsk(5, 7, True)])
    desk.fresh()

    desk.clock.revoked(7)
    desk.calls.take(3, [LeaseAsk(5, 7, True)])
    desk.fresh()

    assert desk.sent == [(3, [LeaseReply(5, 0, 0, True)]), (3, [LeaseReply(5, 0, 0, False)])]


# In whole members.


def test_keepAlive_atAnyMember_keepsTheLeaseAlive() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    grant = leader.grant(7, 3)
    cluster.until(lambda: grant.done)
    lives = []
    for number in range(6):
        cluster.tick(150)
        lives.append(cluster[number % 3 + 1].keep_alive(7))
        cluster.settle()

    assert [life.answer for life in lives] == [3] * 6
    assert all(node.machine.leases() for node in cluster)


def test_keepAlive_ofNoLease_isZero() -> None:
    cluster = MemberCluster()
    cluster.elect()

    lives = [node.keep_alive(8) for node in cluster]
    cluster.settle()

    assert [life.answer for life in lives] == [0, 0, 0]


def test_timeToLive_isTheLeadersClock_everywhere() -> None:
    cluster = MemberCluster()
    grant = cluster.elect().grant(7, 30)
    cluster.until(lambda: grant.done)
    cluster.tick(1_050)

    answers: list[Call[tuple[int, int] | Refusal]] = []
    for node in cluster:
        answers.append(Call())
        node.member.time_to_live(7, answers[-1])
    cluster.settle()

    assert [call.answer for call in answers] == [(19, 30)] * 3


def test_keepAlive_reachesTheNextLeader_whenTheFirstDies() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    grant = leader.grant(7, 30)
    cluster.until(lambda: grant.done)
    follower = cluster.followers()[0]

    life = follower.keep_alive(7)
    leader.kill()
    cluster.until(lambda: life.done)

    assert life.answer == 30


def test_keepAlive_atADeposedLeader_renewsNothing() -> None:
    cluster = MemberCluster()
    old = cluster.elect()
    grant = old.grant(7, 30)
    cluster.until(lambda: grant.done)
    cluster.cut_off(old.id)

    life = old.keep_alive(7)
    cluster.tick(10)
    while_cut_off = list(life.answers)
    cluster.network.heal()
    cluster.until(lambda: life.done)

    assert while_cut_off == []
    assert life.answer == 30


def test_keepAlive_ofAnOverdueLease_isNotToldItsEnd_whileItMayLiveOn() -> None:
    """The leader that would revoke it is cut off; the next one gives it its whole time again."""
    cluster = MemberCluster()
    old = cluster.elect()
    grant = old.grant(7, 2)
    cluster.until(lambda: grant.done)
    old.parts.leases._deadlines[7] = cluster.now - 1  # over, and its revocation not proposed yet

    life = old.keep_alive(7)
    old.turn()
    cluster.settle()
    before = list(life.answers)
    cluster.cut_off(old.id)
    cluster.until(
        lambda: any(node.runs and node.role is Role.LEADER for node in cluster.followers())
    )
    cluster.network.heal()
    cluster.until(lambda: life.done)

    assert before == []
    assert life.answer == 2


def test_reply_toAQuestionOfAnEarlierProcess_answersNobody() -> None:
    """A leader answers for lease 7 when the member that asked has died; its next process asks for
    lease 8, which does not exist."""
    cluster = MemberCluster()
    leader = cluster.elect()
    grant = leader.grant(7, 30)
    cluster.until(lambda: grant.done)
    asking = cluster.followers()[0]
    asking.keep_alive(7)
    asking.turn()
    late = asking.parts.calls._number
    asking.kill()
    asking.start()

    life = asking.keep_alive(8)
    asking.parts.calls.take(leader.id, [LeaseReply(late, 30, 30, False)])
    cluster.until(lambda: life.done)

    assert life.answer == 0
