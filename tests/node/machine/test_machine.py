"""Applying is a function of the log; what cannot happen ends the process."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import InvariantViolated
from node.machine.answer import Answer, LeaseChange, LeaseChangeKind
from node.machine.digest import KeyspaceHash
from node.machine.envelope import RequestKind
from node.machine.errors import Compacted, Corrupt, FutureRevision, Malformed, Refusal
from node.machine.lease import Lease
from node.machine.machine import Machine
from node.machine.view import MemoryView
from node.proto import rpc
from tests.support.machine import Replica

KINDS: list[tuple[RequestKind, Message]] = [
    (RequestKind.PUT, rpc.PutRequest(key=b"a", value=b"1")),
    (RequestKind.PUT, rpc.PutRequest(key=b"b", value=b"2" * 5000, lease=1, prev_kv=True)),
    (RequestKind.PUT, rpc.PutRequest(key=b"b", ignore_value=True)),
    (RequestKind.DELETE_RANGE, rpc.DeleteRangeRequest(key=b"a", range_end=b"c", prev_kv=True)),
    (
        RequestKind.TXN,
        rpc.TxnRequest(
            compare=[rpc.Compare(target=rpc.Compare.VERSION, key=b"a", version=1)],
            success=[rpc.RequestOp(request_put=rpc.PutRequest(key=b"c"))],
            failure=[rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=b"b"))],
        ),
    ),
    (RequestKind.LEASE_GRANT, rpc.LeaseGrantRequest(ID=1, TTL=5)),
    (RequestKind.LEASE_REVOKE, rpc.LeaseRevokeRequest(ID=1)),
    (
        RequestKind.ALARM,
        rpc.AlarmRequest(action="ACTIVATE", memberID=1, alarm="NOSPACE"),
    ),
    (
        RequestKind.ALARM,
        rpc.AlarmRequest(action="DEACTIVATE", memberID=1, alarm="NOSPACE"),
    ),
    (RequestKind.MEMBER_PUBLISH, rpc.Member(ID=1, name="n1")),
]


requests = st.one_of(
    st.sampled_from(KINDS),
    st.sampled_from(KINDS[:4]),
    st.integers(2, 15).map(
        lambda revision: (RequestKind.COMPACT, rpc.CompactionRequest(revision=revision))
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    log=st.lists(requests, max_size=30),
    paces=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=30, max_size=30),
)
def test_replicas_agree_whatever_their_pace(
    log: list[tuple[RequestKind, Message]], paces: list[tuple[int, bool]]
) -> None:
    steady, moody = Replica(), Replica()
    for (kind, request), (records, restart) in zip(log, paces, strict=False):
        assert steady.apply(kind, request) == moody.apply(kind, request)
        if records:
            moody.compact_some(records)
        if restart:
            moody.restart()

    assert steady.machine.hash_kv(0) == moody.machine.hash_kv(0)
    while moody.compact_some() or steady.compact_some(100):
        pass
    assert _tables(steady) == _tables(moody)


def test_new_life_of_a_compacted_key_is_the_same_whether_removed_or_not() -> None:
    prompt, late = Replica(), Replica()
    for replica in (prompt, late):
        replica.put(b"a")
        replica.put(b"b")
        replica.delete(b"a")
        replica.delete(b"b")
        replica.compact(5)
    while prompt.compact_some():
        pass

    assert prompt.put(b"a").effects == late.put(b"a").effects
    assert prompt.put(b"b").effects == late.put(b"b").effects


def _tables(replica: Replica) -> list[tuple[bytes, bytes]]:
    """All records but how far physical compaction has walked."""
    return [(key, value) for key, value in replica.view.scan(b"", b"\xff") if key != b"mp"]


def test_physical_compaction_leaves_nothing_dead_behind() -> None:
    replica = Replica()
    for _ in range(3):
        replica.put(b"a")
        replica.put(b"b")
        replica.delete(b"b")
    replica.put(b"c")
    replica.compact(replica.machine.revision)
    while replica.compact_some():
        pass

    assert _stored(replica) == ["ca", "cc", "r", "r"]


def test_overtaken_compaction_leaves_nothing_dead_behind() -> None:
    replica = Replica()
    for key in (b"a", b"b", b"c"):
        replica.put(key)
    replica.delete(b"a", b"z")
    replica.compact(replica.machine.revision)
    replica.compact_some(5)  # ends between two tombstones of the compacted revision
    replica.put(b"d")
    replica.compact(replica.machine.revision)
    while replica.compact_some():
        pass

    assert _stored(replica) == ["cd", "r"]


def _stored(replica: Replica) -> list[str]:
    """Keys of the tables of versions; of history only how many."""
    keys = [key for key, _ in replica.view.scan(b"c", b"s") if key[:1] in b"cdr"]
    return [key.decode() if key[:1] != b"r" else "r" for key in keys]


def test_malformed_request_is_a_refusal() -> None:
    machine = Machine(MemoryView())

    applied = machine.apply(1, RequestKind.PUT, b"\xff\xff")

    assert isinstance(applied.outcome, Malformed)
    assert not applied.effects
    assert machine.revision == 1


def test_unknown_kind_ends_the_process() -> None:
    with pytest.raises(InvariantViolated, match="unknown kind 99"):
        Machine(MemoryView()).apply(1, 99, b"")


def test_entry_is_applied_once() -> None:
    machine = Machine(MemoryView(), applied_index=7)
    machine.apply(8, RequestKind.PUT, rpc.PutRequest(key=b"a").SerializeToString())

    for index in (7, 8):
        with pytest.raises(InvariantViolated, match="applied again"):
            machine.apply(index, RequestKind.PUT, b"")


def test_lease_changes_are_told() -> None:
    replica = Replica()

    granted = replica.apply(RequestKind.LEASE_GRANT, rpc.LeaseGrantRequest(ID=4, TTL=9))
    again = replica.apply(RequestKind.LEASE_GRANT, rpc.LeaseGrantRequest(ID=4, TTL=9))
    assert replica.machine.leases() == [Lease(4, 9)]
    revoked = replica.apply(RequestKind.LEASE_REVOKE, rpc.LeaseRevokeRequest(ID=4))

    assert list(granted.leases) == [LeaseChange(LeaseChangeKind.GRANTED, 4, 9)]
    assert not again.leases
    assert list(revoked.leases) == [LeaseChange(LeaseChangeKind.REVOKED, 4, 0)]
    assert replica.machine.leases() == []


def test_large_value_is_stored_once() -> None:
    replica = Replica()
    value = b"v" * 100_000
    replica.put(b"k", value)

    stored = sum(len(record) for _, record in replica.view.scan(b"", b"\xff"))
    assert stored < len(value) + 300
    assert replica.range(b"k").kvs[0].value == value


def test_hash_kv_follows_the_keyspace() -> None:
    replica = Replica()
    seen: list[int | Refusal] = []
    for value in (b"1", b"2", b"1"):
        replica.put(b"k", value)
        seen.append(replica.machine.hash_kv(0))

    assert len(set(seen)) == 3
    assert [replica.machine.hash_kv(revision) for revision in (2, 3, 4)] == seen
    replica.compact(3)
    assert replica.machine.hash_kv(2) == Compacted(3)
    assert replica.machine.hash_kv(5) == FutureRevision(4)


def test_keyspace_hash_is_of_the_moment_at_which_it_is_begun() -> None:
    replica = Replica()
    for value in (b"1", b"2", b"3"):
        replica.put(b"k", value)
    expected = replica.machine.hash_kv(0)

    begun = replica.machine.keyspace_hash(0)
    replica.compact(4)
    while replica.compact_some():
        pass

    assert isinstance(begun, KeyspaceHash)
    assert (begun.finish(), begun.compact_revision) == (expected, -1)
    assert replica.machine.hash_kv(0) != expected


def test_start_reads_a_handful_of_records() -> None:
    replica = Replica()
    for number in range(500):
        replica.put(b"key %d" % number)

    class Stingy(MemoryView):
        reads = 0

        def get(self, key: bytes) -> bytes | None:
            self.reads += 1
            return super().get(key)

    view = Stingy()
    view.stage(list(replica.view.scan(b"", b"\xff")))
    machine = Machine(view)

    assert view.reads < 10
    assert machine.revision == 501


def test_range_answer_is_spliced_from_stored_bytes() -> None:
    replica = Replica()
    replica.put(b"a", b"1")
    answer = replica.machine.range(rpc.RangeRequest(key=b"a"))

    assert isinstance(answer, Answer)
    again = rpc.RangeResponse.FromString(answer.body)
    assert again.SerializeToString() == answer.body


def raise_corrupt(replica: Replica, member_id: int) -> None:
    request = rpc.AlarmRequest(
        action=rpc.AlarmRequest.ACTIVATE, memberID=member_id, alarm=rpc.CORRUPT
    )
    replica.apply(RequestKind.ALARM, request)


def test_accusedMember_answersNoReads_andAppliesLikeTheOthers() -> None:
    replica = Replica()
    replica.put(b"a")
    raise_corrupt(replica, 5)
    accused = Machine(replica.view, replica.machine.applied_index, member_id=5)
    other = Machine(replica.view, replica.machine.applied_index, member_id=6)
    request = rpc.PutRequest(key=b"a", value=b"2")

    assert accused.accused
    assert accused.range(rpc.RangeRequest(key=b"a")) == Corrupt()
    assert accused.read_txn(rpc.TxnRequest()) == Corrupt()
    assert not other.accused
    assert isinstance(other.range(rpc.RangeRequest(key=b"a")), Answer)
    index = accused.applied_index + 1
    assert accused.apply(index, RequestKind.PUT, request.SerializeToString()) == other.apply(
        index, RequestKind.PUT, request.SerializeToString()
    )


def test_corruptAlarmOfAMember_goesWithTheMember() -> None:
    replica = Replica()
    raise_corrupt(replica, 5)
    raise_corrupt(replica, 6)
    member = rpc.Member(ID=5).SerializeToString()
    applied = replica.machine.change_members(3, RequestKind.MEMBER_REMOVE, member, (4, 5, 6), ())
    replica.view.stage(applied.effects)

    assert [alarm.member_id for alarm in replica.machine.alarms()] == [6]
    replica.restart()
    assert [alarm.member_id for alarm in replica.machine.alarms()] == [6]
