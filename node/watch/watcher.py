"""One watcher, and the index that finds the watchers of a key."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from node.machine.answer import Event
from node.machine.interval import Interval, interval
from node.proto import rpc
from node.watch.interval_map import Group, IntervalMap

_NOPUT = rpc.WatchCreateRequest.NOPUT
_NODELETE = rpc.WatchCreateRequest.NODELETE
_FIRST_KEY = b"\x00"


class Watcher:
    """What one client wants to see of one interval, and how far it has got.

    Synced: it has everything up to the hub's revision and gets the next as it happens. Otherwise it
    is behind and reads history from `next_revision` on.
    """

    __slots__ = (
        "deletes",
        "fragment",
        "id",
        "idle",
        "interval",
        "next_revision",
        "prev_kv",
        "progress_notify",
        "puts",
        "start_revision",
        "stream_id",
        "synced",
    )

    def __init__(self, stream_id: int, watcher_id: int, request: rpc.WatchCreateRequest) -> None:
        """Begin with the request's wishes; the hub decides where it starts."""
        self.stream_id = stream_id
        self.id = watcher_id
        self.interval: Interval = watched_interval(request)
        self.start_revision = request.start_revision
        """As asked for: no progress is told before the store has come there; 0 = from now on."""
        self.next_revision = 0
        """No event before it is sent. It may lag while synced: all there is has been seen then."""
        self.prev_kv = request.prev_kv
        self.progress_notify = request.progress_notify
        self.fragment = request.fragment
        self.puts = _NOPUT not in request.filters
        self.deletes = _NODELETE not in request.filters
        self.synced = False
        self.idle = False
        """No event was sent since the last round of progress notifications."""

    def wants(self, event: Event) -> bool:
        """Whether an event of its interval is to be sent."""
        if event.revision < self.next_revision:
            return False
        return self.deletes if event.deleted else self.puts


class WatcherIndex:
    """Watchers by what they watch: single keys in a dict, intervals in a tree."""

    __slots__ = ("_intervals", "_keys", "_size")

    def __init__(self) -> None:
        """Begin empty."""
        self._keys: dict[bytes, Group[Watcher]] = {}
        self._intervals: IntervalMap[Watcher] = IntervalMap()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, watcher: Watcher) -> None:
        """Let a watcher be found; it must not be in here."""
        self._size += 1
        lo, hi = watcher.interval
        if hi == lo + b"\x00":
            self._keys.setdefault(lo, {})[watcher] = None
        else:
            self._intervals.add(watcher.interval, watcher)

    def discard(self, watcher: Watcher) -> None:
        """Let it be found no more; it must be in here."""
        self._size -= 1
        lo, hi = watcher.interval
        if hi == lo + b"\x00":
            group = self._keys[lo]
            del group[watcher]
            if not group:
                del self._keys[lo]
        else:
            self._intervals.discard(watcher.interval, watcher)

    def at(self, key: bytes) -> Iterator[Watcher]:
        """All watchers whose interval contains `key`."""
        return chain(self._keys.get(key, ()), self._intervals.at(key))


def watched_interval(request: rpc.WatchCreateRequest) -> Interval:
    """What a create request watches; without a key from the first possible one."""
    return interval(request.key or _FIRST_KEY, request.range_end)
