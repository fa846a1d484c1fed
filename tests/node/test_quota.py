"""The quota: who is let in, when the alarm is raised, and by whom."""

from __future__ import annotations

import pytest

from node.config import Limits
from node.machine.answer import Answer
from node.machine.cost import KEY_OVERHEAD_BYTES, cost_of
from node.machine.envelope import RequestKind
from node.machine.errors import NoSpace, Refusal
from node.machine.machine import Machine
from node.proto import rpc
from node.quota import MEASURE_SECONDS, REFUSED_MAX, OnOutcome, Quota
from node.status import Alarm
from tests.support.machine import Replica
from tests.support.member_cluster import Call, MemberCluster, Node

MEMBER = 7
NOSPACE = Alarm(MEMBER, 1)
KIB = 1024


def put(size: int, key: bytes = b"k") -> rpc.PutRequest:
    return rpc.PutRequest(key=key, value=bytes(size))


def op(*, put: rpc.PutRequest | None = None, txn: rpc.TxnRequest | None = None) -> rpc.RequestOp:
    if put is not None:
        return rpc.RequestOp(request_put=put)
    if txn is not None:
        return rpc.RequestOp(request_txn=txn)
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=b"k" * 500))


COSTS = [
    (RequestKind.PUT, put(1000), 256 + 1 + 1000),
    (RequestKind.LEASE_GRANT, rpc.LeaseGrantRequest(ID=1, TTL=9), 64),
    (RequestKind.TXN, rpc.TxnRequest(success=[op(), op()], failure=[op()]), 0),
    (RequestKind.TXN, rpc.TxnRequest(success=[op(put=put(9)), op(put=put(1))]), 2 * 257 + 10),
    (RequestKind.TXN, rpc.TxnRequest(success=[op(put=put(9))], failure=[op(put=put(99))]), 356),
    (
        RequestKind.TXN,
        rpc.TxnRequest(success=[op(txn=rpc.TxnRequest(failure=[op(put=put(5))]))]),
        262,
    ),
    (RequestKind.DELETE_RANGE, rpc.DeleteRangeRequest(key=b"k"), 0),
    (RequestKind.COMPACT, rpc.CompactionRequest(revision=3), 0),
]


@pytest.mark.parametrize(("kind", "request_message", "cost"), COSTS)
def test_cost_is_etcds(kind: RequestKind, request_message: rpc.PutRequest, cost: int) -> None:
    assert cost_of(kind, request_message.SerializeToString()) == cost


class Judged:
    """A quota over a machine, with a size that the test sets."""

    def __init__(self, bytes_max: int = 10 * KIB) -> None:
        self.replica = Replica()
        self.size = 0
        self.measured = 0
        self.proposed: list[tuple[rpc.AlarmRequest, OnOutcome]] = []
        self.quota = Quota(MEMBER, bytes_max, self._measure, self._machine, self._propose)

    def put(self, size: int) -> bool:
        return self.quota.admits(RequestKind.PUT, put(size).SerializeToString())

    def write(self) -> None:
        """Somebody's write is applied here."""
        self.replica.apply(RequestKind.PUT, put(1))

    def settle(self) -> None:
        """What was proposed is applied."""
        proposed, self.proposed = self.proposed, []
        for request, done in proposed:
            done(self.replica.apply(RequestKind.ALARM, request).outcome)

    def _measure(self) -> int:
        self.measured += 1
        return self.size

    def _machine(self) -> Machine:
        return self.replica.machine

    def _propose(self, kind: RequestKind, request: bytes, done: OnOutcome) -> None:
        assert kind is RequestKind.ALARM
        self.proposed.append((rpc.AlarmRequest.FromString(request), done))


def test_admits_whatFitsBelowTheBound() -> None:
    judged = Judged()
    judged.size = 10 * KIB - KEY_OVERHEAD_BYTES - 1 - 100

    assert judged.put(99)
    judged.quota._look()
    assert not judged.put(100)


