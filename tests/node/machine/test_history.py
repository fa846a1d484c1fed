"""Versions and history against a naive model, and how far a read has to walk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from node.machine import history
from node.machine.envelope import RequestKind
from node.machine.errors import Compacted
from node.machine.machine import Machine
from node.machine.range import Reading
from node.machine.view import MemoryView
from node.proto import kv, rpc
from tests.node.machine.model import Model
from tests.support.machine import Replica, answered

KEYS = [b"a", b"b", b"b\0", b"c", b"\xff"]
BOUNDS = [*KEYS, b"\xff\xff"]
VALUES = [b"", b"x", b"y" * 5000]


class HistoryAgainstModel(RuleBasedStateMachine):
    """One replica, restarted and compacted at will, and the model that keeps everything."""

    def __init__(self) -> None:
        super().__init__()
        self.replica = Replica()
        self.model = Model()
        self.compacted = -1

    @rule(key=st.sampled_from(KEYS), value=st.sampled_from(VALUES))
    def put(self, key: bytes, value: bytes) -> None:
        self.replica.put(key, value)
        self.model.put(key, value)

    @rule(lo=st.sampled_from(BOUNDS), hi=st.sampled_from(BOUNDS))
    def delete(self, lo: bytes, hi: bytes) -> None:
        applied = self.replica.delete(lo, hi)
        assert len(applied.events) == self.model.delete(lo, hi)

    @rule(revision=st.integers(0, 40))
    def compact(self, revision: int) -> None:
        if self.compacted < revision <= self.model.revision:
            self.replica.compact(revision)
            self.compacted = revision

    @rule(records_max=st.integers(1, 4))
    def compact_some(self, records_max: int) -> None:
        self.replica.compact_some(records_max)

    @rule()
    def restart(self) -> None:
        self.replica.restart()

    @precondition(lambda self: self.compacted > 1)
    @rule()
    def read_below_the_compacted(self) -> None:
        outcome = self.replica.machine.range(
            rpc.RangeRequest(key=b"a", revision=self.compacted - 1)
        )
        assert outcome == Compacted(self.compacted)

    @rule(lo=st.sampled_from(BOUNDS), hi=st.sampled_from(BOUNDS), back=st.integers(0, 12))
    def read(self, lo: bytes, hi: bytes, back: int) -> None:
        revision = max(self.model.revision - back, self.compacted, 1)
        response = self.replica.range(lo, hi, revision=revision)
        assert list(response.kvs) == self.model.pairs(lo, hi, revision)
        assert response.count == len(response.kvs)

    @rule(back=st.integers(0, 12))
    def replay(self, back: int) -> None:
        lo = max(self.model.revision - back, self.compacted, 2)
        machine = self.replica.machine
        told = [
            (event.revision, event.key, event.deleted, machine.previous_kv(event) or b"")
            for event in machine.events(lo, self.model.revision + 1)
        ]
        assert told == list(self.expected_events(lo))

    def expected_events(self, lo: int) -> Iterator[tuple[int, bytes, bool, bytes]]:
        for revision in range(lo, self.model.revision + 1):
            for key, pair in self.model.events[revision]:
                before = self.model.states[revision - 1].get(key)
                told = b""
                if before is not None and revision - 1 >= self.compacted:
                    told = kv.Event(kv=before.message(key)).SerializeToString()
                yield revision, key, pair is None, told

    @invariant()
    def revisions_agree(self) -> None:
        assert self.replica.machine.revision == self.model.revision
        assert self.replica.machine.compact_revision == self.compacted


HistoryAgainstModel.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestHistoryAgainstModel = HistoryAgainstModel.TestCase


class CountingView(MemoryView):
    """Counts gets."""

    gets = 0

    def get(self, key: bytes) -> bytes | None:
        self.gets += 1
        return super().get(key)


def test_state_at_walks_few_steps_down_a_long_chain() -> None:
    replica = Replica()
    replica.view = view = CountingView()
    replica.machine = Machine(view)
    versions = 10_000
    for _ in range(versions):
        replica.put(b"k")
    newest = view.get(b"ck")
    assert newest is not None

    for revision in (2, 3, 65, 66, 67, 4097, 4098, 4099, 5000, 9999, versions + 1):
        view.gets = 0
        record = history.state_at(view, newest, revision)

        assert record is not None
        assert history.key_value(view, record).find(b"k") > 0
        assert replica.range(b"k", revision=revision).kvs[0].mod_revision == revision
        assert view.gets <= 2 * (versions // 4096 + 64 + 64) + 2


def test_chain_leads_through_deaths() -> None:
    replica = Replica()
    for _ in range(100):
        replica.put(b"k")
        replica.delete(b"k")

    for life in range(100):
        assert replica.range(b"k", revision=2 + 2 * life).kvs[0].version == 1
        assert not replica.range(b"k", revision=3 + 2 * life).kvs


def test_previous_kv_skips_versions_of_the_same_revision() -> None:
    replica = Replica()
    replica.put(b"k", b"before")
    put = rpc.RequestOp(
        request_txn=rpc.TxnRequest(
            success=[rpc.RequestOp(request_put=rpc.PutRequest(key=b"k", value=b"between"))]
        )
    )
    delete = rpc.RequestOp(
        request_txn=rpc.TxnRequest(
            success=[rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=b"k"))]
        )
    )
    applied = replica.txn(rpc.TxnRequest(success=[put, delete]))

    previous = [replica.machine.previous_kv(event) for event in applied.events]
    told = [kv.Event.FromString(each or b"").kv.value for each in previous]
    assert told == [b"before", b"before"]


def test_previous_kv_of_a_key_that_is_deleted_and_made_anew_at_once() -> None:
    """etcd lets a txn do so behind a delete of every key from one on, and tells a plain create."""
    replica = Replica()
    replica.put(b"k", b"before")
    delete = rpc.DeleteRangeRequest(key=b"a", range_end=b"\0")
    applied = replica.txn(
        rpc.TxnRequest(
            success=[
                rpc.RequestOp(request_delete_range=delete),
                rpc.RequestOp(request_put=rpc.PutRequest(key=b"k", value=b"after")),
            ]
        )
    )

    previous = [replica.machine.previous_kv(event) for event in applied.events]
    assert [kv.Event.FromString(each or b"").kv.value for each in previous] == [b"before", b""]


def test_put_that_keeps_what_its_own_txn_deleted_finds_nothing() -> None:
    """etcd takes such a txn into its log and ends when it applies it, every member, at each start.

    Source: etcd server/etcdserver/txn/txn.go ("unexpected error during txn with writes").
    """
    replica = Replica()
    lease = rpc.LeaseGrantRequest(ID=7, TTL=60)
    replica.apply(RequestKind.LEASE_GRANT, lease)
    replica.put(b"k", b"before", lease=7)
    delete = rpc.DeleteRangeRequest(key=b"a", range_end=b"\0")
    put = rpc.PutRequest(key=b"k", ignore_value=True, ignore_lease=True)

    replica.txn(
        rpc.TxnRequest(
            success=[
                rpc.RequestOp(request_delete_range=delete),
                rpc.RequestOp(request_put=put),
            ]
        )
    )

    (found,) = replica.range(b"k").kvs
    assert (found.value, found.lease, found.version, found.create_revision) == (b"", 0, 1, 3)


@pytest.mark.parametrize("revision", [0, 30])
def test_range_counts_what_was_there_when_it_began(revision: int) -> None:
    """However many steps that takes, and whatever is applied between them."""
    replica = Replica()
    for number in range(40):
        replica.put(b"k%02d" % number)
    request = rpc.RangeRequest(key=b"k", range_end=b"l", limit=3, revision=revision)
    whole = answered(replica.machine.range(request))

    reading = replica.machine.begin_range(request)
    assert isinstance(reading, Reading)
    steps = 1
    while not reading.count(2):
        replica.delete(b"k%02d" % (40 - steps))
        replica.put(b"k%02d+" % (40 - steps))
        steps += 1

    assert reading.body() == whole.body
    assert steps > 10
