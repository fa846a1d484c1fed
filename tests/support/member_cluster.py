"""A cluster of whole members in one thread, under one clock and one seed.

Every member is what `node.composition` makes: core, disk, machine, watch hub and loop are the
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

from collections.abc import Callable, Iterator

from node.config import Limits, MemberSpec, NodeConfig, Ticks
from node.raft.message import ConfState
from node.raft.ready import Role
from store.boot import MemoryStore
from store.config import StoreConfig
from store.memory import MemoryEngine
from tests.support.calls import Call, Outcome, Put, Watching
from tests.support.cluster_node import CLUSTER_ID, Life, Node
from tests.support.journal import Journal, RoundTripRecord
from transport.memory import MemoryNetwork

__all__ = [
    "CLUSTER_ID",
    "TICKS",
    "TICK_SECONDS",
    "Call",
    "Journal",
    "Life",
    "MemberCluster",
    "Node",
    "Outcome",
    "Put",
    "RoundTripRecord",
    "Watching",
]

TICK_SECONDS = 0.01
TICKS = Ticks(tick_ms=10, heartbeat=2, election=10)
ROUNDS_MAX = 2_000
"""Rounds of turns and syncs in which a cluster must come to rest between two ticks."""


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
                f"stable={core.stable} commit={core.commit} last={core.last_index} "
                f"voters={node.parts.conf.voters} learners={node.parts.conf.learners}"
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
