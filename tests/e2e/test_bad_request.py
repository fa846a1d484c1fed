"""Requests that are well-formed HTTP/2 and nothing else: etcd's errors, and a node that goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import pytest

from node.proto import rpc
from tests.support.api_client import Failed
from tests.support.live_cluster import LiveCluster
from transport.grpc import Status

pytestmark = pytest.mark.e2e

KV, LEASE = "/etcdserverpb.KV", "/etcdserverpb.Lease"
MIB = 1 << 20


@pytest.fixture(params=["leader", "follower"])
def node(shared: LiveCluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """The leader or another, which serves after the test in the same process."""
    name = shared.leader if request.param == "leader" else shared.followers[0]
    pid = shared.pid(name)
    yield name
    shared.assert_serves(name)
    assert shared.pid(name) == pid


def put_op(key: bytes) -> rpc.RequestOp:
    """A put inside a txn."""
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key))


def txn_of(count: int) -> rpc.TxnRequest:
    """A txn of so many puts."""
    return rpc.TxnRequest(success=[put_op(b"op/%d" % number) for number in range(count)])


MALFORMED = {
    "cut short": b"\x0a\x05ab",
    "endless varint": b"\x0a" + b"\xff" * 12,
    "unknown wire type": b"\x0f\x00",
    "length beyond the end": b"\x0a\xff\xff\xff\xff\x07a",
    "group without an end": b"\x0b\x08\x01",
    "noise": Random(1).randbytes(200),
}


@pytest.mark.parametrize("method", ["Put", "Range", "Txn", "DeleteRange", "Compact"])
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_protobuf_is_an_internal_error(
    shared: LiveCluster, node: str, method: str, name: str
) -> None:
    with shared.api(node) as api:
        failed = api.raw(f"{KV}/{method}", MALFORMED[name])

    assert isinstance(failed, Failed)
    assert failed.code == Status.INTERNAL
    assert failed.text.startswith("grpc: error unmarshalling request: ")


def test_malformed_watch_and_keep_alive_end_their_streams(shared: LiveCluster, node: str) -> None:
    with shared.api(node) as api:
        for path in ("/etcdserverpb.Watch/Watch", f"{LEASE}/LeaseKeepAlive"):
            stream = api.stream(path, [b"\x0a\x05ab"])
            assert stream.code().value[0] == Status.INTERNAL


REFUSED = {
    "value over 1.5 MiB": (
        f"{KV}/Put",
        rpc.PutRequest(key=b"big", value=bytes(3 * MIB // 2)),
        Status.INVALID_ARGUMENT,
        "etcdserver: request is too large",
    ),
    "txn over 1.5 MiB": (
        f"{KV}/Txn",
        rpc.TxnRequest(
            success=[
                rpc.RequestOp(request_put=rpc.PutRequest(key=b"%d" % n, value=bytes(MIB // 2)))
                for n in range(3)
            ]
        ),
        Status.INVALID_ARGUMENT,
        "etcdserver: request is too large",
    ),
    "129 operations": (
        f"{KV}/Txn",
        txn_of(129),
        Status.INVALID_ARGUMENT,
        "etcdserver: too many operations in txn request",
    ),
    "129 operations in a nested txn": (
        f"{KV}/Txn",
        rpc.TxnRequest(success=[rpc.RequestOp(request_txn=txn_of(129))]),
        Status.INVALID_ARGUMENT,
        "etcdserver: too many operations in txn request",
    ),
    "a key put twice": (
        f"{KV}/Txn",
        rpc.TxnRequest(success=[put_op(b"k"), put_op(b"k")]),
        Status.INVALID_ARGUMENT,
        "etcdserver: duplicate key given in txn request",
    ),
    "no key": (
        f"{KV}/Put",
        rpc.PutRequest(value=b"v"),
        Status.INVALID_ARGUMENT,
        "etcdserver: key is not provided",
    ),
    "a lease that is not there": (
        f"{KV}/Put",
        rpc.PutRequest(key=b"k", lease=7),
        Status.NOT_FOUND,
        "etcdserver: requested lease not found",
    ),
    "a revision to come": (
        f"{KV}/Range",
        rpc.RangeRequest(key=b"k", revision=1 << 40),
        Status.OUT_OF_RANGE,
        "etcdserver: mvcc: required revision is a future revision",
    ),
    "a lease of no time that is too long": (
        f"{LEASE}/LeaseGrant",
        rpc.LeaseGrantRequest(TTL=10_000_000_000),
        Status.OUT_OF_RANGE,
        "etcdserver: too large lease TTL",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_request_is_refused_in_etcds_words(shared: LiveCluster, node: str, name: str) -> None:
    path, request, code, text = REFUSED[name]

    with shared.api(node) as api:
        assert api.refused(path, request) == Failed(code, text)


def test_message_beyond_every_bound_is_refused_by_its_length(
    shared: LiveCluster, node: str
) -> None:
    with shared.api(node) as api:
        failed = api.refused(f"{KV}/Put", rpc.PutRequest(key=b"k", value=bytes(8 * MIB)))

    assert failed.code == Status.RESOURCE_EXHAUSTED
    assert "received message larger than max" in failed.text


def test_largest_request_that_is_allowed_is_served(shared: LiveCluster, node: str) -> None:
    value = os.urandom(3 * MIB // 2 - 1024)

    with shared.api(node) as api:
        api.put(b"largest", value)
        api.txn(txn_of(128))

    for name in shared.names:
        with shared.api(name) as api:
            assert api.get(b"largest").kvs[0].value == value


@pytest.mark.parametrize(
    "path",
    ["/etcdserverpb.KV/Nothing", "/nobody.Service/Call", "/", "/etcdserverpb.Auth/UserBless"],
)
def test_unknown_method_is_unimplemented(shared: LiveCluster, node: str, path: str) -> None:
    with shared.api(node) as api:
        failed = api.raw(path, b"")

    assert isinstance(failed, Failed)
    assert failed.code == Status.UNIMPLEMENTED


def test_noise_as_every_method(shared: LiveCluster, node: str) -> None:
    """Whatever the bytes happen to mean, the answer is an answer and the state stays one."""
    random = Random(7)
    paths = [f"{KV}/Range", f"{KV}/Txn", f"{LEASE}/LeaseGrant", f"{LEASE}/LeaseRevoke"]
    with shared.api(node) as api:
        for number in range(200):
            message = random.randbytes(random.randrange(40))
            answer = api.raw(paths[number % len(paths)], message)
            assert isinstance(answer, bytes) or answer.code != Status.UNAVAILABLE

    shared.assert_equal_contents()
