"""A cluster of whole members in one thread, under one clock and one seed.

Every member is what `node.__main__` composes: core, disk, machine, watch hub and loop are the
product's own. Below it the store is the one in memory whose writer syncs when told to, and the mesh
is the one in memory whose frames can be delayed and lost. There is no socket, no thread and no real
time: the same seed and the same calls give the same run.

    tick()            10 ms pass, then everything that follows from that happens at once
    turn(), sync()    one loop turn or one group of writes, for tests that choose the order
    kill, start       a process ends without a word: what was not synced is gone
    pause, resume     SIGSTOP and SIGCONT: neither loop nor writer move, frames pile up

Every request is a `Call` that keeps all answers it ever gets, so that "exactly one" can be asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Generic, TypeVar

from node.__main__ import compose
from node.config import ETCD_VERSION, Limits, MemberSpec, NodeConfig, Ticks
from node.disk import encode_conf
from node.loop import Loop
from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.errors import Refusal
from node.machine.machine import Machine
from node.member import Member, Sinks
from node.parts import Parts
from node.proto import rpc
from node.raft.message import ConfState
from node.raft.ready import Note, Role
from node.raft.storage import FOUNDING_INDEX, FOUNDING_TERM
from node.status import Identity
from store.boot import BEGINNING, MemoryStore, open_memory_store
from store.config import StoreConfig
from store.memory import MemoryEngine
from store.record import Position
from transport.memory import MemoryMesh, MemoryNetwork
from transport.mesh import MeshConfig

CLUSTER_ID = 0xC1
TICK_SECONDS = 0.01
TICKS = Ticks(tick_ms=10, heartbeat=2, election=10)
ROUNDS_MAX = 2_000
"""Rounds of turns and syncs in which a cluster must come to rest between two ticks."""

FOUNDING = Position(FOUNDING_INDEX, FOUNDING_TERM)

T = TypeVar("T")
Outcome = Answer | Refusal


class Call(Generic[T]):
    """One request to one member, and everything it was answered."""

    def __init__(self) -> None:
        self.answers: list[T] = []
        self.lost = False
        """The member died before it answered, so no answer is due any more."""

    def __call__(self, answer: T) -> None:
        assert not self.lost, "a dead member answers"
        self.answers.append(answer)

    @property
    def done(self) -> bool:
        return bool(self.answers)

    @property
    def answer(self) -> T:
        """The one answer."""
        assert len(self.answers) == 1, self.answers
        return self.answers[0]


class Put(Call[Outcome]):
    """A put of one key."""

    def __init__(self, key: bytes, value: bytes) -> None:
        super().__init__()
        self.key = key
        self.value = value

    @property
    def revision(self) -> int:
        """Where it was written; 0 = not known to be written."""
        return self.answer.revision if self.done and isinstance(self.answer, Answer) else 0


class Watching:
    """One watch stream with one watcher, as its client sees it."""

    def __init__(self) -> None:
        self.responses: list[rpc.WatchResponse] = []

    def __call__(self, response: bytes) -> None:
        self.responses.append(rpc.WatchResponse.FromString(response))

    @property
    def revisions(self) -> list[int]:
        """Of all events, in the order in which they came."""
        return [event.kv.mod_revision for told in self.responses for event in told.events]

    @property
    def events(self) -> list[tuple[int, bytes, bytes]]:
        """(revision, key, value) of all events, in the order in which they came."""
        return [
            (event.kv.mod_revision, event.kv.key, event.kv.value)
            for told in self.responses
            for event in told.events
        ]

    @property
    def canceled(self) -> bool:
        return any(told.canceled for told in self.responses)


class Journal:
    """What one member reports, in memory; the other implementation writes a log and a pipe."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def report(self, event: str, **facts: object) -> None:
        self.events.append((event, facts))

    def notes(self, notes: Iterable[Note]) -> None:
        self.events += [(f"raft.{note.kind.name.lower()}", {"peer": note.member}) for note in notes]

    def count(self, event: str) -> int:
        """How often an event was reported."""
        return sum(name == event for name, _ in self.events)


