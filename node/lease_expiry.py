"""The leader's clock over leases: who is due, and how long the others have left.

Only a leader measures lease time (monotonic seconds, handed in). It proposes the revocation of what
is due; until that is applied the lease still exists, so that every member sees the same moment of
death in the log. A new leader cannot know how much time had passed, so every lease gets its full
ttl again, or what was last noted of it (`node.lease_checkpoint`), plus one election timeout: leases
outlive their ttl across elections, never undershoot.

It begins when it has applied all that earlier leaders have left in the log.

    follower ──promote(leases)──► clock runs ──demote()──► follower
    due(now): lease ids whose deadline passed; each comes once, again only after RETRY_SECONDS
    checkpoints(now): what is to be noted of leases now

It never touches the replicated state: grants and revocations reach it after they are applied.
Source: etcd server/lease/lessor.go (Promote, expireExists, Renew).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from itertools import islice
from typing import assert_never

from node.lease_checkpoint import LeaseCheckpoints
from node.machine.answer import LeaseChange, LeaseChangeKind

RETRY_SECONDS = 3.0
"""A revocation that was proposed but lost (leader change, full queue) is proposed again."""


class LeaseExpiry:
    """Deadlines of all leases while this member leads; empty otherwise."""

    def __init__(self, extra_seconds: float, checkpoint_seconds: float = 0.0) -> None:
        """Start without leadership; `extra_seconds` (one election timeout) is added on promote.

        What is left of a lease is noted every `checkpoint_seconds`; 0 = never.
        """
        self._extra_seconds = extra_seconds
        self._notes = LeaseCheckpoints(checkpoint_seconds)
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

    def promote(self, leases: Iterable[tuple[int, int, int]], now: float) -> None:
        """Become the clock: `leases` are (id, granted ttl, seconds noted or 0) of the applied
        state."""
        self.demote()
        self._leading = True
        for lease_id, ttl, remaining in leases:
            left = remaining or ttl
            self._set(lease_id, ttl, now + left + self._extra_seconds)
            self._notes.applied(lease_id, remaining)
            self._notes.schedule(lease_id, left, now)

    def demote(self) -> None:
        """Forget everything: another member's clock counts now."""
        self._leading = False
        self._deadlines.clear()
        self._ttls.clear()
        self._heap.clear()
        self._notes.clear()

    def note(self, changes: Iterable[LeaseChange], now: float) -> None:
        """Grants, revocations and checkpoints were applied."""
        for change in changes:
            match change.kind:
                case LeaseChangeKind.GRANTED:
                    self.granted(change.id, change.ttl, now)
                case LeaseChangeKind.REVOKED:
                    self.revoked(change.id)
                case LeaseChangeKind.CHECKPOINTED:
                    self.checkpointed(change.id, change.ttl, now)
                case _:
                    assert_never(change.kind)

    def granted(self, lease_id: int, ttl: int, now: float) -> None:
        """A grant was applied."""
        if self._leading:
            self._set(lease_id, ttl, now + ttl)
            self._notes.schedule(lease_id, ttl, now)

    def revoked(self, lease_id: int) -> None:
        """A revocation was applied."""
        self._deadlines.pop(lease_id, None)
        self._ttls.pop(lease_id, None)
        self._notes.forget(lease_id)

    def checkpointed(self, lease_id: int, remaining: int, now: float) -> None:
        """A note was applied; 0 = it was taken away, which only a renewal asks for: it counts from
        now on, also where it was asked for by the leader before this one.

        Unless it comes too late: the revocation of a lease whose time is over is in the log.
        """
        deadline = self._deadlines.get(lease_id)
        if deadline is None:
            return
        self._notes.applied(lease_id, remaining)
        if not remaining and deadline > now:
            ttl = self._ttls[lease_id]
            self._set(lease_id, ttl, now + ttl)
            self._notes.schedule(lease_id, ttl, now)

    def checkpoints(self, now: float, count_max: int) -> list[tuple[int, int]]:
        """(lease id, seconds left, 0 = nothing to be noted any more) to put through the log now."""
        found = [(lease_id, 0) for lease_id in islice(self._notes.removals(now), count_max)]
        for lease_id in islice(self._notes.due(now), count_max - len(found)):
            left = math.ceil(self._deadlines[lease_id] - now)
            if left <= 0:
                continue  # its revocation is due
            self._notes.schedule(lease_id, left, now)
            if left < self._ttls[lease_id]:  # else it has just been renewed
                self._notes.proposed(lease_id)
                found.append((lease_id, left))
        return found

    def renew(self, lease_id: int, now: float) -> int | None:
        """Give a lease its full ttl again; returns it, or 0 if the lease is gone.

        None = nobody can say yet. Overdue: its revocation is under way and may be lost with this
        leader. (A client that was told 0 saw the lease live on under the next leader.) Noted: that
        less is left must be taken away first.
        """
        deadline = self._deadlines.get(lease_id)
        if deadline is None:
            return 0
        if deadline <= now:
            return None
        if self._notes.stands(lease_id):
            self._notes.remove(lease_id)
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
