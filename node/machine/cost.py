"""What a request is taken to add to the store: etcd's own estimate, for its quota.

Source: etcd server/storage/quota.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from node.machine.envelope import RequestKind
from node.proto import rpc

KEY_OVERHEAD_BYTES = 256
LEASE_BYTES = 64


def cost_of(kind: int, request: bytes) -> int:
    """Bytes; 0 = a kind of request that the quota does not look at, or a txn that only deletes.

    Raises:
        DecodeError: the bytes are no request of this kind.
    """
    match kind:
        case RequestKind.PUT:
            return _put(rpc.PutRequest.FromString(request))
        case RequestKind.TXN:
            txn = rpc.TxnRequest.FromString(request)
            return max(_branch(txn.success), _branch(txn.failure))
        case RequestKind.LEASE_GRANT:
            return LEASE_BYTES
        case _:
            return 0


def _put(request: rpc.PutRequest) -> int:
    return KEY_OVERHEAD_BYTES + len(request.key) + len(request.value)


def _branch(operations: Iterable[rpc.RequestOp]) -> int:
    """Also what nested txns put, which etcd overlooks: theirs is the dearer branch, too."""
    size = 0
    for operation in operations:
        if operation.HasField("request_put"):
            size += _put(operation.request_put)
        elif operation.HasField("request_txn"):
            nested = operation.request_txn
            size += max(_branch(nested.success), _branch(nested.failure))
    return size
