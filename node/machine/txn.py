"""Transactions: choose the path, check everything on it, then do it in order.

    plan ──► check puts ──► check ranges ──► run

All compares, those of nested txns included, look at the store as it was before the whole txn; which
way it goes is settled before the first operation. The operations then run in order and see the ones
before them. Whatever is refused is refused before any effect.
Source: etcd server/etcdserver/txn/txn.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import eq, gt, lt, ne

from node.machine import history, kv
from node.machine.change import Change
from node.machine.errors import Refusal
from node.machine.history import Version
from node.machine.interval import interval
from node.machine.keyspace import Keyspace
from node.machine.range import range_body
from node.machine.record import CURRENT, create_of, lease_of, main_of, version_of
from node.machine.view import View
from node.machine.wire import field, revision_header
from node.proto import rpc

_EMPTY_HEADER = field(1, b"")

_RESULTS: dict[int, Callable[[int | bytes, int | bytes], bool]] = {
    rpc.Compare.EQUAL: eq,
    rpc.Compare.GREATER: gt,
    rpc.Compare.LESS: lt,
    rpc.Compare.NOT_EQUAL: ne,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The branch that a txn takes."""

    succeeded: bool
    steps: list[tuple[rpc.RequestOp, Plan | None]]
    """Operations in order; a nested txn with its own plan."""
    compares: int
    """How many compares settled it, those of nested txns included."""

    def operations(self) -> Iterator[rpc.RequestOp]:
        """Every operation that will be done, nested ones in their place."""
        for operation, nested in self.steps:
            if nested is None:
                yield operation
            else:
                yield from nested.operations()


def plan(view: View, request: rpc.TxnRequest) -> Plan:
    """Evaluate the compares of a txn and of the nested ones on its way."""
    compares = 0
    succeeded = True
    for compare in request.compare:
        compares += 1
        if not _holds(view, compare):
            succeeded = False
            break
    steps: list[tuple[rpc.RequestOp, Plan | None]] = []
    for operation in request.success if succeeded else request.failure:
        nested = plan(view, operation.request_txn) if _is_txn(operation) else None
        compares += nested.compares if nested is not None else 0
        steps.append((operation, nested))
    return Plan(succeeded, steps, compares)


def looks(chosen: Plan) -> int:
    """How often keys are read before the first operation, for the count of ranges."""
    kept = (
        operation.request_put.ignore_value or operation.request_put.ignore_lease
        for operation in chosen.operations()
        if operation.HasField("request_put")
    )
    return chosen.compares + sum(kept)


def operations(chosen: Plan) -> tuple[int, int, int]:
    """Ranges, puts and deletes of a plan."""
    ranges = puts = deletes = 0
    for operation in chosen.operations():
        if operation.HasField("request_put"):
            puts += 1
            ranges += kv.looks_back(operation.request_put)
        elif operation.HasField("request_range"):
            ranges += 1
        else:
            deletes += 1
            ranges += operation.request_delete_range.prev_kv
    return ranges, puts, deletes


def check(keyspace: Keyspace, chosen: Plan) -> Refusal | None:
    """What the store says against the operations: all puts first, then all ranges."""
    for operation in chosen.operations():
        if operation.HasField("request_put"):
            request = operation.request_put
            refusal = kv.check_kept(keyspace.view, request) or kv.check_lease(
                keyspace.view, request
            )
            if refusal is not None:
                return refusal
    for operation in chosen.operations():
        if operation.HasField("request_range"):
            refusal = keyspace.check_stored(operation.request_range.revision)
            if refusal is not None:
                return refusal
    return None


def run(change: Change, chosen: Plan) -> bytes:
    """Do what was planned and checked; the TxnResponse without its header."""
    body = b"\x10\x01" if chosen.succeeded else b""
    return body + b"".join(field(3, _step(change, *step)) for step in chosen.steps)


def has_put(request: rpc.TxnRequest) -> bool:
    """Whether a put is on any path, taken or not: what the NOSPACE alarm asks."""
    return any(
        operation.HasField("request_put") or (_is_txn(operation) and has_put(operation.request_txn))
        for branch in (request.success, request.failure)
        for operation in branch
    )


def _is_txn(operation: rpc.RequestOp) -> bool:
    return operation.HasField("request_txn")


def _step(change: Change, operation: rpc.RequestOp, nested: Plan | None) -> bytes:
    """Do one operation; the ResponseOp with the same member set as the request's."""
    if nested is not None:
        return field(4, _EMPTY_HEADER + run(change, nested))
    if operation.HasField("request_range"):
        body = range_body(change, operation.request_range, change.now)
        return field(1, revision_header(change.now) + body)
    if operation.HasField("request_put"):
        body = kv.put(change, operation.request_put)
        return field(2, revision_header(change.now) + body)
    body = kv.delete_range(change, operation.request_delete_range)
    return field(3, revision_header(change.now) + body)


def _holds(view: View, compare: rpc.Compare) -> bool:
    """Whether every key of the compare's interval satisfies it.

    No key at all stands for one with zeros everywhere, but its value compares false to anything.
    """
    versions = _compared(view, compare)
    if not versions:
        if compare.target == rpc.Compare.VALUE:
            return False
        return _satisfies(compare, 0, _given(compare))
    given = _given(compare)
    return all(_satisfies(compare, _stored(view, compare, record), given) for _, record in versions)


def _compared(view: View, compare: rpc.Compare) -> list[Version]:
    if compare.range_end:
        return list(history.current(view, *interval(compare.key, compare.range_end)))
    record = view.get(CURRENT + compare.key)
    return [] if record is None else [(compare.key, record)]


def _satisfies(compare: rpc.Compare, stored: int | bytes, given: int | bytes) -> bool:
    result = _RESULTS.get(compare.result)
    return result is None or result(stored, given)  # etcd lets a result that it does not know pass


def _given(compare: rpc.Compare) -> int | bytes:
    """What the request compares with; a missing or mismatched union member counts as zero."""
    match compare.target:
        case rpc.Compare.VERSION:
            return compare.version
        case rpc.Compare.CREATE:
            return compare.create_revision
        case rpc.Compare.MOD:
            return compare.mod_revision
        case rpc.Compare.VALUE:
            return compare.value
        case rpc.Compare.LEASE:
            return compare.lease
        case _:
            return 0


def _stored(view: View, compare: rpc.Compare, record: bytes) -> int | bytes:
    match compare.target:
        case rpc.Compare.VERSION:
            return version_of(record)
        case rpc.Compare.CREATE:
            return create_of(record)
        case rpc.Compare.MOD:
            return main_of(record)
        case rpc.Compare.VALUE:
            return history.value(view, record)
        case rpc.Compare.LEASE:
            return lease_of(record)
        case _:
            return 0
