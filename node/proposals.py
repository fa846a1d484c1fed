"""Requests on their way through the log: each has a number, a deadline and one answer.

    add ──► waiting ──take()──► under way in a term ──complete()──► answered
               ▲                        │
               ├── put_back() ◄─────────┤  no leader at the moment: it waits, as in etcd
               ├── dropped() ◄──────────┤  the leader has no room: in a moment
               └── term_applied() ◄─────┘  its leader was replaced and took it along: once more

What is under way may be in a log or not; only its own member can find out, and does. A proposal
gets into logs as an entry of the term in which it was handed to Raft, or not at all: a leader
appends its own in its term, and takes forwards of its term only. So once an entry of a newer term
is about to be applied, whatever was handed over in older terms has been applied before it or never
will be, and is handed over again. No proposal is in the log twice, and its client waits for one
election instead of its timeout. Only a snapshot that replaces the part of the log in question
leaves it open; then the client is told that nobody knows. See docs/adr/0008.

It is not repeated when nobody waits for it any more: what has timed out, or was given up by its
client. And this member's own proposals, which nobody waits for, are never kept.

Numbers are unique across members and restarts: the origin is the member's id, and the sequence
starts at a number drawn at random for each process.

Source: etcd server/etcdserver/v3_server.go (processInternalRaftRequestOnce), pkg/wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Protocol

from msgspec import Struct

from node.machine.answer import Answer
from node.machine.envelope import MEMBER, Credential, RequestKind, pack
from node.machine.errors import LeaderFailed, Refusal, RequestTooLarge, Timeout, TooManyRequests

OnOutcome = Callable[[Answer | Refusal], None]


class Asker(Protocol):
    """Who waits for an answer."""

    @property
    def over(self) -> bool:
        """Whether it has stopped to wait."""

    @property
    def credential(self) -> Credential | None:
        """Whom the request is made for; None = nobody in particular."""


class Proposal(Struct):
    """One request that has no answer yet. (A Struct because one is made for every put.)"""

    sequence: int
    envelope: bytes
    done: OnOutcome
    asker: Asker | None
    term: int = 0
    """In which it was handed to Raft; 0 = it waits to be."""
    forward: int = 0
    """Number of the message that took it to the leader; 0 = none."""
    doubtful: bool = False
    """A snapshot was installed that may contain it."""


class Proposals:
    """Every request of this member's clients that has not been answered yet."""

    def __init__(
        self,
        origin: int,
        first_sequence: int,
        *,
        pending_max: int,
        pending_bytes_max: int,
        request_bytes_max: int,
        timeout_seconds: float,
    ) -> None:
        """Begin with nothing pending; sequences count up from `first_sequence`."""
        self._origin = origin
        self._sequence = first_sequence
        self._pending_max = pending_max
        self._pending_bytes_max = pending_bytes_max
        self._request_bytes_max = request_bytes_max
        self._timeout_seconds = timeout_seconds
        # By sequence, which is the order of arrival.
        self._pending: dict[int, Proposal] = {}
        self._pending_bytes = 0
        self._waiting: list[Proposal] = []
        # What the leader did not take. While there is any, nothing is proposed: it would be refused
        # as well, or overtake.
        self._dropped: list[Proposal] = []
        # (deadline, sequence) in order of arrival; every request has the same patience.
        self._deadlines: deque[tuple[float, int]] = deque()
        self.failed = 0
        """Requests whose outcome their clients were not told, for metrics."""
        self.repeated = 0
        """How often a request was proposed again because its leader was replaced."""

    @property
    def pending(self) -> int:
        """Requests without an answer."""
        return len(self._pending)

    def add(
        self,
        kind: RequestKind,
        request: bytes,
        done: OnOutcome,
        now: float,
        asker: Asker | None = None,
    ) -> None:
        """Number a request and let it wait to be proposed; too large or too many is refused.

        `asker` None is the member itself; it waits as long as the request timeout lets it.
        """
        if len(request) > self._request_bytes_max:
            done(RequestTooLarge())
            return
        if (
            len(self._pending) >= self._pending_max
            or self._pending_bytes + len(request) > self._pending_bytes_max
        ):
            done(TooManyRequests())
            return
        self._sequence += 1
        sequence = self._sequence
        credential = MEMBER if asker is None else asker.credential
        envelope = pack(kind, self._origin, sequence, request, credential)
        proposal = Proposal(sequence, envelope, done, asker)
        self._pending[sequence] = proposal
        self._pending_bytes += len(envelope)
        self._waiting.append(proposal)
        self._deadlines.append((now + self._timeout_seconds, sequence))

    def unasked(self, kind: RequestKind, request: bytes) -> bytes:
        """An envelope of this member's own making, which nobody waits for."""
        self._sequence += 1
        return pack(kind, self._origin, self._sequence, request, MEMBER)

    def take(self, bytes_max: int) -> list[Proposal]:
        """What waits to be proposed, in order of arrival: as many as fit into one message of
        `bytes_max`, but at least one if any waits."""
        waiting = self._waiting
        count = taken = 0
        for proposal in waiting:
            size = len(proposal.envelope)
            if count and taken + size > bytes_max:
                break
            taken += size
            count += 1
        self._waiting = waiting[count:]
        return waiting[:count]

    def proposed(self, proposals: list[Proposal], term: int, forward: int = 0) -> None:
        """Raft took them, here or on the way to the leader, while `term` was the current one.

        `forward` is the number of the message to the leader.
        """
        for proposal in proposals:
            proposal.term = term
            proposal.forward = forward

    def put_back(self, proposals: list[Proposal]) -> None:
        """Raft did not take them (no leader, or one that hands over): they wait for the next."""
        self._waiting[:0] = proposals

    def dropped(self, forwards: Collection[int]) -> None:
        """The leader did not take these messages, and will not: it hands over, or has too much
        that is not committed. They wait for the next `expire`, or for the next leader."""
        for proposal in self._pending.values():
            if proposal.term and proposal.forward in forwards:
                proposal.term = proposal.forward = 0
                self._dropped.append(proposal)

    def waiting(self) -> bool:
        """Whether anything may be proposed."""
        return bool(self._waiting) and not self._dropped

    def term_applied(self, term: int) -> None:
        """An entry of `term` is about to be applied: what was proposed in older terms and has no
        answer by now is in no log that counts, and is proposed again, before what came later.

        Not a moment earlier: until then a new leader may still have it in its log.
        """
        again = [each for each in self._pending.values() if 0 < each.term < term]
        repeat = []
        for proposal in again:
            if proposal.doubtful or _is_over(proposal):
                self._give_up(proposal, LeaderFailed())
            else:
                proposal.term = 0
                repeat.append(proposal)
        self.repeated += len(repeat)
        self._waiting = [*repeat, *self._dropped, *self._waiting]
        self._dropped = []

    def snapshot_installed(self, term: int) -> None:
        """A snapshot whose last entry is of `term` has become the state: what was proposed up to
        that term may be in it, without a trace of who asked.

        What is of the same term may as well follow, so its client can still be lucky.
        """
        for proposal in [each for each in self._pending.values() if 0 < each.term <= term]:
            proposal.doubtful = True
            if proposal.term < term:
                self._give_up(proposal, LeaderFailed())

    def complete(self, origin: int, sequence: int, outcome: Answer | Refusal) -> None:
        """An entry was applied; answer its client if it is ours and still waits."""
        if origin == self._origin:
            proposal = self._pop(sequence)
            if proposal is not None:
                proposal.done(outcome)

    def expire(self, now: float) -> None:
        """Answer those whose time is over: the outcome is unknown, so etcd calls it a timeout. Call
        it ten times a second: what the leader had no room for is proposed again after it.

        What still waits to be proposed then is not, nor what its client has given up.
        """
        while self._deadlines and self._deadlines[0][0] <= now:
            _, sequence = self._deadlines.popleft()
            proposal = self._pending.get(sequence)
            if proposal is not None:
                self._give_up(proposal, Timeout())
        self._waiting = self._dropped + self._waiting
        self._dropped = []
        for proposal in self._waiting:
            if _is_over(proposal):
                self._give_up(proposal, Timeout())
        self._waiting = [each for each in self._waiting if each.sequence in self._pending]

    def _give_up(self, proposal: Proposal, refusal: Refusal) -> None:
        """Nobody can tell what became of it, or nobody wants to know."""
        if self._pop(proposal.sequence) is not None:
            self.failed += 1
            proposal.done(refusal)

    def _pop(self, sequence: int) -> Proposal | None:
        proposal = self._pending.pop(sequence, None)
        if proposal is not None:
            self._pending_bytes -= len(proposal.envelope)
        return proposal


def _is_over(proposal: Proposal) -> bool:
    """Whether nobody waits for its answer any more."""
    return proposal.asker is not None and proposal.asker.over
