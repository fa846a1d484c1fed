"""The tail of the log whose write is not yet known to be on disk.

               storage (stable)            unstable
    ───────────────────────────┬──────────────────────┬──────────────
                      offset-1 │ offset … handed-1    │ handed … last
                               │ in the writer's hand │ not handed out

Several writes may be under way; they complete in order. A completion names the last entry of its
write by (index, term). That alone is not proof: entries may have been handed out, replaced by
another leader's and handed out again with the same (index, term), while the replacing write is
still to come (A, B, A). So a completion counts only if no truncation happened after it was issued
and the term has not moved on. Nothing is lost by ignoring one: a truncation and a new term each
cause a further write, whose completion vouches for everything before it.
Source: etcd-io/raft, "async storage writes" and the ABA race scenario.
"""

from __future__ import annotations

from node.errors import check
from node.raft.message import Entry, SnapshotMeta
from node.raft.ready import PersistToken


class Unstable:
    """`entries[i]` has index `offset + i`; a pending `snapshot` replaces everything below it."""

    __slots__ = (
        "_valid_from",
        "acknowledged",
        "entries",
        "handed",
        "issued",
        "offset",
        "snapshot",
        "snapshot_handed",
    )

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.handed = offset
        self.entries: list[Entry] = []
        self.snapshot: SnapshotMeta | None = None
        self.snapshot_handed = False
        self.issued = 0
        """Sequence of the newest token."""
        self.acknowledged = 0
        """Sequence of the newest completed write."""
        self._valid_from = 0
        """Completions below this sequence were issued before the latest truncation."""

    @property
    def last_index(self) -> int:
        return self.offset + len(self.entries) - 1

    def append(self, entries: list[Entry]) -> None:
        """Take `entries` in, replacing whatever stands at or after the first of them."""
        first = entries[0].index
        if first == self.offset + len(self.entries):
            self.entries.extend(entries)
            return
        self._valid_from = self.issued + 1
        if first <= self.offset:
            self.entries = list(entries)
            self.offset = first
        else:
            self.entries[first - self.offset :] = entries
        self.handed = min(self.handed, first)

    def restore(self, snapshot: SnapshotMeta) -> None:
        """Forget all entries: `snapshot` takes the place of the whole log."""
        self.entries = []
        self.offset = self.handed = snapshot.index + 1
        self.snapshot, self.snapshot_handed = snapshot, False
        self._valid_from = self.issued + 1

    @property
    def has_work(self) -> bool:
        """Whether anything waits to be handed out."""
        return self.snapshot_waits or self.handed <= self.last_index

    @property
    def snapshot_waits(self) -> bool:
        """Whether a snapshot is to be handed out."""
        return self.snapshot is not None and not self.snapshot_handed

    def hand_out_snapshot(self) -> SnapshotMeta | None:
        """The snapshot, if it was not handed to the writer before; now it is."""
        if self.snapshot_handed:
            return None
        self.snapshot_handed = self.snapshot is not None
        return self.snapshot

    def hand_out(self) -> list[Entry]:
        """The entries that were not handed to the writer before; now they are."""
        entries = self.entries[self.handed - self.offset :]
        self.handed += len(entries)
        return entries

    def issue(self, term: int, last_term: int, snapshot_index: int) -> PersistToken:
        """A token for a write that vouches for all that has been handed out until now."""
        self.issued += 1
        return PersistToken(self.issued, term, self.handed - 1, last_term, snapshot_index)

    def complete(self, token: PersistToken, term: int) -> None:
        """The write of `token` is on disk, and we are at `term` now."""
        check(token.sequence == self.acknowledged + 1, "writes must complete in order")
        self.acknowledged = token.sequence
        if self.snapshot is not None and self.snapshot.index == token.snapshot_index:
            self.snapshot, self.snapshot_handed = None, False
        if not self.vouches(token, term):
            return
        count = token.last_index - self.offset + 1
        if count > 0 and self.entries[count - 1].term == token.last_term:
            del self.entries[:count]
            self.offset += count

    def vouches(self, token: PersistToken, term: int) -> bool:
        """Whether the write of `token` is still true of the log as it is now."""
        return token.sequence >= self._valid_from and token.term == term