def test_refuse_holdsNoMoreRequestsThanItsBound() -> None:
    judged = Judged()
    outcomes: list[Answer | Refusal] = []

    for _ in range(REFUSED_MAX + 1):
        judged.quota.refuse(outcomes.append)
    before = list(outcomes)
    judged.settle()

    assert before == [NoSpace()]
    assert outcomes == [NoSpace()] * (REFUSED_MAX + 1)


def test_admits_countsWhatCameInSinceTheLastMeasurement() -> None:
    judged = Judged()
    measured = judged.measured

    let_in = [judged.put(KIB) for _ in range(7)]
    judged.size = 9 * KIB
    more = judged.put(KIB)

    assert (let_in, judged.measured - measured) == ([True] * 7, 1)
    assert not more


def test_admits_againWhereThereIsRoomAgain() -> None:
    judged = Judged()
    judged.size = 11 * KIB
    judged.quota._look()
    refused = judged.put(1)

    judged.size = 5 * KIB

    assert (refused, judged.put(1)) == (False, True)


@pytest.mark.parametrize(
    ("kind", "request_message", "admitted"),
    [
        (RequestKind.PUT, put(1), False),
        (RequestKind.TXN, rpc.TxnRequest(failure=[op(put=put(1))]), False),
        (RequestKind.LEASE_GRANT, rpc.LeaseGrantRequest(TTL=1), False),
        (RequestKind.TXN, rpc.TxnRequest(success=[op()]), True),
        (RequestKind.DELETE_RANGE, rpc.DeleteRangeRequest(key=b"k"), True),
        (RequestKind.COMPACT, rpc.CompactionRequest(revision=1), True),
        (RequestKind.LEASE_REVOKE, rpc.LeaseRevokeRequest(ID=1), True),
        (RequestKind.ALARM, rpc.AlarmRequest(action="DEACTIVATE", alarm="NOSPACE"), True),
    ],
)
def test_admits_inAFullStore_onlyWhatDoesNotGrow(
    kind: RequestKind, request_message: rpc.PutRequest, admitted: bool
) -> None:
    judged = Judged()
    judged.size = 20 * KIB
    judged.quota._look()

    assert judged.quota.admits(kind, request_message.SerializeToString()) is admitted


def test_admits_withoutABound_everything_andMeasuresNothing() -> None:
    judged = Judged(-1)
    judged.size = 1 << 50

    assert all(judged.put(1 << 20) for _ in range(5_000))
    judged.quota.keep(100.0)
    assert judged.measured == 0


def nobody(outcome: Answer | Refusal) -> None:
    """A client that has gone."""


def test_refuse_raisesTheAlarmOnce_thenAnswersAll() -> None:
    judged = Judged()
    calls: list[Call[Answer | Refusal]] = [Call() for _ in range(3)]

    for call in calls:
        judged.quota.refuse(call)
    proposed = [request for request, _ in judged.proposed]
    early = [call.done for call in calls]
    judged.settle()

    assert proposed == [rpc.AlarmRequest(action="ACTIVATE", memberID=MEMBER, alarm="NOSPACE")]
    assert early == [False] * 3
    assert [call.answer for call in calls] == [NoSpace()] * 3
    assert judged.replica.machine.alarms() == [NOSPACE]


def test_refuse_whileTheAlarmStands_isAnsweredAtOnce() -> None:
    judged = Judged()
    judged.quota.refuse(nobody)
    judged.settle()
    call: Call[Answer | Refusal] = Call()

    judged.quota.refuse(call)

    assert call.answer == NoSpace()
    assert judged.proposed == []


def test_refuse_afterTheAlarmWasDisarmedInVain_raisesItAgain() -> None:
    judged = Judged()
    judged.quota.refuse(nobody)
    judged.settle()
    disarm = rpc.AlarmRequest(action="DEACTIVATE", memberID=MEMBER, alarm="NOSPACE")
    judged.replica.apply(RequestKind.ALARM, disarm)

    judged.quota.refuse(nobody)
    judged.settle()

    assert judged.replica.machine.alarms() == [NOSPACE]


