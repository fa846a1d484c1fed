"""Watch over the wire: grpcio client, real hub."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Self

import grpc  # type: ignore[import-untyped]
import pytest

from node.proto import kv, rpc
from tests.node.api.test_kv import refusal
from tests.support.api_client import ApiClient, Failed, failure, messages
from tests.support.api_member import ServedMember

WATCH = "/etcdserverpb.Watch/Watch"
COMPACT = "/etcdserverpb.KV/Compact"


class Watching:
    """One watch stream of a client, requests fed one by one."""

    def __init__(self, client: ApiClient, *, require_leader: bool = False) -> None:
        """Open the stream."""
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        metadata = [("hasleader", "true")] if require_leader else []
        self.call = client.stream(WATCH, self._feed(), metadata)
        self.responses = messages(self.call, rpc.WatchResponse)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self.call.cancel()

    def create(self, request: rpc.WatchCreateRequest) -> rpc.WatchResponse:
        """Create a watch and give the first response."""
        self.send(rpc.WatchRequest(create_request=request))
        return next(self.responses)

    def send(self, request: rpc.WatchRequest) -> None:
        """Send any request."""
        self._requests.put(request.SerializeToString())

    def half_close(self) -> None:
        """Send no more."""
        self._requests.put(None)

    def failed(self) -> Failed:
        """Wait for the stream to fail."""
        try:
            for _ in self.responses:
                pass
        except grpc.RpcError as error:
            return failure(error)
        pytest.fail("the stream ended well")

    def _feed(self) -> Iterator[bytes]:
        while (request := self._requests.get()) is not None:
            yield request


def test_watch_delivers_what_is_put(client: ApiClient) -> None:
    with Watching(client) as watching:
        created = watching.create(rpc.WatchCreateRequest(key=b"k"))
        client.put(b"k", b"v")
        client.put(b"other")
        client.call(
            "/etcdserverpb.KV/DeleteRange",
            rpc.DeleteRangeRequest(key=b"k"),
            rpc.DeleteRangeResponse,
        )
        put, deleted = next(watching.responses), next(watching.responses)

    assert (created.created, created.watch_id, created.header.revision) == (True, 0, 1)
    assert put.events[0].kv == kv.KeyValue(
        key=b"k", value=b"v", create_revision=2, mod_revision=2, version=1
    )
    assert put.header.revision == 2
    assert deleted.events[0].type == kv.Event.DELETE
    assert deleted.header.revision == 4


def test_watch_from_the_past_replays(client: ApiClient) -> None:
    for _ in range(3):
        client.put(b"k")

    with Watching(client) as watching:
        watching.create(rpc.WatchCreateRequest(key=b"k", start_revision=2))
        revisions: list[int] = []
        while len(revisions) < 3:
            revisions += [event.kv.mod_revision for event in next(watching.responses).events]

    assert revisions == [2, 3, 4]


def test_watch_below_the_compacted_revision_is_cancelled(client: ApiClient) -> None:
    for _ in range(3):
        client.put(b"k")
    client.call(COMPACT, rpc.CompactionRequest(revision=4), rpc.CompactionResponse)

    with Watching(client) as watching:
        created = watching.create(rpc.WatchCreateRequest(key=b"k", start_revision=2))
        cancelled = next(watching.responses)

    assert created.created
    assert (cancelled.canceled, cancelled.compact_revision) == (True, 4)


def test_cancelled_watch_says_so_and_the_stream_lives(client: ApiClient) -> None:
    with Watching(client) as watching:
        watching.create(rpc.WatchCreateRequest(key=b"k"))
        cancel = rpc.WatchCancelRequest(watch_id=0)
        watching.send(rpc.WatchRequest(cancel_request=cancel))
        cancelled = next(watching.responses)
        again = watching.create(rpc.WatchCreateRequest(key=b"k"))

    assert (cancelled.canceled, cancelled.watch_id) == (True, 0)
    assert again.created


def test_progress_request_is_answered(client: ApiClient) -> None:
    client.put(b"x")
    with Watching(client) as watching:
        watching.create(rpc.WatchCreateRequest(key=b"k"))
        watching.send(rpc.WatchRequest(progress_request=rpc.WatchProgressRequest()))
        progress = next(watching.responses)

    assert (progress.watch_id, progress.header.revision) == (-1, 2)
    assert not progress.events


def test_half_closed_stream_still_gets_events(client: ApiClient) -> None:
    with Watching(client) as watching:
        watching.create(rpc.WatchCreateRequest(key=b"k"))
        watching.half_close()
        client.put(b"k")

        assert next(watching.responses).events[0].kv.key == b"k"


def test_cancelled_call_closes_its_stream_at_the_hub(
    served: ServedMember, client: ApiClient
) -> None:
    with Watching(client) as watching:
        watching.create(rpc.WatchCreateRequest(key=b"k"))
        assert served.call(lambda: served.member.open_watches) == 1

    served.wait(lambda: served.member.open_watches == 0)


def test_lost_connection_closes_its_streams(served: ServedMember) -> None:
    with ApiClient(served.address) as client:
        for _ in range(3):
            Watching(client).create(rpc.WatchCreateRequest(key=b"k"))
        assert served.call(lambda: served.member.open_watches) == 3

    served.wait(lambda: served.member.open_watches == 0)


def test_stream_that_requires_a_leader_ends_without_one(
    served: ServedMember, client: ApiClient
) -> None:
    with Watching(client, require_leader=True) as watching:
        watching.create(rpc.WatchCreateRequest(key=b"k"))
        served.call(served.member.lose_leader)

        assert watching.failed() == refusal("NoLeader")


def test_other_streams_outlive_the_leader(served: ServedMember, client: ApiClient) -> None:
    with Watching(client) as calm, Watching(client, require_leader=True) as anxious:
        calm.create(rpc.WatchCreateRequest(key=b"k"))
        anxious.create(rpc.WatchCreateRequest(key=b"k"))
        served.call(served.member.lose_leader)
        anxious.failed()

        assert calm.create(rpc.WatchCreateRequest(key=b"j")).created


def test_stream_that_requires_a_leader_is_refused_without_one(
    served: ServedMember, client: ApiClient
) -> None:
    served.call(served.member.lose_leader)
    with Watching(client, require_leader=True) as watching:
        assert watching.failed() == refusal("NoLeader")


def test_malformed_request_ends_its_stream(client: ApiClient) -> None:
    call = client.stream(WATCH, [b"\x0a\x05"])
    with pytest.raises(grpc.RpcError) as raised:
        next(call)

    assert failure(raised.value).code == 13


def test_stopping_server_ends_streams(served: ServedMember, client: ApiClient) -> None:
    with Watching(client) as watching:
        watching.create(rpc.WatchCreateRequest(key=b"k"))
        served.close(1.0)

        assert watching.failed() == refusal("Stopped")