class RoundTripRecord:
    """Heartbeat round trips, in memory; the other implementation is the status page."""

    def __init__(self) -> None:
        self.round_trips: dict[int, list[int]] = {}
        self.dropped: list[int] = []

    def sent(self, peer: int, now_ns: int) -> None:
        pass

    def answered(self, peer: int, now_ns: int, round_trip_ns: int) -> None:
        self.round_trips.setdefault(peer, []).append(round_trip_ns)

    def heard(self, peer: int, now_ns: int) -> None:
        pass

    def drop_link(self, peer: int) -> None:
        self.dropped.append(peer)


class Life:
    """One process of a member, from start to kill."""

    def __init__(
        self,
        store: MemoryStore,
        mesh: MemoryMesh,
        parts: Parts,
        loop: Loop,
        member: Member,
        calls: deque[Callable[[], None]],
    ) -> None:
        self.store = store
        self.mesh = mesh
        self.parts = parts
        self.loop = loop
        self.member = member
        self.due = calls
        """What the event loop would run next."""
        self.requests: list[Call[Outcome] | Call[Refusal | None] | Call[int | Refusal]] = []


class Node:
    """One member of the cluster over all its lives."""

    def __init__(self, cluster: MemberCluster, config: NodeConfig, founders: ConfState) -> None:
        self.id = config.member_id
        self.config = config
        self.engine = cluster.make_engine(self.id)
        self.journal = Journal()
        self.links = RoundTripRecord()
        self.paused = False
        self.stalled = False
        """The disk takes writes and completes none."""
        self.frozen = False
        """The loop gets no time, though the writer does."""
        self.tick_rate = 1.0
        """How fast its ticks come, from the next start on; 1 = as configured."""
        self.life: Life | None = None
        self._cluster = cluster
        self._founders = founders
        self._lives = 0

    # Its process.

    @property
    def up(self) -> bool:
        """Whether its process exists."""
        return self.life is not None

    @property
    def runs(self) -> bool:
        """Whether its process exists and is not stopped."""
        return self.life is not None and not self.paused

    @property
    def process(self) -> Life:
        """Its present life."""
        assert self.life is not None, f"member {self.id} is down"
        return self.life

    def start(self) -> None:
        """A new process on the disk as it is."""
        assert self.life is None, f"member {self.id} is up"
        cluster, config = self._cluster, self.config
        self._lives += 1
        chance = Random(f"{cluster.seed}/{self.id}/{self._lives}")

        def draw(bits: int) -> int:
            return chance.getrandbits(bits) or 1

        store = cluster.open_store(self)
        mesh = cluster.network.join(
            MeshConfig(
                cluster_id=CLUSTER_ID,
                member_id=self.id,
                incarnation=draw(64),
                directory="/nowhere",
            )
        )
        sinks = Sinks()
        clock = cluster.clock
        parts = compose(config, store, mesh, self.links, self.journal, sinks, clock, draw)
        due: deque[Callable[[], None]] = deque()
        loop = Loop(parts, config.ticks, config.limits, clock, due.append, sinks)
        identity = Identity(CLUSTER_ID, self.id, config.spec.name, ETCD_VERSION)
        member = Member(loop, parts, sinks, identity, config.ticks, config.limits, clock)
        sinks.header = member.header
        parts.connections.adopt(parts.conf)
        self.life = Life(store, mesh, parts, loop, member, due)
        loop._tick_seconds /= self.tick_rate
        cluster.started(self)
        loop.wake()

    def open_store(self) -> MemoryStore:
        """What the disk holds; made anew the first time."""
        return open_memory_store(
            self.engine,
            CLUSTER_ID,
            self.id,
            self._cluster.store_config,
            first_conf=encode_conf(self._founders),
            first_position=FOUNDING if self._founders.voters else BEGINNING,
        )

    def kill(self) -> None:
        """End the process at once; only what was synced is left."""
        life = self.process
        self._cluster.ended(self)
        for request in life.requests:
            request.lost = not request.done
        life.mesh.close()
        self.life = None
        self.paused = self.frozen = False

    def turn(self) -> bool:
        """Run what its event loop has to do; False = nothing."""
        life = self.life
        if life is None or self.paused or self.frozen or not life.due:
            return False
        life.due.popleft()()
        return True

    def sync(self, batches_max: int | None = None) -> bool:
        """Complete writes, all or the oldest few; False = there were none."""
        life = self.life
        if life is None or self.paused or self.stalled or not life.store.writer.step(batches_max):
            return False
        life.loop.wake()
        return True

    # What it knows.

    @property
    def parts(self) -> Parts:
        return self.process.parts

    @property
    def loop(self) -> Loop:
        return self.process.loop

    @property
    def member(self) -> Member:
        return self.process.member

    @property
    def machine(self) -> Machine:
        return self.process.member.machine

    @property
    def role(self) -> Role:
        return self.loop.role

    @property
    def applied(self) -> int:
        """Index of the last applied entry."""
        return self.parts.disk.applied.index

    def value(self, key: bytes) -> bytes | None:
        """What a serializable read gives."""
        answer = self.machine.range(rpc.RangeRequest(key=key))
        assert isinstance(answer, Answer)
        found = rpc.RangeResponse.FromString(answer.body).kvs
        return bytes(found[0].value) if found else None

    # What its clients ask.

    def propose(self, kind: RequestKind, request: bytes) -> Call[Outcome]:
        call: Call[Outcome] = Call()
        self.process.requests.append(call)
        self.member.propose(kind, request, call)
        return call

    def put(self, key: bytes, value: bytes, lease: int = 0) -> Put:
        call = Put(key, value)
        self.process.requests.append(call)
        request = rpc.PutRequest(key=key, value=value, lease=lease)
        self.member.propose(RequestKind.PUT, request.SerializeToString(), call)
        return call

    def compact(self, revision: int) -> Call[Outcome]:
        request = rpc.CompactionRequest(revision=revision)
        return self.propose(RequestKind.COMPACT, request.SerializeToString())

    def grant(self, lease_id: int, ttl: int) -> Call[Outcome]:
        request = rpc.LeaseGrantRequest(ID=lease_id, TTL=ttl)
        return self.propose(RequestKind.LEASE_GRANT, request.SerializeToString())

    def read(self, done: Callable[[], None] = lambda: None) -> Call[Refusal | None]:
        """A linearizable moment; `done` runs in it."""
        call: Call[Refusal | None] = Call()
        self.process.requests.append(call)

        def fresh(refusal: Refusal | None) -> None:
            call(refusal)
            if refusal is None:
                done()

        self.member.read(fresh)
        return call

    def keep_alive(self, lease_id: int) -> Call[int | Refusal]:
        call: Call[int | Refusal] = Call()
        self.process.requests.append(call)
        self.member.keep_alive(lease_id, call)
        return call

    def watch(self, start_revision: int = 0, key: bytes = b"\0", end: bytes = b"\0") -> Watching:
        """Open a stream with one watcher, by default of everything."""
        watching = Watching()
        stream = self.member.open_watch(watching)
        create = rpc.WatchCreateRequest(key=key, range_end=end, start_revision=start_revision)
        self.member.watch_request(stream, rpc.WatchRequest(create_request=create))
        return watching


