"""Watches put together from the records of their streams.

A span is one watch from its created response to its end; a watch id that a stream uses again begins
a new span. What a span has shown is complete from `start` up to `horizon`: the last event, the last
progress mark, or what the harness had waited for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TypeAlias

from tools.check.history import (
    Event,
    KeyValue,
    WatchCanceled,
    WatchCreated,
    WatchEnded,
    WatchRecord,
    WatchResponse,
)
from tools.check.keyspace import in_interval

Later: TypeAlias = WatchResponse | WatchCanceled | WatchEnded
EVERY_WATCH = -1


class WatchSpan:
    """One watch: how it began, and the records that followed, in stream order."""

    def __init__(self, created: WatchCreated) -> None:
        self.created = created
        self.records: list[Later] = []

    @property
    def start(self) -> int:
        """The first revision that it shows."""
        return self.created.start_revision or self.created.revision + 1

    @cached_property
    def horizon(self) -> int:
        """The last revision up to which nothing may be missing; below `start` if none.

        To be asked when all records are there.
        """
        return max([self.start - 1, *map(_reach, self.records)])

    @property
    def delivered(self) -> int:
        """The last revision that a client knows to have complete, from events and progress."""
        told = (each for each in self.records if isinstance(each, WatchResponse))
        return max([self.start - 1, *map(_reach, told)])

    @property
    def compacted(self) -> int:
        """The revision whose compaction ended it, 0 if none did."""
        ends = (each for each in self.records if isinstance(each, WatchCanceled))
        return max((each.compact_revision for each in ends), default=0)

    def events(self) -> list[Event]:
        """Give all events in the order in which they came."""
        return [
            event
            for record in self.records
            if isinstance(record, WatchResponse)
            for event in record.events
        ]

    def covers(self, revision: int, key: bytes, state: KeyValue | None) -> bool:
        """Tell whether a change must be among its events."""
        return self.start <= revision <= self.horizon and self.wants(key, state)

    def wants(self, key: bytes, state: KeyValue | None) -> bool:
        """Tell whether a change passes its range and filters."""
        if self.created.no_delete if state is None else self.created.no_put:
            return False
        return in_interval(key, self.created.key, self.created.range_end)


def _reach(record: Later) -> int:
    match record:
        case WatchResponse():
            if record.events:
                return max(event.kv.mod_revision for event in record.events)
            return record.revision
        case WatchEnded():
            return record.due_revision
        case WatchCanceled():
            return 0


def watch_spans(records: Iterable[WatchRecord]) -> list[WatchSpan]:
    """Give the watches of all streams, each stream's in the order of their beginning."""
    streams: dict[str, list[WatchRecord]] = defaultdict(list)
    for record in records:
        streams[record.stream].append(record)
    return [span for stream in streams.values() for span in _spans_of(stream)]


def orphans(records: Iterable[WatchRecord]) -> list[Later]:
    """Give records of watches that no created response had announced."""
    known: set[tuple[str, int]] = set()
    found: list[Later] = []
    for record in sorted(records, key=lambda each: (each.stream, each.position)):
        if isinstance(record, WatchCreated):
            known.add((record.stream, record.watch))
        elif record.watch != EVERY_WATCH and (record.stream, record.watch) not in known:
            found.append(record)
    return found


def _spans_of(stream: Sequence[WatchRecord]) -> list[WatchSpan]:
    spans: list[WatchSpan] = []
    current: dict[int, WatchSpan] = {}
    for record in sorted(stream, key=lambda each: each.position):
        if isinstance(record, WatchCreated):
            current[record.watch] = WatchSpan(record)
            spans.append(current[record.watch])
        elif record.watch == EVERY_WATCH:
            for span in current.values():
                if not any(isinstance(each, WatchCanceled) for each in span.records):
                    span.records.append(record)
        elif record.watch in current:
            current[record.watch].records.append(record)
        if isinstance(record, WatchEnded):
            current.pop(record.watch, None)
    return spans
