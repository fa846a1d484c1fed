"""What happened in a run, as a hash always and as text when somebody wants to read it.

The hash covers every event and every frame that a member sends, so that two runs with the same hash
did the same. Text costs too much to keep in runs that nobody looks at.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

LONG = 160
"""Values with more characters are shortened."""


class Trace:
    """The events of one run, one line each."""

    def __init__(self, show: Callable[[str], object] | None = None) -> None:
        """`show` is given each line; None = only the hash is kept."""
        self.hash = 0
        self.step = 0
        self.now_ms = 0
        self._show = show

    @property
    def shown(self) -> bool:
        """Whether somebody reads the lines."""
        return self._show is not None

    def say(self, node: int, verb: str, **facts: object) -> None:
        """One event at a member, 0 = at none of them."""
        self.hash = crc32(repr((node, verb, facts)).encode(), self.hash)
        if self._show is not None:
            self.show(node, verb, facts)

    def sent(self, sender: int, to: int, payload: bytes) -> None:
        """One frame left a member."""
        self.hash = crc32(payload, self.hash ^ (sender << 8 | to))

    def show(self, node: int, verb: str, facts: dict[str, object]) -> None:
        """A line that is no part of the hash."""
        if self._show is not None:
            told = " ".join(f"{name}={short(value)}" for name, value in facts.items())
            where = f"n{node}" if node else "--"
            self._show(f"{self.step:6} {self.now_ms:8} ms {where:>3} {verb} {told}".rstrip())


def short(value: object) -> str:
    """A value in one line of bounded length."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= LONG else f"{text[: LONG - 12]}…({len(text)} characters)"
