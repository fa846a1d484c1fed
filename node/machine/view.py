"""The port to the state records: what is applied, durable or not.

The machine never writes. It returns effects; its owner stages them, and then the view shows them.
`store.overlay.StateView` is the real one, `MemoryView` the one for tests and tools.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import Protocol

from node.machine.answer import Operation


class View(Protocol):
    """Sorted records to look at."""

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None when there is none."""

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Records with `lo <= key < hi` in key order, or from the top down.

        Shows the records as they were at the call, whatever is staged while it is consumed.
        """


class MemoryView:
    """A view over a dict, staged into directly."""

    def __init__(self) -> None:
        """Begin empty."""
        self._records: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        """See `View.get`."""
        return self._records.get(key)

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """See `View.scan`."""
        keys = self._keys[bisect_left(self._keys, lo) : bisect_left(self._keys, hi)]
        return iter([(key, self._records[key]) for key in (reversed(keys) if reverse else keys)])

    def stage(self, operations: Iterable[Operation]) -> None:
        """Make effects visible, in order."""
        for key, value in operations:
            if value is not None:
                if key not in self._records:
                    insort(self._keys, key)
                self._records[key] = value
            elif self._records.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]
