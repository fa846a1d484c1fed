"""The port through which the core reads what is on disk, and its memory version.

The core never writes through it: what must be written leaves in a `Ready`. It reads only below the
first entry whose write is not yet acknowledged (see `node.raft.unstable`), so an implementation may
or may not already show entries that wait in the writer's queue.

The configuration is not made of log entries alone: somebody has to be in it at first. Founding
members therefore start from `FOUNDING_INDEX`, as if they had installed a snapshot there that holds
the first configuration and no data; a member that joins later starts with nothing. Its log cannot
connect to the others' without a snapshot, and so it learns the configuration before it applies a
change to it.
"""

from __future__ import annotations

from typing import Protocol

from node.errors import check
from node.raft.errors import Compacted, Unavailable
from node.raft.message import (
    ConfState,
    Entry,
    HardState,
    SnapshotMeta,
    entries_bytes,
    entry_bytes,
)

FOUNDING_INDEX = 1
FOUNDING_TERM = 1


class Storage(Protocol):
    """What is durable. Entries are those of indexes [first_index, last_index]."""

    def initial_state(self) -> tuple[HardState, ConfState]:
        """The state at start: the hard state, and the configuration as of the applied index."""

    def first_index(self) -> int:
        """First available entry; one more than the compacted boundary. At least 1."""

    def last_index(self) -> int:
        """Last available entry; first_index - 1 when there is none."""

    def term(self, index: int) -> int:
        """Term of an entry, also of the boundary first_index - 1.

        Raises: Compacted, Unavailable.
        """

    def entries(self, lo: int, hi: int, bytes_max: int) -> list[Entry]:
        """Entries of [lo, hi) in order, cut where `bytes_max` is exceeded, but at least one.

        Raises: Compacted, Unavailable.
        """

    def snapshot(self) -> SnapshotMeta:
        """The newest snapshot that a lagging follower can be sent; index 0: none for now.

        At least as new as the compacted boundary; best as new as what is durably applied, since a
        member that was added later than the snapshot cannot use it.
        """


def limit_bytes(entries: list[Entry], bytes_max: int) -> list[Entry]:
    """The longest prefix of `entries` within `bytes_max`, but at least one entry."""
    if entries_bytes(entries) <= bytes_max:
        # Nearly always so, and summing in one go is several times faster than counting.
        return entries
    total = 0
    for count, entry in enumerate(entries):
        total += entry_bytes(entry)
        if total > bytes_max and count > 0:
            return entries[:count]
    return entries


class MemoryStorage:
    """A `Storage` whose disk is a list; writes take effect at once and cannot fail."""

    def __init__(self, founders: ConfState | None = None) -> None:
        """The disk of a founding member, or of one that joins later: without `founders`."""
        self._hard_state = HardState()
        self._conf = ConfState()
        self._boundary = SnapshotMeta()
        self._snapshot = SnapshotMeta()
        if founders is not None:
            self._conf = founders
            self._boundary = SnapshotMeta(FOUNDING_INDEX, FOUNDING_TERM, founders)
            self._hard_state = HardState(FOUNDING_TERM, commit=FOUNDING_INDEX)
        self._entries: list[Entry] = []

    def initial_state(self) -> tuple[HardState, ConfState]:
        return self._hard_state, self._conf

    def first_index(self) -> int:
        return self._boundary.index + 1

    def last_index(self) -> int:
        return self._boundary.index + len(self._entries)

    def term(self, index: int) -> int:
        if index == self._boundary.index:
            return self._boundary.term
        return self._entries[self._offset(index)].term

    def entries(self, lo: int, hi: int, bytes_max: int) -> list[Entry]:
        start = self._offset(lo)
        if hi - 1 > self.last_index():
            raise Unavailable(hi - 1)
        return limit_bytes(self._entries[start : start + hi - lo], bytes_max)

    def snapshot(self) -> SnapshotMeta:
        return max(self._boundary, self._snapshot, key=lambda meta: meta.index)

    def write(
        self,
        hard_state: HardState | None = None,
        entries: list[Entry] | None = None,
        snapshot: SnapshotMeta | None = None,
    ) -> None:
        """Take over what one `Ready` wants stored."""
        if snapshot is not None:
            self._boundary, self._conf = snapshot, snapshot.conf
            self._entries = []
        if entries:
            keep = entries[0].index - self.first_index()
            check(0 <= keep <= len(self._entries), "a write would leave a hole in the log")
            del self._entries[keep:]
            self._entries.extend(entries)
        if hard_state is not None:
            self._hard_state = hard_state

    def store_conf(self, conf: ConfState) -> None:
        """Remember the configuration that goes with what has been applied."""
        self._conf = conf

    def take_snapshot(self, index: int, conf: ConfState) -> None:
        """Make a snapshot at `index`, which the owner has applied; `conf` is the one at `index`."""
        self._snapshot = SnapshotMeta(index, self.term(index), conf)

    def compact(self, index: int, conf: ConfState) -> None:
        """Drop entries up to `index`, which the owner has applied; `conf` is the one at `index`."""
        term = self.term(index)
        del self._entries[: index - self._boundary.index]
        self._boundary = SnapshotMeta(index, term, conf)

    def _offset(self, index: int) -> int:
        if index <= self._boundary.index:
            raise Compacted(index)
        if index > self.last_index():
            raise Unavailable(index)
        return index - self._boundary.index - 1
