"""Requests in the shapes in which a kube-apiserver makes them, sent by grpcio.

Six methods are all that it uses: Range, Txn, Compact, Watch, LeaseGrant and Status. The shapes are
those of k8s.io/apiserver's storage layer on etcd's own client: what is set, what is left out.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import grpc  # type: ignore[import-untyped]

from node.proto import kv, rpc
from tests.support.api_client import ApiClient, Failed

CALL_SECONDS = 34.0
"""The deadline of writes that an API request causes."""
HASLEADER = ("hasleader", "true")
VERSION = ("client-api-version", "3.6")


class KubernetesStore:
    """One etcd client of one kind of resource, as the API server keeps it."""

    def __init__(self, endpoint: str) -> None:
        """Connect on first use."""
        self._client = ApiClient(endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.channel.close()

    # Objects.

    def create(self, key: bytes, value: bytes, lease: int = 0) -> rpc.TxnResponse:
        """If there is none: put, else nothing at all."""
        return self.txn(unchanged(key, 0), put(key, value, lease))

    def update(self, key: bytes, revision: int, value: bytes, lease: int = 0) -> rpc.TxnResponse:
        """If it is unchanged: put, else read it."""
        return self.txn(unchanged(key, revision), put(key, value, lease), get(key))

    def delete(self, key: bytes, revision: int) -> rpc.TxnResponse:
        """If it is unchanged: delete, else read it."""
        delete = rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))
        return self.txn(unchanged(key, revision), delete, get(key))

    def txn(
        self, compare: rpc.Compare, then: rpc.RequestOp, otherwise: rpc.RequestOp | None = None
    ) -> rpc.TxnResponse:
        """One compare, one operation, at most one other."""
        failure = [] if otherwise is None else [otherwise]
        return self.transact(rpc.TxnRequest(compare=[compare], success=[then], failure=failure))

    def transact(self, request: rpc.TxnRequest) -> rpc.TxnResponse:
        """Any other txn."""
        answer: rpc.TxnResponse = self._call("KV/Txn", request, rpc.TxnResponse)
        return answer

    # Reads.

    def get(self, key: bytes, revision: int = 0) -> rpc.RangeResponse:
        """One object."""
        return self.range(rpc.RangeRequest(key=key, limit=1, revision=revision))

    def revision(self, resource: bytes) -> int:
        """The store's revision, by a read of nothing: the resource's path without its slash."""
        probe = self.get(resource.rstrip(b"/"))
        assert not probe.kvs
        return probe.header.revision

    def page(
        self, resource: bytes, limit: int, after: bytes = b"", revision: int = 0
    ) -> rpc.RangeResponse:
        """One page of a list, from behind the last key of the one before, at its revision."""
        key = after + b"\0" if after else resource
        end = prefix_end(resource)
        request = rpc.RangeRequest(key=key, range_end=end, limit=limit, revision=revision)
        return self.range(request)

    def count(self, resource: bytes) -> int:
        """How many objects there are."""
        end = prefix_end(resource)
        request = rpc.RangeRequest(key=resource, range_end=end, count_only=True)
        return self.range(request).count

    def range(self, request: rpc.RangeRequest, *, leader: bool = False) -> rpc.RangeResponse:
        """Read; the initial list of a cache asks that there is a leader."""
        answer: rpc.RangeResponse
        answer = self._call("KV/Range", request, rpc.RangeResponse, leader=leader)
        return answer

    def refused(self, method: str, request: Any, *, leader: bool = False) -> Failed:
        """A call that is to fail, however it does."""
        answer = self._send(method, request, leader)
        assert isinstance(answer, Failed), answer
        return answer

    # The rest.

    def grant(self, ttl: int) -> int:
        """A lease under an id of the server's choice."""
        request = rpc.LeaseGrantRequest(TTL=ttl)
        granted: rpc.LeaseGrantResponse
        granted = self._call("Lease/LeaseGrant", request, rpc.LeaseGrantResponse)
        assert ttl == granted.TTL
        return granted.ID

    def compact(self, revision: int) -> rpc.CompactionResponse:
        """Forget; not physical."""
        request = rpc.CompactionRequest(revision=revision)
        answer: rpc.CompactionResponse = self._call("KV/Compact", request, rpc.CompactionResponse)
        return answer

    def status(self) -> rpc.StatusResponse:
        """The feature probe."""
        answer: rpc.StatusResponse
        answer = self._call("Maintenance/Status", rpc.StatusRequest(), rpc.StatusResponse)
        return answer

    def watch(self, resource: bytes, revision: int, **options: Any) -> KubernetesWatch:
        """A watch stream of its own, from `revision` on; returns when it is created."""
        end = prefix_end(resource) if resource.endswith(b"/") else b""
        wanted = {"prev_kv": True, "progress_notify": True} | options
        request = rpc.WatchCreateRequest(
            key=resource, range_end=end, start_revision=revision, **wanted
        )
        return KubernetesWatch(self._client.channel, request)

    def _call(self, method: str, request: Any, response: Any, *, leader: bool = False) -> Any:
        answer = self._send(method, request, leader)
        assert isinstance(answer, bytes), answer
        return response.FromString(answer)

    def _send(self, method: str, request: Any, leader: bool) -> bytes | Failed:
        return self._client.raw(
            f"/etcdserverpb.{method}",
            request.SerializeToString(),
            timeout=CALL_SECONDS,
            metadata=[VERSION, HASLEADER] if leader else [VERSION],
        )


