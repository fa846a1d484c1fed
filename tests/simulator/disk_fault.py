"""Ways in which a write or a read can fail, and what a write is good for.

A fault waits at one stage of the writes, for one kind of them. When it strikes, an exception ends
whatever the process was doing; nothing of that process runs afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from store import record
from store.engine import Operation
from store.memory import MemoryEngineFailed, MemorySnapshot

STAGES = ("before_write", "before_sync", "before_mark", "in_mark", "before_send")
KINDS = ("chunk", "flip", "sweep", "floor", "conf", "applied", "entries")

CRASH_MARKS = {
    "chunk": "crash_in_snapshot_chunk",
    "flip": "crash_at_flip",
    "sweep": "crash_in_sweep",
    "floor": "crash_at_compaction",
    "conf": "crash_at_conf",
}
"""The coverage mark of a crash in a write of this kind."""


class MachineDied(Exception):
    """The process ends here, in the middle of what it was doing."""


class WriteFailed(MachineDied, MemoryEngineFailed):
    """The disk refuses a write or its sync; the process ends itself."""


class ReadFailed(MachineDied, MemoryEngineFailed):
    """A block fails its checksum; the process ends itself."""

    def __init__(self) -> None:
        super().__init__("corruption: block checksum mismatch")


@dataclass
class Fault:
    """What is to happen at a stage of one of the next writes."""

    stage: str
    kind: str = "any"
    """Only writes of this kind count; see `KINDS`."""
    skip: int = 0
    """How many of them pass unharmed."""
    power: bool = False
    """The machine loses its power with it."""
    error: str = ""
    """The process does not die of it at once: it is told of this error."""


def kinds_of(batch: Sequence[Operation], values: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """What a write is good for, out of `KINDS`, and "any"."""
    keys = {key for key, _ in batch}
    current = record.state_prefix(_generation(values.get(record.GENERATION)))
    beside = [
        value for key, value in batch if key[:1] == record.STATE and not key.startswith(current)
    ]
    floor = values.get(record.FLOOR)
    boundary = record.decode_floor(floor).boundary.index if floor is not None else 0
    swept = (
        value is None and key[:1] == record.ENTRY and record.entry_index(key) <= boundary
        for key, value in batch
    )
    found = {
        "chunk": any(value is not None for value in beside),
        "flip": record.GENERATION in keys and record.META not in keys,
        "sweep": record.HEAD not in keys or None in beside or any(swept),
        "floor": record.FLOOR in keys and record.HEAD in keys and record.META not in keys,
        "conf": record.CONF in keys and record.META not in keys,
        "applied": record.APPLIED in keys,
        "entries": any(key[:1] == record.ENTRY and value is not None for key, value in batch),
    }
    return ("any", *(kind for kind in KINDS if found[kind]))


def _generation(value: bytes | None) -> int:
    return record.decode_generation(value) if value is not None else 0


class DamagedSnapshot(MemorySnapshot):
    """A snapshot in which some records do not read back: `fail` is called by who comes to one."""

    def __init__(
        self,
        order: list[bytes],
        values: dict[bytes, bytes],
        unreadable: set[bytes],
        fail: Callable[[], NoReturn],
    ) -> None:
        super().__init__(order, values)
        self._unreadable = unreadable
        self._fail = fail

    def get(self, key: bytes) -> bytes | None:
        if key in self._unreadable:
            self._fail()
        return super().get(key)

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return readable(super().scan(lo, hi, reverse=reverse), self._unreadable, self._fail)


def readable(
    found: Iterator[tuple[bytes, bytes]],
    unreadable: Collection[bytes],
    fail: Callable[[], NoReturn],
) -> Iterator[tuple[bytes, bytes]]:
    """A scan that fails when it comes to the damage, not before."""
    for key, value in found:
        if key in unreadable:
            fail()
        yield key, value
