"""Changes of the members: asked at any member, judged by the leader, answered when applied.

    ask() ──► waiting ──pump()──► leads here: judge, propose      leads elsewhere: ChangeAsk
                 ▲                        │                            │
                 └─ busy, at the next ────┴──────── verdict ◄──────────┘  ChangeReply
                    housekeeping                      │ accepted
                                                      ▼
                                      the entry is applied ──complete()──► answered

Only the leader knows who is there now and how far a learner has come, so it judges every change;
what depends on the log alone is judged once more when the entry is applied, since another change
may have come first. A leader that does not answer may have taken the change, so it is not asked
again in the same term, and in another term it takes no question of this one. Once an entry of a
newer term is applied, a change that was asked for in an older one is in the log before that entry
or lost for ever: then it is asked for again, and cannot happen twice. If a snapshot has replaced
that part of the log, nobody can tell, and the client is told so: asked for again, a change that was
made would be refused as if it had failed.

Voters count as connected here if the leader has heard from them within the last election timeout;
etcd wants them connected for five seconds, which only delays whoever has just started a cluster.

A member that has been removed is cut off by those who apply it, often before it can learn of the
commit. So they say farewell first, and whoever hears it, or applies its own removal, is `removed`.

Source: etcd server/etcdserver/server.go (AddMember, mayRemoveMember, PromoteMember),
server/etcdserver/api/membership/cluster.go (IsReadyToAddVotingMember and the like).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from node.machine import errors
from node.machine.answer import Answer
from node.machine.envelope import RequestKind, pack
from node.machine.errors import LeaderFailed, Refusal, Timeout, TooManyRequests
from node.machine.machine import Machine
from node.peers import Call, ChangeAsk, ChangeReply, Farewell
from node.proto import rpc_pb2
from node.raft.core import Core
from node.raft.message import ConfChange, ConfChangeKind, ConfState
from node.raft.quorum import majority
from node.raft.ready import Proposed

PENDING_MAX = 64
"""Changes are made one at a time; nobody has more than a few to ask for."""
READY_PERCENT = 90
"""Share of the leader's log that a learner must have to be promoted, as in etcd."""
KINDS = (RequestKind.MEMBER_ADD, RequestKind.MEMBER_REMOVE, RequestKind.MEMBER_PROMOTE)
ACCEPTED = ""
"""No answer yet: that comes when the change is applied."""
BUSY = "busy"
VERDICTS: dict[str, Refusal] = {
    type(refusal).__name__: refusal
    for refusal in (
        errors.MemberNotFound(),
        errors.MemberExists(),
        errors.PeerUrlExists(),
        errors.TooManyLearners(),
        errors.MemberNotLearner(),
        errors.LearnerNotReady(),
        errors.NotEnoughStarted(),
        errors.Unhealthy(),
    )
}
"""How the leader's refusals travel."""

OnOutcome = Callable[[Answer | Refusal], None]


@dataclass(slots=True)
class Asked:
    """One change that a client of this member waits for."""

    kind: RequestKind
    member: rpc_pb2.Member
    done: OnOutcome
    deadline: float
    term: int = 0
    """In which it was asked; 0 = it waits to be asked."""
    doubtful: bool = False
    """A snapshot was installed that may contain it."""


