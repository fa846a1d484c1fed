"""The black-box check: is there, for each key, an order of operations that explains all answers?

The algorithm of Wing and Gong, with Lowe's memory of configurations, one key at a time: the history
of a whole is linearizable only if that of each key is (Herlihy and Wing, locality).

A configuration is (which operations are done, state of the key). From it each operation may be next
that started before every open one ended; those with an unknown outcome may be next from their start
on, or never; where the harness knows by when one had happened, it has an end like the answered.
Configurations that were met before are not entered again. A key is in order when all operations
with an end are done:

    client 1   |---put a=1---|                      get may come before or after the put,
    client 2        |---get a -> nothing---|        but not before one that ended earlier
    client 3   |--- put a=2 (unknown) ------ … --   may be next at any time, or never

Two things keep the search short where all is well, and change nothing of what it finds. A call that
only looks, and sees what is there, is next before all others: later it could see no more. And among
the others those are tried first that were told the lower revision, though it proves nothing here.

Keys of a lease may also vanish at any time, because a lease's time is the lease check's matter.
The search is bounded in configurations over all keys; beyond the bound the verdict is "unknown".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from tools.check.history import (
    Baseline,
    DeleteRange,
    History,
    LeaseRevoke,
    Operation,
    Put,
    Range,
    Request,
    Txn,
)
from tools.check.model import may_be_old
from tools.check.register import Branch, Erase, Register, State, Write, follow, project
from tools.check.text import describe_bytes, describe_operation
from tools.check.verdict import Finding, Verdict, judge

CHECK = "linearizability"
CONFIGURATIONS_MAX: Final = 300_000
_NEVER: Final = 1 << 62
_STUCK_SHOWN_MAX: Final = 4


class Call(Struct, frozen=True):
    """What an operation means for one key; `end_ns` is for ever where the outcome is unknown.

    A vanishing of a lease's keys has no operation. `hint` is a revision that it may have had.
    """

    start_ns: int
    end_ns: int
    branches: tuple[Branch, ...]
    operation: Operation | None
    hint: int = 0

    @property
    def looks_only(self) -> bool:
        """Whether it leaves the key as it is."""
        return len(self.branches) == 1 and not any(
            isinstance(step, Write | Erase) for step in self.branches[0]
        )


class Configuration(NamedTuple):
    """Required calls below `low` and in `done` (bits from `low` on) are done, optional: `taken`."""

    low: int
    done: int
    taken: int
    state: State


class Stuck(Struct, frozen=True):
    """The furthest configuration, and the calls of which one would have had to be next."""

    state: State
    calls: tuple[Call, ...]


def check_linearizability(
    history: History, *, configurations_max: int = CONFIGURATIONS_MAX
) -> Verdict:
    """Judge each key of a history by itself."""
    findings: list[Finding] = []
    left = configurations_max
    undecided: list[bytes] = []
    for key, calls in sorted(partition(history).items()):
        search = KeySearch(calls, _initial(history.baseline, key), left)
        stuck = search.run()
        left = max(0, left - search.visited)
        if search.exhausted:
            undecided.append(key)
        elif stuck is not None:
            findings.append(_describe(key, stuck))
    keys = ", ".join(map(describe_bytes, undecided))
    note = f"{keys}: not decided within {configurations_max} configurations" if undecided else ""
    return judge(CHECK, findings, note)


class KeySearch:
    """The search for one key; `exhausted` tells that it gave up."""

    def __init__(self, calls: Sequence[Call], state: State, configurations_max: int) -> None:
        ordered = sorted(calls, key=lambda call: (call.start_ns, call.end_ns))
        self._required = [call for call in ordered if call.end_ns < _NEVER]
        self._optional = [call for call in ordered if call.end_ns == _NEVER]
        self._optional_starts = [call.start_ns for call in self._optional]
        self._looks = [call.looks_only for call in self._required]
        self._first = Configuration(0, 0, 0, state)
        self._configurations_max = configurations_max
        self.visited = 0
        self.exhausted = False

    def run(self) -> Stuck | None:
        """Give None if there is an order, else where the search got stuck."""
        seen = {self._first}
        furthest = self._first
        # What may follow is computed when it is asked for: most is never needed.
        path = [self._followers(self._first)]
        if not self._required:
            return None
        while path:
            following = next(path[-1], None)
            if following is None:
                path.pop()
            elif following not in seen:
                seen.add(following)
                if following.low == len(self._required):
                    return None
                self.visited += 1
                if self.visited > self._configurations_max:
                    self.exhausted = True
                    return None
                path.append(self._followers(following))
                furthest = max(furthest, following, key=_progress)
        return Stuck(furthest.state, tuple(self._required[i] for i in self._open(furthest)))

    def _followers(self, at: Configuration) -> Iterator[Configuration]:
        """Yield what may be next, the likeliest first."""
        candidates = self._open(at)
        for place in candidates:
            if self._looks[place] and at.state in _states(self._required[place], at.state):
                yield Configuration(*_mark(at.low, at.done, place), at.taken, at.state)
                return
        for place in sorted(candidates, key=self._likelihood):
            low, done = _mark(at.low, at.done, place)
            for state in _states(self._required[place], at.state):
                yield Configuration(low, done, at.taken, state)
        limit = min(self._required[place].end_ns for place in candidates)
        for number in range(bisect_right(self._optional_starts, limit)):
            if at.taken >> number & 1:
                continue
            for state in _states(self._optional[number], at.state):
                if state != at.state:
                    yield Configuration(at.low, at.done, at.taken | 1 << number, state)

    def _likelihood(self, place: int) -> tuple[int, int]:
        call = self._required[place]
        return call.hint, call.end_ns

    def _open(self, at: Configuration) -> list[int]:
        """Give the places of required calls that may be next."""
        found: list[int] = []
        limit, place = _NEVER, at.low
        while place < len(self._required) and self._required[place].start_ns <= limit:
            if not at.done >> (place - at.low) & 1:
                found.append(place)
                limit = min(limit, self._required[place].end_ns)
            place += 1
        return found


def _progress(configuration: Configuration) -> int:
    return configuration.low + configuration.done.bit_count()


def _mark(low: int, done: int, place: int) -> tuple[int, int]:
    done |= 1 << (place - low)
    while done & 1:
        done >>= 1
        low += 1
    return low, done


def _states(call: Call, state: State) -> list[State]:
    return [after for branch in call.branches for after in follow(branch, state)]


def partition(history: History) -> dict[bytes, list[Call]]:
    """Give each key's calls, those with several keys under each of them."""
    keys = sorted(_keys(history))
    calls: dict[bytes, list[Call]] = defaultdict(list)
    attached: dict[bytes, dict[int, int]] = defaultdict(dict)
    for kv in history.baseline.kvs:
        if kv.lease:
            attached[kv.key][kv.lease] = -_NEVER
    for operation in history.operations:
        if operation.outcome == "failed" or may_be_old(operation.request):
            continue
        for put in _puts(operation.request):
            if put.lease:
                earliest = attached[put.key].get(put.lease, _NEVER)
                attached[put.key][put.lease] = min(earliest, operation.start_ns)
        for key in _touched(operation.request, keys):
            branches = project(operation, key)
            if branches:
                calls[key].append(_call(operation, branches))
    for key, leases in attached.items():
        calls[key] += _vanishings(leases, history.operations)
    return calls


