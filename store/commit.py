"""Turns batches into disk operations: checks on the way in, one atomic write per group.

Two halves, because two threads are involved. `Intake` belongs to the loop: it numbers a batch,
checks that it continues the log, and refuses it when too much is waiting. `Committer` belongs to
whoever writes: it encodes a group of admitted batches in order, adds a share of sweeping, writes,
and moves the mark. They share nothing but the admitted batches and two integers that the committer
only increases.

A batch that contradicts the log (a gap, an entry below the commit index, an applied index going
back) is a bug of the caller and dies in `admit`, in the caller's own stack.
"""

from collections.abc import Sequence
from time import monotonic
from zlib import crc32

from msgspec import Struct as Record

from store import record
from store.config import StoreConfig
from store.engine import Engine, Operation
from store.errors import QueueFull, check
from store.log import Batch, Install, LogImage, StoredEntry
from store.mark import Mark, MarkFigures
from store.record import HardState, Head, Meta, Position
from store.sweep import Sweep


class Admitted(Record, frozen=True):
    """A batch with everything that only the intake knows."""

    batch: Batch
    head: Head
    replaced_last: int
    """Last index before this batch; what lies between the new last and this one is deleted."""
    bytes_total: int
    """Bytes of all batches ever admitted, this one included."""
    admitted_at: float


class Intake:
    """The loop's half: numbers batches, and knows where the log will end."""

    def __init__(self, image: LogImage, config: StoreConfig) -> None:
        self._config = config
        self._write_seq = image.write_seq
        self._hard_state = image.hard_state
        self._boundary = image.boundary
        self._last = image.last
        self._applied = image.applied
        self._generation = self._claimed = image.generation
        self._bytes_total = 0
        self._state_bytes = 0
        # Written by the other thread, one word each and only upwards.
        self.durable_seq = image.write_seq
        self.durable_bytes = 0

    @property
    def next_seq(self) -> int:
        """The number that the next admitted batch will have."""
        return self._write_seq + 1

    @property
    def generation(self) -> int:
        """Current generation once everything admitted is written."""
        return self._generation

    @property
    def state_share(self) -> float:
        """Which part of all that was ever admitted is state, from 0.0 to 1.0; the rest is log."""
        return self._state_bytes / self._bytes_total if self._bytes_total else 1.0

    def claim_generation(self) -> int:
        """A generation that no install of the last 254 has used; its records may still be there."""
        self._claimed = (self._claimed + 1) % record.GENERATIONS
        if self._claimed == self._generation:
            return self.claim_generation()
        return self._claimed

    def depth(self) -> tuple[int, int]:
        """Batches and bytes that are not durable yet."""
        return self._write_seq - self.durable_seq, self._bytes_total - self.durable_bytes

    def has_room(self) -> bool:
        """Whether `admit` would take a batch now."""
        batches, waiting = self.depth()
        return batches < self._config.queue_batches_max and waiting < self._config.queue_bytes_max

    def admit(self, batch: Batch) -> Admitted:
        """Number a batch.

        Raises:
            QueueFull: nothing was changed; try again after something became durable.
            InvariantViolated: the batch does not continue the log.
        """
        if not self.has_room():
            raise QueueFull(*self.depth())
        replaced_last = self._last.index
        if batch.hard_state is not None:
            self._take_hard_state(batch.hard_state)
        if batch.entries:
            self._take_entries(batch.entries)
        if batch.install is not None:
            self._take_install(batch, batch.install)
        if batch.applied is not None:
            self._take_applied(batch.applied)
        if batch.compact_to is not None:
            self._take_boundary(batch.compact_to)
        if batch.applied is None:
            self._check_without_applied(batch)
        hard, last = self._hard_state, self._last
        check(hard.commit <= last.index, "commit index beyond the log", hard, last)
        self._write_seq += 1
        effects = _effects_size(batch)
        self._state_bytes += effects
        self._bytes_total += effects + sum([len(entry.data) for entry in batch.entries])
        head = Head(self._write_seq, self._hard_state, self._last)
        return Admitted(batch, head, replaced_last, self._bytes_total, monotonic())

    def _take_hard_state(self, new: HardState) -> None:
        old = self._hard_state
        check(new.term >= old.term and new.commit >= old.commit, "hard state went back", old, new)
        check(new.term > old.term or old.vote in (0, new.vote), "two votes in one term", old, new)
        self._hard_state = new

    def _take_entries(self, entries: Sequence[StoredEntry]) -> None:
        first, last = entries[0], entries[-1]
        check(
            self._applied.index < first.index <= self._last.index + 1,
            "entries leave a gap or replace applied ones",
            first.index,
            self._last,
        )
        check(last.index - first.index + 1 == len(entries), "entries are not contiguous")
        self._last = Position(last.index, last.term)

    def _take_applied(self, new: Position) -> None:
        check(
            self._applied.index <= new.index <= min(self._hard_state.commit, self._last.index),
            "applied index went back or ahead of commit",
            new,
            self._applied,
            self._hard_state,
        )
        self._applied = new

    def _check_without_applied(self, batch: Batch) -> None:
        """State and the index that it stands for move together or not at all."""
        check(batch.conf is None, "membership without applied index")
        if batch.effects:
            prefix = record.state_prefix(self._generation)
            check(not batch.effects[0][0].startswith(prefix), "effects without applied index")

    def _take_boundary(self, new: Position) -> None:
        check(
            self._boundary.index <= new.index <= self._applied.index,
            "compaction went back or beyond what was applied",
            new,
            self._applied,
        )
        self._boundary = new

    def _take_install(self, batch: Batch, install: Install) -> None:
        check(
            not batch.entries and batch.applied is None and not batch.effects,
            "an install comes alone",
        )
        position = install.position
        check(position.index > self._applied.index, "a snapshot from the past", position)
        check(install.generation != self._generation, "installed over the current generation")
        self._boundary = self._last = self._applied = position
        self._generation = install.generation
        hard = self._hard_state
        check(hard.term >= position.term, "a snapshot of a later term", position, hard)
        check(hard.commit >= position.index, "a snapshot ahead of the commit index", hard)


