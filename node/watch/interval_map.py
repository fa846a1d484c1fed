"""Which intervals contain a key: a stabbing query over many of them.

Most of them live in a static tree over arrays, sorted by lower bound, where each node knows the
highest upper bound below it; a query touches O(log n + hits) of them. New intervals wait in a short
list beside it that is simply walked. When the list, or the number of intervals that are gone from
the tree, exceeds about the root of their number, the tree is built anew.

Each interval carries a group, an ordered set that its users fill; empty groups do not count.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from math import isqrt
from typing import Generic, TypeVar

from node.machine.interval import Interval, contains

T = TypeVar("T")
Group = dict[T, None]

_SLACK = 16


class IntervalMap(Generic[T]):
    """Groups of things by interval."""

    __slots__ = ("_bounded", "_emptied", "_fresh", "_groups", "_highest", "_starts", "_unbounded")

    def __init__(self) -> None:
        """Begin empty."""
        self._groups: dict[Interval, Group[T]] = {}
        self._fresh: dict[Interval, Group[T]] = {}
        self._emptied = 0
        self._bounded: list[tuple[bytes, bytes, Group[T]]] = []
        """The tree in order: the node of [a, b) is in its middle."""
        self._highest: list[bytes] = []
        """The highest upper bound in the subtree of the node at the same place."""
        self._starts: list[bytes] = []
        self._unbounded: list[Group[T]] = []
        """Intervals without upper bound, and their lower bounds, ascending."""

    def add(self, interval: Interval, thing: T) -> None:
        """Put a thing into the interval's group."""
        group = self._groups.get(interval)
        if group is None:
            group = self._groups[interval] = self._fresh[interval] = {}
        elif not group:
            self._emptied -= 1
        group[thing] = None
        if len(self._fresh) > self._slack():
            self._build()

    def discard(self, interval: Interval, thing: T) -> None:
        """Take a thing out; it must be there."""
        group = self._groups[interval]
        del group[thing]
        if not group:
            self._emptied += 1
            if self._emptied > self._slack():
                self._build()

    def at(self, key: bytes) -> Iterator[T]:
        """All things whose interval contains `key`."""
        for (lo, hi), group in self._fresh.items():
            if contains(lo, hi, key):
                yield from group
        for group in self._unbounded[: bisect_right(self._starts, key)]:
            yield from group
        yield from self._stab(key)

    def _stab(self, key: bytes) -> Iterator[T]:
        spans = [(0, len(self._bounded))]
        while spans:
            lo, hi = spans.pop()
            middle = (lo + hi) // 2
            if lo == hi or self._highest[middle] <= key:
                continue
            spans.append((lo, middle))
            first, end, group = self._bounded[middle]
            if first <= key:
                spans.append((middle + 1, hi))
                if key < end:
                    yield from group

    def _slack(self) -> int:
        return _SLACK + isqrt(len(self._groups))

    def _build(self) -> None:
        self._groups = {interval: group for interval, group in self._groups.items() if group}
        self._fresh = {}
        self._emptied = 0
        bounded, unbounded = [], []
        for (lo, hi), group in self._groups.items():
            if hi is None:
                unbounded.append((lo, group))
            else:
                bounded.append((lo, hi, group))
        unbounded.sort(key=lambda entry: entry[0])
        self._starts = [lo for lo, _ in unbounded]
        self._unbounded = [group for _, group in unbounded]
        bounded.sort(key=lambda entry: entry[:2])
        self._bounded = bounded
        self._highest = [b""] * len(bounded)
        self._measure(0, len(bounded))

    def _measure(self, lo: int, hi: int) -> bytes:
        """Note the highest upper bound of every subtree in [lo, hi); the depth is logarithmic."""
        if lo == hi:
            return b""
        middle = (lo + hi) // 2
        end = self._bounded[middle][1]
        highest = max(self._measure(lo, middle), end, self._measure(middle + 1, hi))
        self._highest[middle] = highest
        return highest
