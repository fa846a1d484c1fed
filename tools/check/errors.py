"""What can be wrong with a history as a file; what is wrong with its contents is a `Finding`."""

from __future__ import annotations


class HistoryInvalid(Exception):
    """The history cannot be judged: not the format, or records that contradict the format.

    Attributes:
        line: number of the line in the file, from 1; 0 where no file is involved.
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.reason = reason
        self.line = line


class InvariantViolated(Exception):
    """A check broke one of its own rules: its verdict would mean nothing."""
