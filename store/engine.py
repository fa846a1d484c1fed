"""The port to an ordered map of bytes on disk.

Keys sort as unsigned bytes and ranges are half-open. An engine offers exactly what the members of
this folder need: reads, one atomic durable write, consistent snapshots. Unsynced writes are absent
on purpose (a later synced write would not cover them across a change of log file), and so are
column families, merge operators and expiry.

`store.leveldb` is the real one, `store.memory` the one for tests and the simulator; the contract
suite `tests/store/test_engine.py` runs over both.

Threads: one thread writes, any thread reads; `close` comes after all of them are done.
"""

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self

Operation = tuple[bytes, bytes | None]
"""Key (not empty) and new value; None deletes. Deleting what is not there is no error."""


class Reader(Protocol):
    """Sorted bytes to look at."""

    def get(self, key: bytes, /) -> bytes | None:
        """The value of `key`, None when there is none."""

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Records with `lo <= key < hi` in key order, or from the top down.

        The iterator shows the records as they were when `scan` was called, whatever is written
        while it is consumed. An empty `hi` means "to the end".
        """


class EngineSnapshot(Reader, Protocol):
    """The engine as it was at one instant. Holds disk space until it is closed."""

    def close(self) -> None:
        """Let go; reads afterwards are errors."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Engine(Reader, Protocol):
    """A reader that can be written."""

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What reads and writes raise when the disk, not the caller, is at fault."""

    def prefixed(self, prefix: bytes) -> Reader:
        """The records below `prefix`, shown without it. As fast as the engine itself.

        No record has the bare prefix as its key: keys are not empty here either.
        """

    def write(self, operations: Iterable[Operation]) -> None:
        """Apply all operations in order, atomically, and return when they are on stable storage.

        After an exception of `failures` nothing is known about the disk: the caller must neither
        retry nor read what it wrote, but end the process.
        """

    def snapshot(self) -> EngineSnapshot:
        """A reader that later writes do not reach."""

    def size_on_disk(self) -> int:
        """Bytes of all files, dead records included."""

    def size_of(self, lo: bytes, hi: bytes) -> int:
        """About how many bytes of the files the records of `[lo, hi)` take, dead ones included.

        What was written lately counts as little as `unsettled_bytes` says. Costs a microsecond.
        """

    def unsettled_bytes(self) -> int:
        """Bytes of what was written lately, whatever it is: no key can be looked up in it yet."""

    def compact(self, lo: bytes, hi: bytes) -> None:
        """Give back the space of deleted records in `[lo, hi)`. Blocks; reads and writes go on."""

    def rewrite(self, lo: bytes, hi: bytes) -> None:
        """Give back the space of all dead records in `[lo, hi)`, whatever that costs.

        Blocks; reads and writes go on. Any thread may call it, one at a time. `lo` and `hi` are not
        empty, and no record is below `lo` + 00 or at `hi` - 1.
        """

    def close(self) -> None:
        """Release files and memory. Idempotent."""
