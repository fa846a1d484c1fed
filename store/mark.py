"""The lost-tail detector: a note, kept outside the database, of what was acknowledged.

LevelDB opens without complaint after its write-ahead log was truncated, emptied or deleted: it
takes a short tail for a crashed writer. Raft would then forget votes and acknowledged entries. So
the writer notes after each sync, and before anything is acknowledged, how far the disk got; at
boot a database that is behind its mark is not to be trusted.

The file is a shared memory map of two slots, each with its own CRC, written in turn, so that a
process killed in the middle of an update leaves the other slot whole. Updates are not synced: the
page cache outlives the process, and after a power cut an older mark merely detects less. Boot syncs
it before anything can be acknowledged, so that it never comes back at 0, which would have the next
start begin anew. It lives *beside* the data directory, so that deleting the directory does not
delete the witness.

    write_seq 0        creation of the database has begun; nothing was ever acknowledged
    write_seq n        the batch n is on disk

Source: etcd issues 13509 and 16220 tell what happens without such a witness.
"""

import mmap
import os
from pathlib import Path
from struct import Struct
from zlib import crc32

from msgspec import Struct as Record

from store.errors import Damaged, check

_MAGIC = b"cnmk"
_SLOT = Struct(">4s16sQQQQQQ")
_CRC = Struct(">I")
_SLOT_BYTES = 128
_FILE_BYTES = 2 * _SLOT_BYTES


class MarkFigures(Record, frozen=True, gc=False):
    """What one slot says."""

    uuid: bytes
    member_id: int
    write_seq: int
    term: int
    vote: int
    last_index: int
    last_term: int


class Mark:
    """An open mark file. One process, one thread at a time."""

    _slots: mmap.mmap | bytearray
    _figures: MarkFigures
    _slot: int
    """Which slot holds `_figures`."""

    def __init__(self, path: Path) -> None:
        """Map an existing mark.

        Raises:
            FileNotFoundError: there is none.
            Damaged: no slot is whole.
        """
        slots = _map(path)
        try:
            self._adopt(slots, path.name)
        except Damaged:
            slots.close()
            raise

    @classmethod
    def create(cls, path: Path, uuid: bytes, member_id: int) -> "Mark":
        """Write a mark with sequence 0, replacing an older one of the same kind, and sync it."""
        fresh = path.with_name(path.name + ".new")
        fresh.write_bytes(_blank(uuid, member_id))
        _sync(fresh)
        fresh.rename(path)
        _sync(path.parent)
        return cls(path)

    @property
    def figures(self) -> MarkFigures:
        """The newest update that is whole."""
        return self._figures

    def update(self, figures: MarkFigures) -> None:
        """Note what has just been synced. Survives this process, not the kernel."""
        check(figures.write_seq > self._figures.write_seq, "the mark went back", figures)
        self._slot ^= 1
        start = self._slot * _SLOT_BYTES
        self._slots[start : start + _SLOT.size + _CRC.size] = _encode(figures)
        self._figures = figures

    def sync(self) -> None:
        """Have what was noted survive the kernel as well."""
        if isinstance(self._slots, mmap.mmap):
            self._slots.flush()

    def close(self) -> None:
        """Unmap. The file stays."""
        if isinstance(self._slots, mmap.mmap):
            self._slots.close()

    def _adopt(self, slots: mmap.mmap | bytearray, name: str) -> None:
        """Take up what the two slots say."""
        self._slots = slots
        found = [figures for slot in (0, 1) if (figures := self._read(slot)) is not None]
        if not found:
            raise Damaged(f"{name} has no intact slot")
        self._figures = max(found, key=lambda figures: figures.write_seq)
        self._slot = 0 if self._read(0) == self._figures else 1

    def _read(self, slot: int) -> MarkFigures | None:
        start = slot * _SLOT_BYTES
        return _decode(bytes(self._slots[start : start + _SLOT.size + _CRC.size]))


class MemoryMark(Mark):
    """A mark without a file: its two slots are a buffer that its owner keeps over restarts."""

    def __init__(self, slots: bytearray) -> None:
        """Take up a buffer that `blank` has made.

        Raises:
            Damaged: no slot is whole.
        """
        self._adopt(slots, "the mark")

    @staticmethod
    def blank(uuid: bytes, member_id: int) -> bytearray:
        """The slots of a mark with sequence 0."""
        return bytearray(_blank(uuid, member_id))


def _blank(uuid: bytes, member_id: int) -> bytes:
    return _encode(MarkFigures(uuid, member_id, 0, 0, 0, 0, 0)).ljust(_FILE_BYTES, b"\0")


def _encode(figures: MarkFigures) -> bytes:
    body = _SLOT.pack(
        _MAGIC,
        figures.uuid,
        figures.member_id,
        figures.write_seq,
        figures.term,
        figures.vote,
        figures.last_index,
        figures.last_term,
    )
    return body + _CRC.pack(crc32(body))


def _decode(raw: bytes) -> MarkFigures | None:
    body, crc = raw[: _SLOT.size], raw[_SLOT.size :]
    if crc != _CRC.pack(crc32(body)) or not body.startswith(_MAGIC):
        return None
    return MarkFigures(*_SLOT.unpack(body)[1:])


def _map(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if size != _FILE_BYTES:
            raise Damaged(f"{path.name} has {size} bytes instead of {_FILE_BYTES}")
        return mmap.mmap(descriptor, _FILE_BYTES)
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