def _vanishings(leases: dict[int, int], operations: Sequence[Operation]) -> Iterator[Call]:
    for lease, since_ns in leases.items():
        yield Call(since_ns, _NEVER, ((Erase(lease),),), None)
    for operation in operations:
        request = operation.request
        if isinstance(request, LeaseRevoke) and operation.response and request.lease in leases:
            yield _call(operation, ((Erase(request.lease),),))


def _call(operation: Operation, branches: tuple[Branch, ...]) -> Call:
    end_ns = operation.taken_ns if operation.response is None else operation.end_ns
    revision = operation.taken_revision
    if operation.response is not None:
        revision = operation.response.revision
    return Call(
        operation.start_ns, _NEVER if end_ns is None else end_ns, branches, operation, revision
    )


def _keys(history: History) -> set[bytes]:
    keys = {kv.key for kv in history.baseline.kvs}
    for operation in history.operations:
        keys.update(put.key for put in _puts(operation.request))
        keys.update(key for key, end in _intervals(operation.request) if not end)
    return keys


def _puts(request: Request) -> Iterator[Put]:
    if isinstance(request, Put):
        yield request
    elif isinstance(request, Txn):
        for step in (*request.success, *request.failure):
            yield from _puts(step)


def _intervals(request: Request) -> Iterator[tuple[bytes, bytes]]:
    match request:
        case Put(key=key):
            yield key, b""
        case Range(key=key, range_end=end) | DeleteRange(key=key, range_end=end):
            yield key, end
        case Txn():
            yield from ((compare.key, compare.range_end) for compare in request.compare)
            for step in (*request.success, *request.failure):
                yield from _intervals(step)


def _touched(request: Request, keys: list[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for lo, end in _intervals(request):
        if not end:
            found.add(lo)
            continue
        first = bisect_left(keys, lo)
        last = len(keys) if end == b"\0" else bisect_left(keys, end)
        found.update(keys[first:last])
    return found


def _initial(baseline: Baseline, key: bytes) -> State:
    for kv in baseline.kvs:
        if kv.key == key:
            return Register(kv.value, kv.version, kv.lease, kv.create_revision, kv.mod_revision)
    return None


def _describe(key: bytes, stuck: Stuck) -> Finding:
    state = "absent"
    if stuck.state is not None:
        state = f'"{describe_bytes(stuck.state.value)}" (version {stuck.state.version})'
    operations = [call.operation for call in stuck.calls if call.operation is not None]
    shown = "; ".join(describe_operation(each) for each in operations[:_STUCK_SHOWN_MAX])
    text = f"key {describe_bytes(key)}, at best {state}, can be followed by none of: {shown}"
    return Finding("order per key", text, tuple(each.id for each in operations))
