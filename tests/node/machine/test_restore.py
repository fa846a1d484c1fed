"""What `export` shows, `restore` builds again: the same records, so the same answers for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.machine import restore
from node.machine.envelope import RequestKind
from node.machine.export import Origin, buckets
from node.machine.machine import Machine
from node.machine.record import COMPACT_PROGRESS
from node.machine.restore import SnapshotUnusable, records
from node.machine.view import MemoryView
from node.proto import auth, kv, rpc
from tests.node.machine.test_export import with_users
from tests.support.machine import Replica

ORIGIN = Origin(index=7, term=3, voters=(1,), learners=(), version="3.6.0")
KEYS = [b"a", b"b", b"c"]
LEASES = [11, 12]
Buckets = dict[bytes, dict[bytes, bytes]]

key = st.sampled_from(KEYS)
value = st.sampled_from([b"", b"v", b"w" * 5_000])
lease = st.sampled_from([0, 0, *LEASES])
put = st.tuples(st.just("put"), key, value, lease)
delete = st.tuples(st.just("delete"), key)
write = put | delete
txn = st.tuples(st.just("txn"), st.lists(write, min_size=1, max_size=4))
revoke = st.tuples(st.just("revoke"), st.sampled_from(LEASES))
note = st.tuples(st.just("note"), st.sampled_from(LEASES), st.integers(0, 60))
histories = st.lists(write | txn | revoke | note, max_size=30)


def exported(replica: Replica) -> Buckets:
    return {name: dict(items) for name, items in buckets(replica.view, ORIGIN)}


def restored(found: Buckets) -> MemoryView:
    view = MemoryView()
    for batch in records(lambda name: found.get(name, {}).items(), view.get):
        view.stage(batch)
    return view


def everything(view: MemoryView) -> dict[bytes, bytes]:
    return dict(view.scan(b"", b"\xff"))


def operation(step: tuple[object, ...]) -> rpc.RequestOp:
    match step:
        case ("put", bytes(key), bytes(value), int(lease)):
            return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))
        case ("delete", bytes(key)):
            return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))
        case _:
            raise AssertionError(step)


def lived(history: Iterable[tuple[object, ...]]) -> Replica:
    replica = Replica()
    for number in LEASES:
        replica.apply(RequestKind.LEASE_GRANT, rpc.LeaseGrantRequest(ID=number, TTL=60))
    for step in history:
        match step:
            case ("put", bytes(key), bytes(value), int(lease)):
                replica.put(key, value, lease)
            case ("delete", bytes(key)):
                replica.delete(key)
            case ("txn", list(steps)):
                replica.txn(rpc.TxnRequest(success=[operation(each) for each in steps]))
            case ("revoke", int(number)):
                replica.apply(RequestKind.LEASE_REVOKE, rpc.LeaseRevokeRequest(ID=number))
            case ("note", int(number), int(left)):
                notes = [rpc.LeaseCheckpoint(ID=number, remaining_TTL=left)]
                request = rpc.LeaseCheckpointRequest(checkpoints=notes)
                replica.apply(RequestKind.LEASE_CHECKPOINT, request)
    return replica


@given(histories)
def test_records_are_those_of_the_requests(history: list[tuple[object, ...]]) -> None:
    replica = lived(history)

    assert everything(restored(exported(replica))) == everything(replica.view)


@given(histories, st.integers(0, 40), st.integers(0, 6))
def test_compacted_history_gives_the_same_answers(
    history: list[tuple[object, ...]], revision: int, slices: int
) -> None:
    """Also if the compaction was still under way on disk."""
    replica = lived(history)
    replica.compact(min(revision, replica.machine.revision))
    for _ in range(slices):
        replica.compact_some()

    view = restored(exported(replica))

    machine = Machine(view)
    assert machine.revision == replica.machine.revision
    assert machine.compact_revision == replica.machine.compact_revision
    for at in range(max(1, machine.compact_revision), machine.revision + 1):
        request = rpc.RangeRequest(key=b"\0", range_end=b"\0", revision=at)
        assert machine.range(request) == replica.machine.range(request)
    assert list(machine.leases()) == list(replica.machine.leases())


def test_physical_compaction_goes_over_it_again() -> None:
    replica = lived([("put", b"a", b"v", 0)] * 5)
    replica.compact(4)
    while replica.compact_some():
        pass

    again = Replica()
    again.view = restored(exported(replica))
    again.restart()
    while again.compact_some():
        pass

    ours, theirs = everything(again.view), everything(replica.view)
    assert ours.keys() == theirs.keys()
    assert COMPACT_PROGRESS in ours


def test_users_and_roles_are_taken_over() -> None:
    replica = with_users()

    view = restored(exported(replica))

    assert everything(view) == everything(replica.view)
    state = Machine(view).auth
    assert (state.enabled, state.revision) == (True, replica.machine.auth.revision)
    assert (state.users(), state.roles()) == (["alice", "root"], ["reader"])


def test_batches_need_no_memory_of_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "BATCH", 1)
    replica = lived([("put", b"a", b"v", 11), ("delete", b"a"), ("put", b"a", b"w", 12)] * 3)

    assert everything(restored(exported(replica))) == everything(replica.view)


def broken(change: Callable[[Buckets], object]) -> Buckets:
    found = exported(lived([("put", b"a", b"v", 11)]))
    change(found)
    return found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: found[b"auth"].update({b"authRevision": b"\xff" * 8}), "no auth revision"),
        (lambda found: found[b"authUsers"].update({b"alice": b"\xff"}), "does not decode"),
        (lambda found: found[b"authUsers"].update({b"\xff": b"\x0a\x01\xff"}), "does not decode"),
        (lambda found: found[b"authUsers"].update({b"": b""}), "is called"),
        (
            lambda found: found[b"authRoles"].update(
                {b"reader": auth.Role(name=b"writer").SerializeToString()}
            ),
            "b'reader' is called b'writer'",
        ),
        (lambda found: found[b"key"].update({b"short": b""}), "no revision"),
        (lambda found: found[b"key"].update({bytes(8) + b"_" + bytes(8): b""}), "no revision"),
        (
            lambda found: found[b"key"].update({b"\0" * 7 + b"\x09_" + bytes(8): b"\xff"}),
            "does not decode",
        ),
        (
            lambda found: found[b"key"].update({b"\0" * 7 + b"\x09_" + bytes(8): b""}),
            "no key",
        ),
        (
            lambda found: found[b"key"].update(
                {b"\0" * 7 + b"\x09_" + bytes(8): kv.KeyValue(key=b"a").SerializeToString()}
            ),
            "revision 9 holds a key of 0",
        ),
        (lambda found: found[b"lease"].update({b"short": b""}), "no lease"),
    ],
)
def test_what_etcd_does_not_write_is_refused(
    change: Callable[[Buckets], object], reason: str
) -> None:
    with pytest.raises(SnapshotUnusable, match=reason):
        restored(broken(change))
