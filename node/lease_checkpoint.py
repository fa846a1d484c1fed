"""Notes of what is left of long leases, for the clock of the next leader.

A lease of hours would live for ever under leaders that change every hour, because each gives it its
full ttl again. So what is left of a lease that has more than `every_seconds` left is noted through
the log as often, and the next leader begins with what was noted.

    granted ──every_seconds──► noted ──renewal──► asked to be taken away ──applied──► renewed

A renewal counts only once no note stands: else the next leader would give the lease less than its
client was promised. A note stands from the moment at which it is proposed; etcd looks at those that
are applied, and a renewal may slip in between. That is an entry for each batch of notes, and one
more for each batch of first renewals after one.

Source: etcd server/lease/lessor.go (Checkpoint, scheduleCheckpointIfNeeded, Renew).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

RETRY_SECONDS = 3.0
"""A note that was to be taken away and still stands after this is asked for again."""


class LeaseCheckpoints:
    """Which leases have notes, and when the next are due; while this member leads."""

    def __init__(self, every_seconds: float) -> None:
        """`every_seconds` 0 = nothing is noted; what was is still taken away."""
        self._every_seconds = every_seconds
        self._next: dict[int, float] = {}
        # Entries go stale when a lease ends or is scheduled anew; `_next` decides on popping.
        self._heap: list[tuple[float, int]] = []
        self._standing: set[int] = set()
        self._removals: dict[int, float] = {}
        """Leases whose notes are to be taken away, and when that was last proposed."""

    def clear(self) -> None:
        """Forget everything: another member leads."""
        self._next.clear()
        self._heap.clear()
        self._standing.clear()
        self._removals.clear()

    def schedule(self, lease_id: int, left: float, now: float) -> None:
        """Note what is left of a lease when it is time to, if it has so much left at all."""
        if not 0 < self._every_seconds < left:
            self._next.pop(lease_id, None)
            return
        when = now + self._every_seconds
        self._next[lease_id] = when
        heapq.heappush(self._heap, (when, lease_id))
        if len(self._heap) > 64 + 4 * len(self._next):
            self._heap = [(when, key) for key, when in self._next.items()]
            heapq.heapify(self._heap)

    def forget(self, lease_id: int) -> None:
        """The lease is gone."""
        self._next.pop(lease_id, None)
        self._standing.discard(lease_id)
        self._removals.pop(lease_id, None)

    def applied(self, lease_id: int, remaining: int) -> None:
        """What is noted of a lease now; 0 = nothing any more."""
        if remaining:
            self._standing.add(lease_id)
        else:
            self._standing.discard(lease_id)
            self._removals.pop(lease_id, None)

    def stands(self, lease_id: int) -> bool:
        """Whether a lease has a note, or will have one that is under way."""
        return lease_id in self._standing

    def remove(self, lease_id: int) -> None:
        """Have a note taken away."""
        self._removals.setdefault(lease_id, -math.inf)

    def removals(self, now: float) -> Iterator[int]:
        """Leases whose notes are to be taken away; each again only after RETRY_SECONDS."""
        for lease_id, proposed_at in self._removals.items():
            if now - proposed_at >= RETRY_SECONDS:
                self._removals[lease_id] = now
                yield lease_id

    def due(self, now: float) -> Iterator[int]:
        """Leases of which it is time to note something; each once. Not those that are about to be
        renewed."""
        while self._heap and self._heap[0][0] <= now:
            when, lease_id = heapq.heappop(self._heap)
            if self._next.get(lease_id) == when:
                del self._next[lease_id]
                if lease_id not in self._removals:
                    yield lease_id

    def proposed(self, lease_id: int) -> None:
        """A note of a lease is on its way into the log."""
        self._standing.add(lease_id)