class Membership:
    """The changes that this member has not answered, and those that it judges as the leader."""

    def __init__(
        self,
        member_id: int,
        core: Core,
        machine: Callable[[], Machine],
        conf: Callable[[], ConfState],
        send: Callable[[int, list[Call]], object],
        first_number: int,
        timeout_seconds: float,
    ) -> None:
        """`machine` and `conf` give the applied state of the moment, `send` carries calls to one
        member. Numbers count up from `first_number`, drawn at random for each process."""
        self._member_id = member_id
        self._core = core
        self._machine = machine
        self._conf = conf
        self._send = send
        self._number = first_number
        self._timeout_seconds = timeout_seconds
        self._asked: dict[int, Asked] = {}
        self._waiting: list[int] = []
        self._busy: list[int] = []
        self.removed = False
        """This member is none any more."""

    def ask(self, kind: RequestKind, member: rpc_pb2.Member, done: OnOutcome, now: float) -> None:
        """Ask for a change, one of KINDS, of `member`."""
        if len(self._asked) >= PENDING_MAX:
            done(TooManyRequests())
            return
        self._number += 1
        self._asked[self._number] = Asked(kind, member, done, now + self._timeout_seconds)
        self._waiting.append(self._number)

    def pump(self, leader: int, term: int) -> None:
        """Ask the leader of `term` what has not been asked; call it once per turn."""
        if not self._waiting or not leader:
            return
        numbers, self._waiting = self._waiting, []
        for number in numbers:
            asked = self._asked.get(number)
            if asked is None:
                continue
            asked.term = term
            ask = ChangeAsk(number, term, asked.kind, asked.member.SerializeToString())
            if leader == self._member_id:
                self._settle(ChangeReply(number, term, self._judge(self._member_id, ask)))
            else:
                self._send(leader, [ask])

    def take(self, sender: int, calls: Sequence[Call]) -> None:
        """Calls of another member arrived: judge its changes, settle ours."""
        for call in calls:
            if isinstance(call, ChangeAsk):
                self._answer(sender, call)
            elif isinstance(call, ChangeReply):
                self._settle(call)
            elif isinstance(call, Farewell):
                self.leave()

    def complete(self, origin: int, number: int, outcome: Answer | Refusal) -> None:
        """A change was applied; answer its client if it is ours and still waits."""
        if origin == self._member_id:
            asked = self._asked.pop(number, None)
            if asked is not None:
                asked.done(outcome)

    def term_applied(self, term: int) -> None:
        """The first entry of a new term is next: what was asked for before and is not applied by
        now is lost, and is asked for again."""
        for number, asked in list(self._asked.items()):
            if not 0 < asked.term < term:
                continue
            if asked.doubtful:
                del self._asked[number]
                asked.done(LeaderFailed())
            else:
                asked.term = 0
                self._waiting.append(number)

    def snapshot_installed(self, term: int) -> None:
        """A snapshot whose last entry is of `term` has become the state: what was asked for up to
        that term may be in it. What is of the same term may also follow yet, or be refused."""
        for number, asked in list(self._asked.items()):
            if 0 < asked.term <= term:
                asked.doubtful = True
                if asked.term < term:
                    del self._asked[number]
                    asked.done(LeaderFailed())

    def leave(self) -> None:
        """This member has been removed: whoever asked for that here is answered, while it can."""
        self.removed = True
        for number, asked in list(self._asked.items()):
            if (asked.kind, asked.member.ID) == (RequestKind.MEMBER_REMOVE, self._member_id):
                del self._asked[number]
                asked.done(Answer(0, b""))

    def expire(self, now: float) -> None:
        """Refuse what waited too long, ask again what met a leader that was busy."""
        for number, asked in list(self._asked.items()):
            if asked.deadline <= now:
                del self._asked[number]
                asked.done(Timeout())
        self._waiting += self._busy
        self._busy = []

    def _settle(self, reply: ChangeReply) -> None:
        asked = self._asked.get(reply.number)
        if asked is None or asked.term != reply.term:
            return
        if reply.verdict == BUSY:
            asked.term, asked.doubtful = 0, False
            self._busy.append(reply.number)
        elif reply.verdict in VERDICTS:
            del self._asked[reply.number]
            asked.done(VERDICTS[reply.verdict])

    # -- as the leader ---------------------------------------------------------------------------

    def _answer(self, sender: int, call: ChangeAsk) -> None:
        """Nothing is answered to what makes no sense: it must not get into the log."""
        with suppress(DecodeError):
            if call.kind in KINDS:
                verdict = self._judge(sender, call)
                self._send(sender, [ChangeReply(call.number, call.term, verdict)])

    def _judge(self, origin: int, ask: ChangeAsk) -> str:
        """Take a change into the log, or say why not.

        Raises:
            DecodeError: the question makes no sense.
        """
        member = rpc_pb2.Member.FromString(ask.request)
        if not self._core.leads or self._core.term != ask.term:
            return BUSY
        refusal = self._refusal(ask.kind, member)
        if refusal is not None:
            return type(refusal).__name__
        context = pack(ask.kind, origin, ask.number, ask.request)
        change = ConfChange(_conf_kind(ask.kind, member), member.ID, context)
        match self._core.propose_conf_change(change, forward=False):
            case Proposed.ACCEPTED:
                return ACCEPTED
            case Proposed.REFUSED:
                return errors.Unhealthy.__name__
            case _:
                return BUSY

    def _refusal(self, kind: int, member: rpc_pb2.Member) -> Refusal | None:
        conf = self._conf()
        refusal = self._machine().check_members(kind, member, conf.voters, conf.learners)
        if refusal is not None:
            return refusal
        if kind == RequestKind.MEMBER_PROMOTE and not self._caught_up(member.ID):
            return errors.LearnerNotReady()
        return None if self._enough_started(kind, member, conf) else errors.NotEnoughStarted()

    def _caught_up(self, learner: int) -> bool:
        status = self._core.status()
        progress = status.progress.get(learner)
        match = progress.match if progress is not None else 0
        return match * 100 >= status.last_index * READY_PERCENT

    def _enough_started(self, kind: int, member: rpc_pb2.Member, conf: ConfState) -> bool:
        """Whether a majority of the voters afterwards has ever been started: who has not is no
        help, and may never come. A single member may grow, or it never could."""
        named = {record.id for record in self._machine().members() if record.name}
        voters = {*conf.voters}
        started = len(named & (voters - {member.ID}))
        if kind == RequestKind.MEMBER_REMOVE:
            left = voters - {member.ID}
            return member.ID in conf.learners or (bool(left) and started >= majority(len(left)))
        if member.isLearner:
            return True
        if kind == RequestKind.MEMBER_PROMOTE:
            return started + 1 >= majority(len(voters) + 1)
        return started >= majority(len(voters) + 1) or started == len(voters) == 1


def _conf_kind(kind: int, member: rpc_pb2.Member) -> ConfChangeKind:
    if kind == RequestKind.MEMBER_REMOVE:
        return ConfChangeKind.REMOVE
    learner = kind == RequestKind.MEMBER_ADD and member.isLearner
    return ConfChangeKind.ADD_LEARNER if learner else ConfChangeKind.ADD_VOTER
