"""A disk of one member, with everything that disks and power supplies do to those who trust them.

The store above it is the product's own, boot included. A group of writes passes these stages, and
at each of them the process can be made to end:

    before_write   nothing of it is there
    before_sync    it is in the page cache: a kill keeps it, a power loss may take it
    before_mark    it is synced, but the mark does not know of it
    in_mark        the mark is half written
    before_send    the mark knows of it, and nobody has been told

What is left depends on how the process ended. A kill keeps everything that was written. A power
loss keeps what was synced and, of the rest, a prefix of each write-ahead log: LevelDB goes on with
a new log while the old one may still be unsynced, so that an older tail can be lost and newer
writes kept. The mark is never synced after its creation, so that it comes back as it was some time
ago. Damage is what no honest disk does: synced writes are gone, a record does not read back.

LevelDB's files are not modelled beyond that: a table is always whole, and a write is all or
nothing, as its log reader makes it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import NoReturn, Self

from store import record
from store.config import StoreConfig
from store.engine import Operation
from store.errors import DiskFailed
from store.mark import Mark, MarkFigures, MemoryMark
from store.memory import MemoryEngine, MemoryEngineFailed, MemorySnapshot
from tests.simulator.disk_fault import (
    CRASH_MARKS,
    KINDS,
    DamagedSnapshot,
    Fault,
    MachineDied,
    ReadFailed,
    WriteFailed,
    kinds_of,
    readable,
)

WRITES_REMEMBERED = 32
"""How many of the last writes can be undone."""
MARKS_REMEMBERED = 16
WRITES_PER_LOG = 8
"""Writes after which a new write-ahead log is begun."""


@dataclass
class Written:
    """One write, and how to take it back."""

    number: int
    log: int
    operations: Sequence[Operation]
    before: list[Operation]
    """What stood there, in the order of writing."""

    @property
    def write_seq(self) -> int:
        """The newest batch in it; 0 = it carries none."""
        heads = [value for key, value in self.operations if key == record.HEAD and value]
        return record.decode_head(heads[-1]).write_seq if heads else 0


class SimulatedDisk(MemoryEngine):
    """The engine of one member over all its lives, and what lies on its platters."""

    failures = (MemoryEngineFailed,)

    def __init__(
        self,
        chance: Random,
        hit: Callable[[str], None] = lambda mark: None,
        *,
        syncs: bool = True,
    ) -> None:
        """`hit` counts coverage marks. A disk that does not sync lies to everybody."""
        super().__init__()
        self.chance = chance
        self.faults: list[Fault] = []
        """What waits for a write, the oldest first."""
        self.full = False
        """There is no room for a write, nor for opening the database."""
        self.stalled = False
        """It takes writes and completes none."""
        self.latency = (0.0, 0.0)
        """Seconds that a group takes, from and to."""
        self.acknowledged = 0
        """Newest batch that somebody may have been told of."""
        self.must_refuse = ""
        """What a start has to notice."""
        self.damaged = ""
        """What somebody will notice who reads it."""
        self.found = False
        """Whether somebody has."""
        self._hit = hit
        self._syncs = syncs
        self.failed = False
        """The process has ended in a write, or is about to, so that no other may follow."""
        self._kinds: tuple[str, ...] = ("any",)
        """Of the last write; kept up only while a fault waits."""
        self._number = 0
        self._synced_number = 0
        self._writes: deque[Written] = deque()
        self._unreadable: set[bytes] = set()
        self._mark_past: deque[bytes] = deque(maxlen=MARKS_REMEMBERED)
        self._identity = chance.randbytes(16)

    # -- the medium ------------------------------------------------------------------------------

    def open_mark(self) -> Mark:
        """The first thing that a new process does."""
        self.failed = False
        self._kinds = ("any",)
        if self.mark_slots is None:
            raise FileNotFoundError
        return _SimulatedMark(self, self.mark_slots)

    def create_mark(self, member_id: int) -> Mark:
        self.mark_slots = MemoryMark.blank(self._identity, member_id)
        self.mark_synced()
        return _SimulatedMark(self, self.mark_slots)

    def open_engine(self, config: StoreConfig) -> Self:
        if self.full:
            raise DiskFailed("no space left on device")
        self._synced_number = self._number  # LevelDB makes a synced table of its log
        return super().open_engine(config)

    def create_engine(self, config: StoreConfig, records: Sequence[Operation]) -> Self:
        self._writes.clear()
        self._unreadable.clear()
        self.must_refuse = self.damaged = ""
        return super().create_engine(config, records)

    # -- the engine ------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        if self._unreadable and key in self._unreadable:
            self._fail_read()
        return super().get(key)

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        found = super().scan(lo, hi, reverse=reverse)
        return readable(found, self._unreadable, self._fail_read) if self._unreadable else found

    def snapshot(self) -> MemorySnapshot:
        if self._unreadable:
            values, unreadable = self._values.copy(), self._unreadable.copy()
            return DamagedSnapshot(self._order.copy(), values, unreadable, self._fail_read)
        return super().snapshot()

    def write(self, operations: Iterable[Operation]) -> None:
        assert not self.failed, "a write after one that failed"
        batch = list(operations)
        if self.faults:
            self._kinds = kinds_of(batch, self._values)
            self._pass("before_write")
        if self.full:
            self._refuse("no space left on device")
        self._number += 1
        written = Written(self._number, self._number // WRITES_PER_LOG, batch, [])
        self._redo(written)
        self._writes.append(written)
        self._pass("before_sync")
        if self._syncs:
            self._synced_number = self._number
        if len(self._writes) > WRITES_REMEMBERED and self._writes[0].number <= self._synced_number:
            self._writes.popleft()

    @property
    def synced(self) -> bool:
        """Whether a power loss would take nothing."""
        return self._synced_number == self._number

    @property
    def known(self) -> int:
        """The newest batch that the mark knows of; 0 = none, or there is no mark."""
        if self.mark_slots is None:
            return 0
        return MemoryMark(bytearray(self.mark_slots)).figures.write_seq

    # -- what happens to it ----------------------------------------------------------------------

    def power_loss(self) -> None:
        """What was not synced is gone, except for a prefix of each write-ahead log."""
        unsynced = [written for written in self._writes if written.number > self._synced_number]
        by_log: dict[int, list[Written]] = {}
        for written in reversed(unsynced):
            self._undo(self._writes.pop())
            by_log.setdefault(written.log, []).insert(0, written)
        kept: list[Written] = []
        for log in sorted(by_log):
            kept += by_log[log][: self.chance.randint(0, len(by_log[log]))]
        self._restore(kept)
        if unsynced:
            self._hit("power_loss_kept_prefix" if kept else "power_loss_lost_all")
        self._synced_number = self._number
        self._set_back_mark()

    def lose(self, writes: int, kept: int = 0) -> bool:
        """Synced writes vanish, but for the `kept` newest of them; False = nothing was done.

        With none kept it is as if LevelDB's log had been cut, else as if one of two logs was gone.
        A mark that a power loss has set back may not know of what would be lost. Then nothing is
        done: nobody could detect it, and nobody promises to.
        """
        taken = [self._writes.pop() for _ in range(min(writes, len(self._writes)))]
        for written in taken:
            self._undo(written)
        taken.reverse()
        lost = taken[: max(0, len(taken) - kept)]
        self._restore(taken[len(lost) :])
        left, known = self._write_seq(), self.known
        gap = any(left > written.write_seq > 0 for written in lost)
        if not lost or not (gap or left < known or left >= self.acknowledged):
            for _ in taken[len(lost) :]:
                self._undo(self._writes.pop())
            self._restore(taken)
            return False
        self._mark_past.clear()  # no power loss takes the witness back
        if gap or left < known:
            self.must_refuse = self.damaged = f"writes are lost: {left} is left of {known}"
        return True

    def damage(self, *, served: bool = False) -> str:
        """One record does not read back any more; says which, or nothing if there is none. With
        `served` it is one of the state.

        A state record fails LevelDB's checksum when somebody reads it. Any other one reads back
        with a flipped bit, which its own checksum has to tell at the next start, if it is read.
        """
        keys = [k for k in self._order if k[:1] == record.STATE] if served else self._order
        if not keys:
            return ""
        key = self.chance.choice(keys)
        what = f"record {key!r} is damaged"
        if key[:1] == record.STATE:
            self._unreadable.add(key)
        else:
            self._values[key] = self._flipped(self._values[key])
            if len(key) == 1 or self._is_live(key):
                self.must_refuse = what
        self.damaged = what
        self._writes.clear()  # no power loss takes it back
        self._synced_number = self._number
        return what

    def damage_mark(self) -> None:
        """One bit of the mark is flipped. The other slot is all that a start needs."""
        if self.mark_slots is not None:
            self.mark_slots[:] = self._flipped(bytes(self.mark_slots))
            self.damaged = "a bit of the mark is flipped"

    def mend(self) -> None:
        """No more faults; damage stays."""
        self.faults.clear()
        self.full = self.stalled = False
        self.latency = (0.0, 0.0)

    # -- the mark --------------------------------------------------------------------------------

    def mark_written(self, figures: MarkFigures, write: Callable[[], None]) -> None:
        """Move the mark by `write`."""
        assert self.mark_slots is not None
        past = bytes(self.mark_slots)
        self._pass("before_mark")
        write()
        self._mark_past.append(past)
        if fault := self._due("in_mark"):
            cut = self.chance.randrange(len(past))
            self.mark_slots[:] = self.mark_slots[:cut] + past[cut:]
            self._strike(fault)
        self.acknowledged = figures.write_seq
        self._pass("before_send")

    def mark_synced(self) -> None:
        """No power loss sets the mark back behind what it says now."""
        self._mark_past.clear()

    def _set_back_mark(self) -> None:
        if self.mark_slots is not None and self._mark_past:
            newest = bytes(self.mark_slots)
            self.mark_slots[:] = self.chance.choice([*self._mark_past, newest])
            self._mark_past.clear()

    # -- faults ----------------------------------------------------------------------------------

    def reach(self, stage: str) -> None:
        """The process has come to a stage that is not one of a write."""
        self._kinds = ("any",)
        self._pass(stage)

    def _pass(self, stage: str) -> None:
        if self.faults and (fault := self._due(stage)):
            self._strike(fault)

    def _due(self, stage: str) -> Fault | None:
        for fault in self.faults:
            if fault.stage == stage and fault.kind in self._kinds:
                fault.skip -= 1
                if fault.skip < 0:
                    return fault
        return None

    def _strike(self, fault: Fault) -> None:
        self.faults.remove(fault)
        stage = fault.stage
        if fault.error:
            if stage == "before_sync" and self.chance.random() < 0.5:  # the kernel drops the pages
                self._undo(self._writes.pop())
            self._refuse(fault.error)
        self._hit(f"crash_{stage}")
        for kind in KINDS:
            if kind in self._kinds and kind in CRASH_MARKS:
                self._hit(CRASH_MARKS[kind])
        if fault.power:
            self.power_loss()
        self.failed = True
        raise MachineDied(f"{stage} of {' '.join(self._kinds)}{' by power' * fault.power}")

    def _fail_read(self) -> NoReturn:
        self._hit("damage_read")
        self.found = True
        raise ReadFailed

    def _refuse(self, error: str) -> NoReturn:
        self.failed = True
        self._hit("disk_error")
        raise WriteFailed(error)

    # -- records ---------------------------------------------------------------------------------

    def _redo(self, written: Written) -> None:
        """Apply a write and note what it replaces."""
        order, values = self._order, self._values
        before = written.before
        before.clear()
        for key, value in written.operations:
            old = values.get(key)
            before.append((key, old))
            if value is not None:
                if old is None:
                    insort(order, key)
                values[key] = value
            elif old is not None:
                del values[key]
                del order[bisect_left(order, key)]
        if self._unreadable:
            self._unreadable.difference_update([key for key, _ in written.operations])

    def _restore(self, writes: Iterable[Written]) -> None:
        for written in writes:
            self._redo(written)
            self._writes.append(written)

    def _undo(self, written: Written) -> None:
        before, written.before = written.before, []
        self._redo(Written(0, 0, before[::-1], []))

    def _flipped(self, content: bytes) -> bytes:
        flipped = bytearray(content)
        flipped[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
        return bytes(flipped)

    def _write_seq(self) -> int:
        head = self._values.get(record.HEAD)
        return record.decode_head(head).write_seq if head is not None else 0

    def _is_live(self, key: bytes) -> bool:
        """Whether it is an entry that the log still holds."""
        floor = self._values.get(record.FLOOR)
        boundary = record.decode_floor(floor).boundary.index if floor is not None else 0
        return key[:1] == record.ENTRY and record.entry_index(key) > boundary


class _SimulatedMark(MemoryMark):
    """The product's mark, on a disk that may fail before, in and after every update."""

    def __init__(self, disk: SimulatedDisk, slots: bytearray) -> None:
        super().__init__(slots)
        self._disk = disk

    def update(self, figures: MarkFigures) -> None:
        self._disk.mark_written(figures, partial(super().update, figures))

    def sync(self) -> None:
        self._disk.mark_synced()
