"""A checksum of all that is stored, in slices: what equal members have in common.

`digest` covers the history that clients can ask for. This covers every record that reads may meet,
so that a record that has changed below the machine is found wherever it is:

    a … c   alarms, current keys             all
    d       dead keys                        those that a compaction has not made meaningless
    k … r   leases, numbers, members,        all but how far this member's compaction has come
            revisions

Records that a compaction has obsoleted go at each member's own pace. So a member whose compaction
is under way has nothing to compare; one that has finished it holds what all others
hold that have.

The scans are opened at once and show the records of that moment, whatever is staged while they are
consumed. Reading all of them has the engine verify all of them, which is half the use of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from zlib import crc32

from node.machine.record import (
    ALARM,
    COMPACT_PROGRESS,
    DEAD,
    REVISION,
    main_of,
    table_end,
)
from node.machine.view import View

SLICE_RECORDS = 128
SLICE_BYTES = 64 * 1024
"""One slice takes about a tenth of a millisecond, unless the disk is slow."""


class StateHash:
    """One walk over the records of the moment at which it was made."""

    __slots__ = ("_crc", "_records", "bytes", "finished", "records")

    def __init__(self, view: View, compact_revision: int) -> None:
        """Open the scans; the view's physical compaction to `compact_revision` must be done."""
        dead = (
            (key, record)
            for key, record in view.scan(DEAD, table_end(DEAD))
            if main_of(record) >= compact_revision
        )
        self._records: Iterator[tuple[bytes, bytes]] = chain(
            view.scan(ALARM, DEAD),
            dead,
            view.scan(table_end(DEAD), COMPACT_PROGRESS),
            view.scan(COMPACT_PROGRESS + b"\0", table_end(REVISION)),
        )
        self._crc = 0
        self.records = 0
        """How many were read so far."""
        self.bytes = 0
        """Bytes of their keys and values."""
        self.finished = False

    @property
    def crc(self) -> int:
        """The checksum of what was read so far; of all of it once it is `finished`."""
        return self._crc

    def step(self, records_max: int = SLICE_RECORDS, bytes_max: int = SLICE_BYTES) -> bool:
        """Walk on; True = that was the last of them."""
        crc, seen, room = self._crc, 0, bytes_max
        for key, record in islice(self._records, records_max):
            crc = crc32(record, crc32(key, crc))
            seen += 1
            room -= len(key) + len(record)
            if room <= 0:
                break
        else:
            self.finished = seen < records_max
        self._crc = crc
        self.records += seen
        self.bytes += bytes_max - room
        return self.finished
