"""A cluster under a seeded storm: kills in the middle of writes, pauses, cuts, slow and lossy
links, stalled disks, compactions, while clients write, read, watch and keep leases alive.

Every step is one small thing: a loop turn, one group of writes, one tick, one fault, one request.
After the storm comes calm: faults end, the members must agree, and the ledger of what clients were
told is held against what the members now hold:

- every request that its member survived has exactly one answer;
- every acknowledged put is in the history at the revision that was told, and no put is there twice;
- a linearizable read saw all that had been acknowledged before it was asked;
- a watcher saw every event of the history once and in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec
from msgspec.structs import replace

from node.config import Limits
from node.machine.answer import Event
from node.machine.errors import LeaderFailed, Refusal
from node.peers import Parcel
from node.proto import kv
from node.raft.message import Propose
from store.config import StoreConfig
from tests.support.member_cluster import Call, MemberCluster, Node, Put, Watching
from transport.frame import Channel
from transport.memory import Letter

WEIGHTS = {
    "turn": 60.0,
    "sync": 30.0,
    "tick": 25.0,
    "put": 12.0,
    "read": 6.0,
    "watch": 1.0,
    "lease": 4.0,
    "kill": 0.6,
    "start": 4.0,
    "pause": 0.6,
    "resume": 3.0,
    "cut": 0.6,
    "heal": 2.0,
    "stall": 0.5,
    "flow": 2.0,
    "weather": 0.6,
    "transfer": 0.2,
    "compact": 0.3,
    "jump": 0.3,
}

SMALL_LIMITS = Limits(
    log_entries_max=24,
    log_entries_kept=8,
    snapshot_chunk_bytes=200,
    request_timeout_ms=300,
    append_bytes_max=300,
    inflight_messages_max=4,
    inflight_bytes_max=1_000,
    apply_bytes_max=400,
    request_bytes_max=10_000,
    uncommitted_bytes_max=20_000,
)
"""So small that a storm of a few hundred steps meets every one of them."""


PATIENT_LIMITS = replace(SMALL_LIMITS, request_timeout_ms=5_000)
"""Requests outlive several elections."""

HANDOVERS = WEIGHTS | {
    "transfer": 8.0,
    "kill": 0.3,
    "cut": 1.0,
    "heal": 3.0,
    "weather": 2.0,
    "stall": 0.3,
    "pause": 1.0,
    "jump": 0.0,
}
"""Leaders come, go and come back, most of them alive."""


class Storm:
    """One seed's cluster and what its clients were told."""

    def __init__(
        self,
        seed: int,
        members: int = 3,
        *,
        weights: dict[str, float] = WEIGHTS,
        limits: Limits = SMALL_LIMITS,
    ) -> None:
        self.weights = weights
        self.chance = Random(seed)
        queue = self.chance.choice([2, 5, 1024])
        self.cluster = MemberCluster(
            members,
            seed=seed,
            limits=limits,
            store_config=StoreConfig(queue_batches_max=queue, tail_bytes_max=500, sweep_records=8),
        )
        self.puts: list[Put] = []
        self.reads: list[tuple[Node, Call[Refusal | None], list[int], int]] = []
        self.watches: list[tuple[int, Watching]] = []
        self.leases = 0
        self.snapshots = 0

    def run(self, steps: int) -> None:
        """Storm for so many steps."""
        names, weights = list(self.weights), list(self.weights.values())
        nodes = list(self.cluster)
        for name in self.chance.choices(names, weights, k=steps):
            getattr(self, f"_{name}")(self.chance.choice(nodes))

    @property
    def repeated(self) -> int:
        """How often those that are up have proposed something again."""
        return sum(node.parts.proposals.repeated for node in self.cluster if node.up)

    def calm(self) -> None:
        """No more faults: everybody comes back and up to date, and every promise was kept."""
        cluster = self.cluster
        cluster.network.heal()
        cluster.network.fate = None
        for node in cluster:
            node.stalled = node.paused = False
            if not node.up:
                node.start()
        cluster.elect()
        last = cluster.put(1, prefix=b"last")
        self.puts += last
        cluster.until(lambda: all(self._answered(node) for node in cluster))
        cluster.converge(120)
        self.snapshots = sum(node.journal.count("raft.snapshot_installed") for node in self.cluster)
        self._check()

    # What is checked.

    def _answered(self, node: Node) -> bool:
        return all(request.done for request in node.process.requests)

    def _check(self) -> None:
        assert len(self.cluster.hashes()) == 1, self.cluster.describe()
        for node in self.cluster:
            for request in node.process.requests:
                assert len(request.answers) == 1
                if request.answer == LeaderFailed():
                    assert node.journal.count("raft.snapshot_installed"), "it could have been known"
        machine = self.cluster[1].machine
        history = list(machine.events(max(1, machine.compact_revision), machine.revision + 1))
        self._check_puts(history, machine.compact_revision)
        for _, read, seen, wanted in self.reads:
            assert len(read.answers) <= 1
            assert not seen or seen[0] >= wanted, "a stale read"
        for start, watching in self.watches:
            check_watch(start, watching, history)

    def _check_puts(self, history: Sequence[Event], compacted: int) -> None:
        written: dict[bytes, int] = {}
        for event in history:
            if not event.deleted:
                value = kv.Event.FromString(event.kv).kv.value
                assert value not in written, "one put was applied twice"
                written[value] = event.revision
        for put in self.puts:
            if put.revision > max(0, compacted):
                assert written.get(put.value) == put.revision, "an acknowledged put was lost"

    # What may happen.

    def _turn(self, node: Node) -> None:
        node.turn()

    def _sync(self, node: Node) -> None:
        node.sync(self.chance.choice([1, 2, None]))
        if node.runs and not node.stalled and self.chance.random() < 0.2:
            node.process.store.writer.tidy()

    def _tick(self, node: Node) -> None:
        cluster = self.cluster
        cluster.now += 0.01
        cluster.network.advance()
        for each in cluster:
            if each.runs:
                each.loop.wake()

    def _jump(self, node: Node) -> None:
        """The whole host stands still for a while."""
        self.cluster.now += self.chance.choice([0.05, 0.2, 1.0])

    def _put(self, node: Node) -> None:
        if node.runs:
            for _ in range(self.chance.randrange(1, 6)):
                number = len(self.puts)
                key = b"k%d" % self.chance.randrange(8)
                filler = b"." * self.chance.choice([0, 10, 100, 400])
                self.puts.append(node.put(key, b"%d" % number + filler))

    def _read(self, node: Node) -> None:
        if node.runs:
            seen: list[int] = []
            wanted = max((put.revision for put in self.puts), default=0)
            machine_of = node.member
            call = node.read(lambda: seen.append(machine_of.machine.revision))
            self.reads.append((node, call, seen, wanted))

    def _watch(self, node: Node) -> None:
        if node.runs:
            start = max(1, node.machine.revision - self.chance.randrange(20))
            self.watches.append((start, node.watch(start)))
            node.loop.wake()

    def _lease(self, node: Node) -> None:
        if node.runs:
            self.leases += 1
            node.grant(self.leases, 2)
            node.keep_alive(self.chance.randrange(1, self.leases + 1))

    def _kill(self, node: Node) -> None:
        if node.up:
            node.kill()
            node.stalled = False

    def _start(self, node: Node) -> None:
        if not node.up:
            node.start()

    def _pause(self, node: Node) -> None:
        node.paused = node.up

    def _resume(self, node: Node) -> None:
        node.paused = False

    def _stall(self, node: Node) -> None:
        node.stalled = True

    def _flow(self, node: Node) -> None:
        node.stalled = False

    def _cut(self, node: Node) -> None:
        network = self.cluster.network
        for other in self.cluster:
            if other is not node:
                ways = self.chance.choice([(1, 0), (0, 1), (1, 1)])
                if ways[0]:
                    network.cut(node.id, other.id)
                if ways[1]:
                    network.cut(other.id, node.id)

    def _heal(self, node: Node) -> None:
        self.cluster.network.heal()
        self.cluster.network.fate = None

    def _weather(self, node: Node) -> None:
        """Frames are lost, late or repeated from now on. Forwarded proposals may come so late that
        the leader that they were meant for has been deposed, or even elected again."""
        loss = self.chance.choice([0.0, 0.1, 0.4])
        delay = self.chance.choice([0, 1, 5])
        late = self.chance.random() < 0.5
        chance = self.chance

        def fate(letter: Letter) -> Sequence[int]:
            if chance.random() < loss:
                return ()
            if late and forwards(letter):
                return (0, chance.randrange(100))[chance.randrange(2) :]
            if chance.random() < 0.1:
                return (0, chance.randrange(delay + 1))
            return (chance.randrange(delay + 1),)

        self.cluster.network.fate = fate

    def _transfer(self, node: Node) -> None:
        if node.runs:
            done: Call[Refusal | None] = Call()
            node.member.transfer_leader(self.chance.choice(list(self.cluster)).id, done)

    def _compact(self, node: Node) -> None:
        if node.runs and node.machine.revision > 5:
            node.compact(node.machine.revision - self.chance.randrange(4))


def forwards(letter: Letter) -> bool:
    """Whether proposals are in it, on their way to a leader."""
    if letter.channel is not Channel.APPEND:
        return False
    parcel = msgspec.msgpack.decode(letter.payload, type=Parcel)
    return any(isinstance(message, Propose) for message in parcel.messages)


def check_watch(start: int, watching: Watching, history: Sequence[Event]) -> None:
    """Every event once, in order, from the start on, without a gap, up to where it was told."""
    seen = watching.revisions
    if not seen:
        return
    expected = [event.revision for event in history if start <= event.revision <= seen[-1]]
    told = [revision for revision in seen if not history or revision >= history[0].revision]
    assert told == expected, "a watcher missed events, or saw them twice"
