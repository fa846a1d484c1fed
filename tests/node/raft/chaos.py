"""A cluster under a seeded storm: lost, repeated and reordered messages, cuts, slow disks, crashes.

Every step is one small thing: a message arrives, a tick passes, one write is synced, one Ready is
taken. The storm chooses which; the ledger looks after each. The same seed gives the same run.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from node.raft import (
    ConfChange,
    ConfChangeKind,
    ConfState,
    Message,
    Proposed,
    RaftConfig,
    Role,
)
from node.raft.message import InstallSnapshot
from tests.node.raft.ledger import Ledger
from tests.node.raft.member import Member

WEIGHTS = {
    "deliver": 60,
    "tick": 20,
    "propose": 6,
    "read": 3,
    "lose": 2,
    "repeat": 2,
    "crash": 0.6,
    "restart": 3,
    "cut": 0.4,
    "heal": 1,
    "transfer": 0.3,
    "change": 0.8,
    "compact": 1,
    "campaign": 0.2,
}


class Chaos:
    """`members` of them vote at first; `spares` may be added by changes of the configuration."""

    def __init__(self, seed: int, members: int = 3, spares: int = 1) -> None:
        self.chance = Random(seed)
        conf = ConfState(voters=tuple(range(1, members + 1)))
        self.members: dict[int, Member] = {}
        self.ledger = Ledger(self.members)
        for id_ in range(1, members + spares + 1):
            config = RaftConfig(
                id=id_,
                election_ticks=6,
                heartbeat_ticks=1,
                append_bytes_max=120,
                inflight_messages_max=3,
                inflight_bytes_max=400,
                uncommitted_bytes_max=2000,
                apply_bytes_max=150,
                pending_reads_max=8,
            )
            own = conf if id_ in conf.voters else None
            random = Random(self.chance.random())
            self.members[id_] = Member(config, own, random, self.ledger.observe_applied)
        self.wire: list[Message] = []
        self.cut: set[tuple[int, int]] = set()
        self.proposals = 0
        self.contexts = 0
        self.forwarded: dict[tuple[int, int, int], list[bytes]] = {}
        """By member, life and number: what may be proposed again if it is dropped."""
        self.coverage: dict[str, int] = {}

    def run(self, steps: int) -> None:
        """Storm for so many steps, checking after each."""
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        for number, name in enumerate(self.chance.choices(names, weights, k=steps)):
            member = self.chance.choice(list(self.members.values()))
            getattr(self, f"_{name}")(member)
            self._work()
            if number % 100 == 99:
                self.ledger.check_logs()
        self.ledger.check_logs()

    def _work(self) -> None:
        """Loops turn and disks write, each at its own pace."""
        for member in self.members.values():
            member.core.set_eager(self.chance.random() < 0.5)
            if self.chance.random() < 0.4:
                self._ready(member)
            if self.chance.random() < 0.3:
                self._sync(member)
            if member.up:
                self.ledger.observe_member(member)

    def calm(self, rounds: int = 400) -> None:
        """No more faults: the cluster must elect a leader and bring everyone up to date."""
        self.cut.clear()
        for member in self.members.values():
            self._restart(member)
        for _ in range(rounds):
            self._propose(self.chance.choice(list(self.members.values())))
            for member in self.members.values():
                member.core.tick()
            self._drain()
            if self._agreed():
                break
        else:
            raise AssertionError("the cluster does not come to rest")
        self.ledger.check_logs()

    def _drain(self) -> None:
        """Do everything that is due; messages in order."""
        for _ in range(200):
            for member in self.members.values():
                while member.core.has_ready() or member.writes:
                    self._ready(member)
                    self._sync(member)
                    self.ledger.observe_member(member)
            if not self.wire:
                return
            wire, self.wire = self.wire, []
            for message in wire:
                self._arrive(message)

    def _agreed(self) -> bool:
        """Everyone in the configuration has applied the whole log of a leader of its term."""
        states = [member.core.status() for member in self.members.values()]
        leaders = [status for status in states if status.role is Role.LEADER]
        if len(leaders) != 1 or leaders[0].applied < self.ledger.commit:
            return False
        conf = leaders[0].conf
        inside = [state for state in states if state.id in {*conf.voters, *conf.learners}]
        return all(state.applied == leaders[0].last_index for state in inside)

    # What may happen

    def _deliver(self, member: Member) -> None:
        if self.wire:
            # Mostly in order, sometimes not.
            late = self.chance.random() < 0.2
            at = self.chance.randrange(len(self.wire)) if late else 0
            self._arrive(self.wire.pop(at))

    def _arrive(self, message: Message) -> None:
        target = self.members[message.to]
        if target.up and (message.sender, message.to) not in self.cut:
            kind = type(message).__name__
            self.coverage[kind] = self.coverage.get(kind, 0) + 1
            target.core.step(message)
            self.ledger.observe_member(target)
            self._report(message, delivered=True)
        else:
            self._report(message, delivered=False)

    def _report(self, message: Message, *, delivered: bool) -> None:
        """Whoever streams a snapshot learns what became of it."""
        sender = self.members[message.sender]
        if isinstance(message, InstallSnapshot) and sender.up:
            sender.core.report_snapshot(message.to, delivered)

    def _tick(self, member: Member) -> None:
        if member.up:
            member.core.tick()

    def _ready(self, member: Member) -> None:
        if member.up and member.core.has_ready():
            ready = member.take_ready()
            self._send(member, ready.messages)
            for number in ready.dropped:
                data = self.forwarded.pop((member.id, member.incarnation, number), None)
                if data is not None:  # else it was told before
                    self._hand_over(member, data)
                    self.coverage["dropped"] = self.coverage.get("dropped", 0) + 1
            for read in ready.read_states:
                self.ledger.observe_read(read.context, read.index)
                self.coverage["read"] = self.coverage.get("read", 0) + 1

    def _sync(self, member: Member) -> None:
        if member.up and member.writes:
            snapshot = member.writes[0].snapshot is not None
            self.coverage["snapshot"] = self.coverage.get("snapshot", 0) + snapshot
            self._send(member, member.sync())
        elif member.up:
            member.flush()

    def _send(self, member: Member, messages: Iterable[Message]) -> None:
        messages = list(messages)
        self.ledger.observe_sent(member, messages)
        self.wire += messages

    def _propose(self, member: Member) -> None:
        if member.up:
            count = self.chance.randrange(1, 4)
            self.proposals += count
            names = range(self.proposals - count, self.proposals)
            data = [b"%d." % name * self.chance.randrange(1, 9) for name in names]
            self._hand_over(member, data)

    def _hand_over(self, member: Member, data: list[bytes]) -> None:
        if member.core.propose(data) is Proposed.FORWARDED:
            self.forwarded[member.id, member.incarnation, member.core.forwards] = data

    def _read(self, member: Member) -> None:
        if member.up:
            self.contexts += 1
            self.ledger.ask_read(self.contexts)
            member.core.read_index(self.contexts)

    def _lose(self, member: Member) -> None:
        if self.wire:
            lost = self.wire.pop(self.chance.randrange(len(self.wire)))
            self._report(lost, delivered=False)

    def _repeat(self, member: Member) -> None:
        if self.wire:
            self.wire.append(self.chance.choice(self.wire))

    def _crash(self, member: Member) -> None:
        if member.up:
            member.crash()

    def _restart(self, member: Member) -> None:
        if not member.up:
            member.restart()

    def _cut(self, member: Member) -> None:
        """Cut one member off, both ways or one."""
        others = [other for other in self.members if other != member.id]
        ways = self.chance.choice(["in", "out", "both"])
        for other in others:
            if ways != "out":
                self.cut.add((other, member.id))
            if ways != "in":
                self.cut.add((member.id, other))

    def _heal(self, member: Member) -> None:
        self.cut.clear()

    def _transfer(self, member: Member) -> None:
        if member.up:
            member.core.transfer_leader(self.chance.choice(list(self.members)))

    def _campaign(self, member: Member) -> None:
        if member.up:
            member.core.campaign()

    def _change(self, member: Member) -> None:
        if member.up:
            kind = self.chance.choice(list(ConfChangeKind))
            change = ConfChange(kind, self.chance.choice(list(self.members)))
            accepted = member.core.propose_conf_change(change)
            self.coverage[accepted.name] = self.coverage.get(accepted.name, 0) + 1

    def _compact(self, member: Member) -> None:
        storage = member.storage
        if member.up and member.durable_applied >= storage.first_index():
            index = self.chance.randrange(storage.first_index(), member.durable_applied + 1)
            member.compact(index)
