"""Deletes what nobody reads any more, a little at a time.

Three things leave records behind: the log's floor moves up, a snapshot install replaces a
generation, an install is given up. None of that is urgent, so none of it is in the batch that
causes it; every group of the writer carries a share of the deletions instead, and an idle writer
does the rest.

How far the entries are swept is itself a record (`Floor.swept`), so that a restart goes on from
there instead of walking over the tombstones of all that was deleted before: an iterator needs 72 ms
for 200 000 of them, a seek to a known key 0.07 ms.

After enough deletions a *stretch* of keys is due for compaction, which drops the tombstones. It
blocks whoever asks, so that the writer asks only when it has been idle for a while.

Belongs to the writing thread.
"""

from collections import deque
from itertools import islice

from store import record
from store.config import StoreConfig
from store.engine import Engine, Operation
from store.errors import check
from store.record import Floor, Position

_KEY_AFTER = b"\0"


class Sweep:
    """Knows what is to be deleted and hands out the deletions in bounded pieces."""

    def __init__(self, engine: Engine, floor: Floor, generation: int, config: StoreConfig) -> None:
        """Finds generations that an interrupted install or sweep left, with one seek for each."""
        self.records_max = config.sweep_records
        self._engine = engine
        self._floor = floor
        self._compact_after = config.compact_after_records
        self._leftover: deque[bytes] = deque()
        self._cursor = b""
        self._stretches: deque[tuple[bytes, bytes]] = deque()
        self._stretch_lo = self._stretch_hi = b""
        self._stretch_records = 0
        for found in _generations(engine):
            if found != generation:
                self.add_generation(found)

    def add_generation(self, generation: int) -> None:
        """All state records of this generation may go."""
        self._leftover.append(record.state_prefix(generation))

    def raise_floor(self, boundary: Position) -> Operation:
        """Entries up to `boundary` may go; returns the record that says so, for the same batch."""
        check(boundary.index >= self._floor.boundary.index, "the log's floor went down", boundary)
        self._floor = Floor(boundary, min(self._floor.swept, boundary.index + 1))
        return record.FLOOR, record.encode_floor(self._floor)

    def operations(self, records_max: int) -> list[Operation]:
        """The next deletions, at most about `records_max`; empty when there is nothing to do.

        They must be written, in order, before this is called again.
        """
        if self._floor.swept <= self._floor.boundary.index:
            return self._sweep_entries(records_max)
        operations: list[Operation] = []
        while self._leftover and not operations:
            operations = self._sweep_generation(records_max)
        return operations

    def take_stretch(self) -> tuple[bytes, bytes] | None:
        """A range of keys whose tombstones are worth a compaction, once."""
        return self._stretches.popleft() if self._stretches else None

    def _sweep_entries(self, records_max: int) -> list[Operation]:
        """Asks the engine which entries exist: after an install most indices below may not."""
        boundary = self._floor.boundary
        stop = record.entry_key(boundary.index + 1)
        operations = self._found(record.entry_key(self._floor.swept), stop, records_max)
        swept = boundary.index + 1
        if len(operations) == records_max:
            swept = record.entry_index(operations[-1][0]) + 1
        self._floor = Floor(boundary, swept)
        operations.append((record.FLOOR, record.encode_floor(self._floor)))
        return operations

    def _sweep_generation(self, records_max: int) -> list[Operation]:
        prefix = self._leftover[0]
        lo = max(self._cursor, prefix)
        operations = self._found(lo, record.after_prefix(prefix), records_max)
        if len(operations) < records_max:
            self._leftover.popleft()
            self._cursor = b""
        else:
            self._cursor = operations[-1][0] + _KEY_AFTER
        return operations

    def _found(self, lo: bytes, hi: bytes, records_max: int) -> list[Operation]:
        found = islice(self._engine.scan(lo, hi), records_max)
        operations: list[Operation] = [(key, None) for key, _ in found]
        if operations:
            self._note_stretch(operations[0][0], operations[-1][0] + _KEY_AFTER, len(operations))
        return operations

    def _note_stretch(self, lo: bytes, hi: bytes, records: int) -> None:
        if self._stretch_records and self._stretch_lo[:2] != lo[:2]:
            self._end_stretch()  # entries and generations are far apart: do not compact between
        if not self._stretch_records:
            self._stretch_lo = lo
        self._stretch_hi = hi
        self._stretch_records += records
        if self._stretch_records >= self._compact_after:
            self._end_stretch()

    def _end_stretch(self) -> None:
        self._stretches.append((self._stretch_lo, self._stretch_hi))
        self._stretch_records = 0


def _generations(engine: Engine) -> list[int]:
    found: list[int] = []
    key: bytes | None = record.STATE
    while key is not None:
        first = next(engine.scan(key, record.after_prefix(record.STATE)), None)
        key = None
        if first is not None:
            found.append(first[0][1])
            key = record.after_prefix(first[0][:2])
    return found
