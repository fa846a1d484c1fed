"""The replicated log as one sequence: storage below, the unstable tail above, and three marks.

    first … applied … applying … commit … last        applied ≤ applying ≤ min(commit, stable)

`commit` is what a quorum is known to hold, `applying` what was handed out for applying, `applied`
what the owner has acknowledged. Only entries that are committed *and* on the own disk are handed
out: applying earlier has lost acknowledged writes of one-member clusters elsewhere.

The log only stores and compares. What to do about a mismatch is decided by its callers.
"""

from __future__ import annotations

from collections import deque

from node.errors import check
from node.raft.errors import Compacted, LogError, Unavailable
from node.raft.message import Entry, EntryKind, SnapshotMeta, entries_bytes
from node.raft.ready import PersistToken
from node.raft.storage import Storage, limit_bytes
from node.raft.unstable import Unstable

SCAN_BYTES = 1 << 20
"""Page size when the log is searched at start."""


class RaftLog:
    """See the module's docstring for the marks; all of them only grow."""

    __slots__ = (
        "_handoffs",
        "_storage",
        "applied",
        "applying",
        "applying_bytes",
        "commit",
        "conf_indexes",
        "tail",
    )

    def __init__(self, storage: Storage, commit: int, applied: int) -> None:
        first, last = storage.first_index(), storage.last_index()
        applied = max(applied, first - 1)
        check(applied <= last, f"applied {applied} is beyond the last entry {last}")
        check(commit <= last, f"commit {commit} is beyond the last entry {last}")
        self._storage = storage
        self.tail = Unstable(last + 1)
        self.commit = max(commit, applied)
        self.applying = self.applied = applied
        self.applying_bytes = 0
        self._handoffs: deque[tuple[int, int]] = deque()
        self.conf_indexes: list[int] = []
        """Where changes of the configuration stand that are not applied yet, in order."""
        self._find_conf_changes()

    # What there is

    def first_index(self) -> int:
        """First entry that can still be read."""
        if self.tail.snapshot is not None:
            return self.tail.snapshot.index + 1
        return self._storage.first_index()

    @property
    def last_index(self) -> int:
        return self.tail.last_index

    @property
    def stable_index(self) -> int:
        """Last entry that is on disk as this log has it. While a snapshot is being installed the
        old log is void, so only what was handed out for applying still counts."""
        return self.tail.offset - 1 if self.tail.snapshot is None else self.applying

    def last_term(self) -> int:
        return self.term(self.last_index)

    def term(self, index: int) -> int:
        """Term of an entry, also of the compacted boundary; without it matching would fail right
        after a compaction.

        Raises: Compacted, Unavailable.
        """
        tail = self.tail
        if index >= tail.offset:
            if index > tail.last_index:
                raise Unavailable(index)
            return tail.entries[index - tail.offset].term
        if tail.snapshot is not None:
            if index == tail.snapshot.index:
                return tail.snapshot.term
            raise Compacted(index)
        return self._storage.term(index)

    def matches(self, index: int, term: int) -> bool:
        """Whether the entry at `index` is there and of `term`."""
        try:
            return self.term(index) == term
        except LogError:
            return False

    def entries(self, lo: int, hi: int, bytes_max: int) -> list[Entry]:
        """Entries of [lo, hi), cut at `bytes_max` but at least one; [] for an empty range.

        Raises: Compacted, Unavailable.
        """
        if lo >= hi:
            return []
        tail = self.tail
        if lo >= tail.offset:
            return limit_bytes(tail.entries[lo - tail.offset : hi - tail.offset], bytes_max)
        if tail.snapshot is not None:
            raise Compacted(lo)
        found = self._storage.entries(lo, min(hi, tail.offset), bytes_max)
        if hi <= tail.offset or lo + len(found) < tail.offset:
            return found
        return limit_bytes(found + tail.entries[: hi - tail.offset], bytes_max)

    def up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log that ends so is at least as complete as ours. Source: Raft paper §5.4.1."""
        ours = self.last_term()
        return last_term > ours or (last_term == ours and last_index >= self.last_index)

    def conflict_by_term(self, index: int, term: int) -> tuple[int, int]:
        """The last position at or below `index` whose term is at most `term`, and its term.

        Used on both sides of a refused append, so that a probe skips a whole term at a time. Worked
        example, terms by index 1 to 9:

            leader    1 3 3 3 5 5 5 5 5      probes (9, term 5)
            follower  1 1 1 1 2 2            hints (6, term 2)

        The leader skips its own indexes 2 to 6, all of a larger term than 2, and next probes at 1.
        Term 0 means that the position was compacted away and cannot be compared.
        """
        while index > 0:
            try:
                found = self.term(index)
            except LogError:
                return index, 0
            if found <= term:
                return index, found
            index -= 1
        return 0, 0

    # Growing

    def append(self, entries: list[Entry]) -> None:
        """Put own entries at the end."""
        check(entries[0].index == self.last_index + 1, "an own append must continue the log")
        self._extend(entries)

    def maybe_append(self, prev_index: int, prev_term: int, entries: list[Entry]) -> int | None:
        """Take a leader's entries after (prev_index, prev_term); the last index that then matches
        the leader's log, or None when the previous entry is not ours.

        Entries that are already there are left alone, even if more follow them: the message may be
        an old one, and truncating for it would drop acknowledged entries. Source: Raft paper §5.3.
        """
        if not self.matches(prev_index, prev_term):
            return None
        fresh = self._first_conflict(entries)
        if fresh < len(entries):
            first = entries[fresh].index
            check(first > self.commit, f"entry {first} conflicts with committed {self.commit}")
            self._extend(entries[fresh:] if fresh else entries)
        return prev_index + len(entries)

    def restore(self, snapshot: SnapshotMeta) -> None:
        """Replace the whole log by `snapshot`; it becomes the applied state once written."""
        check(snapshot.index > self.commit, "a snapshot must not go back behind the commit")
        self.commit = snapshot.index
        self.conf_indexes = []
        self.tail.restore(snapshot)

    def commit_to(self, index: int) -> bool:
        """Move the commit forward; False when there is nothing new."""
        if index <= self.commit:
            return False
        check(
            index <= self.last_index,
            f"commit {index} is beyond the last entry {self.last_index}: was the log truncated?",
        )
        self.commit = index
        return True

    def complete(self, token: PersistToken, term: int) -> None:
        """A write is on disk; a snapshot in it is now the applied state."""
        self.tail.complete(token, term)
        self._advance_applied(token.snapshot_index)

    # Applying

    def has_committed(self, bytes_max: int) -> bool:
        """Whether `next_committed` would hand something out."""
        if self._handoffs and self.applying_bytes >= bytes_max:
            return False
        return self.applying < min(self.commit, self.stable_index)

    def next_committed(self, bytes_max: int) -> list[Entry]:
        """Hand out entries to apply, at most `bytes_max` over all unacknowledged hand-offs, though
        at least one entry when none is outstanding."""
        if not self.has_committed(bytes_max):
            return []
        hi = min(self.commit, self.stable_index) + 1
        entries = self.entries(self.applying + 1, hi, bytes_max - self.applying_bytes)
        size = entries_bytes(entries)
        self.applying = entries[-1].index
        self.applying_bytes += size
        self._handoffs.append((self.applying, size))
        return entries

    def applied_to(self, index: int) -> None:
        """The owner has applied everything up to `index`."""
        check(index <= self.applying, f"applied {index}, but only {self.applying} was handed out")
        self._advance_applied(index)

    def has_unapplied_conf_change(self) -> bool:
        """Whether a committed change of the configuration still waits to be applied."""
        return bool(self.conf_indexes) and self.conf_indexes[0] <= self.commit

    # Sending

    def snapshot(self) -> SnapshotMeta:
        """The snapshot to send to a follower whose entries were compacted."""
        return self._storage.snapshot()

    def _advance_applied(self, index: int) -> None:
        self.applied = max(self.applied, index)
        self.applying = max(self.applying, self.applied)
        while self.conf_indexes and self.conf_indexes[0] <= self.applied:
            self.conf_indexes.pop(0)
        while self._handoffs and self._handoffs[0][0] <= self.applied:
            self.applying_bytes -= self._handoffs.popleft()[1]

    def _extend(self, entries: list[Entry]) -> None:
        first = entries[0].index
        while self.conf_indexes and self.conf_indexes[-1] >= first:
            self.conf_indexes.pop()
        self.conf_indexes += [entry.index for entry in entries if entry.kind != EntryKind.NORMAL]
        self.tail.append(entries)

    def _find_conf_changes(self) -> None:
        lo, last = self.applied + 1, self.last_index
        while lo <= last:
            page = self.entries(lo, last + 1, SCAN_BYTES)
            self.conf_indexes += [entry.index for entry in page if entry.kind != EntryKind.NORMAL]
            lo += len(page)

    def _first_conflict(self, entries: list[Entry]) -> int:
        """Position in `entries` of the first one that is not in the log."""
        last = self.last_index
        if entries and entries[0].index > last:
            return 0
        for position, entry in enumerate(entries):
            if entry.index > last or not self.matches(entry.index, entry.term):
                return position
        return len(entries)
