"""Exit codes, and the one exception that carries them.

The same code is given with and without `--json`. Jepsen's 0/1/2 (valid, invalid, unknown) is the
model, shifted because 2 is click's code for wrong usage; 3 is what LSB init scripts and
supervisorctl answer for something that is not running.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class Exit(IntEnum):
    """What the shell sees."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    TIMED_OUT = 4
    PARTLY_DONE = 5
    DEGRADED = 6
    CONFLICT = 7
    INTERRUPTED = 130
    """128 + SIGINT, as shells report it."""
    PIPE_CLOSED = 141
    """128 + SIGPIPE: the reader of our output went away, as in `conclave events -f | head -1`."""
    TERMINATED = 143
    """128 + SIGTERM."""


class Failure(Exception):
    """A verb that did not succeed, told in three parts.

    `message` says what failed, `cause` the likely reason, `hint` the next command to type. `data`
    holds further facts for the JSON form (for example which nodes failed).
    """

    def __init__(
        self,
        message: str,
        *,
        code: Exit = Exit.FAILED,
        cause: str = "",
        hint: str = "",
        data: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.cause = cause
        self.hint = hint
        self.data = dict(data or {})


class Terminated(BaseException):
    """SIGTERM arrived; raised at the point of interruption, like KeyboardInterrupt for SIGINT."""
