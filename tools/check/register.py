"""One key as a black box: which of its states an operation can follow and leave.

The second opinion does not trust revisions, so a register is what a key holds, and its revisions
are tags without an order: a tag is known where the writer was told it, or a reader saw it, else 0.

An operation on many keys is looked at through each key by itself. That keeps the judgement sound (a
linearizable history has linearizable projections) and only loses what the keys say together. It
becomes a `Branch`, steps in a row on this key: see, write, erase, test. Only a transaction with an
open outcome has several branches.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from tools.check.history import (
    Compare,
    DeleteRange,
    DeleteRangeResponse,
    KeyValue,
    Operation,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    Request,
    Response,
    Txn,
    TxnResponse,
)
from tools.check.keyspace import in_interval
from tools.check.model import compare_stored


class Register(NamedTuple):
    """A key that exists; tags are 0 where nobody told them."""

    value: bytes
    version: int
    lease: int
    created: int
    modified: int


State: TypeAlias = Register | None


class See(Struct, frozen=True):
    """The key is exactly this; only some fields were told where `hidden`."""

    kv: KeyValue | None
    hidden: bool = False


class Presence(Struct, frozen=True):
    """The key exists, or not."""

    exists: bool


class Write(Struct, frozen=True):
    """A put; value or lease None keeps what is there, which must exist then."""

    value: bytes | None
    lease: int | None
    revision: int


class Erase(Struct, frozen=True):
    """The key goes, if it is there and `lease` (0: any) is the one that it hangs on."""

    lease: int = 0


class Test(Struct, frozen=True):
    """All compares hold, or at least one does not."""

    compares: tuple[Compare, ...]
    holds: bool


Step: TypeAlias = See | Presence | Write | Erase | Test
Branch: TypeAlias = tuple[Step, ...]


def follow(branch: Branch, state: State) -> tuple[State, ...]:
    """Give the state after a branch as a tuple of one, or of none where the branch cannot be."""
    for step in branch:
        if isinstance(step, Write):
            if state is None and (step.value is None or step.lease is None):
                return ()
            state = _write(step, state)
        elif isinstance(step, Erase):
            if state is not None and step.lease in (0, state.lease):
                state = None
        elif isinstance(step, See):
            if not _sees(step, state):
                return ()
            state = _learn(step.kv, state)
        elif isinstance(step, Presence):
            if (state is not None) != step.exists:
                return ()
        elif not _may_test(step, state):
            return ()
    return (state,)


def _write(step: Write, state: State) -> Register:
    return Register(
        value=state.value if state and step.value is None else step.value or b"",
        version=state.version + 1 if state else 1,
        lease=state.lease if state and step.lease is None else step.lease or 0,
        created=state.created if state else step.revision,
        modified=step.revision,
    )


def _sees(step: See, state: State) -> bool:
    kv = step.kv
    if kv is None or state is None:
        return kv is None and state is None
    plain = step.hidden or (kv.value == state.value and kv.lease == state.lease)
    return (
        plain
        and kv.version == state.version
        and state.created in (0, kv.create_revision)
        and state.modified in (0, kv.mod_revision)
    )


def _learn(kv: KeyValue | None, state: State) -> State:
    if kv is None or state is None:
        return state
    return state._replace(created=kv.create_revision, modified=kv.mod_revision)


def _may_test(step: Test, state: State) -> bool:
    truths = [_truths(compare, state) for compare in step.compares]
    if step.holds:
        return all(True in truth for truth in truths)
    return any(False in truth for truth in truths)


def _truths(compare: Compare, state: State) -> tuple[bool, ...]:
    if state is None:
        return (compare_stored(compare, None),)
    tags = {"create": state.created, "mod": state.modified}
    if tags.get(compare.target) == 0:
        return (True, False)
    kv = KeyValue(
        compare.key, state.value, state.created, state.modified, state.version, state.lease
    )
    return (compare_stored(compare, kv),)


def project(operation: Operation, key: bytes) -> tuple[Branch, ...]:
    """Give what an operation can have meant for a key; no branch if it says nothing about it."""
    request, response = operation.request, operation.response
    if response is not None:
        branch = tuple(_told(request, response, key, response.revision))
        return (branch,) if branch else ()
    branches = _open(request, key)
    if isinstance(request, Txn) and operation.taken_branch is not None:
        branches = _open_txn(request, key, operation.taken_branch)
    if operation.taken_ns is not None:
        # It happened, perhaps by a branch without effect here; at revision 0 by one without any.
        has_effect = operation.taken_revision and any(map(_has_effect, branches))
        return branches if has_effect else ()
    return tuple(branch for branch in branches if _has_effect(branch))


def _has_effect(branch: Branch) -> bool:
    return any(isinstance(step, Write | Erase) for step in branch)


def _told(request: Request, response: Response, key: bytes, revision: int) -> Iterator[Step]:
    match request, response:
        case Put(), PutResponse() if request.key == key:
            if request.prev_kv:
                yield See(response.prev_kv)
            yield _write_step(request, revision)
        case Range(revision=0), RangeResponse() if _touches(request, key):
            yield from _told_range(request, response, key)
        case DeleteRange(), DeleteRangeResponse() if _touches(request, key):
            yield from _told_delete(request, response, key)
        case Txn(), TxnResponse():
            yield from _tests(request, key, response.succeeded)
            branch = request.success if response.succeeded else request.failure
            for asked, answer in zip(branch, response.responses, strict=False):
                inner = _told(asked, answer, key, revision)
                # A nested compare is judged before its siblings' effects, not where it stands.
                yield from (step for step in inner if not _is_nested_test(asked, step))


def _is_nested_test(asked: Request, step: Step) -> bool:
    return isinstance(asked, Txn) and isinstance(step, Test)


def _touches(request: Range | DeleteRange, key: bytes) -> bool:
    return in_interval(key, request.key, request.range_end)


def _told_range(request: Range, response: RangeResponse, key: bytes) -> Iterator[Step]:
    if request.count_only:
        if not request.range_end or response.count == 0:
            yield Presence(response.count > 0)
        return
    shown = {kv.key: kv for kv in response.kvs}
    if key in shown:
        yield See(shown[key], hidden=request.keys_only)
    elif not response.more or (response.kvs and key < response.kvs[-1].key):
        yield See(None)


def _told_delete(request: DeleteRange, response: DeleteRangeResponse, key: bytes) -> Iterator[Step]:
    if request.prev_kv:
        gone = {kv.key: kv for kv in response.prev_kvs}
        yield See(gone.get(key))
    elif not request.range_end or response.deleted == 0:
        yield Presence(response.deleted > 0)
    yield Erase()


def _tests(txn: Txn, key: bytes, succeeded: bool) -> Iterator[Step]:
    mine = tuple(each for each in txn.compare if each.key == key and not each.range_end)
    # Which of several keys made it fail is not told.
    if mine and (succeeded or len(mine) == len(txn.compare)):
        yield Test(mine, succeeded)


def _open(request: Request, key: bytes) -> tuple[Branch, ...]:
    """Give the ways in which a request without an answer may have gone, if it happened."""
    match request:
        case Put() if request.key == key:
            return ((_write_step(request, 0),),)
        case DeleteRange() if _touches(request, key):
            return ((Erase(),),)
        case Txn():
            return (*_open_txn(request, key, True), *_open_txn(request, key, False))
        case _:
            return ((),)


def _open_txn(request: Txn, key: bytes, succeeded: bool) -> tuple[Branch, ...]:
    row = request.success if succeeded else request.failure
    return tuple(_open_row(row, key, tuple(_tests(request, key, succeeded))))


def _open_row(requests: tuple[Request, ...], key: bytes, tests: Branch) -> Iterator[Branch]:
    for ways in product(*(_open(request, key) for request in requests)):
        steps = (step for way in ways for step in way if not isinstance(step, Test))
        yield (*tests, *steps)


def _write_step(request: Put, revision: int) -> Write:
    return Write(
        value=None if request.ignore_value else request.value,
        lease=None if request.ignore_lease else request.lease,
        revision=revision,
    )
