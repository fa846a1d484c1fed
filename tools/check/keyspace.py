"""The keys at every revision, as a fold of changes that can be taken back.

A key has a list of (revision, state after it), ascending; a state of None is a deletion. The newest
revision can be undone, which is what a search over possible histories needs.

    record(2, [(a, A)])  record(3, [(a, None)])   a: [(2, A), (3, None)]   at(a, 2) = A
    undo()                                        a: [(2, A)]              at(a, 3) = A

Nothing is ever compacted here: a judge remembers everything.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from tools.check.history import Baseline, KeyValue

Change: TypeAlias = tuple[bytes, KeyValue | None]
"""A key and its state after the change; None: deleted."""


def in_interval(key: bytes, lo: bytes, range_end: bytes) -> bool:
    """Tell whether a key is in an interval as etcd writes them: "" is one key, "\\0" no end."""
    if not range_end:
        return key == lo
    return key >= lo and (range_end == b"\0" or key < range_end)


class Keyspace:
    """Every key at every revision from a baseline up to `revision`."""

    def __init__(self, baseline: Baseline) -> None:
        self.revision = baseline.revision
        self._states: dict[bytes, list[tuple[int, KeyValue | None]]] = {
            kv.key: [(baseline.revision, kv)] for kv in baseline.kvs
        }
        self._keys = sorted(self._states)
        self._changed: list[tuple[bytes, ...]] = []

    def record(self, revision: int, changes: Sequence[Change]) -> None:
        """Append the next revision; each key at most once."""
        for key, state in changes:
            states = self._states.get(key)
            if states is None:
                states = self._states[key] = []
                insort(self._keys, key)
            states.append((revision, state))
        self._changed.append(tuple(key for key, _ in changes))
        self.revision = revision

    def undo(self) -> None:
        """Take the newest revision back."""
        for key in self._changed.pop():
            self._states[key].pop()
        self.revision -= 1

    def at(self, key: bytes, revision: int) -> KeyValue | None:
        """Give a key as it was after a revision."""
        states = self._states.get(key)
        if not states:
            return None
        place = bisect_right(states, revision, key=lambda state: state[0])
        return states[place - 1][1] if place else None

    def scan(self, lo: bytes, range_end: bytes, revision: int) -> Iterator[KeyValue]:
        """Yield the keys that existed in an interval after a revision, in byte order."""
        for key in self.known(lo, range_end):
            state = self.at(key, revision)
            if state is not None:
                yield state

    def known(self, lo: bytes, range_end: bytes) -> Sequence[bytes]:
        """Give every key of an interval that ever was, in byte order."""
        first = bisect_left(self._keys, lo)
        if not range_end:
            return (lo,) if lo in self._states else ()
        end = len(self._keys) if range_end == b"\0" else bisect_left(self._keys, range_end)
        return self._keys[first:end]
