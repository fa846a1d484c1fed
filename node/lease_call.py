"""Questions to the lease clock, which runs at the leader only, from any member.

    keep_alive / time_to_live ──► waiting ──pump()──► leads here: read barrier, then the clock
                                     ▲                leads elsewhere: LeaseAsk, LeaseReply
                                     └── no answer for RETRY_SECONDS, or refused ◄──┘

A leader that was deposed without knowing must not renew anything, so every question passes a
linearizable read barrier first; all that arrive in one turn share it. Renewing twice is harmless,
hence lost questions are simply asked again until the request timeout. So is the question for a
lease whose time is over but whose revocation is not applied yet: it may be lost with this leader,
and the next one would prolong the lease, so that it is neither alive nor gone.

No number is used twice, not by the next process of this member either (the first one is drawn at
random by the composition root): a late reply to an old question must not answer a new one.

Source: etcd server/etcdserver/v3_server.go (LeaseRenew), server/lease/leasehttp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from node.lease_expiry import LeaseExpiry
from node.machine.errors import Refusal, Timeout, TooManyRequests
from node.peers import Call, LeaseAsk, LeaseReply

RETRY_SECONDS = 0.5

OnAnswer = Callable[[tuple[int, int] | Refusal], None]
OnFresh = Callable[[Refusal | None], None]


@dataclass(slots=True)
class Question:
    """One question of a client of this member. `asked_at` 0 = not asked yet."""

    lease_id: int
    renew: bool
    done: OnAnswer
    deadline: float
    asked_at: float = 0.0


class LeaseCalls:
    """All questions that this member has not answered."""

    def __init__(
        self,
        clock: LeaseExpiry,
        barrier: Callable[[OnFresh], None],
        send: Callable[[int, list[Call]], object],
        now: Callable[[], float],
        timeout_seconds: float,
        pending_max: int,
        first_number: int,
    ) -> None:
        """`barrier` is a linearizable read, `send` carries calls to one member; the numbers of
        questions count up from `first_number`."""
        self._clock = clock
        self._barrier = barrier
        self._send = send
        self._now = now
        self._timeout_seconds = timeout_seconds
        self._pending_max = pending_max
        self._number = first_number
        self._questions: dict[int, Question] = {}
        self._unasked: list[int] = []

    def ask(self, lease_id: int, renew: bool, done: OnAnswer) -> None:
        """Answer (remaining or ttl seconds, granted ttl); (0 or -1, 0) = no such lease."""
        if len(self._questions) >= self._pending_max:
            done(TooManyRequests())
            return
        self._number += 1
        deadline = self._now() + self._timeout_seconds
        self._questions[self._number] = Question(lease_id, renew, done, deadline)
        self._unasked.append(self._number)

    def pump(self, leader: int, member_id: int) -> None:
        """Ask what has not been asked; call it once per turn."""
        if not self._unasked or not leader:
            return
        numbers, self._unasked = self._unasked, []
        # A late reply may have answered what `expire` had put back: it is in one list only then.
        questions = [(n, self._questions[n]) for n in numbers if n in self._questions]
        if not questions:
            return
        now = self._now()
        for _, question in questions:
            question.asked_at = now
        if leader == member_id:
            self._consult([(n, q.lease_id, q.renew) for n, q in questions], self._settle)
        else:
            self._send(leader, [LeaseAsk(n, q.lease_id, q.renew) for n, q in questions])

    def take(self, sender: int, calls: Sequence[Call]) -> None:
        """Calls of another member arrived: answer its questions, settle ours."""
        asks = [(c.number, c.lease_id, c.renew) for c in calls if isinstance(c, LeaseAsk)]
        if asks:
            self._consult(asks, lambda replies: self._send(sender, list(replies)))
        self._settle(call for call in calls if isinstance(call, LeaseReply))

    def expire(self, now: float) -> None:
        """Refuse what waited too long, ask again what got no answer."""
        waiting = set(self._unasked)
        for number, question in list(self._questions.items()):
            if question.deadline <= now:
                del self._questions[number]
                question.done(Timeout())
            elif number not in waiting and now - question.asked_at >= RETRY_SECONDS:
                self._unasked.append(number)
        self._unasked = [number for number in self._unasked if number in self._questions]

    def _consult(
        self,
        asks: list[tuple[int, int, bool]],
        reply: Callable[[Iterable[LeaseReply]], object],
    ) -> None:
        """Look at the clock once this member knows that it still leads."""

        def fresh(refusal: Refusal | None) -> None:
            refused = refusal is not None or not self._clock.leading
            reply([self._look(*ask, refused=refused) for ask in asks])

        self._barrier(fresh)

    def _look(self, number: int, lease_id: int, renew: bool, *, refused: bool) -> LeaseReply:
        if refused:
            return LeaseReply(number, 0, 0, True)
        now = self._now()
        if renew:
            ttl = self._clock.renew(lease_id, now)
            if ttl is None:
                return LeaseReply(number, 0, 0, True)
            return LeaseReply(number, ttl, ttl, False)
        remaining, granted = self._clock.remaining(lease_id, now)
        return LeaseReply(number, remaining, granted, False)

    def _settle(self, replies: Iterable[LeaseReply]) -> None:
        for reply in replies:
            if reply.refused:
                continue  # leadership moves, or a lease ends: `expire` asks again
            question = self._questions.pop(reply.number, None)
            if question is not None:
                question.done((reply.remaining, reply.granted))
