"""The engine on LevelDB; the only importer of plyvel.

What is switched on and why:

- `paranoid_checks`: otherwise a damaged block of the write-ahead log is skipped and the records in
  it vanish from the middle of the log.
- `verify_checksums` on every read: otherwise a flipped bit in a table is served as good data.
- `sync=True` on every write, `transaction=True` so that a half-built batch is never written.
- `rewrite` writes beside the one writing thread, which LevelDB allows: two keys that nobody reads.
- no compression: files stay mapped into memory, and each read verifies the block that it touches.
- every table is opened at the start: LevelDB opens it when it is needed, and takes one that was
  deleted by then for one without the key that is asked for. What is open stays readable.
- the directory is synced after LevelDB created a file in it, which LevelDB itself does only when
  it writes a manifest: without that, a power cut can lose a whole write-ahead log.

Threads: LevelDB allows reads beside the one writing thread, and plyvel releases the GIL in gets,
writes and compactions. `close` while another thread is inside a call is a use after free: join the
writer first. A process that opened a database must not fork: LevelDB's background thread does not
survive it, and the child would hang at its first flush.
"""

import errno
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import plyvel

from store.config import StoreConfig
from store.engine import Operation, Reader

DAMAGE: Final[tuple[type[Exception], ...]] = (plyvel.CorruptionError,)
"""What LevelDB raises when bytes are not what it wrote."""
REFUSED: Final[tuple[type[Exception], ...]] = (plyvel.IOError,)
"""What it raises when the system does not let it read or write, for want of descriptors for
instance: that says nothing about the bytes."""
_TABLE: Final = re.compile(rb"^ \d+:\d+\['(.*)' @ \d+ : \d+\]$", re.MULTILINE)
"""A table in LevelDB's own list: its first key, `_BETWEEN`, and its last key."""
_BETWEEN: Final = re.compile(rb"' @ \d+ : \d+ \.\. '")
_ESCAPED: Final = re.compile(rb"\\x([0-9a-f]{2})")
_RACY_NS: Final = 20_000_000


def describe_failure(error: BaseException) -> str:
    """LevelDB's own words, which plyvel hands over as bytes."""
    words = [
        word.decode(errors="replace") if isinstance(word, bytes) else str(word)
        for word in error.args
    ]
    return " ".join(words)


class LevelDBEngine:
    """One open database. Every write is atomic and synced."""

    failures: tuple[type[Exception], ...] = (plyvel.Error, OSError)

    def __init__(self, path: Path, config: StoreConfig, *, create: bool = False) -> None:
        """Open the database in `path`, or create it there.

        Raises:
            plyvel.Error: LevelDB refuses: damage, missing files, a lock held in this process.
        """
        self._path = path
        self._db: Any = plyvel.DB(
            os.fspath(path),
            create_if_missing=create,
            error_if_exists=create,
            paranoid_checks=True,
            write_buffer_size=config.write_buffer_bytes,
            max_open_files=config.files_open_max,
            lru_cache_size=config.block_cache_bytes,
            block_size=config.block_bytes,
            max_file_size=config.table_bytes,
            bloom_filter_bits=config.bloom_bits_per_key,
            compression=None,
        )
        self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._directory_synced_ns = 0
        self._sizes: dict[str, int] = {}
        """Of the files with a suffix, when they were last looked at."""
        try:
            self._sync_directory_if_changed()
            self._open_tables()
        except BaseException:
            self.close()
            raise
        # An attribute rather than a method: state reads are hot and need no Python frame of ours.
        self.get: Callable[[bytes], bytes | None] = partial(self._db.get, verify_checksums=True)

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return _scan(self._db, b"", lo, hi, reverse)

    def prefixed(self, prefix: bytes) -> Reader:
        return _Prefixed(self._db, prefix)

    def write(self, operations: Iterable[Operation]) -> None:
        with self._db.write_batch(transaction=True, sync=True) as batch:
            put, delete = batch.put, batch.delete
            for key, value in operations:
                if value is None:
                    delete(key)
                else:
                    put(key, value)
        self._sync_directory_if_changed()

    def snapshot(self) -> "LevelDBSnapshot":
        return LevelDBSnapshot(self._db.snapshot())

    def size_on_disk(self) -> int:
        return self._bytes_of_files("")

    def size_of(self, lo: bytes, hi: bytes) -> int:
        return int(self._db.approximate_size(lo, hi))

    def unsettled_bytes(self) -> int:
        """Write-ahead logs: their records are in no table yet."""
        return self._bytes_of_files(".log")

    def compact(self, lo: bytes, hi: bytes) -> None:
        self._db.compact_range(start=lo, stop=hi or None)

    def rewrite(self, lo: bytes, hi: bytes) -> None:
        """LevelDB merges tables downwards only where one lies above another. What was overwritten
        inside of one table, or in the lowest ones, it leaves for ever. So a table is put above all
        of them: of two deletions of what is not there, one at each end of the range. The first pass
        brings everything out of memory, the second one merges it.

        Nothing is lost if these deletions are.
        """
        for _ in range(2):
            with self._db.write_batch(sync=True) as ends:
                ends.delete(lo)
                ends.delete(_before(hi))
            self._db.compact_range(start=lo, stop=hi)

    def close(self) -> None:
        if not self._db.closed:
            self._db.close()
            os.close(self._directory)

    def _open_tables(self) -> None:
        """Open what is there; what will be made is open from the start, because LevelDB checks it.

        A position at a key opens, on each level, the table that it falls into. Where the list can
        be read in several ways, because it does not escape all that it should, all are tried.

        Raises:
            plyvel.Error: a table cannot be opened.
        """
        listed = self._db.get_property(b"leveldb.sstables") or b""
        with closing(self._db.raw_iterator(verify_checksums=True)) as position:
            for table in _TABLE.findall(listed):
                for cut in _BETWEEN.finditer(table):
                    for end in (table[: cut.start()], table[cut.end() :]):
                        for key in {end, _ESCAPED.sub(_unescaped, end)}:
                            position.seek(key)

    def _bytes_of_files(self, suffix: str) -> int:
        """A figure is not worth a process: without a descriptor to look by it is what it was."""
        total = 0
        try:
            with os.scandir(self._path) as files:
                for file in files:
                    if not file.name.endswith(suffix):
                        continue
                    try:
                        total += file.stat().st_size
                    except FileNotFoundError:  # a compaction just removed it
                        continue
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            return self._sizes.get(suffix, 0)
        self._sizes[suffix] = total
        return total

    def _sync_directory_if_changed(self) -> None:
        """Make a new log file findable after a power cut, before what it holds is acknowledged.

        The directory's time of change has the granularity of a kernel tick: as long as it is that
        young, a second file may hide behind the same time, so it is not remembered yet.
        """
        changed_ns = os.fstat(self._directory).st_mtime_ns
        if changed_ns == self._directory_synced_ns:
            return
        os.fsync(self._directory)
        # Compared with file times, which are wall clock; a jump only costs one more sync.
        settled = abs(time.time_ns() - changed_ns) > _RACY_NS
        self._directory_synced_ns = changed_ns if settled else 0


