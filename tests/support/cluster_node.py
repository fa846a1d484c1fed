"""One member of a cluster in one thread, over all the lives of its process.

What the process is made of is composed by the product; the cluster gives it its store, its network
and its clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from node.composition import compose
from node.config import ETCD_VERSION, NodeConfig
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
from node.raft.ready import Role
from node.raft.storage import FOUNDING_INDEX, FOUNDING_TERM
from node.status import Identity
from store.boot import BEGINNING, MemoryStore, open_memory_store
from store.record import Position
from tests.support.calls import Call, Outcome, Put, Watching
from tests.support.journal import Journal, RoundTripRecord
from transport.memory import MemoryMesh
from transport.mesh import MeshConfig

if TYPE_CHECKING:
    from tests.support.member_cluster import MemberCluster

CLUSTER_ID = 0xC1
FOUNDING = Position(FOUNDING_INDEX, FOUNDING_TERM)


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
