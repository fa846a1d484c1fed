"""Many puts on one connection as fast as the server takes them, each acknowledged."""

from __future__ import annotations

from collections.abc import Iterable

from node.proto import rpc
from tests.support.raw_client import RawClient
from transport.grpc import CallEnded, ConnectionClosed, MessageReceived, Status, UnaryReply

IN_FLIGHT = 256
IN_FLIGHT_BYTES = 4 << 20
"""A server refuses what it cannot hold uncommitted."""
PUT = "/etcdserverpb.KV/Put"


def put_all(port: int, records: Iterable[tuple[bytes, bytes]]) -> int:
    """Put every record; returns the highest revision."""
    revision, sent, size = 0, 0, 0
    with RawClient(port) as client:
        for key, value in records:
            client.grpc.unary(PUT, rpc.PutRequest(key=key, value=value).SerializeToString())
            sent, size = sent + 1, size + len(value)
            if sent == IN_FLIGHT or size >= IN_FLIGHT_BYTES:
                revision = max(revision, *revisions(client, sent))
                sent, size = 0, 0
        return max([revision, *revisions(client, sent)])


def revisions(client: RawClient, count: int) -> list[int]:
    """Send what waits, and take the answers to so many calls."""
    client.flush()
    found: list[int] = []
    while len(found) < count:
        assert client.read(), "the server closed the connection"
        for event in client.events:
            match event:
                case UnaryReply(_, message) | MessageReceived(_, message):
                    found.append(rpc.PutResponse.FromString(message).header.revision)
                case CallEnded(_, status, text):
                    assert status == Status.OK, f"{status}: {text}"
                case ConnectionClosed(reason):
                    raise AssertionError(reason)
        client.events.clear()
    return found
