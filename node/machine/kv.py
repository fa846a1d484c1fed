"""Put and DeleteRange inside a change.

Each operation is a check against the store and then the doing: a txn first checks all operations of
its path, so that it is refused as a whole, and then does them in order.
Source: etcd server/etcdserver/txn/put.go, delete.go.
"""

from __future__ import annotations

from node.machine import history
from node.machine.change import Change
from node.machine.errors import KeyNotFound, LeaseNotFound, Refusal
from node.machine.interval import interval
from node.machine.record import CURRENT, LEASE, lease_of, number
from node.machine.view import View
from node.machine.wire import as_field_3, varint
from node.proto import rpc


def check_kept(view: View, request: rpc.PutRequest) -> Refusal | None:
    """KeyNotFound: there is no value or lease to keep."""
    if (request.ignore_value or request.ignore_lease) and view.get(CURRENT + request.key) is None:
        return KeyNotFound()
    return None


def check_lease(view: View, request: rpc.PutRequest) -> Refusal | None:
    """LeaseNotFound."""
    if request.lease and view.get(LEASE + number(request.lease)) is None:
        return LeaseNotFound(request.lease)
    return None


def looks_back(request: rpc.PutRequest) -> bool:
    """Whether the put has to read what its key had before."""
    return request.prev_kv or request.ignore_value or request.ignore_lease


def put(change: Change, request: rpc.PutRequest) -> bytes:
    """Do a put that has passed its check; the PutResponse without its header."""
    key = request.key
    old = change.get(CURRENT + key)
    value, lease = request.value, request.lease
    if old is not None and request.ignore_value:
        value = history.value(change, old)
    if old is not None and request.ignore_lease:
        lease = lease_of(old)
    change.put(key, value, lease, old)
    if old is None or not request.prev_kv:
        return b""
    return history.key_value(change, old)


def delete_range(change: Change, request: rpc.DeleteRangeRequest) -> bytes:
    """Delete an interval; the DeleteRangeResponse without its header."""
    deleted = change.delete_interval(interval(request.key, request.range_end))
    if not deleted:
        return b""
    body = b"\x10" + varint(len(deleted))
    if request.prev_kv:
        body += b"".join(as_field_3(history.key_value(change, old)) for _, old in deleted)
    return body
