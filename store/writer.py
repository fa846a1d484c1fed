"""The one thread that writes: takes all batches that wait, syncs them as one, wakes the loop.

    loop thread                             writer thread
    submit(batch) ──► queue ──────────────► take all that is queued (group commit)
                                            one atomic, synced write
                                            durable.mark
    take_durable() ◄── eventfd readable ◄── durable_seq, eventfd

A sync takes as long for one batch as for a hundred, so that the disk itself sets the size of the
groups: what arrives during one sync shares the next.

Any exception on the writing side ends the process at once (`store.fatal`): after a failed write or
sync nothing is known about the disk, a retry may "succeed" because the kernel has dropped the dirty
pages, and LevelDB goes on accepting writes that no restart will find. No batch of the failed group
is ever acknowledged.

When no batch waits, the thread sweeps (`store.sweep`) in bounded steps, and after a longer pause it
lets the engine compact what was swept. LevelDB's own stalls hit this thread only; `oldest_wait` and
`depth` show them.

`SteppedWriter` is the same without thread or eventfd, for tests and the simulator: writes happen
when its owner says so.
"""

import contextlib
import os
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic, monotonic_ns
from typing import Protocol

from msgspec import Struct as Record

from store.commit import Admitted, Committer, Intake
from store.config import StoreConfig
from store.errors import check
from store.log import Batch

_SYNCS_REMEMBERED = 512
SYNC_BOUNDS_SECONDS = tuple(0.001 * 2**step for step in range(14))
"""Upper bounds of the histogram of write times: those of etcd's own metric."""


class SyncFigures(Record, frozen=True, gc=False):
    """Times of the last few hundred group writes, sync included, in microseconds."""

    count: int
    """All writes since the start, not only the remembered ones."""
    p50_us: int
    p99_us: int
    max_us: int
    buckets: tuple[int, ...] = (0,) * (len(SYNC_BOUNDS_SECONDS) + 1)
    """All writes since the start: `buckets[i]` took at most `SYNC_BOUNDS_SECONDS[i]` and more than
    the bound before; the last one has no bound."""
    sum_seconds: float = 0.0


class BatchWriter(Protocol):
    """What the loop sees of a writer."""

    @property
    def next_seq(self) -> int:
        """The number that the next submitted batch will have."""

    def submit(self, batch: Batch) -> int:
        """Queue a batch and return its number; batches become durable in this order.

        Raises:
            QueueFull: nothing was queued.
            InvariantViolated: the batch does not continue the log.
        """

    def has_room(self) -> bool:
        """Whether `submit` would take a batch now. Stays true until something is submitted."""

    def take_durable(self) -> int:
        """Highest number that is on disk; re-arms `fileno`."""

    def depth(self) -> tuple[int, int]:
        """Batches and bytes that are not durable yet."""

    def oldest_wait(self) -> float:
        """Seconds that the oldest batch has waited for the disk; 0 when nothing waits."""

    def sync_figures(self) -> SyncFigures:
        """How long the disk takes."""

    @property
    def generation(self) -> int:
        """The generation of state records that is current once everything submitted is written."""

    @property
    def state_share(self) -> float:
        """Which part of what was submitted is state, from 0.0 to 1.0; the rest is log."""

    def claim_generation(self) -> int:
        """Another generation, for an install; never one that queued batches still write to."""


class Writer:
    """The real one. `close` belongs to the thread that submits."""

    def __init__(
        self,
        committer: Committer,
        intake: Intake,
        config: StoreConfig,
        die: Callable[[BaseException], None],
    ) -> None:
        """`die` ends the process, called on the writer thread with what went wrong.

        Should it return, the thread ends and nothing becomes durable any more.
        """
        self._committer = committer
        self._intake = intake
        self._config = config
        self._die = die
        self._queue: SimpleQueue[Admitted | None] = SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._syncs = _SyncTimes()
        self._waiting: deque[tuple[int, float]] = deque()
        """Number of each batch that is not known to be durable, and since when it waits; the
        submitting thread's."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def next_seq(self) -> int:
        return self._intake.next_seq

    @property
    def generation(self) -> int:
        return self._intake.generation

    @property
    def state_share(self) -> float:
        return self._intake.state_share

    def claim_generation(self) -> int:
        return self._intake.claim_generation()

    def submit(self, batch: Batch) -> int:
        check(not self._closed, "a batch for a closed writer")
        admitted = self._intake.admit(batch)
        self._queue.put(admitted)
        self._waiting.append((admitted.head.write_seq, admitted.admitted_at))
        return admitted.head.write_seq

    def has_room(self) -> bool:
        return self._intake.has_room()

    def fileno(self) -> int:
        """An eventfd, readable when something became durable since `take_durable`."""
        return self._wake

    def take_durable(self) -> int:
        with contextlib.suppress(BlockingIOError):  # asked without having been woken
            os.eventfd_read(self._wake)
        durable, waiting = self._intake.durable_seq, self._waiting
        while waiting and waiting[0][0] <= durable:
            waiting.popleft()
        return durable

    def depth(self) -> tuple[int, int]:
        return self._intake.depth()

    def oldest_wait(self) -> float:
        return monotonic() - self._waiting[0][1] if self._waiting else 0.0

    def sync_figures(self) -> SyncFigures:
        return self._syncs.figures()

    def close(self) -> None:
        """Write what is queued, end the thread. Idempotent; the engine stays open."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        os.close(self._wake)

    def _run(self) -> None:
        try:
            while (first := self._next()) is not None:
                if not self._write(first):
                    return
        except BaseException as error:
            self._die(error)

    def _next(self) -> Admitted | None:
        """Wait for a batch and make use of the wait; None: the writer was closed."""
        while True:
            with contextlib.suppress(Empty):
                return self._queue.get_nowait()
            if not self._committer.tidy():
                break
        while True:
            with contextlib.suppress(Empty):
                return self._queue.get(timeout=self._config.compact_idle_seconds)
            if not self._committer.compact():
                return self._queue.get()

    def _write(self, first: Admitted) -> bool:
        """Write `first` and what else is queued as one group; False: it was the last one."""
        group, more = self._gather(first)
        started = monotonic_ns()
        self._committer.write(group)
        self._syncs.add(monotonic_ns() - started)
        last = group[-1]
        self._intake.durable_bytes = last.bytes_total
        self._intake.durable_seq = last.head.write_seq
        os.eventfd_write(self._wake, 1)
        return more

    def _gather(self, first: Admitted) -> tuple[list[Admitted], bool]:
        group = [first]
        bytes_stop = first.bytes_total + self._config.group_bytes_max
        with contextlib.suppress(Empty):
            while group[-1].bytes_total < bytes_stop:
                admitted = self._queue.get_nowait()
                if admitted is None:
                    return group, False
                group.append(admitted)
        return group, True


