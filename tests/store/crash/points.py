"""Named moments at which a child process ends by SIGKILL, reached by patching the store in it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import store.medium
from store.commit import Committer
from store.directory import DataDirectory
from store.installer import Installer
from store.leveldb import LevelDBEngine
from store.log import DurableLog
from store.mark import Mark
from store.medium import FileMedium
from store.writer import Writer

Hit = Callable[[], None]


def _before(owner: Any, name: str) -> Callable[[Hit], None]:
    def arm(hit: Hit) -> None:
        real = getattr(owner, name)

        def patched(*args: Any, **kwargs: Any) -> Any:
            hit()
            return real(*args, **kwargs)

        setattr(owner, name, patched)

    return arm


def _after(owner: Any, name: str) -> Callable[[Hit], None]:
    def arm(hit: Hit) -> None:
        real = getattr(owner, name)

        def patched(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            hit()
            return result

        setattr(owner, name, patched)

    return arm


class _TornSlots:
    """The mark's map, but an update stops half-way."""

    def __init__(self, slots: Any, hit: Hit, part: float) -> None:
        self._slots, self._hit, self._part = slots, hit, part

    def __getitem__(self, where: slice) -> Any:
        return self._slots[where]

    def __setitem__(self, where: slice, content: bytes) -> None:
        size = int(len(content) * self._part)
        self._slots[where.start : where.start + size] = content[:size]
        self._hit()
        self._slots[where] = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slots, name)


def _in_mark(part: float) -> Callable[[Hit], None]:
    def arm(hit: Hit) -> None:
        opened = Mark.__init__

        def patched(mark: Mark, *args: Any) -> None:
            opened(mark, *args)
            mark._slots = _TornSlots(mark._slots, hit, part)  # type: ignore[assignment]

        Mark.__init__ = patched  # type: ignore[method-assign,assignment]

    return arm


POINTS: dict[str, Callable[[Hit], None]] = {
    "before the lock": _before(DataDirectory, "acquire"),
    "after the lock": _after(DataDirectory, "acquire"),
    "before the mark is created": _before(FileMedium, "create_mark"),
    "mark created": _after(FileMedium, "create_mark"),
    "before the database is created": _before(FileMedium, "create_engine"),
    "before its directory is synced": _before(store.medium, "_sync_directory"),
    "database created": _after(FileMedium, "create_engine"),
    "mark opened": _after(FileMedium, "open_mark"),
    "before LevelDB opens": _before(LevelDBEngine, "__init__"),
    "LevelDB opened": _after(LevelDBEngine, "__init__"),
    "log verified": _after(DurableLog, "load"),
    "before a write": _before(LevelDBEngine, "write"),
    "between write and mark": _after(LevelDBEngine, "write"),
    "mark not begun": _in_mark(0.0),
    "mark torn early": _in_mark(0.2),
    "mark torn late": _in_mark(0.95),
    "after the mark": _after(Mark, "update"),
    "before the acknowledgement": _after(Committer, "write"),
    "after the acknowledgement": _after(Writer, "take_durable"),
    "batch queued": _after(Writer, "submit"),
    "before a part of a snapshot": _before(Installer, "add"),
    "part of a snapshot queued": _after(Installer, "add"),
    "before the flip": _before(Installer, "finish"),
    "flip queued": _after(Installer, "finish"),
    "before a sweep": _before(Committer, "tidy"),
    "after a sweep": _after(Committer, "tidy"),
    "before a compaction": _before(LevelDBEngine, "compact"),
    "after a compaction": _after(LevelDBEngine, "compact"),
    "before LevelDB closes": _before(LevelDBEngine, "close"),
}


ONCE = frozenset(
    {
        "before the lock",
        "after the lock",
        "before the mark is created",
        "mark created",
        "before the database is created",
        "before its directory is synced",
        "database created",
        "mark opened",
        "before LevelDB opens",
        "LevelDB opened",
        "log verified",
        "before the flip",
        "flip queued",
        "before a compaction",
        "after a compaction",
        "before LevelDB closes",
    }
)
"""Points that a life passes once or not much more often."""


def arm(point: str, count: int) -> None:
    """End this process at the `count`th time that it reaches the point."""
    left = [count]

    def hit() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    POINTS[point](hit)
