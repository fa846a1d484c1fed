"""What the shape of a request shows before it costs anything: judged by the member that gets it.

Each check returns the refusal, or None. They look at the request alone, never at the store: what a
request meets in the store is judged when it is applied, on every member alike.
Source: etcd server/etcdserver/api/v3rpc/key.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from node.machine.errors import (
    DuplicateKey,
    EmptyKey,
    InvalidSortOption,
    KeyNotFound,
    LeaseProvided,
    Refusal,
    TooManyOperations,
    ValueProvided,
)
from node.machine.interval import interval
from node.proto import rpc

_SORT_ORDERS = frozenset(rpc.RangeRequest.SortOrder.values())
_SORT_TARGETS = frozenset(rpc.RangeRequest.SortTarget.values())


def check_range(request: rpc.RangeRequest) -> Refusal | None:
    """EmptyKey, InvalidSortOption."""
    if not request.key:
        return EmptyKey()
    if request.sort_order not in _SORT_ORDERS or request.sort_target not in _SORT_TARGETS:
        return InvalidSortOption()
    return None


def check_put(request: rpc.PutRequest) -> Refusal | None:
    """EmptyKey, ValueProvided, LeaseProvided."""
    if not request.key:
        return EmptyKey()
    if request.ignore_value and request.value:
        return ValueProvided()
    if request.ignore_lease and request.lease:
        return LeaseProvided()
    return None


def check_delete_range(request: rpc.DeleteRangeRequest) -> Refusal | None:
    """EmptyKey."""
    return None if request.key else EmptyKey()


def check_txn(request: rpc.TxnRequest, operations_max: int) -> Refusal | None:
    """Shapes of all operations, their number on each level, and double changes of one key.

    A nested txn gets what its parent leaves: `operations_max` minus the parent's longest list.
    """
    refusal = _check_lists(request, operations_max)
    if refusal is None:
        for branch in (request.success, request.failure):
            if _Changes().add_branch(branch):
                return DuplicateKey()
    return refusal


def is_read_only(request: rpc.TxnRequest) -> bool:
    """Whether the txn cannot change anything, so that it needs no log entry.

    Any nested txn counts as a write, whatever it holds, as it does in etcd.
    """
    return all(operation.HasField("request_range") for operation in _operations(request))


def is_serializable(request: rpc.TxnRequest) -> bool:
    """Whether a read-only txn may be answered from local state; an empty one may."""
    return all(operation.request_range.serializable for operation in _operations(request))


def _operations(request: rpc.TxnRequest) -> Iterable[rpc.RequestOp]:
    yield from request.success
    yield from request.failure


def _check_lists(request: rpc.TxnRequest, operations_max: int) -> Refusal | None:
    longest = max(len(request.compare), len(request.success), len(request.failure))
    if longest > operations_max:
        return TooManyOperations()
    if not all(compare.key for compare in request.compare):
        return EmptyKey()
    for operation in _operations(request):
        refusal = _check_operation(operation, operations_max - longest)
        if refusal is not None:
            return refusal
    return None


def _check_operation(operation: rpc.RequestOp, operations_left: int) -> Refusal | None:
    match operation.WhichOneof("request"):
        case "request_range":
            return check_range(operation.request_range)
        case "request_put":
            return check_put(operation.request_put)
        case "request_delete_range":
            return check_delete_range(operation.request_delete_range)
        case "request_txn":
            return _check_lists(operation.request_txn, operations_left)
        case _:
            return KeyNotFound()  # etcd's own choice of words for an operation without kind


class _Changes:
    """Keys put and intervals deleted along one path, as far as etcd tells them apart.

    Both branches of a nested txn count for its parent, though only one can happen; between the two
    of them the same put is no conflict. Two conflicts etcd does not notice, so neither do we: a put
    inside a delete of "every key from here on", whose bounds it takes for an empty interval; and a
    put of one nested txn in front of a delete of the next, because a put is looked at only once,
    when the deletes before it are known. Both then simply happen in order.
    """

    __slots__ = ("deletes", "puts")

    def __init__(self) -> None:
        self.puts: set[bytes] = set()
        self.deletes: list[tuple[bytes, bytes]] = []

    def add_branch(self, operations: Sequence[rpc.RequestOp]) -> bool:
        """Add the operations of one branch; True = some key would change twice."""
        for operation in operations:
            if operation.HasField("request_delete_range"):
                request = operation.request_delete_range
                lo, hi = interval(request.key, request.range_end)
                if hi is not None:
                    self.deletes.append((lo, hi))
        nested = (op.request_txn for op in operations if op.HasField("request_txn"))
        if any(self._add_nested(request) for request in nested):
            return True
        puts = (op.request_put.key for op in operations if op.HasField("request_put"))
        return any(self._add_put(key) for key in puts)

    def _add_nested(self, request: rpc.TxnRequest) -> bool:
        success, failure = _Changes(), _Changes()
        if success.add_branch(request.success) or failure.add_branch(request.failure):
            return True
        if any(self._add_put(key) for key in success.puts):
            return True
        if any(self._add_put(key) for key in failure.puts - success.puts):
            return True
        self.deletes += success.deletes
        self.deletes += failure.deletes
        return False

    def _add_put(self, key: bytes) -> bool:
        if key in self.puts or any(lo <= key < hi for lo, hi in self.deletes):
            return True
        self.puts.add(key)
        return False
