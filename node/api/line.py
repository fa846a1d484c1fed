"""Pieces of work that share a part of each pass of the event loop.

One piece is short, but clients may ask for hundreds at once. Together they would hold up the loop,
and a leader whose heartbeats wait loses its office. So they take turns: whoever is over the part of
this pass waits in line, and goes on in the order of arrival. The line is as long as there are
connections or open calls, each of which stands in it once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

Step = Callable[[], None]


class Line:
    """Work that has `seconds` of each pass."""

    def __init__(
        self, seconds: float, now: Callable[[], float], soon: Callable[[Step], object]
    ) -> None:
        """`soon` has the event loop call something in its next pass."""
        self._seconds = seconds
        self._now = now
        self._soon = soon
        self._line: deque[Step] = deque()
        self._due = False
        """The next pass will look after the line."""

    def __len__(self) -> int:
        """How many stand in it."""
        return len(self._line)

    def queue(self, step: Step) -> None:
        """Do a step in its turn: in the next pass at the earliest."""
        self._line.append(step)
        self._see_to_it()

    def _see_to_it(self) -> None:
        if not self._due:
            self._due = True
            self._soon(self._pass)

    def _pass(self) -> None:
        """The first in line always goes on, however slow a step is."""
        self._due = False
        if not self._line:
            return
        until = self._now() + self._seconds
        step = self._line.popleft()
        self._see_to_it()  # before a step can fail
        step()
        while self._line and self._now() < until:
            self._line.popleft()()
