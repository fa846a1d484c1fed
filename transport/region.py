"""A file of fixed size that several processes map: under every status page and every arena.

Whoever owns the cluster reserves a region; members and readers map it by path. The path may name a
memfd of another process (`/proc/<pid>/fd/<n>`), which leaves nothing behind in /dev/shm and ends
with the last process that maps it. Python's own `shared_memory` is not used: its resource tracker
unlinks a segment as soon as any process that merely attached to it ends.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from transport.errors import TransportError


class RegionUnusable(TransportError):
    """A region that cannot be mapped: missing, too small, or not what its reader expects."""

    def __init__(self, path: str, fact: str) -> None:
        """Name the region and what is wrong with it."""
        super().__init__(f"shared region {path}: {fact}")
        self.path = path


def reserve(file: str | int, size: int) -> None:
    """Give a new file (by path or descriptor) `size` zero bytes that are really there.

    Merely setting the size would reserve nothing, and the first touch of a page that a full tmpfs
    cannot provide is a SIGBUS. A memfd that allows it is sealed against any change of its size,
    because touching a page that was cut off is a SIGBUS too.

    Raises:
        OSError: ENOSPC when there is no room, or the file cannot be made.
    """
    if isinstance(file, int):
        os.posix_fallocate(file, 0, size)
        _seal(file)
        return
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        reserve(descriptor, size)
    finally:
        os.close(descriptor)


def map_region(path: str, size_min: int, *, writable: bool) -> mmap.mmap:
    """Map a whole region; the mapping does not keep a descriptor open.

    Raises:
        RegionUnusable: no such file, no right to it, or fewer than `size_min` bytes.
    """
    try:
        descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
    except OSError as error:
        raise RegionUnusable(path, os.strerror(error.errno or 0)) from error
    try:
        size = os.fstat(descriptor).st_size
        if size < size_min:
            raise RegionUnusable(path, f"{size} bytes where {size_min} are needed")
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return mmap.mmap(descriptor, size, mmap.MAP_SHARED, access)
    finally:
        os.close(descriptor)


def _seal(descriptor: int) -> None:
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        return  # a plain file: only memory files know seals
    if not seals & fcntl.F_SEAL_SEAL:
        wanted = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, wanted)
