"""The durable log: what a batch carries to disk, and how the log is read back.

A `Batch` is everything that must become durable together: entries, hard state, the effects of
applied entries *with* the applied index, a new compaction boundary, an installed snapshot. Because
all of it is one atomic write of one engine, no crash can show an applied index without its effects
or a vote without its term.

The log is the half-open record of entries `first .. last`. `boundary` is the position just before
`first`: the last compacted entry (or the snapshot), whose term Raft still needs. Entries below
`first` may linger on disk until the writer sweeps them away (`swept` is the first one that may);
nobody reads them.

    records   … 5   6   7 | 8   9  10  11
              swept=5     boundary=7   last=11      first = 8

This module does not write: `store.commit` turns batches into operations.

Source: Raft §5.3 and §7; the layout of one ordered store for log and state is ours (ADR 2).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from store import record
from store.engine import Operation, Reader
from store.errors import Damaged, check
from store.record import HardState, LogEntry, Meta, Position

__all__ = [
    "Batch",
    "DurableLog",
    "HardState",
    "Install",
    "LogEntry",
    "LogImage",
    "Meta",
    "Position",
    "StoredEntry",
]


class StoredEntry(Protocol):
    """What the log needs to know of an entry. `kind` fits a byte, `data` is opaque."""

    @property
    def term(self) -> int: ...
    @property
    def index(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def data(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Install:
    """Last step of a snapshot install: the generation that holds the new state becomes current."""

    generation: int
    position: Position
    conf: bytes
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Batch:
    """What becomes durable together. Every field may be left out; an empty batch is a barrier.

    `entries` are contiguous and may replace the tail of the log: what was stored at or after their
    first index, and beyond their last, is gone in the same write.
    `effects` are full keys as `StateView.seal` returns them, and go with `applied`.
    `conf` is the membership in force at `applied`, opaque to the store.
    `digest` is an opaque running hash of the applied entries, kept with `applied`.
    `compact_to` drops all entries up to and including its index.
    `install` replaces log and state by a snapshot; the batch may add a hard state, nothing else.
    `discard` names a generation, not the current one, whose records are to be swept away.
    """

    entries: Sequence[StoredEntry] = ()
    hard_state: HardState | None = None
    applied: Position | None = None
    effects: Sequence[Operation] = ()
    conf: bytes | None = None
    digest: bytes = b""
    compact_to: Position | None = None
    install: Install | None = None
    discard: int | None = None


@dataclass(frozen=True, slots=True)
class LogImage:
    """What the disk holds at start, verified: every checksum, no gap, no term going back."""

    meta: Meta
    write_seq: int
    hard_state: HardState
    boundary: Position
    swept: int
    last: Position
    applied: Position
    digest: bytes
    conf_index: int
    conf: bytes
    generation: int
    tail: Sequence[LogEntry]
    """Newest entries, contiguous up to `last`, as many as the boot's byte budget allowed."""

    @property
    def first_index(self) -> int:
        """Index of the first entry that the log still holds (or will hold)."""
        return self.boundary.index + 1


class DurableLog:
    """Reads the log of an engine. Sees only what is durable; the loop caches what is not."""

    def __init__(self, engine: Reader) -> None:
        self._engine = engine

    def entries(self, lo: int, hi: int, bytes_max: int) -> list[LogEntry]:
        """Entries `[lo, hi)`, cut after `bytes_max` of data but never before the first.

        Raises:
            Damaged: an entry is missing or fails its checksum.
        """
        check(lo < hi, "an empty range of entries was asked for", lo, hi)
        found: list[LogEntry] = []
        room = bytes_max
        for entry in self.read(lo, hi):
            room -= len(entry.data)
            if found and room < 0:
                return found
            found.append(entry)
        if len(found) != hi - lo:
            raise Damaged(f"entry {lo + len(found)} is missing from the log")
        return found

    def term(self, index: int) -> int:
        """Term of a durable entry.

        Raises:
            Damaged: the entry is missing or fails its checksum.
        """
        value = self._engine.get(record.entry_key(index))
        if value is None:
            raise Damaged(f"entry {index} is missing from the log")
        return record.decode_entry(index, value).term

    def read(self, lo: int, hi: int) -> Iterator[LogEntry]:
        """Entries from `lo` up to `hi` or to the end of the log; a gap raises `Damaged`."""
        found = self._engine.scan(record.entry_key(lo), record.entry_key(hi))
        for index, (key, value) in enumerate(found, lo):
            if key != record.entry_key(index):
                raise Damaged(f"entry {index} is missing from the log")
            yield record.decode_entry(index, value)

    def load(self, tail_bytes_max: int) -> LogImage:
        """Read and verify all that is needed to start.

        Raises:
            Damaged: a record is missing, fails its checksum, or contradicts another one.
            FormatTooNew: a newer release wrote it.
        """
        meta = record.decode_meta(self._single(record.META))
        head = record.decode_head(self._single(record.HEAD))
        floor = record.decode_floor(self._single(record.FLOOR))
        applied, digest = record.decode_applied(self._single(record.APPLIED))
        conf_index, conf = record.decode_conf(self._single(record.CONF))
        tail = self._verified_tail(floor.boundary, head.last, tail_bytes_max)
        image = LogImage(
            meta=meta,
            write_seq=head.write_seq,
            hard_state=head.hard_state,
            boundary=floor.boundary,
            swept=floor.swept,
            last=head.last,
            applied=applied,
            digest=digest,
            conf_index=conf_index,
            conf=conf,
            generation=record.decode_generation(self._single(record.GENERATION)),
            tail=tail,
        )
        _verify_relations(image)
        self._verify_batons(head.write_seq)
        return image

    def _single(self, key: bytes) -> bytes:
        value = self._engine.get(key)
        if value is None:
            raise Damaged(f"record {key!r} is missing")
        return value

    def _verify_batons(self, write_seq: int) -> None:
        """Exactly one group, the newest, still has its baton; see `store.commit`.

        None at all has a database that was written before there were batons.
        """
        for key, _ in self._engine.scan(record.BATON, record.after_prefix(record.BATON)):
            held = record.entry_index(key)
            if held != write_seq:
                raise Damaged(f"what was written after batch {held} is missing")

    def _verified_tail(
        self, boundary: Position, last: Position, bytes_max: int
    ) -> Sequence[LogEntry]:
        tail: deque[LogEntry] = deque()
        previous = boundary
        room = bytes_max
        if boundary.index == record.INDEX_MAX:
            raise Damaged("the log is compacted up to the last index that there is")
        for entry in self.read(boundary.index + 1, record.INDEX_MAX):
            if entry.term < previous.term:
                raise Damaged(f"entry {entry.index} has term {entry.term} after {previous.term}")
            previous = Position(entry.index, entry.term)
            tail.append(entry)
            room -= len(entry.data)
            while room < 0:
                room += len(tail.popleft().data)
        if previous != last:
            raise Damaged(f"the log ends at {previous} and not at {last}")
        return list(tail)


def _verify_relations(image: LogImage) -> None:
    """The order that the indices keep by construction; anything else is not our writing."""
    commit = image.hard_state.commit
    if not image.boundary.index <= image.applied.index <= commit <= image.last.index:
        raise Damaged(
            f"boundary {image.boundary.index}, applied {image.applied.index}, commit {commit} and "
            f"last {image.last.index} are out of order"
        )
    if image.conf_index > image.applied.index:
        raise Damaged(f"membership of {image.conf_index} is ahead of applied {image.applied.index}")
    if image.hard_state.term < image.last.term:
        raise Damaged(f"term {image.hard_state.term} is behind the log's {image.last.term}")