class LevelDBSnapshot:
    """The database at one instant."""

    def __init__(self, snapshot: Any) -> None:
        self._snapshot = snapshot

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._snapshot.get(key, verify_checksums=True)
        return value

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return _scan(self._snapshot, b"", lo, hi, reverse)

    def close(self) -> None:
        self._snapshot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Prefixed:
    """plyvel adds and strips the prefix in C."""

    def __init__(self, whole: Any, prefix: bytes) -> None:
        self._whole = whole
        self._prefix = prefix
        self._records = whole.prefixed_db(prefix)
        self.get: Callable[[bytes], bytes | None] = partial(
            self._records.get, verify_checksums=True
        )

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return _scan(self._records, self._prefix, lo, hi, reverse, self._whole)


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode())


def _before(hi: bytes) -> bytes:
    """A key below `hi` and above nearly all others that are: 73 ff for 74."""
    return hi[:-1] + bytes((hi[-1] - 1,)) + b"\xff" * 32


def _scan(
    reader: Any, prefix: bytes, lo: bytes, hi: bytes, reverse: bool, whole: Any = None
) -> Iterator[tuple[bytes, bytes]]:
    """A plyvel iterator is bound to the state at its creation, which is what `scan` promises.

    LevelDB has no range with lo > hi; to our callers it is an empty one. On the way down plyvel
    1.5 forgets a record at `start` if it is the first one that it meets: the bound is kept here.
    So it is on the way up, where an iterator without `start` can be asked how it ended.
    """
    if hi and lo >= hi:
        return iter(())
    found = reader.iterator(stop=hi or None, reverse=reverse, verify_checksums=True)
    if not reverse:
        found.seek(lo)
    records = chain(found, _judged(found, reader if whole is None else whole, prefix + lo))
    return _down_to(lo, records) if reverse and lo else records


def _judged(found: Any, whole: Any, lo: bytes) -> Iterator[tuple[bytes, bytes]]:
    """No records, but the error that a scan which found no more of them may have met.

    LevelDB steps over a block that it cannot read, and remembers that it did; plyvel looks at this
    before it hands out the next record, but not when there is no next record. A scan would then
    miss what the last blocks hold and look complete. Stepping back onto any record makes plyvel
    look; where there is none to stand on, a second iterator walks over the same blocks.
    """
    try:
        found.prev()
    except StopIteration:
        with closing(whole.raw_iterator(verify_checksums=True)) as again:
            again.seek(lo)
    yield from ()


def _down_to(lo: bytes, records: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for record in records:
        if record[0] < lo:
            return
        yield record
