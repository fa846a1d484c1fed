"""This member's disk, as Raft and the loop see it: what is stored, and what is on its way there.

Two faces. To the core it is the `Storage` port: recent entries from a cache, older ones from the
durable log. To the loop it is a queue of writes: each `Ready` becomes one batch for the writer
thread, together with the effects that were applied since the last one; when the batch is synced,
its messages and its token come back in order.

    Ready ──write()──► batch ──writer thread, synced──► take_durable() ──► messages, token
      effects staged by the applier ──┘  (they ride along; alone they wait for `flush_effects`)

A batch with an applied index always carries the commit index too, so that the disk never shows
more applied than committed. Nothing here waits: a full queue shows as `has_room() == False`, and
the loop then leaves further work with the core.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import NamedTuple

import msgspec

from node.errors import check
from node.raft.errors import Compacted, Unavailable
from node.raft.message import ConfState, Entry, HardState, Message, SnapshotMeta, entry_bytes
from node.raft.ready import PersistToken, Ready
from node.raft.storage import limit_bytes
from store import record
from store.engine import Engine
from store.installer import Installer
from store.log import Batch, DurableLog, LogImage, Position
from store.overlay import StateView
from store.writer import BatchWriter, SyncFigures

CACHE_BYTES_MAX = 32 << 20
"""Entries kept in memory for followers and for applying; older ones are read from the log."""

encode_conf = msgspec.msgpack.Encoder().encode
decode_conf = msgspec.msgpack.Decoder(ConfState).decode


class Write(NamedTuple):
    """One write under way, and what may happen once it is synced."""

    sequence: int
    token: PersistToken | None
    messages: list[Message]
    applied: Position
    conf: ConfState
    generation: int | None = None
    """The state that is current once this write is durable, if it installs a snapshot."""


class Disk:
    """Raft's storage port and the order of writes."""

    def __init__(
        self,
        image: LogImage,
        log: DurableLog,
        writer: BatchWriter,
        state: StateView,
        engine: Engine,
    ) -> None:
        """Take over what boot has verified; `state` is the view that the machine reads."""
        self._log = log
        self._writer = writer
        self._state = state
        self._engine = engine
        self._cache = [Entry(e.term, e.index, e.kind, e.data) for e in image.tail]
        self._cache_bytes = sum(entry_bytes(entry) for entry in self._cache)
        self._last = image.last
        self._boundary = image.boundary
        stored = image.hard_state
        self._hard_state = HardState(stored.term, stored.vote, stored.commit)
        self._hard_state_moved = False
        self._applied = image.applied
        self._digest = image.digest
        self._conf = decode_conf(image.conf)
        self._conf_moved = False
        self._writes: deque[Write] = deque()
        self._size = 0
        self._sized_at = -1.0
        self._durable = Write(0, None, [], image.applied, self._conf)
        self._installs = 0
        self._replaced: deque[int] = deque()
        """Generations of the state that nobody reads any more; the next writes discard them."""

    # -- the core's storage port ------------------------------------------------------------

    def initial_state(self) -> tuple[HardState, ConfState]:
        """The hard state, and the configuration at the applied index."""
        return self._hard_state, self._conf

    def first_index(self) -> int:
        """First entry that is still in the log."""
        return self._boundary.index + 1

    def last_index(self) -> int:
        """Last entry that was handed to the writer."""
        return self._last.index

    def term(self, index: int) -> int:
        """Term of an entry or of the boundary before the first.

        Raises:
            Compacted: the entry was dropped.
            Unavailable: there is no such entry yet.
        """
        if index == self._boundary.index:
            return self._boundary.term
        if index == self._last.index:
            return self._last.term
        self._check_held(index)
        offset = index - self._cache_first()
        return self._cache[offset].term if offset >= 0 else self._log.term(index)

    def entries(self, lo: int, hi: int, bytes_max: int) -> list[Entry]:
        """Entries [lo, hi), cut at `bytes_max`, but at least one.

        Raises:
            Compacted: `lo` was dropped.
            Unavailable: `hi - 1` does not exist yet.
        """
        self._check_held(lo)
        self._check_held(hi - 1)
        first = self._cache_first()
        if lo >= first:
            return limit_bytes(self._cache[lo - first : hi - first], bytes_max)
        stored = self._log.entries(lo, min(hi, first), bytes_max)
        return [Entry(e.term, e.index, e.kind, e.data) for e in stored]

    def snapshot(self) -> SnapshotMeta:
        """The durable applied state can be streamed at any time."""
        applied = self._durable.applied
        return SnapshotMeta(applied.index, applied.term, self._durable.conf)

    # -- the loop's queue of writes -----------------------------------------------------------

    @property
    def applied(self) -> Position:
        """What the staged effects stand for."""
        return self._applied

    @property
    def durable_applied(self) -> Position:
        """What the effects on disk stand for."""
        return self._durable.applied

    @property
    def busy(self) -> bool:
        """Whether any write is under way."""
        return bool(self._writes)

    @property
    def installing(self) -> bool:
        """Whether a snapshot is on its way to disk: `applied` is its position already, but the old
        state is what reads find, so nothing may be read as fresh or applied meanwhile."""
        return self._installs > 0

    def has_room(self) -> bool:
        """Whether the writer's queue takes another batch."""
        return self._writer.has_room()

    def make_way_for_install(self) -> bool:
        """Send the effects of the state that a snapshot would replace on their way to disk; whether
        a `Ready` with a snapshot would be taken now.

        They must go with the commit index that they belong to: with the snapshot's, a crash before
        the install would leave a disk that claims to have committed more than its log holds.
        """
        self.flush_effects()
        return not self._effects_wait() and self.has_room()

    @property
    def digest(self) -> bytes:
        """The running digest of the applied entries; b"" = none is known."""
        return self._digest

    def applied_to(self, index: int, term: int, digest: bytes) -> None:
        """The effects of the entries up to `index` are staged in the state view."""
        self._applied = Position(index, term)
        self._digest = digest

    def conf_changed(self, conf: ConfState) -> None:
        """A configuration change was applied; it goes to disk with its applied index."""
        self._conf = conf
        self._conf_moved = True

    def write(self, ready: Ready, installer: Installer | None = None) -> None:
        """Queue what a `Ready` wants stored; `installer` holds the records of its snapshot."""
        if ready.hard_state is not None:
            self._hard_state = ready.hard_state
            self._hard_state_moved = True
        if ready.token is None:
            return
        if installer is not None:
            self._install(ready, installer)
            return
        if ready.entries:
            self._append(ready.entries)
        self._submit(ready.entries, ready.token, ready.messages_after_append)

    def queue_depth(self) -> int:
        """Batches that are not durable yet."""
        return self._writer.depth()[0]

    def oldest_wait(self) -> float:
        """Seconds that the oldest of them has waited."""
        return self._writer.oldest_wait()

    def sync_figures(self) -> SyncFigures:
        """How long the disk takes."""
        return self._writer.sync_figures()

    def size_on_disk(self) -> int:
        """Bytes of all files; asked of the file system at most once a second."""
        now = monotonic()
        if now - self._sized_at >= 1.0:
            self._sized_at, self._size = now, self._engine.size_on_disk()
        return self._size

    def state_size(self) -> int:
        """About how many bytes of the files the applied state takes, dead records included.

        The newest of them lie in files that hold entries of the log as well; which part of these is
        state is taken from all that was written.
        """
        prefix = record.state_prefix(self._state.generation)
        settled = self._engine.size_of(prefix, record.after_prefix(prefix))
        return settled + int(self._engine.unsettled_bytes() * self._writer.state_share)

    def newest_write(self) -> int:
        """Number of a write after which all that is staged now is on disk, and begin it."""
        self.flush_effects()
        if self._effects_wait():
            return self._writer.next_seq
        return self._writes[-1].sequence if self._writes else self._durable.sequence

    @property
    def durable_write(self) -> int:
        """Number of the newest write that is on disk."""
        return self._durable.sequence

    def flush_effects(self) -> bool:
        """Queue staged effects that found no other batch to ride along with."""
        if not self._effects_wait() or not self._writer.has_room():
            return False
        self._submit([], None, [])
        return True

    def compact(self, index: int) -> None:
        """Drop the log up to `index`, which must be durably applied."""
        check(index <= self._durable.applied.index, "only what is durably applied is compacted")
        if index <= self._boundary.index:
            return
        boundary = Position(index, self.term(index))
        first = self._cache_first()
        self._boundary = boundary
        if index >= first:
            self._drop_cached(index - first + 1)
        self._submit([], None, [], compact_to=boundary)

    def take_durable(self) -> list[Write]:
        """Writes that were synced since the last call, in order."""
        sequence = self._writer.take_durable()
        done: list[Write] = []
        while self._writes and self._writes[0].sequence <= sequence:
            done.append(self._writes.popleft())
        if done:
            self._durable = done[-1]
            self._state.retire(sequence)
            for write in done:
                if write.generation is not None:
                    self._replaced.append(self._state.generation)
                    self._state.adopt(write.generation)
                    self._installs -= 1
            self._trim_cache()
        if self._replaced and self.has_room():
            self._submit([], None, [])
        return done

    def _submit(
        self,
        entries: list[Entry],
        token: PersistToken | None,
        messages: list[Message],
        compact_to: Position | None = None,
    ) -> None:
        moved = self._effects_wait()
        # Commit-only hard states need no sync of their own, but applied <= commit holds on disk.
        hard_state = self._hard_state if self._hard_state_moved or moved else None
        batch = Batch(
            entries=entries,
            hard_state=None if hard_state is None else as_record(hard_state),
            applied=self._applied if moved else None,
            effects=self._state.seal(self._writer.next_seq) if moved else (),
            conf=encode_conf(self._conf) if self._conf_moved else None,
            digest=self._digest,
            compact_to=compact_to,
            discard=self._replaced.popleft() if self._replaced else None,
        )
        self._hard_state_moved = False
        self._conf_moved = False
        sequence = self._writer.submit(batch)
        self._writes.append(Write(sequence, token, messages, self._applied, self._conf))

    def _install(self, ready: Ready, installer: Installer) -> None:
        meta = ready.snapshot
        check(meta is not None and not ready.entries, "a snapshot comes alone")
        assert meta is not None
        check(not self._effects_wait(), "an install would overtake effects of the replaced state")
        position = Position(meta.index, meta.term)
        sequence = installer.finish(position, encode_conf(meta.conf), as_record(self._hard_state))
        self._digest = installer.digest
        self._cache.clear()
        self._cache_bytes = 0
        self._last = self._boundary = self._applied = position
        self._conf = meta.conf
        self._conf_moved = self._hard_state_moved = False
        self._installs += 1
        self._writes.append(
            Write(
                sequence,
                ready.token,
                ready.messages_after_append,
                position,
                meta.conf,
                installer.generation,
            )
        )

    def _effects_wait(self) -> bool:
        """Whether there is anything applied that no batch carries yet."""
        newest = self._writes[-1] if self._writes else self._durable
        return self._applied != newest.applied or self._state.unsealed

    def _append(self, entries: list[Entry]) -> None:
        start = entries[0].index
        check(start <= self._last.index + 1, "a write would leave a hole in the log")
        first = self._cache_first()
        if start <= self._last.index:
            replaced = self._cache[max(0, start - first) :]
            self._cache_bytes -= sum(entry_bytes(entry) for entry in replaced)
            del self._cache[max(0, start - first) :]
        self._cache += entries
        self._cache_bytes += sum([entry_bytes(entry) for entry in entries])
        self._last = Position(entries[-1].index, entries[-1].term)

    def _cache_first(self) -> int:
        """Index of the first cached entry; one past the last when nothing is cached."""
        return self._last.index + 1 - len(self._cache)

    def _trim_cache(self) -> None:
        """Forget the older half once there is too much.

        Only what is durably applied may go: it is on disk for sure and is never replaced.
        """
        if self._cache_bytes <= CACHE_BYTES_MAX:
            return
        count = 0
        excess = self._cache_bytes - CACHE_BYTES_MAX // 2
        safe = self._durable.applied.index + 1 - self._cache_first()
        while excess > 0 and count < safe:
            excess -= entry_bytes(self._cache[count])
            count += 1
        self._drop_cached(count)

    def _drop_cached(self, count: int) -> None:
        self._cache_bytes -= sum(entry_bytes(entry) for entry in self._cache[:count])
        del self._cache[:count]

    def _check_held(self, index: int) -> None:
        if index <= self._boundary.index:
            raise Compacted(index)
        if index > self._last.index:
            raise Unavailable(index)


def as_record(hard_state: HardState) -> record.HardState:
    """The store's own form of a hard state."""
    return record.HardState(hard_state.term, hard_state.vote, hard_state.commit)
