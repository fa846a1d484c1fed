"""RangeStream from real nodes: one revision, whoever writes and whoever dies meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from node.proto import rpc
from tests.support.api_client import ApiClient, messages
from tests.support.live_cluster import LiveCluster

pytestmark = pytest.mark.e2e

PATH = "/etcdserverpb.KV/RangeStream"
PREFIX, END = b"stream/", b"stream0"
KEYS = 3_000
VALUE = b"v" * 4_000
"""Twelve megabytes: more than a client that does not read is sent."""
EVERYTHING = rpc.RangeRequest(key=PREFIX, range_end=END)


@pytest.fixture(scope="module")
def filled(shared: LiveCluster) -> LiveCluster:
    """Many keys, all of one value."""
    with shared.api(shared.leader) as client:
        write_all(client, VALUE)
    return shared


def write_all(client: ApiClient, value: bytes) -> None:
    """Give every key a value, a hundred in a txn."""
    for start in range(0, KEYS, 100):
        request = rpc.TxnRequest()
        for number in range(start, start + 100):
            put = request.success.add().request_put
            put.key, put.value = PREFIX + b"%06d" % number, value
        client.txn(request)


def stream(client: ApiClient) -> Iterator[rpc.RangeResponse]:
    """The parts of one stream as they come."""
    call = client.channel.unary_stream(PATH)(EVERYTHING.SerializeToString(), timeout=60)
    return (message.range_response for message in messages(call, rpc.RangeStreamResponse))


def merged(parts: Iterator[rpc.RangeResponse]) -> rpc.RangeResponse:
    """The response that they make together."""
    whole = rpc.RangeResponse()
    for part in parts:
        whole.MergeFrom(part)
    return whole


def test_every_node_streams_what_it_would_answer(filled: LiveCluster) -> None:
    for name in filled.names:
        with filled.api(name) as client:
            whole = merged(stream(client))
            page = client.range(rpc.RangeRequest(key=PREFIX, range_end=END, limit=200))

        assert (whole.count, len(whole.kvs), whole.more) == (KEYS, KEYS, False)
        assert list(whole.kvs[:200]) == list(page.kvs)


def test_stream_shows_one_revision_while_everything_is_written_anew(filled: LiveCluster) -> None:
    with filled.api(filled.leader) as client, filled.api(filled.leader) as writer:
        write_all(writer, VALUE)
        parts = stream(client)
        first = next(parts)
        writing = threading.Thread(target=write_all, args=(writer, b"new"))
        writing.start()
        whole = merged(parts)
        writing.join()
        revision = client.get(PREFIX).header.revision
        write_all(writer, VALUE)

    kvs = [*first.kvs, *whole.kvs]
    assert [kv.key for kv in kvs] == [PREFIX + b"%06d" % number for number in range(KEYS)]
    assert {kv.value for kv in kvs} == {VALUE}
    assert max(kv.mod_revision for kv in kvs) <= whole.header.revision < revision


def test_stream_of_a_follower_outlives_the_leader(
    cluster: LiveCluster, filled: LiveCluster
) -> None:
    leader = cluster.leader
    with cluster.api(cluster.followers[0]) as client:
        parts = stream(client)
        first = next(parts)
        cluster.client.kill([leader])
        whole = merged(parts)

    assert len(first.kvs) + len(whole.kvs) == whole.count == KEYS