class SteppedWriter:
    """A writer whose owner decides when, and how much of the queue, becomes durable.

    `step` does at once what the thread does in three strides: `take`, `write`, `acknowledge`.
    Between them the owner may let the loop run, or end the process.
    """

    def __init__(self, committer: Committer, intake: Intake) -> None:
        self._committer = committer
        self._intake = intake
        self._queue: deque[Admitted] = deque()
        self._group: list[Admitted] = []
        self._written = False
        self._syncs = _SyncTimes()

    @property
    def next_seq(self) -> int:
        return self._intake.next_seq

    @property
    def generation(self) -> int:
        return self._intake.generation

    @property
    def state_share(self) -> float:
        return self._intake.state_share

    def claim_generation(self) -> int:
        return self._intake.claim_generation()

    def submit(self, batch: Batch) -> int:
        admitted = self._intake.admit(batch)
        self._queue.append(admitted)
        return admitted.head.write_seq

    def has_room(self) -> bool:
        return self._intake.has_room()

    @property
    def busy(self) -> bool:
        """Whether a group is under way."""
        return bool(self._group)

    @property
    def written(self) -> bool:
        """Whether a group is on disk that nobody has heard of yet."""
        return self._written

    def step(self, batches_max: int | None = None) -> bool:
        """Make up to `batches_max` queued batches durable as one group; False: nothing to do.

        Ends a group that is under way before it takes another one.
        """
        if not self._group and not self.take(batches_max):
            return False
        if not self._written:
            self.write()
        self.acknowledge()
        return True

    def take(self, batches_max: int | None = None) -> bool:
        """Choose the batches of the next group; False: nothing was queued."""
        check(not self._group, "a group before the last one was acknowledged")
        count = len(self._queue) if batches_max is None else min(batches_max, len(self._queue))
        self._group = [self._queue.popleft() for _ in range(count)]
        return bool(self._group)

    def write(self) -> None:
        """Write the group that was taken. Whatever it raises, the owner ends the process."""
        self._committer.write(self._group)
        self._written = True

    def acknowledge(self) -> None:
        """Let the loop know of the group that was written."""
        check(self._written, "a group is acknowledged that was not written")
        self._intake.durable_bytes = self._group[-1].bytes_total
        self._intake.durable_seq = self._group[-1].head.write_seq
        self._group = []
        self._written = False

    def tidy(self) -> bool:
        """What the idle thread would do; False when there is nothing, or it is not idle."""
        return not self._group and (self._committer.tidy() or self._committer.compact())

    def take_durable(self) -> int:
        return self._intake.durable_seq

    def depth(self) -> tuple[int, int]:
        return self._intake.depth()

    def oldest_wait(self) -> float:
        return 0.0

    def sync_figures(self) -> SyncFigures:
        return self._syncs.figures()


class _SyncTimes:
    """A ring of the last write times; added to by one thread, read by another."""

    def __init__(self) -> None:
        self._ring: deque[int] = deque(maxlen=_SYNCS_REMEMBERED)
        self._count = 0
        self._buckets = [0] * (len(SYNC_BOUNDS_SECONDS) + 1)
        self._sum_seconds = 0.0

    def add(self, nanoseconds: int) -> None:
        self._ring.append(nanoseconds)
        self._count += 1
        seconds = nanoseconds / 1e9
        self._sum_seconds += seconds
        self._buckets[bisect_left(SYNC_BOUNDS_SECONDS, seconds)] += 1

    def figures(self) -> SyncFigures:
        times = sorted(self._ring.copy())  # one C call: the other thread cannot append meanwhile
        if not times:
            return SyncFigures(0, 0, 0, 0)
        at = len(times) - 1
        p50, p99 = times[at // 2], times[at * 99 // 100]
        return SyncFigures(
            self._count,
            p50 // 1000,
            p99 // 1000,
            times[-1] // 1000,
            tuple(self._buckets),
            self._sum_seconds,
        )
