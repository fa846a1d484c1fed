"""Where a member keeps its files, and that only one process does.

    n1/          the LevelDB directory; nothing else is ever put there
    n1.lock      flocked by the owner as long as it lives, holds its pid
    n1.mark      what was acknowledged (store.mark)
    n1.fatal     why the last owner died of its disk, if it did (store.fatal)

Lock, mark and last words lie beside the directory, so that deleting or replacing it is noticed.
LevelDB's own LOCK is not enough: it is an fcntl lock, dropped when any descriptor of the file is
closed, and it does not say who holds it.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from store.errors import DirectoryHeld, check


class DataDirectory:
    """The paths of one member, and the lock once it is acquired."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_path = path.with_name(path.name + ".lock")
        self.mark_path = path.with_name(path.name + ".mark")
        self.fatal_path = path.with_name(path.name + ".fatal")
        self._lock: int | None = None

    def acquire(self) -> None:
        """Become the owner. The kernel gives the lock back when the process ends, however it ends.

        Raises:
            DirectoryHeld: by the process whose pid the lock file shows.
        """
        check(self._lock is None, "the data directory was acquired twice")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _pid_in(descriptor)
            os.close(descriptor)
            raise DirectoryHeld(self.path, holder) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        self._lock = descriptor

    def release(self) -> None:
        """Let another process have it. Idempotent. The lock file stays: removing it would race."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def holds_database(self) -> bool:
        """Whether anything of a database lies in the directory, intact or not."""
        return self.path.is_dir() and any(self.path.iterdir())

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _pid_in(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0
