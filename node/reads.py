"""Linearizable reads: many waiting readers, one read index for all of them.

Readers that arrive while a round is under way wait for the next one, because a read index only
vouches for what was committed before its round began. So at most one round is in flight and one
batch gathers behind it:

    arrive ──► gathering ──start()──► asking ──confirmed(index)──► waiting for apply ──► released
                 ▲                      ├─ no answer for RETRY_SECONDS ─► asked again, new context
                 └── leader_changed() ◄─┘  the question went to one that may no longer lead

A read changes nothing, so a question may be asked as often as need be; each time the answer is an
index that is fresh for whoever arrived before it was asked. A change of leaders costs a reader the
time of an election, not its answer.

A context is never used twice, not by a retry and not after a restart (the first one is drawn at
random by the composition root): a late answer to an old question must not release a new reader.
Every reader is answered exactly once, if need be by a refusal; the queue is bounded.

Source: Raft thesis §6.4; etcd server/etcdserver/read (batched read index, retry every 500 ms).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from node.machine.errors import Refusal, Timeout, TooManyRequests

RETRY_SECONDS = 0.5

OnFresh = Callable[[Refusal | None], None]


class Reads:
    """Readers waiting for a moment at which the applied state is known to be fresh."""

    def __init__(self, first_context: int, pending_max: int, timeout_seconds: float) -> None:
        """Begin with nobody waiting; contexts count up from `first_context`."""
        self._context = first_context
        self._pending_max = pending_max
        self._timeout_seconds = timeout_seconds
        self._gathering: list[tuple[float, OnFresh]] = []
        self._asking: list[tuple[float, OnFresh]] = []
        self._asked_context: int | None = None
        self._asked_at = 0.0
        # (read index, readers): indexes never fall, so the left end is always due first.
        self._confirmed: deque[tuple[int, list[tuple[float, OnFresh]]]] = deque()
        self._pending = 0
        self.failed = 0
        """Readers that were refused."""

    @property
    def pending(self) -> int:
        """Readers that have not been answered."""
        return self._pending

    def add(self, done: OnFresh, now: float) -> None:
        """Take one reader; a full queue refuses it at once."""
        if self._pending >= self._pending_max:
            self.failed += 1
            done(TooManyRequests())
            return
        self._pending += 1
        self._gathering.append((now + self._timeout_seconds, done))

    def wants_round(self, now: float) -> bool:
        """Whether `start` should be called: readers gather and no fresh question is under way."""
        if self._asking:
            return now - self._asked_at >= RETRY_SECONDS
        return bool(self._gathering)

    def start(self, now: float) -> int:
        """Begin a round, or ask again for one that got no answer; returns its context.

        Those that gathered meanwhile join a repeated question: it begins after they arrived.
        """
        self._context += 1
        self._asked_context = self._context
        self._asked_at = now
        self._asking += self._gathering
        self._gathering = []
        return self._context

    def confirmed(self, context: int, index: int) -> None:
        """The leader answered: state applied up to `index` is fresh for this round's readers."""
        if context != self._asked_context:
            return
        self._asked_context = None
        self._confirmed.append((index, self._asking))
        self._asking = []

    def release(self, applied: int) -> None:
        """Answer every reader whose read index has been applied."""
        while self._confirmed and self._confirmed[0][0] <= applied:
            _, readers = self._confirmed.popleft()
            self._pending -= len(readers)
            for _, done in readers:
                done(None)

    def leader_changed(self) -> None:
        """End the round under way: its question went to a leader that may no longer be one. The
        next one is asked on behalf of the same readers."""
        self._gathering[:0] = self._asking
        self._asking = []
        self._asked_context = None

    def expire(self, now: float) -> None:
        """Refuse readers that waited longer than the request timeout."""
        late: list[tuple[float, OnFresh]] = []
        for queue in (self._gathering, self._asking, *(batch for _, batch in self._confirmed)):
            if queue and queue[0][0] <= now:
                late += [reader for reader in queue if reader[0] <= now]
                queue[:] = [reader for reader in queue if reader[0] > now]
        if not self._asking:
            self._asked_context = None
        self._refuse(late, Timeout())

    def _refuse(self, readers: list[tuple[float, OnFresh]], refusal: Refusal) -> None:
        self._pending -= len(readers)
        self.failed += len(readers)
        for _, done in readers:
            done(refusal)
