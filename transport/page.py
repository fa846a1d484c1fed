"""Numbers in shared memory: one process writes a page, others read it without asking anybody.

A page is a row of sections; a section is a fixed number of unsigned 64-bit fields. The reader gets
a consistent copy of a section also while its writer is stopped, killed in the middle of an update,
or long dead: an update goes to the older of two copies, under a new sequence number and a checksum,
and the reader takes the newest copy whose checksum holds.

    section  ──┬── copy 0: sequence u64 | field … | crc u64
               └── copy 1: sequence u64 | field … | crc u64          update n writes copy n mod 2

A plain sequence lock would do with one copy, but its reader can say nothing while the writer is
stopped half-way; and Python has no memory fences, so that on some machines an even sequence number
would not prove that the fields before it have arrived. The checksum does.

These numbers are for people and metrics. Nothing that must be right is built on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from mmap import mmap
from struct import Struct as Layout
from typing import Final
from zlib import crc32

import msgspec

from transport.region import map_region, reserve

WORD: Final = 8
READ_ATTEMPTS: Final = 8
"""A reader can lose a race only against a writer that updates twice while it copies once."""

_WORD: Final = Layout("<Q")


class Shape(msgspec.Struct, frozen=True):
    """How a page is divided: the number of fields of each section, in order."""

    sections: tuple[int, ...]

    def size(self) -> int:
        """Return the bytes that the page needs."""
        return sum(2 * _copy_bytes(fields) for fields in self.sections)

    def offset(self, section: int) -> int:
        """Return where a section begins."""
        return sum(2 * _copy_bytes(fields) for fields in self.sections[:section])


class Image(msgspec.Struct, frozen=True):
    """A consistent copy of one section."""

    sequence: int
    """Counts the updates of the section, from 1, over all writers that the page has had."""
    fields: tuple[int, ...]
    torn: bool
    """True when a newer update has been begun and not been finished so far."""


def create_page(file: str | int, shape: Shape) -> None:
    """Make a new file or memfd a page on which nothing has been written.

    Raises:
        OSError: there is no room.
    """
    reserve(file, shape.size())


class PageWriter:
    """The one writer of a page. What an earlier writer left stays until it is overwritten."""

    def __init__(self, path: str, shape: Shape) -> None:
        """Map the page.

        Raises:
            RegionUnusable: there is no page of this size.
        """
        self._map = map_region(path, shape.size(), writable=True)
        self._places = _places(shape)
        self._layouts = [Layout(f"<{fields + 1}Q") for fields in shape.sections]
        self._sequences = [_newest(_copies(self._map, place))[0] for place in self._places]

    def update(self, section: int, fields: Sequence[int]) -> None:
        """Replace all fields of a section.

        Raises:
            struct.error: wrong number of fields, or one that is no unsigned 64-bit number.
        """
        sequence = self._sequences[section] + 1
        offset, copy_bytes = self._places[section]
        start = offset + (sequence & 1) * copy_bytes
        body = self._layouts[section].pack(sequence, *fields)
        self._map[start : start + copy_bytes] = body + _WORD.pack(crc32(body))
        self._sequences[section] = sequence

    def close(self) -> None:
        """Unmap; the numbers stay readable."""
        self._map.close()


class PageReader:
    """Reads a page that some other process writes, has written, or will write."""

    def __init__(self, path: str, shape: Shape) -> None:
        """Map the page for reading.

        Raises:
            RegionUnusable: there is no page of this size.
        """
        self._map = map_region(path, shape.size(), writable=False)
        self._places = _places(shape)
        self._layouts = [Layout(f"<{fields}Q") for fields in shape.sections]

    def read(self, section: int) -> Image | None:
        """Return the newest finished update, or None when there has never been one."""
        for _ in range(READ_ATTEMPTS):
            copies = _copies(self._map, self._places[section])
            sequence, body = _newest(copies)
            if body:
                torn = any(not _whole(copy) and any(copy) for copy in copies)
                return Image(sequence, self._layouts[section].unpack_from(body, WORD), torn)
        return None

    def close(self) -> None:
        """Unmap."""
        self._map.close()


def _places(shape: Shape) -> list[tuple[int, int]]:
    """Return (offset, bytes of one copy) of each section."""
    return [
        (shape.offset(section), _copy_bytes(fields))
        for section, fields in enumerate(shape.sections)
    ]


def _copy_bytes(fields: int) -> int:
    return (fields + 2) * WORD


def _copies(region: mmap, place: tuple[int, int]) -> tuple[bytes, bytes]:
    offset, size = place
    return region[offset : offset + size], region[offset + size : offset + 2 * size]


def _whole(copy: bytes) -> bool:
    """Return whether this copy is a finished update; zeros, which a new page holds, are none."""
    (sequence,) = _WORD.unpack_from(copy)
    (crc,) = _WORD.unpack_from(copy, len(copy) - WORD)
    return bool(sequence) and bool(crc == crc32(copy[:-WORD]))


def _newest(copies: tuple[bytes, bytes]) -> tuple[int, bytes]:
    """Return the sequence and the bytes of the newest whole copy, or (0, b"")."""
    whole = [(_WORD.unpack_from(copy)[0], copy) for copy in copies if _whole(copy)]
    return max(whole, default=(0, b""))
