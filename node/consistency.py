"""Finds out whether this member's state is still what the others have, and what to do if not.

    always       the leader names a checkpoint of the chain (`node.chain`) in its heartbeats, each
                 follower answers with its own digest there
    a check      an entry of the log: at its index every member takes the checksum of its whole
                 state (`node.machine.state_hash`), slice by slice, and answers with that
      when       by the clock, after a compaction, if a member asks: after its start, a snapshot
    a verdict    a majority against a member: the leader raises CORRUPT for it through the log
                 opinions and no majority: CORRUPT for nobody, which stops everybody

Who starts with a state from its disk is to be checked before it serves clients (`may_serve`), but
does not wait for that without end: a cluster that has lost its quorum must be able to come back.
Who is accused serves no clients, keeps its files, votes and stores entries: the log is another
record with checksums of its own. If it leads it hands leadership over.

The leader asks and judges; the next one asks again. Opinions ride on heartbeats, slices on ticks.

Source: etcd server/etcdserver/corrupt.go (initial, periodic and compaction checks).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from node.chain import Chain, Link
from node.machine.alarm import NOBODY
from node.machine.envelope import RequestKind
from node.machine.keyspace import NEVER_COMPACTED
from node.machine.machine import Machine
from node.machine.state_hash import StateHash
from node.opinion import Opinion, Question, Value, judge
from node.proto import rpc_pb2
from node.raft.core import Core
from node.raft.message import ConfState
from node.raft.storage import FOUNDING_INDEX
from node.status import Alarm

WALK_SECONDS = 0.001
"""What one tick gives to a check."""
WALK_HELD_SECONDS = 0.006
"""The same as long as this member serves nobody."""
WALK_SLICES_MAX = 16
QUESTION_SECONDS = 1.0
"""How long a checkpoint is asked about if somebody does not answer."""
ASKED_SECONDS = 0.5
"""Checks that members ask for are not begun more often than that."""
COMPACTED_SECONDS = 10.0
"""The same of checks after a compaction."""
ANSWER_SECONDS = 30.0
"""How long a check keeps the next one from being begun."""
TORN_SECONDS = 3.0
"""How long two opinions wait for a third."""
RAISE_SECONDS = 1.0
"""After that an alarm that is not raised yet is proposed again."""
HELD_SECONDS_MAX = 5.0
"""How long a member that has just started waits for a verdict before it serves without."""
LONELY_SECONDS = 1.0
"""The same if none of the others says a word."""
CORRUPT = rpc_pb2.AlarmType.CORRUPT


class Reporter(Protocol):
    """Where findings are told."""

    def report(self, event: str, **facts: object) -> None:
        """One event, by its dotted name."""


@dataclass(slots=True)
class Figures:
    """Counters, for metrics."""

    checks: int = 0
    """Checks of the state that this member has finished."""
    records: int = 0
    bytes: int = 0
    """What the newest of them has read."""
    mismatches: int = 0
    """Verdicts of this member, as leader, against another or against itself."""


class Consistency:
    """What one member knows of its own state and, while it leads, of the others'."""

    def __init__(
        self,
        member_id: int,
        chain: Chain,
        core: Core,
        machine: Callable[[], Machine],
        conf: Callable[[], ConfState],
        envelope: Callable[[RequestKind, bytes], bytes],
        reporter: Reporter,
        clock: Callable[[], float],
        *,
        applied: int,
        period_seconds: float,
    ) -> None:
        """`applied` is where this member starts; `envelope` wraps requests of its own."""
        self._member_id = member_id
        self._chain = chain
        self._core = core
        self._machine = machine
        self._conf = conf
        self._envelope = envelope
        self._reporter = reporter
        self._clock = clock
        self._period = period_seconds
        self._started_at = self._began_at = clock()
        self._next_at = self._started_at + period_seconds
        self._wants = applied > FOUNDING_INDEX
        self._held = self._wants
        self._asked = False
        self._accused = False
        self._heard = False
        self._walk: StateHash | None = None
        self._finished = 0
        self._state: int | None = None
        self._compacted = NEVER_COMPACTED
        self._links: Question[Link] = Question(0, self._started_at)
        self._states: Question[int] = Question(0, self._started_at)
        self._due: list[int] = []
        self._agreed = (0, 0)
        self._abstained: set[int] = set()
        self._busy: set[int] = set()
        self._proposed: dict[tuple[int, bool], float] = {}
        self.figures = Figures()

    # -- this member ---------------------------------------------------------------------------

    @property
    def accused(self) -> bool:
        """Whether this member's state is known not to be what the cluster agreed on."""
        return self._machine().accused

    @property
    def unchecked(self) -> bool:
        """Whether it would like to be checked."""
        return self._wants

    def may_serve(self) -> bool:
        """Whether clients may be served, or told that they are not: a verdict on the state with
        which this member started is there, or will not come in time."""
        if self._held:
            waited = self._clock() - self._started_at
            patience = HELD_SECONDS_MAX if self._heard else LONELY_SECONDS
            self._held = self._wants and not self.accused and waited < patience
        return not self._held

    def marked(self, index: int) -> None:
        """The entry of a check was just applied: this moment's state is the one to compare."""
        now = self._clock()
        self._chain.begin(index)
        self._due.append(index)
        self._began_at, self._next_at = now, now + self._period
        machine = self._machine()
        self._compacted = machine.compact_revision
        self._states = Question(index, now, torn_at=self._states.torn_at)
        self._abstained, self._busy, self._asked = set(), set(), False
        self._walk = machine.state_hash()
        if self._walk is None:
            self._finish(None)

    def walk(self) -> None:
        """Read on for the check that is under way; to be called at every tick."""
        walk = self._walk
        if walk is None:
            return
        until = self._clock() + (WALK_HELD_SECONDS if self._held else WALK_SECONDS)
        for _ in range(WALK_SLICES_MAX):
            if walk.step():
                self.figures.records, self.figures.bytes = walk.records, walk.bytes
                self._finish(walk.crc)
                return
            if self._clock() >= until:
                return

    def replaced(self) -> None:
        """The state came from another member: what was read of the old one says nothing."""
        self._walk = None
        self._states = Question(0, self._clock())
        self._finished, self._state = 0, None
        self._wants = True

    def _finish(self, state: int | None) -> None:
        self._walk = None
        self._finished, self._state = self._states.index, state
        self.figures.checks += state is not None
        self._compare(*self._agreed)

    def _compare(self, index: int, state: int) -> None:
        """A majority has this state at `index`; if it is ours as well, we have been checked."""
        if index and index == self._finished and state == self._state:
            self._wants = False

    # -- with the others -----------------------------------------------------------------------

    def opinion(self) -> Opinion:
        """What goes out beside a heartbeat, or beside the answer to one."""
        index = self._links.index
        link = self._chain.at(index) or Link(0, 0)
        agreed, agreed_state = self._agreed if self._core.leads else (0, 0)
        return Opinion(
            index if link.origin else 0,
            link.origin,
            link.crc,
            self._states.index,
            self._finished,
            self._state,
            agreed,
            agreed_state,
            self._wants,
        )

    def heard(self, sender: int, opinion: Opinion) -> None:
        """What another member says beside a heartbeat or its answer."""
        if not self._core.leads:
            self._follow(opinion)
            return
        if opinion.index and opinion.index == self._links.index:
            self._links.opinions[sender] = Link(opinion.origin, opinion.crc)
        if self._answers(sender, opinion):
            return
        if opinion.wants and self._has_newest(sender):
            self._asked = True

    def _answers(self, sender: int, opinion: Opinion) -> bool:
        """Take a member's part in the newest check; False = that one tells nothing about it."""
        if not opinion.checking or opinion.checking != self._states.index:
            self._busy.discard(sender)  # it may have begun another life since
            return False
        if opinion.checked != opinion.checking:
            self._busy.add(sender)
            return True
        self._answer(sender, opinion.state)
        return opinion.state is not None

    def _has_newest(self, member: int) -> bool:
        """Whether it has the entry of the newest check; else it could not take part in another."""
        peer = self._core.status().progress.get(member)
        return peer is not None and peer.match >= self._states.index

    def met(self) -> None:
        """Somebody of the others is there."""
        self._heard = True

    def _follow(self, opinion: Opinion) -> None:
        if opinion.index and opinion.index != self._links.index:
            # What this member heard while it led is about another checkpoint. It was once held
            # against the new one, and a leader that came back was accused by a majority.
            self._links = Question(opinion.index, self._clock())
        if opinion.agreed:
            self._agreed = (opinion.agreed, opinion.agreed_state)
            self._compare(*self._agreed)

    def _answer(self, member: int, state: int | None) -> None:
        self._busy.discard(member)
        if state is None:
            self._abstained.add(member)
        else:
            self._states.opinions[member] = state

    # -- while it leads ------------------------------------------------------------------------

    def keep(self) -> None:
        """Look after everything once; to be called several times per second."""
        now = self._clock()
        self._tell()
        if not self._core.leads:
            self._due.clear()
            return
        conf = self._conf()
        if self._finished == self._states.index and self._finished:
            self._answer(self._member_id, self._state)
        self._judge_states(conf, now)
        self._judge_links(conf, now)
        self._hand_over()
        if self._check_due(conf, now):
            self._propose(RequestKind.STATE_CHECK, b"")
            self._began_at = now

    def _tell(self) -> None:
        """Report when this member is accused, or no longer is."""
        accused = self.accused
        if accused is not self._accused:
            self._accused = accused
            if accused:
                self._reporter.report("node.corrupt", reason=REASON)
            else:
                self._reporter.report("node.cleared")

    def _judge_states(self, conf: ConfState, now: float) -> None:
        question = self._states
        agreed = self._judge(question, conf, now, "state")
        if agreed is not None:
            self._agreed = (question.index, agreed)
            self._compare(*self._agreed)

    def _judge_links(self, conf: ConfState, now: float) -> None:
        question = self._links
        own = self._chain.at(question.index)
        if own is not None and question.index >= self._agreed[0]:
            # Chains that began elsewhere are no opinion; the next check begins one for all.
            others = question.opinions.items()
            comparable = {member: link for member, link in others if link.origin == own.origin}
            question.opinions = {**comparable, self._member_id: own}
            self._judge(question, conf, now, "log")
            complete = len(question.opinions) == len(members_of(conf))
            patient = question.torn_at is not None or now - question.asked_at < QUESTION_SECONDS
            if not complete and patient:
                return
        self._links = Question(self._due.pop(0) if self._due else self._chain.newest, now)

    def _judge(
        self, question: Question[Value], conf: ConfState, now: float, what: str
    ) -> Value | None:
        """What a majority says; raises the alarms for everything else."""
        members = members_of(conf)
        opinions = {m: question.opinions[m] for m in members if m in question.opinions}
        verdict = judge(opinions, conf.voters)
        for member in verdict.accused:
            self._set_alarm(member, now, raised=True, at=question.index, of=what)
        if verdict.accused:  # it is known by now who it was
            self._set_alarm(NOBODY, now, raised=False, at=question.index, of=what)
        if verdict.torn:
            torn_at = question.torn_at = question.torn_at or now
            if len(opinions) == len(members) or now - torn_at >= TORN_SECONDS:
                self._set_alarm(NOBODY, now, raised=True, at=question.index, of=what)
        elif verdict.agreed is not None:
            question.torn_at = None
        return verdict.agreed

    def _set_alarm(self, member: int, now: float, *, raised: bool, at: int, of: str) -> None:
        """Propose that CORRUPT is raised or lowered for a member, unless that is how it is."""
        if (Alarm(member, CORRUPT) in self._machine().alarms()) is raised:
            return
        if now - self._proposed.get((member, raised), -RAISE_SECONDS) < RAISE_SECONDS:
            return
        self._proposed[member, raised] = now
        request = rpc_pb2.AlarmRequest(
            action="ACTIVATE" if raised else "DEACTIVATE", memberID=member, alarm=CORRUPT
        )
        self._propose(RequestKind.ALARM, request.SerializeToString())
        if raised:
            self.figures.mismatches += 1
            self._reporter.report("state.differs", member=f"{member:x}", at=at, of=of)

    def _hand_over(self) -> None:
        """Who cannot trust its own state does not stay leader as long as another can be."""
        if not self.accused:
            return
        status = self._core.status()
        suspects = {alarm.member_id for alarm in self._machine().alarms() if alarm.kind == CORRUPT}
        heirs = [
            (-progress.match, member)
            for member, progress in status.progress.items()
            if progress.recent_active
            and not progress.learner
            and member not in {*suspects, self._member_id}
        ]
        if heirs and not status.transferee and NOBODY not in suspects:
            self._core.transfer_leader(min(heirs)[1])

    def _check_due(self, conf: ConfState, now: float) -> bool:
        machine = self._machine()
        if len(members_of(conf)) == 1:
            self._wants = False  # nobody could contradict
            return False
        if not machine.physically_compacted(machine.compact_revision):
            return False
        since = now - self._began_at
        if since < ASKED_SECONDS or (since < ANSWER_SECONDS and self._under_way()):
            return False
        unfinished = bool(self._abstained) or machine.compact_revision != self._compacted
        return (
            now >= self._next_at
            or self._asked
            or (self._wants and self._states.index == 0)
            or (unfinished and since >= COMPACTED_SECONDS)
        )

    def _under_way(self) -> bool:
        """Whether somebody still reads for the newest check; who is gone is not waited for."""
        progress = self._core.status().progress
        return self._walk is not None or any(
            member in progress and progress[member].recent_active for member in self._busy
        )

    def _propose(self, kind: RequestKind, request: bytes) -> None:
        self._core.propose([self._envelope(kind, request)], forward=False)


REASON = "its state differs from that of the other members; replace it"


def members_of(conf: ConfState) -> list[int]:
    """Voters and learners, by id."""
    return sorted({*conf.voters, *conf.learners})
