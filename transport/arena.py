"""Payloads in shared memory: one member writes its arena, the others copy out of it.

An arena carries bytes only. That a payload exists, and in which order, is told by a `Descriptor`
which travels in a frame *after* the bytes are in place. There is no lock and no index that two
processes share, so nothing can be left behind by a process that dies: the free list is private to
the writer, and a reader never writes.

A slot is free again when the reader has acknowledged its frame, when that reader has died, or when
it is older than `age_ns_max`: a reader that was stopped must not hold the arena for ever. So a slot
may be overwritten while a slow reader copies it. The reader notices, because it checks afterwards
that the slot still carries the descriptor's ticket and that the copy has the descriptor's checksum;
what fails is a lost message, which Raft repairs. For the same reason no view into the arena is ever
handed out: a payload is a private copy or it is nothing.

    byte 0     magic 8s | generation of the writer u64 | reserved, up to one page
    page 1…    slots of whole pages: generation u64 | ticket u64 | payload | slack

Tickets count up from 1 within a generation, which is drawn anew whenever a writer opens the arena.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from struct import Struct as Layout
from struct import error as LayoutError  # noqa: N812  (struct.error is a class)
from typing import Final
from zlib import crc32

import msgspec

from transport.region import RegionUnusable, map_region, reserve

ARENA_BYTES: Final = 16 << 20
"""Twice what one peer may have in flight, so that a stopped peer does not starve the others."""

PAGE_BYTES: Final = 4096
_MAGIC: Final = b"cnclarn1"
_HEADER: Final = Layout("<8sQ")
_SLOT: Final = Layout("<QQ")
_DESCRIPTOR: Final = Layout("<QQQII")


class Descriptor(msgspec.Struct, frozen=True, gc=False):
    """Where one payload lies, and how to tell whether it still does."""

    generation: int
    ticket: int
    offset: int
    """Of the slot, from the start of the region; a multiple of the page size."""
    length: int
    crc: int

    def encode(self) -> bytes:
        """Return the bytes that travel in a frame."""
        return _DESCRIPTOR.pack(self.generation, self.ticket, self.offset, self.length, self.crc)

    @staticmethod
    def decode(data: bytes) -> Descriptor | None:
        """Return the descriptor that `data` is, or None when it has another size."""
        try:
            return Descriptor(*_DESCRIPTOR.unpack(data))
        except LayoutError:
            return None


def create_arena(file: str | int, size: int = ARENA_BYTES) -> None:
    """Make a new file or memfd an arena of `size` bytes, one page of which is the header.

    Raises:
        OSError: there is no room.
    """
    reserve(file, size)


class Arena:
    """The writer's side. One per member, used by one thread."""

    def __init__(
        self,
        path: str,
        generation: int,
        *,
        age_ns_max: int,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Take an arena over. Every slot of earlier generations is free at once.

        Raises:
            RegionUnusable: `path` is no region that can be written.
        """
        self._map = map_region(path, 2 * PAGE_BYTES, writable=True)
        self._generation = generation
        self._age_ns_max = age_ns_max
        self._clock_ns = clock_ns
        self._space = _Space(PAGE_BYTES, len(self._map) // PAGE_BYTES * PAGE_BYTES)
        self._slots: dict[int, tuple[int, int, int]] = {}  # ticket -> (lo, hi, stored at), by age
        self._last_ticket = 0
        _HEADER.pack_into(self._map, 0, _MAGIC, generation)

    def put(self, payload: bytes) -> Descriptor | None:
        """Store a payload; None when there is no room, and the bytes must travel otherwise."""
        size = -(-(_SLOT.size + len(payload)) // PAGE_BYTES) * PAGE_BYTES
        now = self._clock_ns()
        lo = self._space.take(size)
        if lo is None:
            self._release_aged(now)
            lo = self._space.take(size)
        if lo is None:
            return None
        ticket = self._last_ticket = self._last_ticket + 1
        self._slots[ticket] = (lo, lo + size, now)
        # The ticket first: whoever still copies the slot's former payload finds out by it.
        _SLOT.pack_into(self._map, lo, self._generation, ticket)
        start = lo + _SLOT.size
        self._map[start : start + len(payload)] = payload
        return Descriptor(self._generation, ticket, lo, len(payload), crc32(payload))

    def release(self, descriptor: Descriptor) -> None:
        """Free the slot of a payload that nobody will ask for again; idempotent."""
        slot = self._slots.pop(descriptor.ticket, None)
        if slot is not None:
            self._space.give(slot[0], slot[1])

    def live(self) -> int:
        """Return how many slots are taken."""
        return len(self._slots)

    def close(self) -> None:
        """Unmap; slots that are still referred to become unreadable only when they are reused."""
        self._map.close()

    def _release_aged(self, now: int) -> None:
        aged = []
        for ticket, (_, _, stored) in self._slots.items():
            if now - stored <= self._age_ns_max:
                break
            aged.append(ticket)
        for ticket in aged:
            lo, hi, _ = self._slots.pop(ticket)
            self._space.give(lo, hi)


class ArenaReader:
    """The other side: copies payloads out of one peer's arena."""

    def __init__(self, path: str) -> None:
        """Map a peer's arena for reading.

        Raises:
            RegionUnusable: `path` is no arena that a member has opened.
        """
        self._map = map_region(path, 2 * PAGE_BYTES, writable=False)
        if _HEADER.unpack_from(self._map)[0] != _MAGIC:
            self._map.close()
            raise RegionUnusable(path, "no arena")

    def get(self, descriptor: Descriptor) -> bytes | None:
        """Return a private copy of a payload, or None when it is not there (any more)."""
        start = descriptor.offset + _SLOT.size
        end = start + descriptor.length
        if descriptor.offset < PAGE_BYTES or end > len(self._map) or not descriptor.ticket:
            return None  # no slot, or one that no ticket was ever written to
        payload = self._map[start:end]
        # Both checks look at the time after the copy: a slot that was right before proves nothing.
        if _SLOT.unpack_from(self._map, descriptor.offset) != (
            descriptor.generation,
            descriptor.ticket,
        ):
            return None
        return payload if crc32(payload) == descriptor.crc else None

    def close(self) -> None:
        """Unmap."""
        self._map.close()


class _Space:
    """The free byte ranges [lo, hi) of an arena.

    First fit from the front: while little is in flight the same few pages are used again and again,
    so they stay in the cache and the rest of the arena is never even touched.
    """

    def __init__(self, lo: int, hi: int) -> None:
        self._free = [(lo, hi)]  # sorted, disjoint, never adjacent

    def take(self, size: int) -> int | None:
        for position, (lo, hi) in enumerate(self._free):
            if hi - lo > size:
                self._free[position] = (lo + size, hi)
                return lo
            if hi - lo == size:
                del self._free[position]
                return lo
        return None

    def give(self, lo: int, hi: int) -> None:
        position = bisect_left(self._free, (lo, hi))
        if position < len(self._free) and self._free[position][0] == hi:
            hi = self._free.pop(position)[1]
        if position and self._free[position - 1][1] == lo:
            position -= 1
            lo = self._free.pop(position)[0]
        self._free.insert(position, (lo, hi))
