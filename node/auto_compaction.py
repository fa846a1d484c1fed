"""Compaction by the clock or by revisions (etcd --auto-compaction-mode and -retention).

    periodic P   history older than P goes. The revision is noted ten times per interval, which is P
                 or one hour if that is less; after the first P, once per interval, the last noted
                 revision that is older than P is compacted to. If that fails it is tried again
                 after a tenth of the interval.
    revision N   every five minutes all but the newest N revisions go.

Every member notes revisions, so that the next leader knows what was current P ago; only a leader
proposes. The schedules are told the time and are otherwise pure.

Source: etcd server/etcdserver/api/v3compactor (periodic.go, revision.go), server/embed/etcd.go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.errors import Compacted, Refusal
from node.proto import rpc_pb2
from node.retention_text import HOUR_SECONDS

NOTES_PER_INTERVAL = 10
REVISION_SECONDS = 300.0


class Schedule(Protocol):
    """Says when to compact, and to which revision."""

    def step(self, now: float, revision: int, leads: bool) -> int | None:
        """What to compact to now, if this member leads; to be called often."""

    def compacted(self, revision: int, now: float) -> None:
        """What was last asked for has happened, by this member or before it."""


class Never:
    """The default."""

    def step(self, now: float, revision: int, leads: bool) -> int | None:
        return None

    def compacted(self, revision: int, now: float) -> None:
        """Nothing was asked for."""


class Periodic:
    """By the clock."""

    def __init__(self, period_seconds: float) -> None:
        """Keep what is younger than `period_seconds`."""
        interval = min(period_seconds, HOUR_SECONDS)
        self._interval = interval
        self._pause = interval / NOTES_PER_INTERVAL
        self._patience = period_seconds
        """Seconds since the last compaction, or the start, before the next: first the period."""
        count = round(period_seconds / self._pause) + 1
        self._notes: deque[int] = deque(maxlen=count)
        """Revisions; the first one is of a period ago, or of the start if that is later."""
        self._next_at = 0.0
        self._done_at = 0.0
        self._done = 0

    def step(self, now: float, revision: int, leads: bool) -> int | None:
        if not self._notes:
            self._done_at = now
        elif now < self._next_at:
            return None
        target = self._notes[0] if self._notes else 0
        self._notes.append(revision)
        self._next_at = now + self._pause
        if not leads or now - self._done_at < self._patience or target == self._done:
            return None
        self._patience = self._interval
        return target

    def compacted(self, revision: int, now: float) -> None:
        self._done, self._done_at = revision, now


class Revisions:
    """By the number of revisions."""

    def __init__(self, kept: int) -> None:
        """Keep the newest `kept`."""
        self._kept = kept
        self._next_at: float | None = None
        self._done = 0

    def step(self, now: float, revision: int, leads: bool) -> int | None:
        if self._next_at is not None and now < self._next_at:
            return None
        first = self._next_at is None
        self._next_at = now + REVISION_SECONDS
        target = revision - self._kept
        if first or not leads or target <= 0 or target == self._done:
            return None
        return target

    def compacted(self, revision: int, now: float) -> None:
        self._done = revision


def schedule_of(mode: str, retention: float) -> Schedule:
    """`retention` is seconds or revisions, by the mode; 0 = never compact."""
    if retention <= 0:
        return Never()
    return Periodic(retention) if mode == "periodic" else Revisions(int(retention))


class AutoCompaction:
    """A schedule that is kept."""

    def __init__(
        self,
        schedule: Schedule,
        revision: Callable[[], int],
        propose: Callable[[RequestKind, bytes, Callable[[Answer | Refusal], None]], None],
        clock: Callable[[], float],
    ) -> None:
        """`revision` is the store's current one."""
        self._schedule = schedule
        self._revision = revision
        self._propose = propose
        self._clock = clock

    def keep(self, now: float, leads: bool) -> None:
        """Compact if it is time; to be called ten times a second."""
        target = self._schedule.step(now, self._revision(), leads)
        if target is None:
            return

        def done(outcome: Answer | Refusal) -> None:
            if isinstance(outcome, (Answer, Compacted)):
                self._schedule.compacted(target, self._clock())

        request = rpc_pb2.CompactionRequest(revision=target)
        self._propose(RequestKind.COMPACT, request.SerializeToString(), done)
