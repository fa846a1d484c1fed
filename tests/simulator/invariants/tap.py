"""How checks get to see what happens inside a life of a member.

The parts of a life are the product's own and stay so. When a life begins, some of their methods are
replaced on the instance by ones that do the same and tell a `Check` of it:

    core.ready ──► ready         what the core wants done, before any of it is
    core.step ──► before, after  one message is taken in
    peers.send ──► sent          messages leave
    applier.apply ──► applied    entries were applied
    reads, hub, writer, …        see `Check`

A check declares what it wants to hear by overriding methods; what nobody wants costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, cast

from node.machine.answer import Event, Operation
from node.machine.errors import Refusal
from node.raft.core import Core
from node.raft.message import ConfChange, ConfState, Entry, InstallSnapshot, Message
from node.raft.ready import PersistToken, Proposed, Ready
from node.watch.watcher import Watcher
from tests.simulator.invariants.ledger import Ledger
from tests.simulator.invariants.platter import Platter, Platters
from tests.simulator.marks import Marks
from tests.support.member_cluster import MemberCluster, Node

if TYPE_CHECKING:
    from node.watch.stream import Stream

Hear = Callable[["Subject", Any], None]


class Subject:
    """One life of a member, as checks see it."""

    def __init__(self, node: Node, number: int, platter: Platter) -> None:
        assert node.life is not None
        self.node = node
        self.id = node.id
        self.number = number
        """Counts the lives of all members."""
        self.life = node.life
        self.parts = node.life.parts
        self.core = self.parts.core
        self.raft = self.core._raft
        self.log = self.raft.log
        self.platter = platter
        self.conf = self.parts.conf
        """The configuration as this member has applied it."""
        self.conf_at_ready = self.conf
        """The same when its core was last asked what to do."""
        self.applied = self.parts.disk.applied.index
        """The last entry that it has applied."""
        self.term = self.raft.term
        self.commit = self.log.commit
        self.facts: dict[str, Any] = {}
        """What a check wants to remember of this life."""


class Check:
    """One invariant. Override what you want to hear."""

    sent: ClassVar[Mapping[type, str]] = {}
    """Kind of message → name of the method (subject, message) that hears of each that leaves."""
    taken: ClassVar[Mapping[type, str]] = {}
    """The same for messages that were taken in."""
    arriving: ClassVar[Mapping[type, str]] = {}
    """The same for messages that are about to be taken in."""

    def __init__(
        self, cluster: MemberCluster, ledger: Ledger, platters: Platters, marks: Marks
    ) -> None:
        self.cluster = cluster
        self.ledger = ledger
        self.platters = platters
        self.marks = marks
        self.hit = marks.hit

    def began(self, subject: Subject) -> None:
        """A life began; nothing has run in it."""

    def ended(self, subject: Subject) -> None:
        """A life is about to end."""

    def ready(self, subject: Subject, ready: Ready) -> None:
        """The core said what is to be done; nothing of it is done."""

    def persisting(self, subject: Subject, token: PersistToken) -> None:
        """The core is about to be told that a write is synced."""

    def written(self, subject: Subject) -> None:
        """The writer has completed some batches; nobody was told."""

    def applied(self, subject: Subject, entries: Sequence[Entry]) -> None:
        """These were applied."""

    def staged(self, subject: Subject, index: int, effects: Sequence[Operation]) -> None:
        """Applying the entry at `index` wrote these records."""

    def conf_changed(
        self, subject: Subject, index: int, change: ConfChange | None, conf: ConfState
    ) -> None:
        """A change was applied, None = it was refused; `conf` is what holds from here on.
        `subject.conf` is what held before."""

    def adopted(self, subject: Subject) -> None:
        """An installed snapshot has become the state."""

    def unreachable(self, subject: Subject, peer: int) -> None:
        """The core is about to be told that a message could not be sent."""

    def proposed(self, subject: Subject, outcome: Proposed, *, forward: bool) -> None:
        """Proposals were given to the core."""

    def read_asked(self, subject: Subject, context: int, *, again: bool) -> None:
        """A round of reads begins, or is asked `again` for want of an answer."""

    def read_confirmed(self, subject: Subject, context: int, index: int) -> None:
        """An answer to a round, perhaps not the one under way."""

    def read_began(self, subject: Subject) -> Callable[[Refusal | None], None] | None:
        """A client asks for a fresh moment; what is returned hears the answer before it does."""

    def published(self, subject: Subject, events: Sequence[Event]) -> None:
        """The machine's events of one revision go to the hub."""

    def watched(self, subject: Subject, watcher: Watcher) -> None:
        """A watcher was made."""

    def told(self, subject: Subject, watcher: Watcher, events: Sequence[Event]) -> None:
        """A watcher is sent these."""

    def turned(self, subject: Subject) -> None:
        """A step touched this member while it is up."""

    def looked(self, subjects: Sequence[Subject]) -> None:
        """Now and then: whatever is expensive, over all lives of the moment."""

    def calmed(self, subjects: Sequence[Subject]) -> None:
        """The liveness phase has ended well."""


