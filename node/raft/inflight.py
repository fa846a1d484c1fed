"""The window of appends that a peer has been sent and has not acknowledged.

Bounded by count and by bytes. The byte bound may be overshot by the message that reaches it, so
that a message larger than the window still gets through.
"""

from __future__ import annotations

from collections import deque


class Inflight:
    """Remembers (last index, bytes) of every unacknowledged append, oldest first."""

    __slots__ = ("_appends", "_bytes_max", "_messages_max", "bytes")

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self._appends: deque[tuple[int, int]] = deque()
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._appends)

    def full(self) -> bool:
        """No further entries may be sent until an acknowledgement arrives."""
        return len(self._appends) >= self._messages_max or self.bytes >= self._bytes_max

    def add(self, last_index: int, size: int) -> None:
        """An append up to `last_index` is on its way."""
        self._appends.append((last_index, size))
        self.bytes += size

    def free_to(self, index: int) -> None:
        """Everything up to `index` has arrived."""
        appends = self._appends
        while appends and appends[0][0] <= index:
            self.bytes -= appends.popleft()[1]

    def clear(self) -> None:
        """Forget everything: the peer is probed anew."""
        self._appends.clear()
        self.bytes = 0
