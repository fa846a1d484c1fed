"""What can go wrong with a disk, as facts rather than prose.

Three kinds, with three consequences. A `StoreError` at boot means that this member does not serve;
`QueueFull` is back-pressure for the caller; `InvariantViolated` is a bug of ours, after which no
state of the process can be trusted, so that nobody catches it but the composition root. Failed
*writes* have no class here: the writer ends the process (see `store.writer`).
"""

from pathlib import Path


class InvariantViolated(Exception):
    """The code, not its input, is wrong. The process must die with its state untouched."""


def check(condition: bool, message: str, *facts: object) -> None:
    """Die if `condition` is false. Unlike assert it survives `python -O`.

    `message` should be a constant and the figures go to `facts`, so that a check that holds costs
    no formatting.

    Raises:
        InvariantViolated: always when `condition` is false.
    """
    if not condition:
        raise InvariantViolated(" ".join((message, *map(repr, facts))))


class StoreError(Exception):
    """Root of the operating errors of this folder."""


class Damaged(StoreError):
    """Bytes on disk are not what was written: a checksum, a gap or a field out of its range."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Quarantined(StoreError):
    """This member's disk must not vote, acknowledge or serve; only a human may overrule.

    It may come back under a new member id with an empty directory.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DiskFailed(StoreError):
    """The files could not be opened at all: rights, space, too many files, a device that fails.

    Says nothing about the data: the same start may succeed once the cause is gone.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FormatTooNew(StoreError):
    """A newer release wrote this directory; reading on would be guessing."""

    def __init__(self, found: int, supported: int) -> None:
        super().__init__(
            f"the data directory has format {found}, this release reads up to {supported}; "
            "use the release that wrote it, or a newer one"
        )
        self.found = found
        self.supported = supported


class DirectoryHeld(StoreError):
    """Another live process owns the data directory. `holder` is its pid, 0 when unreadable."""

    def __init__(self, path: Path, holder: int) -> None:
        super().__init__(f"{path} is in use by process {holder}")
        self.path = path
        self.holder = holder


class QueueFull(StoreError):
    """The writer is further behind than its bound; nothing of the refused batch was queued."""

    def __init__(self, batches: int, bytes_queued: int) -> None:
        super().__init__(f"{batches} batches, {bytes_queued} bytes are waiting for the disk")
        self.batches = batches
        self.bytes_queued = bytes_queued
