"""The leader's clock: who is due, who is renewed, and what a change of leader does to both."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from node.lease_expiry import RETRY_SECONDS, LeaseExpiry
from tests.support.member_cluster import MemberCluster, Node


def leading(now: float = 0.0, extra: float = 0.0) -> LeaseExpiry:
    expiry = LeaseExpiry(extra)
    expiry.promote([], now)
    return expiry


def test_due_comesWhenTheTtlHasPassed_once() -> None:
    expiry = leading()
    expiry.granted(1, 10, 0.0)

    early = expiry.due(9.9, 10)
    due = expiry.due(10.0, 10)
    again = expiry.due(10.1, 10)

    assert (early, due, again) == ([], [1], [])


def test_due_comesAgain_whenTheRevocationWasLost() -> None:
    expiry = leading()
    expiry.granted(1, 10, 0.0)
    expiry.due(10.0, 10)

    assert expiry.due(10.0 + RETRY_SECONDS, 10) == [1]


def test_due_isLimited_oldestFirst() -> None:
    expiry = leading()
    for lease in (3, 1, 2):
        expiry.granted(lease, 10 + lease, 0.0)

    first = expiry.due(100.0, 2)
    second = expiry.due(100.0, 2)

    assert first == [1, 2]
    assert second == [3]


def test_renew_givesTheFullTtlAgain() -> None:
    expiry = leading()
    expiry.granted(1, 10, 0.0)

    ttl = expiry.renew(1, 6.0)

    assert ttl == 10
    assert expiry.due(10.0, 10) == []
    assert expiry.due(16.0, 10) == [1]


def test_renew_ofAnOverdueLease_isTooLate_butNotGone() -> None:
    expiry = leading()
    expiry.granted(1, 10, 0.0)

    assert expiry.renew(1, 10.0) is None
    assert expiry.due(10.0, 10) == [1]
    expiry.revoked(1)
    assert expiry.renew(1, 10.0) == 0


def test_renew_ofNoLease() -> None:
    assert leading().renew(1, 0.0) == 0


def test_revoked_isNeverDue() -> None:
    expiry = leading()
    expiry.granted(1, 10, 0.0)
    expiry.revoked(1)

    assert expiry.due(20.0, 10) == []
    assert expiry.remaining(1, 5.0) == (-1, 0)


def test_grantedAgain_underTheSameId_runsItsOwnTime() -> None:
    expiry = leading()
    expiry.granted(1, 10, 0.0)
    expiry.due(10.0, 10)
    expiry.revoked(1)
    expiry.granted(1, 10, 11.0)

    assert expiry.due(20.9, 10) == []
    assert expiry.due(21.0, 10) == [1]


def test_remaining_roundsDownAndNeverBelowZero() -> None:
    expiry = leading()
    expiry.granted(1, 10, 0.0)

    assert expiry.remaining(1, 0.5) == (9, 10)
    assert expiry.remaining(1, 99.0) == (0, 10)


def test_promote_givesEveryLeaseItsFullTtlAndMore() -> None:
    expiry = LeaseExpiry(1.5)

    expiry.promote([(1, 10, 0), (2, 20, 0)], 100.0)

    assert expiry.due(111.4, 10) == []
    assert expiry.due(111.5, 10) == [1]


def test_follower_hasNoClock() -> None:
    expiry = LeaseExpiry(0.0)
    expiry.granted(1, 10, 0.0)

    assert expiry.due(99.0, 10) == []
    assert not expiry.leading


def test_demote_forgetsEverything() -> None:
    expiry = leading()
    expiry.granted(1, 10, 0.0)

    expiry.demote()
    expiry.promote([], 5.0)

    assert expiry.due(99.0, 10) == []


steps = st.lists(
    st.tuples(st.sampled_from(["grant", "renew", "revoke", "due"]), st.integers(1, 4)), max_size=60
)


@settings(deadline=None, max_examples=150)
@given(steps, st.lists(st.floats(0.0, 4.0), min_size=60, max_size=60))
def test_clock_agreesWithADictOfDeadlines(todo: list[tuple[str, int]], gaps: list[float]) -> None:
    """However often leases are renewed: due is exactly who has not been renewed for its ttl."""
    expiry = leading()
    deadlines: dict[int, float] = {}
    now = 0.0
    for (step, lease), gap in zip(todo, gaps, strict=False):
        now += gap
        if step == "grant" and lease not in deadlines:
            expiry.granted(lease, 5, now)
            deadlines[lease] = now + 5
        elif step == "renew":
            alive = deadlines.get(lease, 0.0) > now
            assert expiry.renew(lease, now) == (5 if alive else None if lease in deadlines else 0)
            if alive:
                deadlines[lease] = now + 5
        elif step == "revoke":
            expiry.revoked(lease)
            deadlines.pop(lease, None)
        else:
            due = set(expiry.due(now, 10))
            assert due == {each for each, deadline in deadlines.items() if deadline <= now}
            for each in due:
                expiry.revoked(each)
                del deadlines[each]


def test_clock_staysSmallUnderKeepAlives() -> None:
    expiry = leading()
    expiry.granted(1, 10, 0.0)
    for number in range(10_000):
        expiry.renew(1, number / 1_000)

    assert len(expiry._heap) < 100


# In whole members.


def granted(cluster: MemberCluster, node: Node, ttl: int, keys: int = 1) -> None:
    """Lease 7 with keys `leased0` and so on."""
    grant = node.grant(7, ttl)
    cluster.until(lambda: grant.done)
    for number in range(keys):
        put = node.put(b"leased%d" % number, b"v", lease=7)
        cluster.until(lambda put=put: put.done)  # type: ignore[misc]


def test_lease_endsOnEveryMember_whenItsTimeIsOver() -> None:
    cluster = MemberCluster()
    granted(cluster, cluster.elect(), 3, keys=2)
    granted_at = cluster.now

    cluster.until(lambda: all(not node.machine.leases() for node in cluster))

    assert 3.0 <= cluster.now - granted_at <= 3.5
    assert all(node.value(b"leased0") is None for node in cluster)
    assert all(node.value(b"leased1") is None for node in cluster)


def test_lease_isRevokedByTheLeaderOnly_andOnce() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    granted(cluster, leader, 3)
    last = leader.parts.core.status().last_index

    cluster.until(lambda: all(not node.machine.leases() for node in cluster))
    cluster.tick(500)

    assert leader.parts.core.status().last_index == last + 1


def test_lease_outlivesALeaderChange_byItsFullTtlAtLeast() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    granted(cluster, leader, 3)
    cluster.tick(250)

    leader.kill()
    cluster.elect()
    elected_at = cluster.now
    cluster.until(lambda: all(not node.machine.leases() for node in cluster if node.up))

    assert 3.0 <= cluster.now - elected_at <= 4.0


def test_lease_isNotEndedByADeposedLeader() -> None:
    """It thinks that it leads and that the time is over, but its revocation goes nowhere."""
    cluster = MemberCluster()
    old = cluster.elect()
    granted(cluster, old, 2)
    cluster.cut_off(old.id)
    old.paused = True
    cluster.until(lambda: cluster.leader is not None)
    new = cluster.elect()
    alive_at = cluster.now
    cluster.tick(100)

    old.paused = False
    cluster.tick(3)
    cluster.network.heal()
    cluster.tick(20)

    assert cluster.now - alive_at < 2.0
    assert [lease.id for lease in new.machine.leases()] == [7]
    assert [lease.id for lease in old.machine.leases()] == [7]


def test_leases_manyAtOnce_endInSlices() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    for lease in range(1, 301):
        leader.grant(lease, 2)
    cluster.settle()
    assert len(leader.machine.leases()) == 300

    cluster.until(lambda: len(leader.machine.leases()) < 300)
    first = len(leader.machine.leases())
    cluster.until(lambda: not leader.machine.leases())

    assert first == 200
