"""One number over the keyspace at a revision, for members to compare, taken in slices.

Equal revision and compact revision must give equal numbers on every member, whatever each has
physically removed so far. Only agreement between members means something: etcd's own HashKV sums
other bytes.

The scans are opened at once and show the records of that moment, whatever is staged while they are
consumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from zlib import crc32

from node.machine.history import revisions
from node.machine.record import is_tombstone, position, position_of, previous_of
from node.machine.view import View


class KeyspaceHash:
    """CRC-32 over all versions up to a revision that a compaction leaves."""

    __slots__ = ("_horizon", "_replaced", "_replacing", "_total", "_versions", "compact_revision")

    def __init__(self, view: View, revision: int, compact_revision: int) -> None:
        """Begin; `finish` or `work` walk the history up to `revision`."""
        self.compact_revision = compact_revision
        compacted = max(compact_revision, 0)
        end = position(revision + 1, 0)
        self._horizon = position(compacted, 0)
        self._replacing = revisions(view, bytes(12), min(end, position(compacted + 1, 0)))
        self._versions: Iterator[tuple[bytes, bytes]] = revisions(view, bytes(12), end)
        self._replaced: set[bytes] = set()
        """Versions below the horizon that one at or below it replaces."""
        self._total = 0

    @property
    def value(self) -> int:
        """The number, once the work is done."""
        return self._total

    def work(self, records_max: int) -> bool:
        """Read some records; True = done."""
        seen = 0
        for _, record in islice(self._replacing, records_max):
            self._replaced.add(previous_of(record))
            seen += 1
        for place, record in islice(self._versions, records_max - seen):
            self._add(place, record)
            seen += 1
        return seen < records_max

    def finish(self) -> int:
        """Do all the work at once."""
        while not self.work(1 << 20):
            pass
        return self._total

    def _add(self, place: bytes, record: bytes) -> None:
        obsolete = is_tombstone(record) or position_of(record) in self._replaced
        if place >= self._horizon or not obsolete:
            self._total = crc32(record[record[0] :], crc32(place, self._total))
