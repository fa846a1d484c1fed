"""What a reader of the log may be told instead of an entry.

The core does no I/O, so nothing here is retried. Broken invariants are not listed: they raise
`node.errors.InvariantViolated` through `node.errors.check`, and the member dies of them.
"""


class LogError(Exception):
    """The log cannot answer for `index`."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class Compacted(LogError):
    """The entry at `index` was dropped by log compaction: a snapshot takes its place."""


class Unavailable(LogError):
    """The entry at `index` is beyond the last one that the log holds."""
