"""What a member counts while it works: plain numbers, read when somebody asks.

Counting costs an addition. A count begins at 0 with the process and never falls; whoever wants
a rate looks twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """What the state machine did, by etcd's rules for its metrics of the same names.

    Every member counts what it applies, the leader no more than the others; reads are counted
    where they are answered.
    """

    ranges: int = 0
    """Intervals read: by ranges, compares, and writes that ask for what was before."""
    puts: int = 0
    deletes: int = 0
    """Intervals deleted, keys in them or not; a lease's keys one by one."""
    txns: int = 0
    """Views of the keyspace that were used more than once."""
    put_bytes: int = 0
    """Keys and values of all puts."""
    leases_granted: int = 0
    leases_revoked: int = 0
    versions_compacted: int = 0

    def operations(self, ranges: int, puts: int, deletes: int) -> None:
        """Count what was done with one view of the keyspace."""
        self.ranges += ranges
        self.puts += puts
        self.deletes += deletes
        self.txns += ranges + puts + deletes > 1


class Histogram:
    """Durations by size: `counts[i]` took at most `bounds_seconds[i]` and more than the bound
    before, the last count is of those beyond all bounds."""

    __slots__ = ("bounds_seconds", "counts", "sum_seconds")

    def __init__(self, bounds_seconds: Sequence[float]) -> None:
        """Begin empty; the bounds ascend."""
        self.bounds_seconds = tuple(bounds_seconds)
        self.counts = [0] * (len(self.bounds_seconds) + 1)
        self.sum_seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds_seconds, seconds)] += 1
        self.sum_seconds += seconds
