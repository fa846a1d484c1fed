"""The same requests to a real etcd and to the machine: every answer equal, field by field.

Each example starts from an empty store. etcd's revisions have moved on by then, so those in
requests and answers are shifted by where the example began.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.errors import (
    Compacted,
    DuplicateKey,
    EmptyKey,
    FutureRevision,
    InvalidSortOption,
    KeyNotFound,
    LeaseExists,
    LeaseNotFound,
    LeaseProvided,
    LeaseTtlTooLarge,
    Refusal,
    TooManyOperations,
    ValueProvided,
)
from node.machine.validate import (
    check_delete_range,
    check_put,
    check_range,
    check_txn,
    is_read_only,
)
from node.proto import rpc
from tests.support.etcd_process import EtcdProcess, running_etcd
from tests.support.machine import Replica

M = TypeVar("M", bound=Message)

TEXTS: dict[type[Refusal], str] = {
    Compacted: "etcdserver: mvcc: required revision has been compacted",
    DuplicateKey: "etcdserver: duplicate key given in txn request",
    EmptyKey: "etcdserver: key is not provided",
    FutureRevision: "etcdserver: mvcc: required revision is a future revision",
    InvalidSortOption: "etcdserver: invalid sort option",
    KeyNotFound: "etcdserver: key not found",
    LeaseExists: "etcdserver: lease already exists",
    LeaseNotFound: "etcdserver: requested lease not found",
    LeaseProvided: "etcdserver: lease is provided",
    LeaseTtlTooLarge: "etcdserver: too large lease TTL",
    TooManyOperations: "etcdserver: too many operations in txn request",
    ValueProvided: "etcdserver: value is provided",
}
REVISIONS = {
    "revision",
    "start_revision",
    "create_revision",
    "mod_revision",
    "min_mod_revision",
    "max_mod_revision",
    "min_create_revision",
    "max_create_revision",
}
OPERATIONS_MAX = 128

keys = st.sampled_from([b"a", b"aa", b"b", b"c", b"d\xff", b"\xff"])
ends = st.sampled_from([b"", b"", b"\x00", b"b", b"c", b"\xff\xff"])
values = st.sampled_from([b"", b"x", b"y", b"z" * 5000])
lease_ids = st.sampled_from([0, 0, 0, 1, 2])
some_revision = st.one_of(st.just(0), st.integers(-1, 12))
flag = st.sampled_from([False, False, True])

puts = st.builds(
    rpc.PutRequest,
    key=st.one_of(keys, keys, keys, st.just(b"")),
    value=values,
    lease=lease_ids,
    prev_kv=flag,
    ignore_value=flag,
    ignore_lease=flag,
)
plain_puts = st.builds(rpc.PutRequest, key=keys, value=values, lease=lease_ids, prev_kv=flag)
deletes = st.builds(rpc.DeleteRangeRequest, key=keys, range_end=ends, prev_kv=flag)
ranges = st.builds(
    rpc.RangeRequest,
    key=keys,
    range_end=ends,
    limit=st.integers(0, 3),
    revision=some_revision,
    sort_order=st.integers(0, 2),
    sort_target=st.integers(0, 4),
    keys_only=flag,
    count_only=flag,
    min_mod_revision=st.sampled_from([0, 0, 3]),
    max_mod_revision=st.sampled_from([0, 0, 5]),
    min_create_revision=st.sampled_from([0, 0, 0, 2]),
    max_create_revision=st.sampled_from([0, 0, 0, 4]),
)
small_ranges = st.builds(rpc.RangeRequest, key=keys, range_end=ends, revision=some_revision)
compares = st.builds(
    lambda result, target, key, end, number, value: rpc.Compare(
        result=result,
        target=target,
        key=key,
        range_end=end,
        **{
            rpc.Compare.VERSION: {"version": number},
            rpc.Compare.CREATE: {"create_revision": number},
            rpc.Compare.MOD: {"mod_revision": number},
            rpc.Compare.VALUE: {"value": value},
            rpc.Compare.LEASE: {"lease": number},
        }[target],
    ),
    result=st.integers(0, 3),
    target=st.integers(0, 4),
    key=keys,
    end=ends,
    number=st.integers(0, 4),
    value=values,
)


def operations(
    nested: st.SearchStrategy[rpc.TxnRequest] | None,
) -> st.SearchStrategy[rpc.RequestOp]:
    choices = [
        st.builds(rpc.RequestOp, request_put=st.one_of(plain_puts, plain_puts, puts)),
        st.builds(rpc.RequestOp, request_delete_range=deletes),
        st.builds(rpc.RequestOp, request_range=small_ranges),
    ]
    if nested is not None:
        choices.append(st.builds(rpc.RequestOp, request_txn=nested))
    return st.one_of(choices)


def txns(depth: int) -> st.SearchStrategy[rpc.TxnRequest]:
    branch = st.lists(operations(txns(depth - 1) if depth else None), max_size=3)
    return st.builds(
        rpc.TxnRequest, compare=st.lists(compares, max_size=2), success=branch, failure=branch
    )


requests: st.SearchStrategy[Message] = st.one_of(
    plain_puts,
    plain_puts,
    puts,
    deletes,
    ranges,
    ranges,
    txns(2),
    txns(2),
    st.builds(rpc.CompactionRequest, revision=st.integers(0, 12)),
    st.builds(rpc.LeaseGrantRequest, ID=st.sampled_from([1, 2]), TTL=st.just(1000)),
    st.builds(rpc.LeaseRevokeRequest, ID=st.sampled_from([1, 2])),
)

CALLS: dict[type[Message], tuple[str, type[Message]]] = {
    rpc.PutRequest: ("/etcdserverpb.KV/Put", rpc.PutResponse),
    rpc.DeleteRangeRequest: ("/etcdserverpb.KV/DeleteRange", rpc.DeleteRangeResponse),
    rpc.RangeRequest: ("/etcdserverpb.KV/Range", rpc.RangeResponse),
    rpc.TxnRequest: ("/etcdserverpb.KV/Txn", rpc.TxnResponse),
    rpc.CompactionRequest: ("/etcdserverpb.KV/Compact", rpc.CompactionResponse),
    rpc.LeaseGrantRequest: ("/etcdserverpb.Lease/LeaseGrant", rpc.LeaseGrantResponse),
    rpc.LeaseRevokeRequest: ("/etcdserverpb.Lease/LeaseRevoke", rpc.LeaseRevokeResponse),
}


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as process:
        yield process


def shifted(message: M, delta: int) -> M:
    """A copy whose positive revisions have moved by `delta`."""
    copy = type(message)()
    copy.CopyFrom(message)
    _shift(copy, delta)
    return copy


def _shift(message: Message, delta: int) -> None:
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            if descriptor.name in REVISIONS and value > 0:
                setattr(message, descriptor.name, value + delta)
        else:
            for each in value if isinstance(value, list) or _is_repeated(value) else [value]:
                _shift(each, delta)


def _is_repeated(value: object) -> bool:
    return hasattr(value, "extend")


class Etcd:
    """The judge, seen from an example: empty at first, and at revision 1."""

    def __init__(self, process: EtcdProcess) -> None:
        self._process = process
        for lease in (1, 2):
            self._send(rpc.LeaseRevokeRequest(ID=lease))
        empty = self._send(rpc.DeleteRangeRequest(key=b"\0", range_end=b"\0"))
        assert isinstance(empty, rpc.DeleteRangeResponse)
        self.base = empty.header.revision
        self._send(rpc.CompactionRequest(revision=self.base))

    def ask(self, request: Message) -> Message | str:
        answer = self._send(shifted(request, self.base - 1))
        if isinstance(answer, str):
            return answer
        answer = shifted(answer, 1 - self.base)
        header = answer.header  # type: ignore[attr-defined]
        header.CopyFrom(rpc.ResponseHeader(revision=header.revision))
        return answer

    def _send(self, request: Message) -> Message | str:
        path, response = CALLS[type(request)]
        return self._process.call(path, request, response)


class Ours:
    """The machine behind the checks that the api makes."""

    def __init__(self) -> None:
        self.replica = Replica()
        self.replica.apply(RequestKind.COMPACT, rpc.CompactionRequest(revision=1))

    def ask(self, request: Message) -> Message | str:
        outcome = self._outcome(request)
        if isinstance(outcome, Refusal):
            return TEXTS[type(outcome)]
        response = CALLS[type(request)][1].FromString(outcome.body)
        response.header.revision = outcome.revision  # type: ignore[attr-defined]
        return response

    def _outcome(self, request: Message) -> Answer | Refusal:
        machine, apply = self.replica.machine, self.replica.apply
        match request:
            case rpc.PutRequest():
                return check_put(request) or apply(RequestKind.PUT, request).outcome
            case rpc.DeleteRangeRequest():
                refusal = check_delete_range(request)
                return refusal or apply(RequestKind.DELETE_RANGE, request).outcome
            case rpc.RangeRequest():
                return check_range(request) or machine.range(request)
            case rpc.TxnRequest():
                refusal = check_txn(request, OPERATIONS_MAX)
                if refusal is None and is_read_only(request):
                    return machine.read_txn(request)
                return refusal or apply(RequestKind.TXN, request).outcome
            case rpc.CompactionRequest():
                return apply(RequestKind.COMPACT, request).outcome
            case rpc.LeaseGrantRequest():
                return apply(RequestKind.LEASE_GRANT, request).outcome
            case rpc.LeaseRevokeRequest():
                return apply(RequestKind.LEASE_REVOKE, request).outcome
            case _:
                raise AssertionError(request)


@settings(max_examples=100, deadline=None)
@given(sequence=st.lists(requests, min_size=5, max_size=25))
def test_answers_equal_etcds(etcd: EtcdProcess, sequence: list[Message]) -> None:
    judge, ours = Etcd(etcd), Ours()
    for request in sequence:
        expected = judge.ask(request)
        answer = ours.ask(request)

        assert answer == expected, request
        ours.replica.compact_some()
