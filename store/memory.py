"""The engine in memory, for tests and the simulator.

The same contract as LevelDB's, atomic writes included; "stable storage" is the object itself: keep
it, drop everything above it, and a crash has happened. So it is a `store.medium.Medium` as well,
with the bytes of the mark that lies beside the database.

`before_write` and `after_write` are ports for faults: an exception from the first stands for a
write that did not happen, from the second for one that did although nobody will hear of it.

Not for large data: a scan copies the range that it will show.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock
from types import TracebackType
from typing import Self

from store import record
from store.config import StoreConfig
from store.engine import Operation, Reader
from store.errors import check
from store.mark import Mark, MemoryMark

FaultPoint = Callable[[Sequence[Operation]], None]


class MemoryEngineFailed(Exception):
    """What a fault point raises to play a failing disk."""


class _Records:
    """Sorted keys beside a dict; both readers are this."""

    def __init__(self, order: list[bytes], values: dict[bytes, bytes]) -> None:
        self._order = order
        self._values = values
        self._closed = False
        self._lock = Lock()

    def get(self, key: bytes) -> bytes | None:
        check(not self._closed, "a read after close")
        return self._values.get(key)

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        check(not self._closed, "a scan after close")
        with self._lock:
            start = bisect_left(self._order, lo)
            stop = bisect_left(self._order, hi) if hi else len(self._order)
            found = [(key, self._values[key]) for key in self._order[start:stop]]
        return reversed(found) if reverse else iter(found)

    def close(self) -> None:
        self._closed = True


class MemorySnapshot(_Records):
    """A copy of all records."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class MemoryEngine(_Records):
    """A dict with sorted keys. One thread writes, any thread reads."""

    failures: tuple[type[Exception], ...] = (MemoryEngineFailed,)

    def __init__(
        self, *, before_write: FaultPoint | None = None, after_write: FaultPoint | None = None
    ) -> None:
        super().__init__([], {})
        self.before_write = before_write
        self.after_write = after_write
        self.mark_slots: bytearray | None = None
        """Bytes of the mark; None = there is none."""

    # -- as a medium -----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return "the memory"

    @property
    def mark_name(self) -> str:
        return "the mark"

    def open_mark(self) -> Mark:
        if self.mark_slots is None:
            raise FileNotFoundError
        return MemoryMark(self.mark_slots)

    def create_mark(self, member_id: int) -> Mark:
        self.mark_slots = MemoryMark.blank(bytes(16), member_id)
        return self.open_mark()

    def holds_database(self) -> bool:
        return bool(self._values)

    def open_engine(self, config: StoreConfig) -> Self:
        self._closed = False
        return self

    def create_engine(self, config: StoreConfig, records: Sequence[Operation]) -> Self:
        self._closed = False
        self._order.clear()
        self._values.clear()
        self.write(records)
        return self

    # -- as an engine ----------------------------------------------------------------------------

    def prefixed(self, prefix: bytes) -> Reader:
        return _Prefixed(self, prefix)

    def write(self, operations: Iterable[Operation]) -> None:
        check(not self._closed, "a write after close")
        batch = list(operations)
        if self.before_write is not None:
            self.before_write(batch)
        with self._lock:
            for key, value in batch:
                _apply(self._order, self._values, key, value)
        if self.after_write is not None:
            self.after_write(batch)

    def snapshot(self) -> MemorySnapshot:
        with self._lock:
            return MemorySnapshot(self._order.copy(), self._values.copy())

    def size_on_disk(self) -> int:
        return sum(len(key) + len(value) for key, value in self._values.items())

    def size_of(self, lo: bytes, hi: bytes) -> int:
        return sum(len(key) + len(value) for key, value in self.scan(lo, hi))

    def unsettled_bytes(self) -> int:
        """Everything can be looked up."""
        return 0

    def compact(self, lo: bytes, hi: bytes) -> None:
        """Deleted records take no space here."""

    def rewrite(self, lo: bytes, hi: bytes) -> None:
        """See `compact`."""


class _Prefixed:
    def __init__(self, records: Reader, prefix: bytes) -> None:
        self._records = records
        self._prefix = prefix
        self._after = record.after_prefix(prefix)

    def get(self, key: bytes) -> bytes | None:
        return self._records.get(self._prefix + key)

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        stop = self._prefix + hi if hi else self._after
        skip = len(self._prefix)
        records = self._records.scan(self._prefix + lo, stop, reverse=reverse)
        return ((key[skip:], value) for key, value in records)


def _apply(order: list[bytes], values: dict[bytes, bytes], key: bytes, value: bytes | None) -> None:
    if value is None:
        if values.pop(key, None) is not None:
            del order[bisect_left(order, key)]
        return
    if key not in values:
        insort(order, key)
    values[key] = value
