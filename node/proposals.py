"""Requests on their way through the log: each has a number, a deadline and one answer.

    add ──► waiting ──take()──► proposed ──complete()──► answered
               ▲                    │
               └── put_back() ◄─────┘  no leader at the moment: it waits, as in etcd

What was handed to Raft is never proposed a second time: whether the first proposal will still
commit cannot be known, and a client that gets no answer must be told "unknown" (a timeout), never
a failure that looks safe to repeat. That answer need not wait for the timeout: once an entry of a
newer term is applied, a proposal made in an older term is either applied before it or lost with
its leader (or so late that nobody waits for it).

Numbers are unique across members and restarts: the origin is the member's id, and the sequence
starts at a number drawn at random for each process.

Source: etcd server/etcdserver/v3_server.go (processInternalRaftRequestOnce), pkg/wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from node.machine.answer import Answer
from node.machine.envelope import RequestKind, pack, unpack
from node.machine.errors import LeaderFailed, Refusal, RequestTooLarge, Timeout, TooManyRequests

OnOutcome = Callable[[Answer | Refusal], None]


class Proposals:
    """Every request of this member's clients that has not been answered yet."""

    def __init__(
        self,
        origin: int,
        first_sequence: int,
        *,
        pending_max: int,
        request_bytes_max: int,
        waiting_bytes_max: int,
        timeout_seconds: float,
    ) -> None:
        """Begin with nothing pending; sequences count up from `first_sequence`.

        `waiting_bytes_max` bounds what nobody could be given yet, for want of a leader.
        """
        self._origin = origin
        self._sequence = first_sequence
        self._pending_max = pending_max
        self._request_bytes_max = request_bytes_max
        self._waiting_bytes_max = waiting_bytes_max
        self._timeout_seconds = timeout_seconds
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._answers: dict[int, OnOutcome] = {}
        # (deadline, sequence) in order of arrival; every request has the same patience.
        self._deadlines: deque[tuple[float, int]] = deque()
        # (term, first sequence that was proposed in it), both growing.
        self._terms: deque[tuple[int, int]] = deque()
        self.failed = 0
        """Requests whose outcome their clients were not told, for metrics."""

    @property
    def pending(self) -> int:
        """Requests without an answer."""
        return len(self._answers)

    def add(self, kind: RequestKind, request: bytes, done: OnOutcome, now: float) -> None:
        """Number a request and let it wait to be proposed; too large or too many is refused."""
        if len(request) > self._request_bytes_max:
            done(RequestTooLarge())
            return
        if (
            len(self._answers) >= self._pending_max
            or self._waiting_bytes + len(request) > self._waiting_bytes_max
        ):
            done(TooManyRequests())
            return
        self._sequence += 1
        sequence = self._sequence
        envelope = pack(kind, self._origin, sequence, request)
        self._waiting.append(envelope)
        self._waiting_bytes += len(envelope)
        self._answers[sequence] = done
        self._deadlines.append((now + self._timeout_seconds, sequence))

    def unasked(self, kind: RequestKind, request: bytes) -> bytes:
        """An envelope of this member's own making, which nobody waits for."""
        self._sequence += 1
        return pack(kind, self._origin, self._sequence, request)

    def take(self, bytes_max: int) -> list[bytes]:
        """Envelopes that wait to be proposed, in order of arrival: as many as fit into one message
        of `bytes_max`, but at least one if any waits."""
        waiting = self._waiting
        count = taken = 0
        for envelope in waiting:
            if count and taken + len(envelope) > bytes_max:
                break
            taken += len(envelope)
            count += 1
        self._waiting = waiting[count:]
        self._waiting_bytes -= taken
        return waiting[:count]

    def proposed(self, envelopes: list[bytes], term: int) -> None:
        """Raft took them, here or on the way to the leader, while `term` was the current one.

        Envelopes are proposed in the order of their sequences, so one mark per term will do.
        """
        if not self._terms or self._terms[-1][0] < term:
            self._terms.append((term, unpack(envelopes[0]).sequence))

    def term_applied(self, term: int) -> None:
        """An entry of a new term was applied: what was proposed in older ones has no leader."""
        terms = self._terms
        if not terms or terms[0][0] >= term:
            return
        while terms and terms[0][0] < term:
            terms.popleft()
        if terms:
            end = terms[0][1]
        elif self._waiting:
            end = unpack(self._waiting[0]).sequence
        else:
            end = self._sequence + 1
        for sequence in [number for number in self._answers if number < end]:
            self.failed += 1
            self._answers.pop(sequence)(LeaderFailed())

    def put_back(self, envelopes: list[bytes]) -> None:
        """Raft did not take them (no leader, or one that hands over): they wait for the next."""
        self._waiting[:0] = envelopes
        self._waiting_bytes += sum(map(len, envelopes))

    def waiting(self) -> bool:
        """Whether anything waits to be proposed."""
        return bool(self._waiting)

    def complete(self, origin: int, sequence: int, outcome: Answer | Refusal) -> None:
        """An entry was applied; answer its client if it is ours and still waits."""
        if origin == self._origin:
            done = self._answers.pop(sequence, None)
            if done is not None:
                done(outcome)

    def expire(self, now: float) -> None:
        """Answer those whose time is over: the outcome is unknown, so etcd calls it a timeout."""
        late: set[int] = set()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, sequence = self._deadlines.popleft()
            done = self._answers.pop(sequence, None)
            if done is not None:
                late.add(sequence)
                self.failed += 1
                done(Timeout())
        if late and self._waiting:
            self._waiting = [e for e in self._waiting if unpack(e).sequence not in late]
            self._waiting_bytes = sum(map(len, self._waiting))
