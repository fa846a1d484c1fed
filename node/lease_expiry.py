"""The leader's clock over leases: who is due, and how long the others have left.

Only a leader measures lease time (monotonic seconds, handed in). It proposes the revocation of what
is due; until that is applied the lease still exists, so that every member sees the same moment of
death in the log. A new leader cannot know how much time had passed, so every lease gets its full
ttl again plus one election timeout: leases outlive their ttl across elections, never undershoot.

    follower ──promote(leases)──► clock runs ──demote()──► follower
    due(now): lease ids whose deadline passed; each comes once, again only after RETRY_SECONDS

It never touches the replicated state: grants and revocations reach it after they are applied.
Source: etcd server/lease/lessor.go (Promote, expireExists, Renew).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable

from node.machine.answer import LeaseChange, LeaseChangeKind

RETRY_SECONDS = 3.0
"""A revocation that was proposed but lost (leader change, full queue) is proposed again."""


class LeaseExpiry:
    """Deadlines of all leases while this member leads; empty otherwise."""

    def __init__(self, extra_seconds: float) -> None:
        """Start without leadership; `extra_seconds` (one election timeout) is added on promote."""
        self._extra_seconds = extra_seconds
        self._leading = False
        self.renewed = 0
        """Leases that were given their whole ttl again."""
        self.expired = 0
        """Leases that were found to be over; one more for each repetition."""
        self._deadlines: dict[int, float] = {}
        self._ttls: dict[int, int] = {}
        # Entries go stale when a lease is renewed or revoked; `_deadlines` decides on popping.
        self._heap: list[tuple[float, int]] = []

    @property
    def leading(self) -> bool:
        """Whether the clock runs."""
        return self._leading

    def promote(self, leases: Iterable[tuple[int, int]], now: float) -> None:
        """Become the clock: `leases` are (id, granted ttl seconds) of the applied state."""
        self.demote()
        self._leading = True
        for lease_id, ttl in leases:
            self._set(lease_id, ttl, now + ttl + self._extra_seconds)

    def demote(self) -> None:
        """Forget everything: another member's clock counts now."""
        self._leading = False
        self._deadlines.clear()
        self._ttls.clear()
        self._heap.clear()

    def note(self, changes: Iterable[LeaseChange], now: float) -> None:
        """Grants and revocations were applied."""
        for change in changes:
            if change.kind is LeaseChangeKind.GRANTED:
                self.granted(change.id, change.ttl, now)
            else:
                self.revoked(change.id)

    def granted(self, lease_id: int, ttl: int, now: float) -> None:
        """A grant was applied."""
        if self._leading:
            self._set(lease_id, ttl, now + ttl)

    def revoked(self, lease_id: int) -> None:
        """A revocation was applied."""
        self._deadlines.pop(lease_id, None)
        self._ttls.pop(lease_id, None)

    def renew(self, lease_id: int, now: float) -> int | None:
        """Give a lease its full ttl again; returns it, or 0 if the lease is gone.

        None = overdue: its revocation is under way and may be lost with this leader, so nobody can
        say yet. (A client that was told 0 saw the lease live on under the next leader.)
        """
        deadline = self._deadlines.get(lease_id)
        if deadline is None:
            return 0
        if deadline <= now:
            return None
        ttl = self._ttls[lease_id]
        self._set(lease_id, ttl, now + ttl)
        self.renewed += 1
        return ttl

    def remaining(self, lease_id: int, now: float) -> tuple[int, int]:
        """(whole seconds left, granted ttl); (-1, 0) if there is no such lease."""
        deadline = self._deadlines.get(lease_id)
        if deadline is None:
            return -1, 0
        return max(0, math.floor(deadline - now)), self._ttls[lease_id]

    def due(self, now: float, count_max: int) -> list[int]:
        """At most `count_max` leases whose time is over, oldest deadline first."""
        ids: list[int] = []
        heap = self._heap
        while heap and heap[0][0] <= now and len(ids) < count_max:
            _, lease_id = heapq.heappop(heap)
            deadline = self._deadlines.get(lease_id)
            if deadline is None or deadline > now:
                continue  # revoked, or renewed: a newer heap entry stands for it
            ids.append(lease_id)
            heapq.heappush(heap, (now + RETRY_SECONDS, lease_id))
        self.expired += len(ids)
        return ids

    def _set(self, lease_id: int, ttl: int, deadline: float) -> None:
        self._deadlines[lease_id] = deadline
        self._ttls[lease_id] = ttl
        heapq.heappush(self._heap, (deadline, lease_id))
        if len(self._heap) > 64 + 4 * len(self._deadlines):
            # Keep-alives leave one stale entry each; rebuilding keeps the heap bounded.
            self._heap = [(when, key) for key, when in self._deadlines.items()]
            heapq.heapify(self._heap)
