"""What each request needs of whoever makes it.

    Range, Watch      read
    Put               write, and on all keys of the lease that it attaches to; read with prev_kv
    DeleteRange       write; read with prev_kv
    Txn               read on compares, and what the operations on all paths need, taken or not
    a lease's end, its renewal     write on its keys
    a look at a lease's keys       read on them

Writes are judged when they are applied, reads in the moment in which they are made: on the state
that answers them. Source: etcd server/etcdserver/apply/apply_auth.go, v3_server.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from node.machine import lease
from node.machine.auth import Auth
from node.machine.envelope import Credential
from node.machine.errors import Refusal
from node.machine.interval import interval
from node.machine.view import View
from node.proto import rpc

By = Credential | None


class Access:
    """Judges requests. Every method returns None for what is allowed: everything, and without
    another look, as long as authentication is not enabled."""

    __slots__ = ("_auth", "_view")

    def __init__(self, auth: Auth, view: View) -> None:
        """Judge by `auth`; `view` knows which keys hang on a lease."""
        self._auth = auth
        self._view = view

    def range(self, by: By, request: rpc.RangeRequest) -> Refusal | None:
        """Read the keys."""
        if not self._auth.enabled:
            return None
        return self._auth.check_read(by, *interval(request.key, request.range_end))

    def put(self, by: By, request: rpc.PutRequest) -> Refusal | None:
        """Write the key. Whoever cannot end a lease must not make it end another key either."""
        auth = self._auth
        if not auth.enabled:
            return None
        keys = interval(request.key, b"")
        refusal = auth.check_write(by, *keys)
        if refusal is None and request.lease:
            refusal = self.write_lease(by, request.lease)
        if refusal is None and request.prev_kv:
            refusal = auth.check_read(by, *keys)
        return refusal

    def delete_range(self, by: By, request: rpc.DeleteRangeRequest) -> Refusal | None:
        """Write the keys."""
        auth = self._auth
        if not auth.enabled:
            return None
        keys = interval(request.key, request.range_end)
        refusal = auth.check_write(by, *keys)
        if refusal is None and request.prev_kv:
            refusal = auth.check_read(by, *keys)
        return refusal

    def txn(self, by: By, request: rpc.TxnRequest) -> Refusal | None:
        """Read what is compared, and do everything on both paths."""
        if not self._auth.enabled:
            return None
        for compare in request.compare:
            refusal = self._auth.check_read(by, *interval(compare.key, compare.range_end))
            if refusal is not None:
                return refusal
        return self._operations(by, request.success) or self._operations(by, request.failure)

    def watch(self, by: By, request: rpc.WatchCreateRequest) -> Refusal | None:
        """Read the keys; no key means the first one."""
        keys = interval(request.key or b"\0", request.range_end)
        return self._auth.check_read(by, *keys)

    def write_lease(self, by: By, lease_id: int) -> Refusal | None:
        """Write all keys of a lease; root may, whatever it was authenticated at."""
        return self._lease(self._auth.check_write, by, lease_id)

    def read_lease(self, by: By, lease_id: int) -> Refusal | None:
        """Read all keys of a lease."""
        return self._lease(self._auth.check_read, by, lease_id)

    def _lease(
        self, check: Callable[[By, bytes, bytes], Refusal | None], by: By, lease_id: int
    ) -> Refusal | None:
        if self._auth.check_admin(by) is None:
            return None
        for key in lease.keys(self._view, lease_id):
            refusal = check(by, key, key + b"\0")
            if refusal is not None:
                return refusal
        return None

    def _operations(self, by: By, operations: Iterable[rpc.RequestOp]) -> Refusal | None:
        for operation in operations:
            refusal = self._operation(by, operation)
            if refusal is not None:
                return refusal
        return None

    def _operation(self, by: By, operation: rpc.RequestOp) -> Refusal | None:
        match operation.WhichOneof("request"):
            case "request_range":
                return self.range(by, operation.request_range)
            case "request_put":
                return self.put(by, operation.request_put)
            case "request_delete_range":
                return self.delete_range(by, operation.request_delete_range)
            case "request_txn":
                return self.txn(by, operation.request_txn)
            case _:
                return None
