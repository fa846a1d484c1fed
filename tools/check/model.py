"""What etcd answers: one request against a keyspace gives a response and its changes, or a refusal.

A second reading of etcd's documented behaviour, written without a look at the product's. It knows
no lease table: whether a lease exists is judged from the whole history (`lease`), here a put simply
attaches its key. Requests inside a transaction see the changes before them; all compares, nested
ones too, see the state before the whole transaction.
"""

from __future__ import annotations

from operator import eq, gt, lt, ne
from typing import Final

from tools.check.history import (
    Compare,
    DeleteRange,
    DeleteRangeResponse,
    KeyValue,
    LeaseKeepAlive,
    LeaseTimeToLive,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    Request,
    Response,
    Txn,
    TxnOperation,
    TxnOperationResponse,
    TxnResponse,
)
from tools.check.keyspace import Change, Keyspace, in_interval

_RELATIONS: Final = {"=": eq, "!=": ne, ">": gt, "<": lt}


class Refused(Exception):
    """The request is refused as a whole and has no effect."""


class Draft:
    """The state that one request sees: the keyspace before it, and its own changes so far.

    `revision` is the one that the request takes if it changes anything, one more than what it sees.
    """

    def __init__(self, space: Keyspace, revision: int) -> None:
        self.revision = revision
        self._space = space
        self._changed: dict[bytes, KeyValue | None] = {}

    def changes(self) -> tuple[Change, ...]:
        """Give the changes so far, in the order in which they were made."""
        return tuple(self._changed.items())

    def get(self, key: bytes) -> KeyValue | None:
        """Give a key as it is now."""
        if key in self._changed:
            return self._changed[key]
        return self._space.at(key, self.revision - 1)

    def scan(self, lo: bytes, range_end: bytes, revision: int) -> list[KeyValue]:
        """Give the keys of an interval, in byte order: now (0), or after an older revision."""
        if 0 < revision < self.revision:
            return list(self._space.scan(lo, range_end, revision))
        keys = {key for key in self._changed if in_interval(key, lo, range_end)}
        keys.update(self._space.known(lo, range_end))
        states = (self.get(key) for key in sorted(keys))
        return [state for state in states if state is not None]

    def put(self, key: bytes, value: bytes, lease: int) -> None:
        """Write a key."""
        old = self.get(key)
        self._changed[key] = KeyValue(
            key=key,
            value=value,
            create_revision=old.create_revision if old else self.revision,
            mod_revision=self.revision,
            version=old.version + 1 if old else 1,
            lease=lease,
        )

    def delete(self, key: bytes) -> None:
        """Delete a key that exists."""
        self._changed[key] = None


def evaluate(request: TxnOperation, draft: Draft) -> TxnOperationResponse:
    """Give the response, its revision left 0, and make the changes in the draft.

    Raises:
        Refused: the changes made so far are void.
    """
    if isinstance(request, Txn):
        return _run(_choose(request, draft), draft)
    return _evaluate_single(request, draft)


def _evaluate_single(request: Put | Range | DeleteRange, draft: Draft) -> TxnOperationResponse:
    match request:
        case Put():
            return _put(request, draft)
        case Range():
            return _range(request, draft)
        case DeleteRange():
            return _delete(request, draft)


def _put(request: Put, draft: Draft) -> PutResponse:
    old = draft.get(request.key)
    if old is None and (request.ignore_value or request.ignore_lease):
        raise Refused("key not found")
    value = old.value if old and request.ignore_value else request.value
    lease = old.lease if old and request.ignore_lease else request.lease
    draft.put(request.key, value, lease)
    return PutResponse(prev_kv=old if request.prev_kv else None)


def _range(request: Range, draft: Draft) -> RangeResponse:
    if request.revision > draft.revision:
        raise Refused("future revision")
    found = draft.scan(request.key, request.range_end, request.revision)
    if request.count_only:
        return RangeResponse(count=len(found))
    shown = found[: request.limit] if request.limit else found
    kvs = tuple(_without_value(kv) for kv in shown) if request.keys_only else tuple(shown)
    return RangeResponse(kvs=kvs, more=len(shown) < len(found), count=len(found))


def _without_value(kv: KeyValue) -> KeyValue:
    # etcd 3.7 answers keys_only from its index and leaves the lease out, older lines show it.
    return KeyValue(kv.key, b"", kv.create_revision, kv.mod_revision, kv.version, 0)


