"""Replaces the whole state by a snapshot from another member, crash-safe at every step.

    add(records) …     written into a generation of their own, beside the current state
    finish(…)          ONE batch: that generation becomes current, the log starts after the
                       snapshot, hard state and membership move along
    afterwards         its owner goes over to the new state and discards the replaced generation
                       (`Batch.discard`), which is swept away in the background

A crash before `finish` is durable leaves the old state and the old log untouched; the half-built
generation is found and swept at the next start. A crash after it leaves the new state, and the
replaced generation is swept instead. The vote travels in the same batch as everything else, so
that an install can never bring an old one back.

The owner drives it chunk by chunk and holds back while `BatchWriter.has_room` is false. Records
must be added at most a few hundred KiB at a time, so that they do not hold up other batches.

Source: etcd's rule for snapshots (state durable first, then the marker, then the old log goes);
Raft §7.
"""

from collections.abc import Sequence

from store import record
from store.engine import Engine, Operation
from store.errors import InvariantViolated, check
from store.log import Batch, HardState, Install, Position
from store.writer import BatchWriter


class Installer:
    """One install. Ends with `finish` or `abandon`, after which it is used up."""

    def __init__(self, engine: Engine, writer: BatchWriter) -> None:
        """Choose a generation that holds nothing and that nothing queued will write to."""
        self._writer = writer
        self.generation = _empty_generation(engine, writer)
        self._prefix = record.state_prefix(self.generation)
        self._open = True
        self.digest = b""
        """Of the entries that the new state stands for, once its owner has learnt it."""

    def add(self, records: Sequence[Operation]) -> int:
        """Queue state records (keys as `StateSnapshot.scan` gives them); returns the batch number.

        Raises:
            QueueFull: nothing was queued; the same records may be added again later.
        """
        check(self._open, "records for an install that has ended")
        prefix = self._prefix
        effects = [(prefix + key, value) for key, value in records]
        return self._writer.submit(Batch(effects=effects))

    def finish(self, position: Position, conf: bytes, hard_state: HardState) -> int:
        """Queue the switch to the new state; returns the number of the batch that does it.

        Once that is durable, `StateView.adopt(self.generation)` shows the new state.
        `hard_state.commit` is at least `position.index`.

        Raises:
            QueueFull: nothing was queued; try again.
        """
        check(self._open, "an install was finished twice")
        install = Install(self.generation, position, conf, self.digest)
        number = self._writer.submit(Batch(hard_state=hard_state, install=install))
        self._open = False
        return number

    def abandon(self) -> None:
        """Give up: what was added is swept away. No effect after `finish`.

        Raises:
            QueueFull: try again, or leave it to the next start.
        """
        if self._open:
            self._writer.submit(Batch(discard=self.generation))
            self._open = False


def _empty_generation(engine: Engine, writer: BatchWriter) -> int:
    for _ in range(record.GENERATIONS):
        generation = writer.claim_generation()
        prefix = record.state_prefix(generation)
        if next(engine.scan(prefix, record.after_prefix(prefix)), None) is None:
            return generation
    raise InvariantViolated("all generations of state records are in use")
