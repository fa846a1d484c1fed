"""KV.RangeStream: its messages merged are the answer of Range, and nobody has to hold them all."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from node.api.range_stream import PAGE_BYTES, PAGE_KEYS
from node.proto import rpc
from tests.support.api_client import ApiClient, Failed, failure, messages
from tests.support.api_member import ServedMember
from tests.support.raw_client import RawClient
from transport.grpc import CallEnded, MessageReceived
from transport.http2.limits import Limits

PATH = "/etcdserverpb.KV/RangeStream"
KEYS = PAGE_KEYS * 2 + 7
ALL = rpc.RangeRequest(key=b"\0", range_end=b"\0")


def fill(served: ServedMember, client: ApiClient, keys: int = KEYS, value: bytes = b"v") -> None:
    """Write keys, many in one txn."""
    each = min(100, 1_000_000 // len(value))
    for start in range(0, keys, each):
        request = rpc.TxnRequest()
        for number in range(start, min(start + each, keys)):
            put = request.success.add().request_put
            put.key, put.value = b"k%06d" % number, value
        client.txn(request)


def chunks(client: ApiClient, request: rpc.RangeRequest) -> list[rpc.RangeResponse]:
    """All messages of one stream."""
    call = client.stream(PATH, [request.SerializeToString()])
    return [message.range_response for message in messages(call, rpc.RangeStreamResponse)]


def merged(parts: list[rpc.RangeResponse]) -> rpc.RangeResponse:
    """The one response that they stand for."""
    whole = rpc.RangeResponse()
    for part in parts:
        whole.MergeFrom(part)
    return whole


def refused(client: ApiClient, request: rpc.RangeRequest) -> Failed:
    """How a stream ends that is not begun."""
    with pytest.raises(grpc.RpcError) as caught:
        chunks(client, request)
    return failure(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"serializable": True},
        {"keys_only": True},
        {"count_only": True},
        {"limit": 1},
        {"limit": PAGE_KEYS},
        {"limit": PAGE_KEYS + 1},
        {"limit": KEYS},
        {"limit": KEYS + 1},
        {"limit": -1},
        {"limit": 3, "count_only": True},
        {"revision": 5},
        {"revision": 5, "limit": 10},
        {"sort_order": rpc.RangeRequest.ASCEND},
        {"key": b"k000007", "range_end": b""},
        {"key": b"nothing", "range_end": b""},
        {"key": b"nothing", "range_end": b"nothinh"},
        {"key": b"z", "range_end": b"a"},
    ],
)
def test_messages_merged_are_the_answer_of_range(
    served: ServedMember, client: ApiClient, options: dict[str, object]
) -> None:
    fill(served, client)
    request = rpc.RangeRequest()
    request.CopyFrom(ALL)
    request.MergeFrom(rpc.RangeRequest(**options))  # type: ignore[arg-type]
    if "range_end" in options:
        request.range_end = options["range_end"]  # type: ignore[assignment]

    parts = chunks(client, request)

    assert merged(parts) == client.range(request)
    assert [part.HasField("header") for part in parts] == [False] * (len(parts) - 1) + [True]
    assert not any(part.more or part.count for part in parts[:-1])


def test_pages_are_bounded_by_keys_and_by_bytes(served: ServedMember, client: ApiClient) -> None:
    fill(served, client)
    assert max(len(part.kvs) for part in chunks(client, ALL)) == PAGE_KEYS

    fill(served, client, keys=300, value=b"v" * 2000)
    sizes = [part.ByteSize() for part in chunks(client, rpc.RangeRequest(key=b"k", range_end=b"l"))]
    assert len(sizes) > 4
    assert max(sizes) < PAGE_BYTES + 3000


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (rpc.RangeRequest(), 3, "etcdserver: key is not provided"),
        (rpc.RangeRequest.FromString(b"\x0a\x01a\x28\x07"), 3, "etcdserver: invalid sort option"),
        (
            rpc.RangeRequest(key=b"a", revision=99),
            11,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (
            rpc.RangeRequest(key=b"a", sort_order=rpc.RangeRequest.DESCEND),
            12,
            "RangeStream does not support custom sort orders",
        ),
        (
            rpc.RangeRequest(key=b"a", sort_target=rpc.RangeRequest.MOD),
            12,
            "RangeStream does not support custom sort orders",
        ),
        (
            rpc.RangeRequest(key=b"a", max_create_revision=3),
            12,
            "RangeStream does not support revision filters",
        ),
    ],
)
def test_refusals(client: ApiClient, request_: rpc.RangeRequest, code: int, text: str) -> None:
    assert refused(client, request_) == Failed(code, text)


def test_compacted_revision_is_refused(client: ApiClient) -> None:
    for _ in range(4):
        client.put(b"k")
    client.call(
        "/etcdserverpb.KV/Compact", rpc.CompactionRequest(revision=4), rpc.CompactionResponse
    )

    found = refused(client, rpc.RangeRequest(key=b"k", revision=3))

    assert found == Failed(11, "etcdserver: mvcc: required revision has been compacted")


@pytest.mark.parametrize("serializable", [False, True])
def test_without_vote_nothing_is_streamed(
    served: ServedMember, client: ApiClient, serializable: bool
) -> None:
    served.member.is_learner = True

    found = refused(client, rpc.RangeRequest(key=b"k", serializable=serializable))

    assert found == Failed(9, "etcdserver: rpc not supported for learner")


def slow(served: ServedMember) -> RawClient:
    """A client that lets little through before it reads."""
    return RawClient(served.port, Limits(stream_window_bytes=64_000), receive_buffer=4096)


def pages(events: Iterable[object]) -> list[rpc.RangeResponse]:
    """What a raw client has read so far."""
    return [
        rpc.RangeStreamResponse.FromString(event.message).range_response
        for event in events
        if isinstance(event, MessageReceived)
    ]


def streams(served: ServedMember) -> list[Any]:
    """The streams that are open; to be called in the loop's thread."""
    connections = served.client_port._grpc
    return [call for connection in connections for call in connection._streams.values()]