class KubernetesWatch:
    """One watch on one stream, which asks that there is a leader."""

    def __init__(self, channel: grpc.Channel, request: rpc.WatchCreateRequest) -> None:
        """Returns when the watch stands."""
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._responses: queue.SimpleQueue[rpc.WatchResponse | grpc.RpcError] = queue.SimpleQueue()
        self._call: Any = channel.stream_stream("/etcdserverpb.Watch/Watch")(
            iter(self._requests.get, None), metadata=[VERSION, HASLEADER]
        )
        threading.Thread(target=self._read, daemon=True).start()
        self._send(rpc.WatchRequest(create_request=request))
        created = self.next()
        assert (created.created, created.canceled) == (True, False), created

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """The stream is reset: nobody sends a cancel request."""
        self._requests.put(None)
        self._call.cancel()

    def next(self) -> rpc.WatchResponse:
        """The next response; the stream's end is an error."""
        response = self._responses.get(timeout=CALL_SECONDS)
        if isinstance(response, grpc.RpcError):
            raise response
        return response

    def events(self, count: int) -> list[kv.Event]:
        """So many events, whatever responses they come in."""
        found: list[kv.Event] = []
        while len(found) < count:
            found += self.next().events
        return found

    def request_progress(self) -> None:
        """Ask to what revision everything was told."""
        self._send(rpc.WatchRequest(progress_request=rpc.WatchProgressRequest()))

    def progress(self) -> int:
        """Ask as the API server does, again and again, until there is an answer."""
        self.request_progress()
        while True:
            try:
                response = self._responses.get(timeout=0.1)
            except queue.Empty:
                self.request_progress()
                continue
            assert isinstance(response, rpc.WatchResponse), response
            assert (response.watch_id, len(response.events)) == (-1, 0), response
            return response.header.revision

    def _send(self, request: rpc.WatchRequest) -> None:
        self._requests.put(request.SerializeToString())

    def _read(self) -> None:
        try:
            for message in self._call:
                self._responses.put(rpc.WatchResponse.FromString(message))
        except grpc.RpcError as error:
            self._responses.put(error)


def unchanged(key: bytes, revision: int) -> rpc.Compare:
    """The key was last changed at a revision; 0 = there is none."""
    return rpc.Compare(
        key=key, target=rpc.Compare.MOD, result=rpc.Compare.EQUAL, mod_revision=revision
    )


def put(key: bytes, value: bytes, lease: int = 0) -> rpc.RequestOp:
    """A put without options."""
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))


def get(key: bytes) -> rpc.RequestOp:
    """A read of one key without options."""
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=key))


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix`."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def pages(store: KubernetesStore, resource: bytes, limit: int) -> Iterator[rpc.RangeResponse]:
    """A whole list, page by page, all at the revision of the first."""
    page = store.page(resource, limit)
    revision = page.header.revision
    yield page
    while len(page.kvs) < page.count:
        page = store.page(resource, limit, page.kvs[-1].key, revision)
        yield page
