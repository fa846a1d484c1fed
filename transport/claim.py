"""The right to use one member's addresses: a lock on a file, held for as long as a process lives.

Binding an ipc path that another process is bound to succeeds, and takes that process's traffic. So
a member claims its name in the run directory before it binds anything.
"""

from __future__ import annotations

import fcntl
import os

from transport.errors import TransportError


class Claimed(TransportError):
    """Another living process holds the claim."""

    def __init__(self, path: str, holder: str) -> None:
        """Name the file, and the pid of the holder as far as it is known."""
        super().__init__(f"{path} is held by process {holder or 'unknown'}")
        self.path = path
        self.holder = holder


class Claim:
    """An exclusive lock on a file; the kernel drops it when the process ends, however it ends."""

    def __init__(self, path: str) -> None:
        """Take the lock and write our pid into the file.

        Raises:
            Claimed: somebody else has it.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise Claimed(path, holder) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give the claim up. The file stays: removing it would let two processes lock two files."""
        os.close(self._descriptor)