VALUE = b"v" * 100_000
MANY = 200
"""Twenty megabytes: far more than a connection may hold."""


def test_client_that_does_not_read_holds_up_nothing_but_itself(
    served: ServedMember, client: ApiClient
) -> None:
    fill(served, client, MANY, VALUE)
    revision = client.get(b"k").header.revision
    with slow(served) as raw:
        call_id = raw.grpc.start(PATH)
        raw.grpc.send(call_id, ALL.SerializeToString())
        raw.flush()
        served.wait(lambda: any(call.paused for call in streams(served)))
        held = served.call(lambda: sum(call.link.grpc.buffered_total for call in streams(served)))
        client.put(b"k000000", b"changed")
        client.put(b"k%06d" % (MANY - 1), b"changed")

        events = raw.wait(lambda events: any(isinstance(event, CallEnded) for event in events))

    assert held < 4 << 20
    whole = merged(pages(events))
    assert [entry.value for entry in whole.kvs] == [VALUE] * MANY
    assert whole.header.revision == revision
    assert all(one.key < two.key for one, two in pairwise(whole.kvs))


def test_compaction_above_the_pages_ends_the_stream_behind_what_was_sent(
    served: ServedMember, client: ApiClient
) -> None:
    fill(served, client, MANY, VALUE)
    revision = client.get(b"k").header.revision
    with slow(served) as raw:
        call_id = raw.grpc.start(PATH)
        raw.grpc.send(call_id, ALL.SerializeToString())
        raw.flush()
        raw.wait(lambda events: bool(pages(events)))
        client.put(b"k")
        client.call(
            "/etcdserverpb.KV/Compact",
            rpc.CompactionRequest(revision=revision + 1),
            rpc.CompactionResponse,
        )

        events = raw.wait(lambda events: any(isinstance(event, CallEnded) for event in events))

    (end,) = (event for event in events if isinstance(event, CallEnded))
    assert (end.status, end.text) == (11, "etcdserver: mvcc: required revision has been compacted")
    assert 0 < len(merged(pages(events)).kvs) < MANY


def test_client_that_leaves_ends_the_reading(served: ServedMember, client: ApiClient) -> None:
    fill(served, client, MANY, VALUE)
    call = client.stream(PATH, [ALL.SerializeToString()])
    next(call)

    call.cancel()

    served.wait(lambda: served.open_calls == 0)
    method, _ = served.client_port.services.streams[PATH]
    assert method.handled[1] == 1