class TappedCore:
    """A core whose owner is overheard."""

    def __init__(self, subject: Subject, checks: Sequence[Check]) -> None:
        core = subject.core
        self._raft = core._raft
        self._core, self._subject = core, subject
        self._ready = heard(checks, "ready")
        self._persisting = heard(checks, "persisting")
        self._arriving, self._taken = by_kind(checks, "arriving"), by_kind(checks, "taken")
        self._unreachable, self._proposed = heard(checks, "unreachable"), heard(checks, "proposed")
        # Methods are looked up once, for they are called often; properties have to be asked anew.
        for name, member in vars(Core).items():
            if callable(member) and not name.startswith("_") and not hasattr(type(self), name):
                setattr(self, name, getattr(core, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def ready(self) -> Ready:
        ready = self._core.ready()
        subject = self._subject
        for hear in self._ready:
            hear(subject, ready)
        subject.conf_at_ready = subject.conf
        subject.term, subject.commit = self._raft.term, self._raft.log.commit
        return ready

    def step(self, message: Message) -> None:
        kind = type(message)
        subject = self._subject
        for hear in self._arriving.get(kind, ()):
            hear(subject, message)
        self._core.step(message)
        for hear in self._taken.get(kind, ()):
            hear(subject, message)

    def persisted(self, token: PersistToken) -> None:
        for hear in self._persisting:
            hear(self._subject, token)
        self._core.persisted(token)

    def propose(self, data: Sequence[bytes], *, forward: bool = True) -> Proposed:
        outcome = self._core.propose(data, forward=forward)
        for hear in self._proposed:
            hear(self._subject, outcome, forward=forward)
        return outcome

    def report_unreachable(self, member: int) -> None:
        for hear in self._unreachable:
            hear(self._subject, member)
        self._core.report_unreachable(member)


def tap(subject: Subject, checks: Sequence[Check]) -> None:
    """Let checks hear what happens in a life that has just begun."""
    subject.parts.core = cast(Core, TappedCore(subject, checks))
    _tap_messages(subject, checks)
    _tap_applier(subject, checks)
    _tap_state(subject, checks)
    _tap_reads(subject, checks)
    _tap_hub(subject, checks)


def heard(checks: Sequence[Check], name: str) -> list[Callable[..., Any]]:
    """The methods of this name of those that have one of their own."""
    usual = getattr(Check, name)
    return [getattr(check, name) for check in checks if getattr(type(check), name) is not usual]


def by_kind(checks: Sequence[Check], table: str) -> dict[type, list[Hear]]:
    """For each kind of message those who want to hear of it."""
    kinds: dict[type, list[Hear]] = {}
    for check in checks:
        for kind, name in getattr(check, table).items():
            kinds.setdefault(kind, []).append(getattr(check, name))
    return kinds


def overhear(owner: object, name: str, hear: Callable[..., object]) -> None:
    """Have `hear` told of every call of a method: its result, then its arguments."""
    method = getattr(owner, name)

    def overheard(*arguments: Any, **named: Any) -> Any:
        result = method(*arguments, **named)
        hear(result, *arguments, **named)
        return result

    setattr(owner, name, overheard)


def _replace(owner: object, name: str, method: Callable[..., Any]) -> None:
    """Have `owner` use another method of this name."""
    setattr(owner, name, method)


def _tap_messages(subject: Subject, checks: Sequence[Check]) -> None:
    kinds = by_kind(checks, "sent")
    peers, snapshots = subject.parts.peers, subject.parts.snapshots
    post, stream = peers.send, snapshots.start

    def send(messages: list[Message], now_ns: int) -> list[int]:
        for message in messages:
            for hear in kinds.get(type(message), ()):
                hear(subject, message)
        return post(messages, now_ns)

    def start(message: InstallSnapshot, now: float) -> None:
        for hear in kinds.get(InstallSnapshot, ()):
            hear(subject, message)
        stream(message, now)

    _replace(peers, "send", send)
    _replace(snapshots, "start", start)


def _tap_applier(subject: Subject, checks: Sequence[Check]) -> None:
    hear_applied = heard(checks, "applied")
    hear_change = heard(checks, "conf_changed")
    applier = subject.parts.applier
    apply_slice, change_conf = applier.apply, applier._change_conf
    waiting = applier._committed

    def apply(entries_max: int) -> Entry | None:
        front = list(islice(waiting, entries_max))
        before = len(waiting)
        last = apply_slice(entries_max)
        done = front[: before - len(waiting)]
        if done:
            for hear in hear_applied:
                hear(subject, done)
            subject.applied = done[-1].index
        return last

    def changed(change: ConfChange | None, index: int) -> ConfState:
        conf = change_conf(change, index)
        for hear in hear_change:
            hear(subject, index, change, conf)
        subject.conf = conf
        return conf

    _replace(applier, "apply", apply)
    _replace(applier, "_change_conf", changed)


def _tap_state(subject: Subject, checks: Sequence[Check]) -> None:
    hear_staged = heard(checks, "staged")
    hear_adopted = heard(checks, "adopted")
    hear_written = heard(checks, "written")
    applier, view, parts = subject.parts.applier, subject.life.store.view, subject.parts
    writer, hub = subject.life.store.writer, parts.hub
    stage, compact = view.stage, applier.compact
    step, replace = writer.step, hub.replace_history
    compacting = False

    def staging(operations: Sequence[Operation]) -> None:
        if not compacting:
            index = applier._machine.applied_index  # type: ignore[attr-defined]
            for hear in hear_staged:
                hear(subject, index, operations)
        stage(operations)

    def compacted(records_max: int) -> bool:
        nonlocal compacting
        compacting = True
        try:
            return compact(records_max)
        finally:
            compacting = False

    def replaced(history: Any) -> None:
        replace(history)
        subject.conf = parts.conf
        subject.applied = parts.disk.applied.index
        for hear in hear_adopted:
            hear(subject)

    def wrote(batches_max: int | None = None) -> bool:
        done = step(batches_max)
        if done:
            for hear in hear_written:
                hear(subject)
        return done

    _replace(view, "stage", staging)
    _replace(applier, "compact", compacted)
    _replace(hub, "replace_history", replaced)
    _replace(writer, "step", wrote)


def _tap_reads(subject: Subject, checks: Sequence[Check]) -> None:
    hear_asked = heard(checks, "read_asked")
    hear_confirmed = heard(checks, "read_confirmed")
    hear_began = heard(checks, "read_began")
    reads = subject.parts.reads
    start, confirmed, add = reads.start, reads.confirmed, reads.add

    def starting(now: float) -> int:
        again = reads._asked_context is not None
        context = start(now)
        for hear in hear_asked:
            hear(subject, context, again=again)
        return context

    def confirming(context: int, index: int) -> None:
        for hear in hear_confirmed:
            hear(subject, context, index)
        confirmed(context, index)

    def adding(done: Callable[[Refusal | None], None], now: float) -> None:
        ears = [ear for ear in [hear(subject) for hear in hear_began] if ear is not None]

        def answered(refusal: Refusal | None) -> None:
            for ear in ears:
                ear(refusal)
            done(refusal)

        add(answered, now)

    _replace(reads, "start", starting)
    _replace(reads, "confirmed", confirming)
    _replace(reads, "add", adding)


def _tap_hub(subject: Subject, checks: Sequence[Check]) -> None:
    hear_published = heard(checks, "published")
    hear_watched = heard(checks, "watched")
    hear_told = heard(checks, "told")
    hub = subject.parts.hub
    publish, send, create = hub.publish, hub._send, hub._create

    def publishing(events: Sequence[Event]) -> None:
        for hear in hear_published:
            hear(subject, events)
        publish(events)

    def sending(stream: Stream, watcher: Watcher, events: list[Event], encoder: Any) -> None:
        for hear in hear_told:
            hear(subject, watcher, events)
        send(stream, watcher, events, encoder)

    def creating(stream: Stream, request: Any) -> None:
        known = set(stream.watchers)
        create(stream, request)
        for watcher_id, watcher in stream.watchers.items():
            if watcher_id not in known:
                for hear in hear_watched:
                    hear(subject, watcher)

    _replace(hub, "publish", publishing)
    _replace(hub, "_send", sending)
    _replace(hub, "_create", creating)