class MemberCluster:
    """Members 1 to n of one cluster."""

    def __init__(
        self,
        members: int = 3,
        *,
        seed: int = 0,
        limits: Limits | None = None,
        store_config: StoreConfig | None = None,
        spares: int = 0,
        start: bool = True,
        ticks: Ticks = TICKS,
        network: Callable[[Callable[[int], None]], MemoryNetwork] | None = None,
        make_engine: Callable[[int], MemoryEngine] | None = None,
    ) -> None:
        """`spares` more have no place in the first configuration, and are not started.

        `network` makes one from who is to be told of arrivals, `make_engine` the disk of a member.
        """
        self.seed = seed
        self.now = 1_000.0
        self.tick_seconds = ticks.tick_ms / 1000
        self.store_config = store_config or StoreConfig()
        self.network = (network or _network)(self._arrived)
        self.make_engine = make_engine or _engine
        self.open_store: Callable[[Node], MemoryStore] = Node.open_store
        self.started: Callable[[Node], None] = _ignore
        """Called with each member whose new process has not run yet."""
        self.ended: Callable[[Node], None] = _ignore
        """Called with each member whose process is about to end."""
        founders = ConfState(voters=tuple(range(1, members + 1)))
        specs = tuple(
            MemberSpec(id=number, name=f"n{number}", client_host="127.0.0.1", client_port=number)
            for number in range(1, members + spares + 1)
        )
        self.nodes: dict[int, Node] = {}
        for spec in specs:
            config = NodeConfig(
                cluster_id=CLUSTER_ID,
                member_id=spec.id,
                members=specs,
                data_directory="",
                run_directory="",
                log_path="",
                ticks=ticks,
                limits=limits or Limits(),
            )
            conf = founders if spec.id <= members else ConfState()
            self.nodes[spec.id] = Node(self, config, conf)
        if start:
            for member in founders.voters:
                self.nodes[member].start()

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __getitem__(self, member: int) -> Node:
        return self.nodes[member]

    def clock(self) -> float:
        """Monotonic seconds, the same for all members: they live on one host."""
        return self.now

    # Time.

    def settle(self) -> None:
        """Everything that can happen without time passing happens, in the order of ids."""
        for _ in range(ROUNDS_MAX):
            busy = [node.turn() | node.sync() for node in self]
            if not any(busy):
                return
        raise AssertionError("the members do not come to rest")

    def tick(self, count: int = 1) -> None:
        """Let `count` times 10 ms pass."""
        for _ in range(count):
            self.now += self.tick_seconds
            self.network.advance()
            for node in self:
                if node.runs:
                    node.loop.wake()
            self.settle()

    def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Let time pass until a condition holds.

        Raises:
            AssertionError: it does not come to hold in time, in the members' own time.
        """
        self.settle()
        for _ in range(round(seconds / self.tick_seconds)):
            if condition():
                return
            self.tick()
        raise AssertionError(f"not within {seconds} s:\n{self.describe()}")

    # The cluster as a whole.

    @property
    def leader(self) -> Node | None:
        """Who leads in the latest term of those that run."""
        leaders = [node for node in self if node.runs and node.role is Role.LEADER]
        return max(leaders, key=lambda node: node.loop.term, default=None)

    def elect(self) -> Node:
        """Let time pass until a leader leads whom all that run know."""

        def agreed() -> bool:
            leader = self.leader
            return leader is not None and all(
                node.loop.leader == leader.id for node in self if node.runs
            )

        self.until(agreed)
        leader = self.leader
        assert leader is not None
        return leader

    def followers(self) -> list[Node]:
        """Those that run and do not lead."""
        return [node for node in self if node.runs and node is not self.leader]

    def cut_off(self, *members: int) -> None:
        """Separate some members from all others, and from each other not."""
        others = [node.id for node in self if node.id not in members]
        self.network.partition(list(members), others)

    def put(self, count: int, size: int = 10, *, prefix: bytes = b"k") -> list[Put]:
        """`count` puts at the leader, each acknowledged before the next."""
        puts = []
        for number in range(count):
            puts.append(self.elect().put(b"%s%04d" % (prefix, number), b"v" * size))
            self.until(lambda: puts[-1].done)
        return puts

    def converge(self, seconds: float = 30.0) -> None:
        """Let time pass until everybody is up to date with the leader, on disk as well."""

        def converged() -> bool:
            leader = self.leader
            return leader is not None and all(
                node.runs
                and node.applied == leader.parts.core.status().last_index
                and node.parts.disk.durable_applied.index == node.applied
                and not node.parts.disk.installing
                for node in self
            )

        self.until(converged, seconds)

    def hashes(self) -> set[object]:
        """Of the whole keyspace and the leases of everybody who is up; one if all are equal."""
        return {
            (node.machine.hash_kv(0), node.machine.revision, tuple(node.machine.leases()))
            for node in self
            if node.up
        }

    def describe(self) -> str:
        """The members in a few lines."""
        lines = []
        for node in self:
            if not node.up:
                lines.append(f"{node.id} down")
                continue
            core = node.parts.core.status()
            lines.append(
                f"{node.id} {'paused' if node.paused else 'runs'} {core.role.name} "
                f"term={core.term} leader={core.leader} first={core.first_index} "
                f"applied={node.applied} durable={node.parts.disk.durable_applied.index} "
                f"stable={core.stable} commit={core.commit} last={core.last_index}"
            )
        return "\n".join(lines)

    def _arrived(self, member: int) -> None:
        node = self.nodes[member]
        if node.life is not None:
            node.life.loop.wake()


def _network(notify: Callable[[int], None]) -> MemoryNetwork:
    return MemoryNetwork(notify=notify)


def _engine(member: int) -> MemoryEngine:
    return MemoryEngine()


def _ignore(node: Node) -> None:
    """Nobody watches."""
