"""One run: a cluster of whole members under the faults that its plan has drawn.

    World(plan).run()     the safety phase: every step is one small thing, drawn by its weight
               .calm()    the liveness phase: faults end, and the cluster must come to agree

Nothing in a run knows the time of day or draws from anything but generators made from the seed.
What must hold is not checked here but by the observers, after every step and now and then.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from node.disk import decode_conf
from node.raft.message import ConfState
from node.raft.quorum import majority
from store.boot import MemoryStore
from store.errors import DiskFailed, Quarantined
from tests.simulator.calm import Calm
from tests.simulator.churn import confs_of, keep_roster
from tests.simulator.clients import Clients
from tests.simulator.disks import MachineDied, disk_of, make_disk, open_store
from tests.simulator.equipment import ALL_ACTIONS, observe
from tests.simulator.marks import Marks
from tests.simulator.network import SimulatedNetwork
from tests.simulator.observer import Observer, SimulationFailed, fail
from tests.simulator.plan import PACE, Plan
from tests.simulator.trace import Trace
from tests.support.member_cluster import MemberCluster, Node

__all__ = ["Observer", "SimulationFailed", "World", "fail"]

LOOK_STEPS = 200
"""How often the expensive checks are made."""
BLOCK = 500
"""Steps that are drawn at once."""
EPOCH = 1_000.0
"""What the clock shows when a run begins."""
CHORE_TICKS = 5
SETTLE_ROUNDS = 5_000


class World:
    """A cluster, its faults, and who watches."""

    def __init__(
        self,
        plan: Plan,
        *,
        show: Callable[[str], object] | None = None,
        observed: bool = True,
    ) -> None:
        """`show` is given the lines of the trace; `observed` = with all observers and clients."""
        self.plan = plan
        self.chance = Random(f"world/{plan.seed}")
        self.trace = Trace(show)
        self.step = 0
        self.quiet = False
        self.gone: dict[int, str] = {}
        """Members that never come back, and why: removed, or their disk cannot be trusted."""
        self._confs: dict[int, list[ConfState]] = {}
        """What each member knew when it was last looked at."""
        self.joined = set(range(1, plan.members + 1))
        """Members that have been started at least once, or belong to the founders."""
        self.void = False
        """The run says nothing: too many members are gone for the cluster to go on, so that nothing
        was promised, or a judge could not decide within its bounds."""
        self.removed: dict[int, None] = {}
        """Members that are known to have been removed."""
        self.observers: list[Observer] = []
        self.marks = Marks()
        self.clients: Clients | None = None
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timed = 0
        self._ticks = 0
        self.publishing: set[int] = set()
        """Members that have asked to have their names in the roster."""
        self._watching: list[Callable[[Node | None], None]] = []
        self.steps_per_tick = max(1, round(sum(plan.weights.values()) / plan.weights["tick"]))
        self.cluster = MemberCluster(
            plan.members,
            seed=plan.seed,
            limits=plan.limits,
            store_config=plan.store_config,
            spares=plan.spares,
            start=False,
            ticks=plan.ticks,
            network=self._make_network,
            make_engine=lambda member: make_disk(self, member),
        )
        self.nodes = list(self.cluster)
        self.cluster.open_store = self._open_store
        self.cluster.started = self._started
        self.cluster.ended = self._ended
        for node, rate in zip(self.nodes, plan.tick_rates, strict=False):
            node.tick_rate = rate
        if observed:
            observe(self)
        self._schedule = self.draw()

    # Time.

    @property
    def now(self) -> float:
        """Monotonic seconds, for all members."""
        return self.cluster.now

    @property
    def now_ns(self) -> int:
        """The same in nanoseconds."""
        return round(self.cluster.now * 1e9)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call once so much time has passed. The liveness phase forgets all of these."""
        self._timed += 1
        heapq.heappush(self._timers, (self.now + seconds, self._timed, call))

    def tick(self) -> None:
        """One tick passes for everybody; nobody runs in it."""
        cluster = self.cluster
        cluster.now += cluster.tick_seconds
        self.trace.now_ms = round((cluster.now - EPOCH) * 1_000)
        self._ticks += 1
        while self._timers and self._timers[0][0] <= cluster.now:
            heapq.heappop(self._timers)[2]()
        for node in self.nodes:
            if node.life is not None and not node.paused:
                node.life.loop.wake()
        if self.plan.spares and self._ticks % CHORE_TICKS == 0:
            keep_roster(self)

    def let_pass(self, ticks: int = 1) -> None:
        """Let time pass, and everything that follows from that."""
        for _ in range(ticks):
            self.network.advance(self.steps_per_tick)
            self.tick()
            self.settle()

    def settle(self) -> None:
        """Everything that can happen without time passing happens."""
        for _ in range(SETTLE_ROUNDS):
            busy = False
            for node in self.nodes:
                busy |= self.turn(node)
                busy |= self.sync(node)
            if not busy:
                return
        fail("the members do not come to rest")

    # The two phases.

    def run(self, steps: int | None = None) -> None:
        """Make so many steps, by default those of the plan.

        Raises:
            SimulationFailed: something does not hold, or a member broke an invariant of its own.
        """
        with self._explained():
            if not self.step:
                for node in self.nodes[: self.plan.members]:
                    self.start(node)
            for _ in range(self.plan.steps if steps is None else steps):
                self._make_step(*next(self._schedule))
            self.look()

    def calm(self) -> None:
        """End the faults, and see to it that the cluster comes to agree.

        Raises:
            SimulationFailed: it does not, or a judge finds what must not be.
        """
        with self._explained():
            self.quiet = True
            self._timers.clear()
            Calm(self).run()
            for node in self.nodes:
                if node.up:
                    self.marks.hit("proposal_repeated", node.parts.proposals.repeated)

    def look(self) -> None:
        """Let the observers make their expensive checks."""
        for observer in self.observers:
            observer.looked()

    def _make_step(self, name: str, node: Node) -> None:
        self.step += 1
        self.trace.step = self.step
        self.network.advance()
        if name == "turn":
            self.turn(node)
        elif name == "tick":
            self.tick()
        elif name == "sync":
            chance = self.chance
            self.sync(node, chance.choice((1, 2, None)), tidy=chance.random() < 0.2)
        elif name not in self.plan.skipped and self.step not in self.plan.skipped_steps:
            self.chance.seed(self.plan.seed << 32 | self.step)
            self._act(ALL_ACTIONS[name], node)
        if self.step % LOOK_STEPS == 0:
            self.look()

    def _act(self, action: Callable[[World, Node], None], node: Node) -> None:
        try:
            action(self, node)
        except MachineDied as death:
            self.crash(node, why=str(death))
        self.touch(node)

    def draw(self) -> Iterator[tuple[str, Node]]:
        """What is done in each step, and at whom."""
        chance = Random(f"schedule/{self.plan.seed}")
        names = [name for name in self.plan.weights if name in ALL_ACTIONS or name in PACE]
        weights = [self.plan.weights[name] for name in names]
        while True:
            drawn = chance.choices(names, weights, k=BLOCK)
            yield from zip(drawn, chance.choices(self.nodes, k=BLOCK), strict=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """The plan's constants are in force, and whatever goes wrong is told with the members."""
        self._watching = [each.stepped for each in self.observers if overrides(each, "stepped")]
        with self.plan.in_force():
            try:
                yield
            except SimulationFailed as failure:
                failure.add_note(self.describe())
                raise
            except Exception as error:
                failed = SimulationFailed(f"{type(error).__name__}: {error}")
                failed.add_note(self.describe())
                raise failed from error

    # The members.

    def touch(self, node: Node | None) -> None:
        """A step has touched a member, or any of them."""
        for stepped in self._watching:
            stepped(node)

    def turn(self, node: Node) -> bool:
        """Run what a member's loop has to do; False = nothing."""
        try:
            busy = node.turn()
        except MachineDied as death:
            self.crash(node, why=str(death))
            return True
        if busy:
            self.touch(node)
        return busy

    def sync(self, node: Node, batches_max: int | None = None, *, tidy: bool = False) -> bool:
        """Complete writes of a member; False = there were none."""
        try:
            busy = node.sync(batches_max)
            if tidy and node.runs and not node.stalled:
                node.process.store.writer.tidy()
        except MachineDied as death:
            self.crash(node, why=str(death))
            return True
        if busy:
            self.touch(node)
        return busy

    def start(self, node: Node) -> None:
        """A new process of a member, unless it is up or gone for ever."""
        if node.up or node.id in self.gone:
            return
        try:
            node.start()
        except Quarantined as refusal:
            self.lose(node, str(refusal))
        except (DiskFailed, MachineDied) as death:
            self.trace.say(node.id, "dies at start", why=str(death))
            self._start_later(node)
        else:
            self.touch(node)

    def crash(self, node: Node, *, why: str = "", returns: bool = True) -> None:
        """End a member's process at once; it `returns` after as long as the plan says."""
        if not node.up:
            return
        self.trace.say(node.id, "crashes", why=why)
        node.kill()
        node.stalled = False
        if returns:
            self._start_later(node)

    def _start_later(self, node: Node) -> None:
        lo, hi = self.plan.down_ms
        self.later(self.chance.uniform(lo, hi) / 1_000, lambda: self.start(node))

    def lose(self, node: Node, why: str) -> None:
        """A member never comes back."""
        if node.up:
            self.crash(node, why=why, returns=False)
        self.trace.say(node.id, "is gone", why=why)
        self.gone[node.id] = why

    def can_lose(self, node: Node) -> bool:
        """Whether the cluster would have a majority without this member, in every configuration
        that somebody may act by."""
        changing = any(each.up and each.parts.membership._asked for each in self.nodes)
        return not changing and self.have_majority(
            {each.id for each in self.nodes if not self._is_doomed(each)} - {node.id}
        )

    def hopeless(self) -> bool:
        """Whether a configuration that somebody acts by has lost its majority.

        Besides unlucky sequences of damage and removal that is the fate of two voters of which one
        is removed and leaves before the other has learned of it, as etcd's documentation of its
        Raft library warns ("remove a member from a two-member cluster").
        """
        return not self.have_majority({each.id for each in self.nodes} - set(self.gone))

    def have_majority(self, members: set[int]) -> bool:
        """Whether these can commit in every configuration that somebody acts by."""
        confs = self.confs() or [ConfState(voters=tuple(range(1, self.plan.members + 1)))]
        return all(len(members & set(conf.voters)) >= majority(len(conf.voters)) for conf in confs)

    def _is_doomed(self, node: Node) -> bool:
        """Whether a member is lost, or will turn out to be."""
        disk = disk_of(node)
        return node.id in self.gone or bool(disk.damaged or disk.must_refuse)

    def confs(self) -> list[ConfState]:
        """Every configuration that is in force somewhere, or may come to be: of what members have
        applied, and of the changes in their logs."""
        found: dict[ConfState, None] = {}
        for node in self.nodes:
            if node.up:
                self._confs[node.id] = list(confs_of(node))
            if node.id not in self.gone:
                found.update(dict.fromkeys(self._confs.get(node.id, ())))
        return list(found)

    def describe(self) -> str:
        """Where the run stands, in a few lines."""
        gone = "".join(f"\n{member} is gone: {why}" for member, why in self.gone.items())
        return f"step {self.step}, {self.trace.now_ms} ms\n{self.cluster.describe()}{gone}"

    def _started(self, node: Node) -> None:
        self.trace.say(node.id, "starts")
        self.publishing.discard(node.id)
        self.joined.add(node.id)
        for observer in self.observers:
            observer.started(node)

    def _ended(self, node: Node) -> None:
        if self.plan.spares:
            self._confs[node.id] = list(confs_of(node))
        self.marks.hit("proposal_repeated", node.parts.proposals.repeated)
        for observer in self.observers:
            observer.ended(node)

    def _open_store(self, node: Node) -> MemoryStore:
        store = open_store(self, node)
        conf = decode_conf(store.image.conf)
        if conf.voters and node.id not in {*conf.voters, *conf.learners}:
            raise Quarantined("removed")  # as the composition root refuses it
        return store

    def _make_network(self, notify: Callable[[int], None]) -> SimulatedNetwork:
        chance = Random(f"network/{self.plan.seed}")
        self.network = SimulatedNetwork(notify, chance, self.trace)
        self.network.steps_per_ms = self.steps_per_tick / self.plan.ticks.tick_ms
        return self.network


def overrides(observer: Observer, name: str) -> bool:
    """Whether an observer has a method of its own by this name."""
    return getattr(type(observer), name) is not getattr(Observer, name)
