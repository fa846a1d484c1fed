"""What the members' disks hold, read past every fault that a reader would meet.

A check that asks whether a promise was durable must not take the promise's word for it. So the
records are taken from the simulated medium itself, not through the store's readers, and only
decoded anew when they were written anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import NamedTuple

from store import record
from store.memory import MemoryEngine
from tests.support.member_cluster import Node

_HEAD = Struct(">IQQQQQQ")
_FLOOR = Struct(">IQQQ")
_TERM = Struct(">IQ")
_NOTHING = b""


class Head(NamedTuple):
    """The record of this name."""

    write_seq: int = 0
    term: int = 0
    vote: int = 0
    commit: int = 0
    last: int = 0
    last_term: int = 0


class Platter:
    """The medium under one member."""

    def __init__(self, engine: MemoryEngine) -> None:
        self.engine = engine
        self._head = (_NOTHING, Head())
        self._boundary = (_NOTHING, (0, 0))
        self._applied = (_NOTHING, 0)

    @property
    def values(self) -> Mapping[bytes, bytes]:
        """All records."""
        return self.engine._values

    @property
    def synced(self) -> bool:
        """Whether a power loss would take nothing."""
        return bool(getattr(self.engine, "synced", True))

    @property
    def damaged(self) -> bool:
        """Whether something was done to it that no honest disk does."""
        return bool(getattr(self.engine, "damaged", False))

    @property
    def head(self) -> Head:
        """The newest durable batch, hard state and end of the log."""
        raw = self.engine._values.get(record.HEAD, _NOTHING)
        if raw is not self._head[0]:
            self._head = (raw, Head(*_HEAD.unpack(raw)[1:]) if raw else Head())
        return self._head[1]

    @property
    def boundary(self) -> tuple[int, int]:
        """Index and term of the position before the first entry."""
        raw = self.engine._values.get(record.FLOOR, _NOTHING)
        if raw is not self._boundary[0]:
            index, term = _FLOOR.unpack(raw)[1:3] if raw else (0, 0)
            self._boundary = (raw, (index, term))
        return self._boundary[1]

    @property
    def applied(self) -> int:
        """What the state records stand for."""
        raw = self.engine._values.get(record.APPLIED, _NOTHING)
        if raw is not self._applied[0]:
            self._applied = (raw, int.from_bytes(raw[4:12], "big"))
        return self._applied[1]

    def term(self, index: int) -> int:
        """Term of the entry at `index`; 0 = there is none, or it was compacted away."""
        if index > self.head.last:
            return 0
        raw = self.engine._values.get(record.entry_key(index))
        if raw is not None and index > self.boundary[0]:
            return int(_TERM.unpack_from(raw)[1])
        return self.boundary[1] if index == self.boundary[0] else 0

    def holds(self, index: int, term: int) -> bool:
        """Whether the entry at `index` is there and of `term`, or was compacted away, which only
        happens to what is applied."""
        return index < self.boundary[0] or self.term(index) == term


class Platters:
    """Of all members."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._platters = {node.id: Platter(node.engine) for node in nodes}

    def __getitem__(self, member: int) -> Platter:
        return self._platters[member]

    def __contains__(self, member: int) -> bool:
        return member in self._platters