class Committer:
    """The disk's half: one instance, used by one thread."""

    def __init__(self, engine: Engine, mark: Mark, image: LogImage, sweep: Sweep) -> None:
        self._engine = engine
        self._mark = mark
        self._meta = image.meta
        self._generation = image.generation
        self._sweep = sweep
        self._baton = image.write_seq

    def write(self, group: Sequence[Admitted]) -> None:
        """Make a non-empty group durable, in order and all at once, then move the mark.

        Whatever it raises, nothing is known about the disk afterwards: the process has to end.
        """
        # Sweeping first: it looks into the engine, which does not have this group yet.
        operations = self._sweep.operations(_sweep_share(group))
        for admitted in group:
            self._encode(admitted, operations)
        head = group[-1].head
        operations.append((record.HEAD, record.encode_head(head)))
        operations += self._pass_baton(head.write_seq)
        self._engine.write(operations)
        self._mark.update(figures_of(self._meta, head))

    def tidy(self) -> bool:
        """One bounded step of sweeping; False when there is nothing left to sweep."""
        operations = self._sweep.operations(self._sweep.records_max)
        if operations:
            self._engine.write(operations)
        return bool(operations)

    def compact(self) -> bool:
        """Have the engine drop one stretch of swept records; False when there is none."""
        stretch = self._sweep.take_stretch()
        if stretch is not None:
            self._engine.compact(*stretch)
        return stretch is not None

    def _pass_baton(self, write_seq: int) -> list[Operation]:
        """Each group takes the baton of the one before it and leaves its own.

        The newest head replaces all others: it cannot tell that a group before it got lost. But the
        baton that this group should have taken would still lie there.
        """
        before, self._baton = self._baton, write_seq
        return [
            (record.baton_key(before), None),
            (record.baton_key(write_seq), record.encode_baton()),
        ]

    def _encode(self, admitted: Admitted, operations: list[Operation]) -> None:
        batch = admitted.batch
        if batch.entries:
            operations += _encode_entries(batch.entries)
        if admitted.replaced_last > admitted.head.last.index:
            operations += _deleted(admitted.head.last.index + 1, admitted.replaced_last + 1)
        operations += batch.effects
        if batch.applied is not None:
            self._encode_applied(batch.applied, batch.digest, batch.conf, operations)
        if batch.compact_to is not None:
            operations.append(self._sweep.raise_floor(batch.compact_to))
        if batch.install is not None:
            self._encode_install(batch.install, operations)
        if batch.discard is not None:
            check(batch.discard != self._generation, "the current generation was discarded")
            self._sweep.add_generation(batch.discard)

    def _encode_applied(
        self, applied: Position, digest: bytes, conf: bytes | None, operations: list[Operation]
    ) -> None:
        operations.append((record.APPLIED, record.encode_applied(applied, digest)))
        if conf is not None:
            operations.append((record.CONF, record.encode_conf(applied.index, conf)))

    def _encode_install(self, install: Install, operations: list[Operation]) -> None:
        """Entries up to the snapshot are swept later; those beyond it were just deleted. The state
        that was current until now stays: who reads it does not know of this write yet."""
        self._encode_applied(install.position, install.digest, install.conf, operations)
        operations.append(self._sweep.raise_floor(install.position))
        operations.append((record.GENERATION, record.encode_generation(install.generation)))
        self._generation = install.generation


def figures_of(meta: Meta, head: Head) -> MarkFigures:
    """What the mark says once this head is on disk."""
    hard, last = head.hard_state, head.last
    return MarkFigures(
        meta.uuid, meta.member_id, head.write_seq, hard.term, hard.vote, last.index, last.term
    )


def _effects_size(batch: Batch) -> int:
    """Payload bytes, near enough for a bound: keys and headers are not worth the time."""
    return sum([len(value) for _, value in batch.effects if value])


def _encode_entries(entries: Sequence[StoredEntry]) -> list[Operation]:
    """`record.encode_entry` unrolled: this is most of what the writer thread does in Python."""
    key, body_of, crc_of = record.ENTRY_KEY.pack, record.ENTRY_HEADER.pack, record.CRC.pack
    prefix = record.ENTRY
    operations: list[Operation] = []
    for entry in entries:
        index = entry.index
        body = body_of(entry.term, entry.kind) + entry.data
        operations.append((key(prefix, index), crc_of(crc32(body, index & 0xFFFFFFFF)) + body))
    return operations


def _deleted(lo: int, hi: int) -> list[Operation]:
    return [(record.entry_key(index), None) for index in range(lo, hi)]


def _sweep_share(group: Sequence[Admitted]) -> int:
    """Sweeping keeps pace under constant load: more goes than comes."""
    return 64 + 2 * sum([len(admitted.batch.entries) for admitted in group])
