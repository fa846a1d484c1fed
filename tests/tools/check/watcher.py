"""One subscription of a generated history: two watches on a stream that breaks and is resumed."""

from __future__ import annotations

from random import Random

from tests.tools.check.naive_store import NaiveStore
from tools.check.history import (
    Event,
    WatchCanceled,
    WatchCreated,
    WatchEnded,
    WatchRecord,
    WatchResponse,
)

_RANGES = {0: (b"\0", b"\0"), 1: (b"k2", b"k4")}
"""Watch 0 sees everything, watch 1 two keys and no deletions."""


class Watcher:
    """Keeps `next` revisions per watch, and appends what a client would have recorded."""

    def __init__(self, name: str, random: Random, store: NaiveStore) -> None:
        self.records: list[WatchRecord] = []
        self._name = name
        self._random = random
        self._store = store
        self._streams = 0
        self._next: dict[int, int] = {}
        self._resume: dict[int, int] = {0: 0, 1: 0}
        self._prev_kv = random.random() < 0.5

    @property
    def _stream(self) -> str:
        return f"{self._name}/{self._streams}"

    def turn(self, now_ns: int) -> None:
        """Do one thing: open, deliver, mark progress or break off."""
        if not self._next:
            self._open(now_ns)
            return
        chance = self._random.random()
        for watch in list(self._next):
            if watch in self._next:
                self._deliver(watch, now_ns, self._random.randint(1, 5))
        if chance < 0.3:
            self._mark(now_ns)
        elif chance < 0.4:
            self._break(now_ns, 0)

    def finish(self, now_ns: int) -> None:
        """Catch up and say so."""
        if not self._next:
            self._open(now_ns)
        for watch in list(self._next):
            if watch in self._next:
                self._deliver(watch, now_ns, self._store.revision)
        self._break(now_ns, self._store.revision)

    def _add(self, record: WatchRecord) -> None:
        self.records.append(record)

    def _open(self, now_ns: int) -> None:
        self._streams += 1
        for watch, (key, end) in _RANGES.items():
            start = self._resume[watch]
            revision = self._store.revision
            self._add(
                WatchCreated(
                    self._stream,
                    len(self.records),
                    watch,
                    now_ns,
                    f"{self._name}.{watch}",
                    f"n{self._random.randint(1, 3)}",
                    revision,
                    key,
                    end,
                    start,
                    prev_kv=self._prev_kv,
                    no_delete=watch == 1,
                )
            )
            self._next[watch] = start or revision + 1

    def _deliver(self, watch: int, now_ns: int, count: int) -> None:
        lo = self._next[watch]
        if lo < self._store.compacted:
            self._cancel(watch, now_ns)
            return
        hi = min(lo + count, self._store.revision + 1)
        revisions = [each for each in range(lo, hi) if self._events(watch, each)]
        if self._random.random() < 0.5:
            batches = [[each] for each in revisions]
        else:
            batches = [revisions] if revisions else []
        for batch in batches:
            events = tuple(event for each in batch for event in self._events(watch, each))
            self._respond(watch, now_ns, batch[-1], events)
        self._next[watch] = max(lo, hi)
        if revisions:
            self._resume[watch] = revisions[-1] + 1

    def _events(self, watch: int, revision: int) -> list[Event]:
        events = self._store.events.get(revision, [])
        if watch == 1:
            events = [
                each for each in events if each.kind == "put" and each.kv.key in (b"k2", b"k3")
            ]
        return [self._shown(event) for event in events]

    def _shown(self, event: Event) -> Event:
        return Event(event.kind, event.kv, event.prev_kv if self._prev_kv else None)

    def _respond(self, watch: int, now_ns: int, revision: int, events: tuple[Event, ...]) -> None:
        self._add(WatchResponse(self._stream, len(self.records), watch, now_ns, revision, events))

    def _mark(self, now_ns: int) -> None:
        revision = self._store.revision
        if self._next and all(each == revision + 1 for each in self._next.values()):
            watch = self._random.choice([-1, *self._next])
            self._respond(watch, now_ns, revision, ())
            for each in self._next if watch == -1 else [watch]:
                self._resume[each] = revision + 1

    def _cancel(self, watch: int, now_ns: int) -> None:
        compacted = self._store.compacted
        place = (self._stream, len(self.records))
        self._add(WatchCanceled(*place, watch, now_ns, compacted))
        del self._next[watch]
        self._resume[watch] = compacted
        if not self._next:
            return
        self._break(now_ns, 0)

    def _break(self, now_ns: int, due: int) -> None:
        for watch in list(self._next):
            self._add(WatchEnded(self._stream, len(self.records), watch, now_ns, due))
            if not self._resume[watch]:
                # Nothing came yet: the client goes on from where the created response stood.
                self._resume[watch] = self._next_of_created(watch)
        self._next.clear()

    def _next_of_created(self, watch: int) -> int:
        created = [
            each for each in self.records if isinstance(each, WatchCreated) and each.watch == watch
        ]
        return created[-1].start_revision or created[-1].revision + 1
