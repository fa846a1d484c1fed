"""Who was shown which revision when: the real-time order that the revisions must agree with.

A client that is shown revision r at time t (a response came, a watch delivered) proves that r was
committed by then. So whatever starts after t and takes a revision takes a greater one, and no
linearizable read that starts after t may show less.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from msgspec import Struct

from tools.check.history import (
    History,
    Operation,
    WatchCreated,
    WatchRecord,
    WatchResponse,
)
from tools.check.text import describe_operation, describe_time


class Sighting(Struct, frozen=True):
    """Somebody knew of `revision` at `at_ns`; times are when the answer had arrived."""

    at_ns: int
    revision: int
    source: Operation | WatchRecord


class Sightings:
    """All sightings of a history, by time and by revision."""

    def __init__(self, history: History) -> None:
        by_time = sorted(_sightings(history), key=lambda each: (each.at_ns, each.revision))
        self._times = [each.at_ns for each in by_time]
        self._highest = list(_running_highest(by_time))
        by_revision = sorted(by_time, key=lambda each: each.revision)
        self._revisions = [each.revision for each in by_revision]
        self._earliest = list(_running_earliest(reversed(by_revision)))[::-1]

    def highest_before(self, at_ns: int) -> Sighting | None:
        """Give the highest revision that had been shown strictly before a time."""
        place = bisect_left(self._times, at_ns)
        return self._highest[place - 1] if place else None

    def earliest_of(self, revision: int) -> Sighting | None:
        """Give the first time at which a revision, or a later one, was shown."""
        place = bisect_left(self._revisions, revision)
        return self._earliest[place] if place < len(self._earliest) else None

    def highest(self) -> int:
        """Give the highest revision that anybody was shown, 0 if none."""
        return self._revisions[-1] if self._revisions else 0


def describe_sighting(sighting: Sighting) -> str:
    """Give who saw it."""
    source = sighting.source
    if isinstance(source, Operation):
        return describe_operation(source)
    return f"watch {source.watch} of stream {source.stream} at {describe_time(source.at_ns)}"


def _sightings(history: History) -> Iterator[Sighting]:
    for operation in history.operations:
        if operation.response is not None and operation.end_ns is not None:
            yield Sighting(operation.end_ns, operation.response.revision, operation)
    for record in history.watches:
        revision = _shown_by(record)
        if revision:
            yield Sighting(record.at_ns, revision, record)


def _shown_by(record: WatchRecord) -> int:
    match record:
        case WatchCreated():
            return record.revision
        case WatchResponse():
            return max([record.revision, *(event.kv.mod_revision for event in record.events)])
        case _:
            return 0


def _running_highest(sightings: Iterable[Sighting]) -> Iterator[Sighting]:
    best: Sighting | None = None
    for sighting in sightings:
        if best is None or sighting.revision > best.revision:
            best = sighting
        yield best


def _running_earliest(sightings: Iterable[Sighting]) -> Iterator[Sighting]:
    best: Sighting | None = None
    for sighting in sightings:
        if best is None or sighting.at_ns < best.at_ns:
            best = sighting
        yield best