def test_keep_raisesTheAlarmWhenOthersHaveFilledThisDisk() -> None:
    judged = Judged()
    judged.quota.keep(0.0)
    judged.size = 11 * KIB

    judged.quota.keep(MEASURE_SECONDS)
    unwritten = len(judged.proposed)
    judged.write()
    judged.quota.keep(MEASURE_SECONDS + 0.1)
    too_early = len(judged.proposed)
    judged.quota.keep(2 * MEASURE_SECONDS)
    judged.settle()
    judged.write()
    judged.quota.keep(3 * MEASURE_SECONDS)

    assert (unwritten, too_early) == (0, 0)
    assert judged.replica.machine.alarms() == [NOSPACE]
    assert judged.proposed == []


# Over whole members.

SMALL = Limits(quota_backend_bytes=64 * KIB)


def fill(node: Node, puts_max: int = 100) -> int:
    """Put until it is refused; returns how many were not."""
    cluster = node._cluster
    for number in range(puts_max):
        done = node.put(b"k%d" % (number % 3), bytes(4 * KIB))
        outcome = answered(cluster, done)
        if not isinstance(outcome, Answer):
            assert outcome == NoSpace()
            return number
    raise AssertionError("it is never full")


def answered(cluster: MemberCluster, call: Call[Answer | Refusal]) -> Answer | Refusal | None:
    cluster.until(lambda: call.done)
    return call.answer


def test_fullStore_isFullEverywhere_untilItWasCompactedAndDisarmed() -> None:
    """The way out that etcd's manual tells: compact, defragment, disarm."""
    cluster = MemberCluster(limits=SMALL)
    leader = cluster.elect()
    follower = cluster.followers()[0]

    accepted = fill(leader)
    refused = answered(cluster, follower.put(b"other", b"v"))
    deleted = answered(
        cluster,
        follower.propose(
            RequestKind.DELETE_RANGE, rpc.DeleteRangeRequest(key=b"k0").SerializeToString()
        ),
    )
    alarms = leader.machine.alarms()
    compacted = answered(cluster, leader.compact(leader.machine.revision))
    still = answered(cluster, leader.put(b"other", b"v"))
    defragmented: list[Call[Refusal | None]] = [Call() for _ in cluster]
    for node, done in zip(cluster, defragmented, strict=True):
        node.member.defragment(done)
    cluster.until(lambda: all(done.done for done in defragmented))
    for alarm in alarms:
        disarm = rpc.AlarmRequest(action="DEACTIVATE", memberID=alarm.member_id, alarm="NOSPACE")
        answered(cluster, leader.propose(RequestKind.ALARM, disarm.SerializeToString()))

    assert 5 <= accepted <= 16
    assert (refused, still) == (NoSpace(), NoSpace())
    assert leader.id in [alarm.member_id for alarm in alarms]
    assert isinstance(deleted, Answer)
    assert isinstance(compacted, Answer)
    assert all(isinstance(answered(cluster, node.put(b"new", b"v")), Answer) for node in cluster)


def test_alarm_outlivesTheMembers() -> None:
    cluster = MemberCluster(limits=SMALL)
    fill(cluster.elect())
    cluster.tick(50)
    for node in cluster:
        node.kill()
    for node in cluster:
        node.start()

    leader = cluster.elect()

    assert answered(cluster, leader.put(b"k", b"v")) == NoSpace()


def test_status_tellsTheSizeOfTheState() -> None:
    cluster = MemberCluster(1, limits=SMALL)
    leader = cluster.elect()
    before = leader.member.status()
    answered(cluster, leader.put(b"k", bytes(10 * KIB)))
    cluster.tick(50)

    after = leader.member.status()

    assert 10 * KIB <= after.db_size - before.db_size <= 11 * KIB
    assert after.db_size_in_use <= after.db_size
