"""Planted bugs of snapshots, compaction, and what goes to disk together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from node.disk import Disk, Write, as_record, encode_conf
from node.housekeeping import Housekeeping
from node.raft import follower, replication
from node.raft.log import RaftLog
from node.raft.membership import members_of
from node.raft.message import Entry, Message, SnapshotMeta, entries_bytes
from node.raft.raft import Raft
from node.raft.ready import PersistToken
from node.retention import dispensable
from store.commit import Intake
from store.log import Batch, Install, Position
from store.record import HardState
from tests.simulator.mutants.mutant import mutant

OUTRUN = {
    "outrun": 1.0,
    **dict.fromkeys(("put", "txn", "delete", "lease", "compact", "kill", "weather"), 0.05),
}
"""Followers whose logs are left behind by a rush, after which hardly anything is written: a second
snapshot is then no newer than the first."""


@mutant(24, "an install carries neither term nor vote", family="compaction")
def install_forgets_vote(patch: pytest.MonkeyPatch) -> None:
    """The batch that installs a snapshot writes a hard state made of the snapshot's position. Until
    the next one is written the disk knows neither the later term nor the vote in it.

    Caught by: 5, the durable term goes back; 6, an answer leaves in a term that is not on disk;
    1, two votes in a term.
    """
    take_install = Intake._take_install

    def forgetful_install(self: Intake, batch: Batch, install: Install) -> None:
        take_install(self, batch, install)
        position = install.position
        self._hard_state = HardState(position.term, 0, position.index)

    patch.setattr(Intake, "_take_install", forgetful_install)


@mutant(25, "a snapshot behind the commit is installed", family="compaction", weights=OUTRUN)
def old_snapshot_installed(patch: pytest.MonkeyPatch) -> None:
    """A snapshot that was overtaken on its way is not declined, so the member goes back in time and
    forgets what it has acknowledged and applied.

    Caught by: 5, commit and applied index go back. The core's own checks are before it.
    """

    def describe_useless(raft: Raft, meta: SnapshotMeta) -> str | None:
        if raft.id not in members_of(meta.conf):
            return "its configuration lacks this member"
        if meta.index > raft.log.commit and raft.log.matches(meta.index, meta.term):
            raft.log.commit_to(meta.index)
            return "the log has it all; commit moved"
        return None

    patch.setattr(follower, "_describe_useless", describe_useless)


@mutant(26, "the log is cut beyond what is durably applied", family="compaction")
def cut_too_far(patch: pytest.MonkeyPatch) -> None:
    """The log is cut up to what is applied, in a batch of its own, while the effects still wait for
    another. After a crash in between, neither the entries nor their effects are on disk.

    Caught by: 5, the boundary on disk is beyond the applied index; the boot, which refuses such a
    disk. The store's own check is before both.
    """

    def compact(self: Disk, index: int) -> None:
        if index <= self._boundary.index:
            return
        boundary = Position(index, self.term(index))
        first = self._cache_first()
        self._boundary = boundary
        if index >= first:
            self._drop_cached(index - first + 1)
        newest = self._writes[-1] if self._writes else self._durable
        sequence = self._writer.submit(Batch(compact_to=boundary))
        self._writes.append(Write(sequence, None, [], newest.applied, newest.conf))

    def compact_log(self: Housekeeping) -> None:
        disk, core = self._parts.disk, self._parts.core
        excess = disk.applied.index - disk.first_index() + 1 - self._limits.log_entries_max
        if excess > 0 and disk.has_room() and not disk.installing:
            peers = core.status().progress.values()
            cut = dispensable(disk.applied.index, peers, self._limits)
            if cut >= disk.first_index():
                disk.compact(cut)

    patch.setattr(Disk, "compact", compact)
    patch.setattr(Housekeeping, "_compact_log", compact_log)


@mutant(27, "the applied index goes in a batch of its own")
def applied_alone(patch: pytest.MonkeyPatch) -> None:
    """The applied index is written with the entries, its effects with a batch right behind. After a
    crash in between, entries count as applied whose effects are nowhere.

    Caught by: 10, replicas that have applied the same differ; 9, the clients' history.
    """
    submit = Disk._submit

    def submit_apart(
        self: Disk,
        entries: list[Entry],
        token: PersistToken | None,
        messages: list[Message],
        compact_to: Position | None = None,
    ) -> None:
        intake = self._writer._intake  # type: ignore[attr-defined]
        if not self._state.unsealed or intake.depth()[0] + 1 >= intake._config.queue_batches_max:
            submit(self, entries, token, messages, compact_to)
            return
        sequence = self._writer.submit(
            Batch(
                entries=entries,
                hard_state=as_record(self._hard_state),
                applied=self._applied,
                conf=encode_conf(self._conf) if self._conf_moved else None,
                compact_to=compact_to,
                discard=self._replaced.popleft() if self._replaced else None,
            )
        )
        self._hard_state_moved = False
        self._conf_moved = False
        self._writes.append(Write(sequence, token, messages, self._applied, self._conf))
        effects = self._state.seal(self._writer.next_seq)
        sequence = self._writer.submit(Batch(applied=self._applied, effects=effects))
        self._writes.append(Write(sequence, None, [], self._applied, self._conf))

    patch.setattr(Disk, "_submit", submit_apart)


@mutant(28, "entries are applied before they are synced here")
def applied_unsynced(patch: pytest.MonkeyPatch) -> None:
    """A leader counts itself as soon as it has appended, and applies what is committed without
    asking whether its own write is done. Where it is the only voter, it answers clients before
    anything is on a disk (etcd #14370).

    Caught by: 7, a committed entry is on the disks of a minority; 9, what was acknowledged is lost.
    The core's own checks are before both.
    """
    append_own = Raft.append_own

    def append_and_count(self: Raft, kind: int, data: Sequence[bytes]) -> None:
        append_own(self, kind, data)
        own = self.roster.progress.get(self.id)
        if own is not None and own.maybe_update(self.log.last_index):
            replication.maybe_commit(self)

    def has_committed(self: RaftLog, bytes_max: int) -> bool:
        if self._handoffs and self.applying_bytes >= bytes_max:
            return False
        return self.tail.snapshot is None and self.applying < self.commit

    def next_committed(self: RaftLog, bytes_max: int) -> list[Entry]:
        if not self.has_committed(bytes_max):
            return []
        bytes_max -= self.applying_bytes
        entries = self.entries(self.applying + 1, self.commit + 1, bytes_max)
        size = entries_bytes(entries)
        self.applying = entries[-1].index
        self.applying_bytes += size
        self._handoffs.append((self.applying, size))
        return entries

    patch.setattr(Raft, "append_own", append_and_count)
    patch.setattr(RaftLog, "has_committed", has_committed)
    patch.setattr(RaftLog, "next_committed", next_committed)
