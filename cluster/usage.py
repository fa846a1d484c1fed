"""Processor share and memory of the nodes' processes, by psutil."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import psutil


class Usage(NamedTuple):
    """Null where it is not known: no such process, or no earlier look to compare with."""

    cpu_percent: float | None
    rss_bytes: int | None


NOTHING = Usage(None, None)


class Meter:
    """Remembers the last look at each process; a share is the mean since then."""

    def __init__(self) -> None:
        self._seen: dict[int, psutil.Process] = {}

    def sample(self, pid: int) -> Usage:
        """Look at one process."""
        process = self._seen.get(pid)
        try:
            if process is None:
                process = self._seen[pid] = psutil.Process(pid)
                process.cpu_percent()
                return Usage(None, process.memory_info().rss)
            return Usage(process.cpu_percent(), process.memory_info().rss)
        except psutil.Error:
            return NOTHING

    def keep(self, pids: Iterable[int]) -> None:
        """Forget all other processes."""
        self._seen = {pid: self._seen[pid] for pid in pids if pid in self._seen}
