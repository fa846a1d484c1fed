"""State records as the applier sees them: what is on disk, plus what is on its way there.

Effects of an applied entry are visible at once but durable only with the next batch. In between
they live here:

    stage(operations)      visible to the next get or scan
    seal(write_seq)        → full-key operations for the batch that will have that sequence number
    retire(durable_seq)    batches up to here are on disk: their effects need not be kept any more

A read looks into one dict of the newest values first and then into the engine. That is right while
the engine moves underneath, because a key leaves the dict only after its newest value is durable,
and whatever the writer makes durable earlier is shadowed until then.

Scans need the staged keys in order. Sorting is put off until a scan comes, and then only the keys
that are new since the last one are inserted into the kept order. Keys that were retired linger in
that order as harmless names until they outnumber the living ones.

State records live under `s` + one generation byte, which the users of the view never see. A
snapshot install builds the next generation beside the current one (see `store.installer`).

One thread only, the loop's. Deliberately absent: transactions, versions, any idea of what the
records mean.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from operator import gt, lt
from types import TracebackType
from typing import Self

from store import record
from store.engine import Engine, EngineSnapshot, Operation
from store.errors import check
from store.record import Position

_NOT_STAGED = bytes(bytearray(b"not staged"))
"""Compared by identity, so that no stored value can be taken for it."""

_DEAD_NAMES_MAX = 1024


class StateView:
    """A `store.engine.Reader` over the current generation and everything staged above it."""

    def __init__(self, engine: Engine, generation: int) -> None:
        self._engine = engine
        self._engine_get = engine.get
        self._latest: dict[bytes, bytes | None] = {}
        self._staged: dict[bytes, bytes | None] = {}
        self._sealed: deque[tuple[int, dict[bytes, bytes | None]]] = deque()
        # Invariant: every key of _latest is in _order or in _arrived; _names is the set of _order.
        self._order: list[bytes] = []
        self._names: set[bytes] = set()
        self._arrived: list[Operation] = []
        self._point_at(generation)

    @property
    def generation(self) -> int:
        """The generation that reads and sealed operations refer to."""
        return self._generation

    @property
    def staged_records(self) -> int:
        """How many records differ from the engine's; 0 when all effects are durable."""
        return len(self._latest)

    @property
    def unsealed(self) -> bool:
        """Whether anything was staged since the last `seal`."""
        return bool(self._staged)

    def get(self, key: bytes) -> bytes | None:
        """The newest value of `key`, durable or not."""
        value = self._latest.get(key, _NOT_STAGED)
        if value is not _NOT_STAGED:
            return value
        return self._engine_get(self._prefix + key)

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Records in `[lo, hi)` as of this call; what is staged later does not show up in it."""
        records = self._records.scan(lo, hi, reverse=reverse)
        if not self._latest:
            return records
        patch = self._patch(lo, hi)
        if not patch:
            return records
        if reverse:
            patch.reverse()
        return _merge(records, patch, gt if reverse else lt)

    def stage(self, operations: Sequence[Operation]) -> None:
        """Make effects visible. Later operations win over earlier ones on the same key."""
        self._latest.update(operations)
        self._staged.update(operations)
        self._arrived.extend(operations)

    def seal(self, write_seq: int) -> list[Operation]:
        """Hand out everything staged as full-key operations for the batch `write_seq`.

        The caller takes `write_seq` from `Writer.next_seq` and submits without anything in between.
        """
        staged = self._staged
        if not staged:
            return []
        check(not self._sealed or self._sealed[-1][0] < write_seq, "sealed out of order", write_seq)
        self._sealed.append((write_seq, staged))
        self._staged = {}
        prefix = self._prefix
        return [(prefix + key, value) for key, value in staged.items()]

    def retire(self, durable_seq: int) -> None:
        """Forget effects of batches up to `durable_seq`: reads find them in the engine now."""
        sealed = self._sealed
        while sealed and sealed[0][0] <= durable_seq:
            _, effects = sealed.popleft()
            gone = effects.keys() - self._staged.keys()
            for _, newer in sealed:
                gone -= newer.keys()
            for key in gone:
                del self._latest[key]
        self._drop_dead_names()

    def adopt(self, generation: int) -> None:
        """Show an installed snapshot, once the batch with its `Install` is durable."""
        check(not self._latest, "effects of the replaced state are still under way")
        self._point_at(generation)

    def read_snapshot(self) -> "StateSnapshot":
        """The applied *durable* state at one instant, for sending it to another member."""
        return StateSnapshot(self._engine.snapshot(), self._generation)

    def _point_at(self, generation: int) -> None:
        self._generation = generation
        self._prefix = record.state_prefix(generation)
        self._records = self._engine.prefixed(self._prefix)

    def _patch(self, lo: bytes, hi: bytes) -> list[Operation]:
        """What the overlay knows of `[lo, hi)`, in key order, deletions included."""
        if self._arrived:
            self._sort_arrived()
        order, latest = self._order, self._latest
        start = bisect_left(order, lo)
        stop = bisect_left(order, hi, start) if hi else len(order)
        return [(key, latest[key]) for key in order[start:stop] if key in latest]

    def _sort_arrived(self) -> None:
        fresh = {key for key, _ in self._arrived}.difference(self._names)
        self._arrived.clear()
        self._names |= fresh
        if len(fresh) * 8 < len(self._order):
            for key in fresh:
                insort(self._order, key)
        else:
            self._order.extend(fresh)
            self._order.sort()

    def _drop_dead_names(self) -> None:
        latest = self._latest
        if len(self._order) + len(self._arrived) > 2 * len(latest) + _DEAD_NAMES_MAX or not latest:
            self._order.clear()
            self._names.clear()
            self._arrived = list(latest.items())


def _merge(
    records: Iterator[tuple[bytes, bytes]],
    patch: list[Operation],
    before: Callable[[bytes, bytes], bool],
) -> Iterator[tuple[bytes, bytes]]:
    """Both inputs run in the order of `before`; on equal keys the patch wins."""
    record = next(records, None)
    for key, value in patch:
        while record is not None and before(record[0], key):
            yield record
            record = next(records, None)
        if record is not None and record[0] == key:
            record = next(records, None)
        if value is not None:
            yield key, value
    if record is not None:
        yield record
        yield from records


class StateSnapshot:
    """State records of one generation together with the position that they stand for.

    Position and records come from one engine snapshot and were written by one atomic batch, so
    that they cannot disagree. It holds disk space: close it.
    """

    def __init__(self, snapshot: EngineSnapshot, generation: int) -> None:
        self._snapshot = snapshot
        self._prefix = record.state_prefix(generation)
        applied = snapshot.get(record.APPLIED)
        conf = snapshot.get(record.CONF)
        check(applied is not None and conf is not None, "a database without applied position")
        self.position, self.digest = record.decode_applied(applied or b"")
        self.conf_index, self.conf = record.decode_conf(conf or b"")

    position: Position
    digest: bytes
    conf_index: int
    conf: bytes

    def get(self, key: bytes) -> bytes | None:
        return self._snapshot.get(self._prefix + key)

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        prefix = self._prefix
        skip = len(prefix)
        stop = prefix + hi if hi else record.after_prefix(prefix)
        records = self._snapshot.scan(prefix + lo, stop, reverse=reverse)
        return ((key[skip:], value) for key, value in records)

    def chunk(self, lo: bytes, bytes_max: int) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """Records from `lo` on, about `bytes_max` of them (at least one), and where to go on.

        None as the second part: nothing is left. Resuming from any returned key is allowed.
        """
        records: list[tuple[bytes, bytes]] = []
        room = bytes_max
        for key, value in self.scan(lo, b""):
            if room <= 0:
                return records, key
            records.append((key, value))
            room -= len(key) + len(value)
        return records, None

    def close(self) -> None:
        """Release the engine snapshot. Idempotent."""
        self._snapshot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
