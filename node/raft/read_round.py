"""Rounds in which a leader proves that it still leads, and the reads that wait for them.

Every read that arrives before a round opens rides on it. A round is named by the leader's own
counter, which heartbeats carry and their answers repeat; an answer to round n confirms all rounds
up to n, since the heartbeat left after each of them opened. The counter is never chosen by whoever
asks: contexts made by clients were re-used on retries, and late duplicates of heartbeat answers
then confirmed newer reads of a deposed leader (etcd until 2026).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from node.raft.quorum import Quorum


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """Who asked, and the number by which the asker will know the answer."""

    member: int
    context: int


@dataclass(frozen=True, slots=True)
class Round:
    """Reads that may run at `index` once a quorum has answered `counter`."""

    counter: int
    index: int
    requests: list[ReadRequest] = field(default_factory=list)


class ReadRounds:
    """One leader's rounds in one term; a new term starts with a new object."""

    __slots__ = ("_acked", "_open", "_pending_max", "counter", "pending", "waiting")

    def __init__(self, pending_max: int) -> None:
        self._pending_max = pending_max
        self._acked: dict[int, int] = {}
        self._open: deque[Round] = deque()
        self.waiting: list[ReadRequest] = []
        """Arrived since the last round opened."""
        self.counter = 0
        """Number of the newest round; 0 before the first."""
        self.pending = 0
        """Reads without an answer yet."""

    def request(self, member: int, context: int) -> bool:
        """Queue a read for the next round; False when too many are pending."""
        if self.pending >= self._pending_max:
            return False
        self.pending += 1
        self.waiting.append(ReadRequest(member, context))
        return True

    def open(self, commit: int) -> int:
        """Close the door behind all that wait: their round's number, to be sent with heartbeats."""
        self.counter += 1
        self._open.append(Round(self.counter, commit, self.waiting))
        self.waiting = []
        return self.counter

    def acknowledge(self, member: int, counter: int) -> None:
        """`member` answered a heartbeat that carried `counter`."""
        if counter > self._acked.get(member, 0):
            self._acked[member] = counter

    def release(self, quorum: Quorum) -> list[Round]:
        """The rounds that a quorum has confirmed, oldest first; they are over."""
        if not self._open:
            return []
        confirmed = quorum.agreed(lambda member: self._acked.get(member, 0))
        released = []
        while self._open and self._open[0].counter <= confirmed:
            done = self._open.popleft()
            self.pending -= len(done.requests)
            released.append(done)
        return released
