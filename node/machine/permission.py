"""What a user may read and write: unions of key intervals.

Permissions are intervals of keys, with the rules of a Range request: one key, an interval, or
everything from a key on. They add up: a request for [a, z) is allowed to whom [a, m) and [m, z)
were granted. So a right is kept as a union without overlaps, and a request is one binary search.

Source: etcd server/auth/range_perm_cache.go.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from node.machine.interval import Interval, interval
from node.proto import auth


class Intervals:
    """A union of intervals. Immutable."""

    __slots__ = ("_his", "_los")

    def __init__(self, intervals: Iterable[Interval]) -> None:
        """Join what overlaps or touches; empty intervals add nothing."""
        self._los: list[bytes] = []
        self._his: list[bytes | None] = []
        for lo, hi in sorted(intervals, key=lambda each: each[0]):
            if hi is not None and hi <= lo:
                continue
            if self._los and _reaches(self._his[-1], lo):
                self._his[-1] = _later(self._his[-1], hi)
            else:
                self._los.append(lo)
                self._his.append(hi)

    def covers(self, lo: bytes, hi: bytes | None) -> bool:
        """Whether every key of `[lo, hi)` is in the union.

        An interval without keys is covered if one of the union begins before and ends after both of
        its bounds: whoever may read nothing there is told so.
        """
        place = bisect_right(self._los, lo) - 1
        if place < 0:
            return False
        end = self._his[place]
        return end is None or (hi is not None and lo < end and hi <= end)


class Rights(NamedTuple):
    """What a user may do, from all of its roles together."""

    read: Intervals
    write: Intervals


def rights(permissions: Iterable[auth.Permission]) -> Rights:
    """The sum of permissions; one of a type that no release knows gives nothing."""
    read, write = [], []
    for permission in permissions:
        keys = interval(permission.key, permission.range_end)
        if permission.permType in (auth.Permission.READ, auth.Permission.READWRITE):
            read.append(keys)
        if permission.permType in (auth.Permission.WRITE, auth.Permission.READWRITE):
            write.append(keys)
    return Rights(Intervals(read), Intervals(write))


def is_grantable(key: bytes, range_end: bytes) -> bool:
    """Whether a permission means any key at all; the empty key means none."""
    lo, hi = interval(key, range_end)
    return bool(lo) and (hi is None or lo < hi)


def _reaches(end: bytes | None, lo: bytes) -> bool:
    return end is None or lo <= end


def _later(one: bytes | None, other: bytes | None) -> bytes | None:
    return None if one is None or other is None else max(one, other)