def _delete(request: DeleteRange, draft: Draft) -> DeleteRangeResponse:
    gone = draft.scan(request.key, request.range_end, 0)
    for kv in gone:
        draft.delete(kv.key)
    return DeleteRangeResponse(deleted=len(gone), prev_kvs=tuple(gone) if request.prev_kv else ())


class _Path:
    """A transaction with its branches chosen, nested ones too."""

    def __init__(
        self, succeeded: bool, steps: tuple[Put | Range | DeleteRange | _Path, ...]
    ) -> None:
        self.succeeded = succeeded
        self.steps = steps


def _choose(txn: Txn, draft: Draft) -> _Path:
    succeeded = all(holds(compare, draft) for compare in txn.compare)
    branch = txn.success if succeeded else txn.failure
    return _Path(
        succeeded,
        tuple(_choose(step, draft) if isinstance(step, Txn) else step for step in branch),
    )


def _run(path: _Path, draft: Draft) -> TxnResponse:
    responses = tuple(
        _run(step, draft) if isinstance(step, _Path) else _evaluate_single(step, draft)
        for step in path.steps
    )
    return TxnResponse(succeeded=path.succeeded, responses=responses)


def holds(compare: Compare, draft: Draft) -> bool:
    """Tell whether a condition holds; over a range it must hold for every key in it."""
    found = draft.scan(compare.key, compare.range_end, 0) if compare.range_end else []
    if found:
        return all(compare_stored(compare, kv) for kv in found)
    return compare_stored(compare, None if compare.range_end else draft.get(compare.key))


def compare_stored(compare: Compare, kv: KeyValue | None) -> bool:
    """Tell whether a condition holds for one key; None is a key that does not exist."""
    stored = _stored(compare, kv)
    # The value of a missing key compares to nothing, not even as unequal.
    return stored is not None and bool(_RELATIONS[compare.relation](stored, compare.given))


def _stored(compare: Compare, kv: KeyValue | None) -> int | bytes | None:
    if compare.target == "value":
        return kv.value if kv else None
    if kv is None:
        return 0
    numbers = {
        "version": kv.version,
        "create": kv.create_revision,
        "mod": kv.mod_revision,
        "lease": kv.lease,
    }
    return numbers[compare.target]


def strip(response: Response, request: Request) -> Response:
    """Give a recorded response in the form of `evaluate`: what the model does not know left out."""
    match response:
        case PutResponse():
            return PutResponse(prev_kv=response.prev_kv)
        case RangeResponse():
            keys_only = isinstance(request, Range) and request.keys_only
            kvs = tuple(map(_without_value, response.kvs)) if keys_only else response.kvs
            return RangeResponse(kvs=kvs, more=response.more, count=response.count)
        case DeleteRangeResponse():
            return DeleteRangeResponse(deleted=response.deleted, prev_kvs=response.prev_kvs)
        case TxnResponse():
            return TxnResponse(
                succeeded=response.succeeded, responses=_strip_all(response, request)
            )
        case _:
            return response


def _strip_all(response: TxnResponse, request: Request) -> tuple[TxnOperationResponse, ...]:
    branch: tuple[TxnOperation, ...] = ()
    if isinstance(request, Txn):
        branch = request.success if response.succeeded else request.failure
    if len(branch) != len(response.responses):
        return response.responses
    stripped = (strip(each, asked) for each, asked in zip(response.responses, branch, strict=True))
    return tuple(each for each in stripped if isinstance(each, TxnOperationResponse))


def changes_anything(response: TxnOperationResponse) -> bool:
    """Tell from a response alone whether its request took a revision of its own."""
    match response:
        case PutResponse():
            return True
        case DeleteRangeResponse():
            return response.deleted > 0
        case TxnResponse():
            return any(map(changes_anything, response.responses))
        case RangeResponse():
            return False


def may_be_old(request: Request) -> bool:
    """Tell whether an answer may come from a member that lags behind."""
    match request:
        case Range():
            return request.serializable
        case Txn():
            every = (*request.success, *request.failure)
            return all(isinstance(each, Range) and each.serializable for each in every)
        case LeaseKeepAlive() | LeaseTimeToLive():
            return True
        case _:
            return False
