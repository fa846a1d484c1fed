"""Why a mirror ends by itself. What a client raises goes through unchanged."""

from __future__ import annotations


class MirrorError(Exception):
    """Root of what a mirror can end with."""


class Compacted(MirrorError):
    """The source has forgotten revisions that the destination has not seen."""

    def __init__(self, revision: int, compact_revision: int) -> None:
        super().__init__(f"the source has compacted revision {revision}, which is next here")
        self.revision = revision
        """The first that is missing."""
        self.compact_revision = compact_revision
        """The source's, if it said so, else 0."""


class CheckpointConflict(MirrorError):
    """The destination's checkpoint is not this mirror's."""


class SameKeys(MirrorError):
    """Source and destination are the same keys: a mirror would follow itself for ever."""


class WatchEnded(MirrorError):
    """The source ended the watch for a reason of its own."""
