"""Notes of what is left of leases: when they are made, and what a renewal has to do first."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.config import Limits
from node.lease_checkpoint import RETRY_SECONDS
from node.lease_expiry import LeaseExpiry
from node.machine.answer import LeaseChange, LeaseChangeKind
from tests.support.member_cluster import Call, MemberCluster, Node

EVERY = 300.0
ALL = 1_000


def leading(every: float = EVERY, extra: float = 0.0) -> LeaseExpiry:
    expiry = LeaseExpiry(extra, every)
    expiry.promote([], 0.0)
    return expiry


def apply(expiry: LeaseExpiry, found: list[tuple[int, int]], now: float) -> None:
    """What was found has gone through the log."""
    kind = LeaseChangeKind.CHECKPOINTED
    expiry.note([LeaseChange(kind, lease, left) for lease, left in found], now)


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [
        (10, []),
        (300, []),
        (301, [(300, 1)]),
        (1_000, [(300, 700), (600, 400), (900, 100)]),
    ],
)
def test_notes_areMadeAsLongAsMuchIsLeft(ttl: int, expected: list[tuple[int, int]]) -> None:
    expiry = leading()
    expiry.granted(1, ttl, 0.0)
    found = []

    for now in range(0, ttl, 10):
        for lease, left in expiry.checkpoints(float(now), ALL):
            found.append((now, left))
            apply(expiry, [(lease, left)], float(now))

    assert found == expected


def test_notes_areNotMadeWhereTheyAreOff() -> None:
    expiry = leading(every=0.0)
    expiry.granted(1, 10_000, 0.0)

    assert [expiry.checkpoints(at * 100.0, ALL) for at in range(90)] == [[]] * 90


def test_notes_areBounded() -> None:
    expiry = leading()
    for lease in range(1, 26):
        expiry.granted(lease, 900, 0.0)

    batches = [expiry.checkpoints(EVERY, 10) for _ in range(4)]

    assert [len(batch) for batch in batches] == [10, 10, 5, 0]
    assert {left for batch in batches for _, left in batch} == {600}


def test_note_ofALeaseThatIsAlwaysRenewed_isNotMade() -> None:
    expiry = leading()
    expiry.granted(1, 900, 0.0)

    for now in range(0, 3_000, 100):
        assert expiry.renew(1, float(now)) == 900
        assert expiry.checkpoints(float(now), ALL) == []


def test_note_ofALeaseThatIsGone_isNotMade() -> None:
    expiry = leading()
    expiry.granted(1, 900, 0.0)
    expiry.revoked(1)

    assert expiry.checkpoints(EVERY, ALL) == []


def test_note_ofALeaseGrantedAgain_waitsItsOwnTime() -> None:
    expiry = leading()
    expiry.granted(1, 900, 0.0)
    expiry.revoked(1)
    expiry.granted(1, 900, 100.0)

    assert expiry.checkpoints(EVERY, ALL) == []
    assert expiry.checkpoints(EVERY + 100, ALL) == [(1, 600)]


def test_renew_waitsUntilTheNoteIsTakenAway() -> None:
    expiry = leading()
    expiry.granted(1, 900, 0.0)
    apply(expiry, expiry.checkpoints(300.0, ALL), 300.0)

    unsaid = expiry.renew(1, 350.0)
    removal = expiry.checkpoints(350.0, ALL)
    still = expiry.renew(1, 350.5)
    apply(expiry, removal, 351.0)

    assert (unsaid, removal, still) == (None, [(1, 0)], None)
    assert expiry.remaining(1, 351.0) == (900, 900)
    assert expiry.renew(1, 352.0) == 900
    assert expiry.checkpoints(352.0, ALL) == []


def test_renew_waitsAlsoForANoteThatIsUnderWay() -> None:
    """It is proposed, and may be applied after the renewal: the next leader would then give the
    lease less than its client was told."""
    expiry = leading()
    expiry.granted(1, 900, 0.0)
    noted = expiry.checkpoints(300.0, ALL)

    unsaid = expiry.renew(1, 300.1)
    removal = expiry.checkpoints(300.2, ALL)
    apply(expiry, noted, 300.3)
    apply(expiry, removal, 300.4)

    assert (unsaid, removal) == (None, [(1, 0)])
    assert expiry.renew(1, 300.5) == 900


def test_removal_thatWasLost_isAskedForAgain() -> None:
    expiry = leading()
    expiry.granted(1, 900, 0.0)
    apply(expiry, expiry.checkpoints(300.0, ALL), 300.0)
    expiry.renew(1, 310.0)
    first = expiry.checkpoints(310.0, ALL)

    early = expiry.checkpoints(311.0, ALL)
    again = expiry.checkpoints(310.0 + RETRY_SECONDS, ALL)

    assert (first, early, again) == ([(1, 0)], [], [(1, 0)])


def test_promote_givesWhatWasNoted() -> None:
    expiry = LeaseExpiry(1.5, EVERY)

    expiry.promote([(1, 900, 0), (2, 900, 20)], 100.0)

    assert expiry.remaining(1, 100.0) == (901, 900)
    assert expiry.remaining(2, 100.0) == (21, 900)
    assert expiry.due(121.5, 10) == [2]


def test_promote_knowsTheNotesOfTheLastLeader() -> None:
    expiry = LeaseExpiry(0.0, 0.0)  # also one that makes none itself
    expiry.promote([(1, 900, 20)], 0.0)

    unsaid = expiry.renew(1, 5.0)
    removal = expiry.checkpoints(5.0, ALL)
    apply(expiry, removal, 6.0)

    assert (unsaid, removal) == (None, [(1, 0)])
    assert expiry.remaining(1, 6.0) == (900, 900)


def test_renew_ofALeaseThatRanOutMeanwhile_comesTooLate() -> None:
    """Its revocation is in the log behind the removal of the note: between the two it once looked
    renewed."""
    expiry = leading()
    expiry.granted(1, 900, 0.0)
    apply(expiry, expiry.checkpoints(300.0, ALL), 300.0)
    expiry.renew(1, 899.9)
    removal = expiry.checkpoints(899.9, ALL)
    due = expiry.due(900.0, 10)

    apply(expiry, removal, 900.1)

    assert (removal, due) == ([(1, 0)], [1])
    assert expiry.renew(1, 900.2) is None


TTL = 20
steps = st.lists(
    st.tuples(
        st.sampled_from(["renew", "renew", "keep", "keep", "apply", "apply", "crash", "wait"]),
        st.integers(1, 3),
        st.floats(0.1, 8.0),
    ),
    max_size=120,
)


@settings(deadline=None, max_examples=500)
@given(steps)
def test_leases_neverEndBeforeTheirClientsWereTold(todo: list[tuple[str, int, float]]) -> None:
    """Whatever becomes of what is under way when a leader ends: applied from the front on, or
    lost."""
    now = 0.0
    promised = dict.fromkeys((1, 2, 3), float(TTL))
    state = dict.fromkeys(promised, 0)
    log: list[tuple[int, int | None]] = []  # notes, and None = revocations
    expiry = LeaseExpiry(0.5, 3.0)
    expiry.promote([(lease, TTL, 0) for lease in state], now)

    def take(count: int) -> None:
        for lease, left in log[:count]:
            if left is None:
                assert now >= promised[lease]
                state.pop(lease, None)
                expiry.revoked(lease)
            elif lease in state:
                state[lease] = left
                apply(expiry, [(lease, left)], now)
        del log[:count]

    for step, number, seconds in todo:
        match step:
            case "wait":
                now += seconds
            case "renew":
                told = expiry.renew(number, now)
                if told:
                    promised[number] = now + told
            case "keep":
                log += [(lease, None) for lease in expiry.due(now, 10)]
                log += expiry.checkpoints(now, 2)
            case "apply":
                take(number)
            case _:
                take(number - 1)
                log.clear()
                expiry.promote([(lease, TTL, left) for lease, left in state.items()], now)


# Over whole members.

NOTED = Limits(lease_checkpoint_ms=2_000)


def granted(node: Node, ttl: int) -> float:
    """Lease 7, and when it was granted."""
    call = node.grant(7, ttl)
    node._cluster.until(lambda: call.done)
    return node._cluster.now


def left_at(node: Node) -> int:
    """What is noted of lease 7 there."""
    return sum(lease.remaining for lease in node.machine.leases())


def lifetime(limits: Limits, ttl: int, lead_seconds: float) -> float:
    """How long a lease lives that nobody renews, under leaders that change."""
    cluster = MemberCluster(limits=limits)
    began = granted(cluster.elect(), ttl)
    for _ in range(100):
        leader = cluster.elect()
        cluster.tick(round(lead_seconds * 100))
        if not leader.machine.leases():
            return cluster.now - began
        leader.kill()
        cluster.elect()
        leader.start()
    raise AssertionError("it lives for ever")


def test_lease_underManyLeaders_endsWhenItShould() -> None:
    assert 20.0 <= lifetime(NOTED, 20, 5.0) <= 45.0


def test_lease_withoutNotes_wouldLiveForEver() -> None:
    with pytest.raises(AssertionError, match="for ever"):
        lifetime(Limits(lease_checkpoint_ms=0), 8, 5.0)


def test_keepAlive_ofANotedLease_isAnsweredOnceTheNoteIsGone_andOutlivesTheLeader() -> None:
    cluster = MemberCluster(limits=NOTED)
    leader = cluster.elect()
    granted(leader, 20)
    cluster.until(lambda: all(left_at(node) for node in cluster))
    noted = [left_at(node) for node in cluster]
    follower = cluster.followers()[0]

    renewed: Call[object] = Call()
    follower.member.keep_alive(7, renewed)
    cluster.until(lambda: renewed.done)
    at = cluster.now
    left = left_at(leader)
    leader.kill()
    second = cluster.elect()
    cluster.until(lambda: not second.machine.leases(), seconds=60.0)

    assert noted == [18] * 3
    assert (renewed.answer, left) == (20, 0)
    assert cluster.now - at >= 20.0


def test_note_goesWithASnapshot_andSurvivesARestart() -> None:
    cluster = MemberCluster(limits=NOTED)
    leader = cluster.elect()
    granted(leader, 1_000)
    cluster.until(lambda: all(left_at(node) for node in cluster))
    cluster.tick(50)
    noted = leader.machine.leases()
    for node in cluster:
        node.kill()
    for node in cluster:
        node.start()

    assert [node.machine.leases() for node in cluster] == [noted] * 3
