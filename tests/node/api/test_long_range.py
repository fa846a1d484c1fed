"""A range that counts many keys which it does not tell: in steps, and others are served between."""

from __future__ import annotations

import pytest

from node.api import steps
from node.proto import rpc
from tests.support.api_client import ApiClient, Failed
from tests.support.api_member import ServedMember
from tests.support.raw_client import RawClient
from transport.grpc import CallEnded, ClientEvent, MessageReceived, Status, UnaryReply

KEYS = 400
RANGE = "/etcdserverpb.KV/Range"
PUT = "/etcdserverpb.KV/Put"
COMPACT = "/etcdserverpb.KV/Compact"


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch, client: ApiClient) -> None:
    """One key between two turns of everybody else."""
    for first in range(0, KEYS, 100):
        puts = [rpc.PutRequest(key=b"k%04d" % number) for number in range(first, first + 100)]
        client.txn(rpc.TxnRequest(success=[rpc.RequestOp(request_put=put) for put in puts]))
    monkeypatch.setattr(steps, "RECORDS_PER_STEP", 1)
    monkeypatch.setattr(steps, "WORK_SECONDS", 0.0)


def ended(events: list[ClientEvent]) -> list[int]:
    """Calls in the order in which they were answered."""
    return [
        event.call_id
        for event in events
        if isinstance(event, UnaryReply | MessageReceived)
        or (isinstance(event, CallEnded) and event.status != Status.OK)
    ]


@pytest.mark.parametrize(
    ("request_", "told", "more"),
    [
        (rpc.RangeRequest(limit=2), 2, True),
        (rpc.RangeRequest(count_only=True), 0, False),
        (rpc.RangeRequest(limit=2, revision=5), 2, True),
        (rpc.RangeRequest(limit=2, sort_order=rpc.RangeRequest.DESCEND), 2, True),
    ],
    ids=["limit", "count only", "old revision", "last keys"],
)
def test_others_are_answered_meanwhile(
    served: ServedMember, request_: rpc.RangeRequest, told: int, more: bool
) -> None:
    request_.key, request_.range_end = b"k", b"l"
    with RawClient(served.port) as raw:
        asked = raw.grpc.unary(RANGE, request_.SerializeToString())
        put = raw.grpc.unary(PUT, rpc.PutRequest(key=b"other").SerializeToString())
        raw.flush()
        events = raw.wait(lambda events: len(ended(events)) == 2)

    assert ended(events) == [put, asked]
    (answer,) = [
        rpc.RangeResponse.FromString(event.message)
        for event in events
        if isinstance(event, UnaryReply | MessageReceived) and event.call_id == asked
    ]
    assert (len(answer.kvs), answer.more, answer.count) == (told, more, KEYS)


def test_history_that_goes_meanwhile_ends_it(served: ServedMember) -> None:
    request = rpc.RangeRequest(key=b"k", range_end=b"l", limit=2, revision=4)
    with RawClient(served.port) as raw:
        asked = raw.grpc.unary(RANGE, request.SerializeToString())
        raw.grpc.unary(COMPACT, rpc.CompactionRequest(revision=5).SerializeToString())
        raw.flush()
        events = raw.wait(lambda events: len(ended(events)) == 2)

    (failed,) = [
        Failed(event.status, event.text)
        for event in events
        if isinstance(event, CallEnded) and event.call_id == asked
    ]
    assert failed == Failed(11, "etcdserver: mvcc: required revision has been compacted")


def test_client_that_goes_leaves_nothing_behind(served: ServedMember, client: ApiClient) -> None:
    request = rpc.RangeRequest(key=b"k", range_end=b"l", limit=2)
    with RawClient(served.port) as raw:
        raw.unary(RANGE, request.SerializeToString())

    assert client.get(b"k0000").count == 1
    served.wait(lambda: served.open_calls == 0)
