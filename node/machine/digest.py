"""One number over the keyspace at a revision, for members to compare.

Equal revision and compact revision must give equal numbers on every member, whatever each has
physically removed so far. Only agreement between members means something: etcd's own HashKV sums
other bytes.
"""

from __future__ import annotations

from zlib import crc32

from node.machine.history import revisions
from node.machine.record import is_tombstone, position, position_of, previous_of
from node.machine.view import View


def digest(view: View, revision: int, compact_revision: int) -> int:
    """CRC-32 over all versions up to `revision` that a compaction leaves; walks the history."""
    horizon = position(max(compact_revision, 0), 0)
    end = position(revision + 1, 0)
    replaced = {
        previous_of(record)
        for place, record in revisions(view, bytes(12), end)
        if place < position(max(compact_revision, 0) + 1, 0)
    }
    total = 0
    for place, record in revisions(view, bytes(12), end):
        if place < horizon and (is_tombstone(record) or position_of(record) in replaced):
            continue
        total = crc32(record[record[0] :], crc32(place, total))
    return total
