"""The keyspace between two requests: its view and the few numbers that every request needs.

The numbers are loaded once, by seeks, never by walking keys; they change only when a change is
adopted. Revisions start at 1: the first write makes 2.
"""

from __future__ import annotations

from node.machine import history
from node.machine.errors import Compacted, FutureRevision, Refusal
from node.machine.record import COMPACT_REVISION, TOMBSTONE_REVISION, unpack_number
from node.machine.view import View

NEVER_COMPACTED = -1


class Keyspace:
    """View, revision and horizon of the applied state."""

    __slots__ = ("compact_revision", "revision", "tombstone_revision", "view")

    def __init__(self, view: View) -> None:
        """Load from a view in constant time."""
        self.view = view
        self.revision = history.newest_revision(view)
        stored = view.get(COMPACT_REVISION)
        self.compact_revision = NEVER_COMPACTED if stored is None else unpack_number(stored)
        """Reads below are refused; NEVER_COMPACTED = none yet."""
        stored = view.get(TOMBSTONE_REVISION)
        self.tombstone_revision = 0 if stored is None else unpack_number(stored)
        """The last revision that deleted a key; spares new keys the search for a dead one."""

    def check_revision(self, revision: int) -> Refusal | None:
        """Whether the keyspace can still, or already, be read at `revision`; <= 0 = now."""
        return None if revision <= 0 else self.check_stored(revision)

    def check_stored(self, revision: int) -> Refusal | None:
        """The same as etcd asks it inside a txn, where only 0 means now."""
        if revision > self.revision:
            return FutureRevision(self.revision)
        if revision and revision < self.compact_revision:
            return Compacted(self.compact_revision)
        return None
