"""Range: which keys a request selects, in which order, and how they are told.

At the latest revision this is one scan of the current keys; `count` goes on counting behind the
limit. Whatever sorts or filters has to see the whole interval first.

One oddity is etcd's own and kept: with a sort target but no sort order, the limit cuts in key order
first (one key later than asked), and only that head is sorted.
Source: etcd server/etcdserver/txn/range.go.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice

from node.machine import history
from node.machine.history import Version
from node.machine.interval import interval
from node.machine.record import CURRENT, create_of, lease_of, main_of, version_of
from node.machine.view import View
from node.machine.wire import key_value_field, varint
from node.proto import rpc

_NONE, _ASCEND, _DESCEND = rpc.RangeRequest.NONE, rpc.RangeRequest.ASCEND, rpc.RangeRequest.DESCEND
_BY_KEY = rpc.RangeRequest.KEY


class Reading:
    """A range whose keys have been read, while those that it does not tell are being counted.

    They are counted as they were at the beginning, whatever is applied meanwhile: the newest ones
    in an iterator of that moment, others in history. That is there as long as the revision is not
    compacted, which is to be asked before each step.
    """

    __slots__ = ("_more", "_rest", "_told", "_total")

    def __init__(self, told: Iterable[bytes], more: bool, total: int, rest: Iterator[Version]):
        """`rest` is what has not been counted, beside `total` that have."""
        self._told = told
        self._more = more
        self._total = total
        self._rest = rest

    def count(self, keys_max: int = sys.maxsize) -> bool:
        """Count on by at most so many keys; True = none are left."""
        counted = _length(islice(self._rest, keys_max))
        self._total += counted
        return counted < keys_max

    def body(self) -> bytes:
        """The RangeResponse without its header, once all are counted."""
        return _body(self._told, more=self._more, total=self._total)


def range_body(view: View, request: rpc.RangeRequest, revision: int) -> bytes:
    """The RangeResponse without its header.

    `revision` is the view's newest; the request's own revision has been checked.
    """
    if not request.range_end and _is_latest(request, revision):
        return _one_key(view, request)
    reading = read(view, request, revision)
    reading.count()
    return reading.body()


def read(view: View, request: rpc.RangeRequest, revision: int) -> Reading:
    """Read the keys that `range_body` tells, and count as yet no others."""
    latest = _is_latest(request, revision)
    backward = latest and _wants_last_keys_first(request)
    versions = _versions(view, request, latest, backward)
    if request.count_only:
        return Reading((), more=False, total=0, rest=versions)
    limit = max(request.limit, 0)
    if backward or _in_key_order(request):
        head = list(islice(versions, limit + 1)) if limit else list(versions)
        total = len(head)
    else:
        everything = list(versions)
        head = [version for version in everything if _passes(request, version[1])]
        total = len(everything)
    if not backward:
        _sort(view, request, head)
    more = 0 < limit < len(head)
    told = _told(view, request, head[:limit] if more else head)
    return Reading(told, more=more, total=total, rest=versions)


def _is_latest(request: rpc.RangeRequest, revision: int) -> bool:
    return request.revision <= 0 or request.revision >= revision


def _one_key(view: View, request: rpc.RangeRequest) -> bytes:
    record = view.get(CURRENT + request.key)
    if record is None:
        return b""
    if request.count_only or not _passes(request, record):
        return _body((), more=False, total=1)
    return _body(_told(view, request, [(CURRENT + request.key, record)]), more=False, total=1)


def _versions(
    view: View, request: rpc.RangeRequest, latest: bool, backward: bool
) -> Iterator[Version]:
    lo, hi = interval(request.key, request.range_end)
    if latest:
        return history.current(view, lo, hi, reverse=backward)
    return history.visible(view, lo, hi, request.revision)


def is_filtered(request: rpc.RangeRequest) -> bool:
    """Whether revisions decide which keys are told."""
    return bool(
        request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    )


def _passes(request: rpc.RangeRequest, record: bytes) -> bool:
    """Whether the revision filters let a version through; bounds are inclusive, 0 = off."""
    mod, create = main_of(record), create_of(record)
    return not (
        (request.min_mod_revision and mod < request.min_mod_revision)
        or (request.max_mod_revision and mod > request.max_mod_revision)
        or (request.min_create_revision and create < request.min_create_revision)
        or (request.max_create_revision and create > request.max_create_revision)
    )


def _in_key_order(request: rpc.RangeRequest) -> bool:
    """Whether the limit may cut before everything has been looked at."""
    if is_filtered(request):
        return False
    ascending = request.sort_order == _ASCEND and request.sort_target == _BY_KEY
    return ascending or request.sort_order == _NONE


def _wants_last_keys_first(request: rpc.RangeRequest) -> bool:
    """Scanning from the end finds "the last key" of a long interval at once."""
    descending = request.sort_order == _DESCEND and request.sort_target == _BY_KEY
    return descending and not is_filtered(request)


def _sort(view: View, request: rpc.RangeRequest, versions: list[Version]) -> None:
    """Sort in place. Without an order, any target but the key sorts ascending."""
    descending = request.sort_order == _DESCEND
    if request.sort_target == _BY_KEY:
        if descending:
            versions.reverse()
        return
    versions.sort(key=_sort_key(view, request), reverse=descending)


def _sort_key(view: View, request: rpc.RangeRequest) -> Callable[[Version], int | bytes]:
    match request.sort_target:
        case rpc.RangeRequest.VERSION:
            return lambda version: version_of(version[1])
        case rpc.RangeRequest.CREATE:
            return lambda version: create_of(version[1])
        case rpc.RangeRequest.MOD:
            return lambda version: main_of(version[1])
        case _:
            return lambda version: history.value(view, version[1])


def key_value_of(view: View, key: bytes, record: bytes, *, keys_only: bool) -> bytes:
    """A version as the answer tells it: KeyValue as field 2. `key` has its table's byte."""
    return _without_value(key[1:], record) if keys_only else history.key_value(view, record)


def _told(view: View, request: rpc.RangeRequest, versions: list[Version]) -> list[bytes]:
    if request.keys_only:
        return [_without_value(key[1:], record) for key, record in versions]
    return [history.key_value(view, record) for _, record in versions]


def _without_value(key: bytes, record: bytes) -> bytes:
    mod, create = varint(main_of(record)), create_of(record)
    return key_value_field(key, create, mod, version_of(record), b"", lease_of(record))


def _body(key_values: Iterable[bytes], *, more: bool, total: int) -> bytes:
    told = b"".join(key_values)
    if more:
        told += b"\x18\x01"
    return told + b"\x20" + varint(total) if total else told


def _length(versions: Iterator[Version]) -> int:
    """How many are left. Counting a long interval is what most of a limited range's time goes to,
    so it runs without a step of interpreted code per key.
    """
    numbers = count()
    deque(zip(versions, numbers, strict=False), maxlen=0)
    return next(numbers)
