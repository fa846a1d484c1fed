"""How `conclave-etcd` refuses to start. Exit codes are etcd's: 2 for a command line that cannot be
read, 1 for everything that it says wrongly."""

from __future__ import annotations


class UsageError(Exception):
    """The command line cannot be read; the text is in Go's words."""


class Refused(Exception):
    """This member cannot be started so; `hint` says what to do."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint
