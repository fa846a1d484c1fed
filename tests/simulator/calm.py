"""The liveness phase: faults end for a majority, and what is promised then must come to pass.

With T = the shortest election timeout, in this order:

    10 T    a connected majority, drawn at random, has a leader; the others are dead or cut off
    50 T    every request that waits there is resolved, and its members are equal
    20 T    (more where the plan says so) nobody loses the leadership
    20 T    under partial cuts, as long as somebody reaches a majority both ways, there is progress
    50 T    everybody comes back, and all are equal
    20 T    after a change of leaders a read is answered, without anybody having to write

Source: invariants 12 and 13 of the simulator follow TigerBeetle's VOPR (safety, then liveness on a
random core) and the partial partitions of Omni-Paxos (§2).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import TYPE_CHECKING

from node.machine.answer import Answer
from node.machine.errors import Refusal
from node.raft.message import ConfState
from node.raft.quorum import majority
from node.raft.ready import Role
from tests.simulator.observer import fail
from tests.support.member_cluster import Call, Node, Put

if TYPE_CHECKING:
    from tests.simulator.world import World

LEADER_TIMEOUTS = 10
EQUAL_TIMEOUTS = 50
SLOW_EQUAL_TIMEOUTS = 400
"""The same where a snapshot travels record by record, and waits for the disk after each."""
PROGRESS_TIMEOUTS = 20
PARTIAL_CUTS = 2
"""How many partial cuts each run is put to."""


class Outvoted(Exception):
    """Those to whom something is promised have lost the majority to a change of the members."""


class Calm:
    """The liveness phase of one run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance
        self._timeout = world.plan.ticks.election
        slow = world.plan.limits.snapshot_chunk_bytes < 100
        self._equal_timeouts = SLOW_EQUAL_TIMEOUTS if slow else EQUAL_TIMEOUTS
        self._puts = 0
        self._core: list[Node] = []
        """To whom something is promised now."""
        world.chance.seed(world.plan.seed << 32)

    def run(self) -> None:
        """All of it.

        Raises:
            SimulationFailed: something does not come to pass in its time.
        """
        world = self._world
        for observer in world.observers:
            observer.calming()
        self._end_faults()
        try:
            self._keep_core()
            self._keep_everybody()
        except Outvoted:
            if not world.hopeless():
                fail("the members are no majority of themselves")
            world.void = True
            world.look()
            return
        world.look()
        for observer in world.observers:
            observer.calmed()

    def _keep_core(self) -> None:
        """What is promised to a majority alone, or else to everybody."""
        try:
            self._agree(self._separate())
        except Outvoted:  # a change of the members, asked for earlier, has taken the majority away
            self._agree(self._gather())

    def _agree(self, core: list[Node]) -> None:
        self._core = core
        self._within(LEADER_TIMEOUTS, "no leader", lambda: self._leader(core) is not None)
        self._write(core)
        self._within(self._equal_timeouts, "requests are not resolved", lambda: resolved(core))
        self._within(self._equal_timeouts, "the core is not equal", lambda: self._equal(core))
        self._stay(core)
        self._world.look()

    def _keep_everybody(self) -> None:
        """What is promised once all are back."""
        everybody = self._core = self._gather()
        self._within(self._equal_timeouts, "requests are not resolved", lambda: resolved(everybody))
        self._within(self._equal_timeouts, "not all are equal", lambda: self._equal(everybody))
        for _ in range(PARTIAL_CUTS):
            self._make_progress_under_cuts()
            self._within(self._equal_timeouts, "not all are equal", lambda: self._equal(everybody))
        self._read_from_successor()
        self._within(self._equal_timeouts, "not all are equal", lambda: self._equal(everybody))

    # Who takes part.

    def _end_faults(self) -> None:
        """Everybody is there and connected."""
        world = self._world
        world.network.calm_down()
        for node in world.nodes:
            node.paused = node.frozen = node.stalled = False
            self._keep_time(node)
        self._start_members()

    def _start_members(self) -> None:
        for node in self._members():
            self._world.start(node)

    def _separate(self) -> list[Node]:
        """Leave a majority connected and the others out; returns the majority."""
        world = self._world
        core = self._choose()
        outside = [node for node in world.nodes if node.up and node not in core]
        cut: list[tuple[int, int]] = []
        for node in outside:
            if self._chance.random() < 0.5:
                world.crash(node, why="is left out", returns=False)
            else:
                cut += [w for o in core for w in ((node.id, o.id), (o.id, node.id))]
        world.network.cut_all(cut)
        world.trace.say(0, "calms", core=[node.id for node in core])
        return core

    def _keep_time(self, node: Node) -> None:
        node.tick_rate = 1.0
        if node.life is not None:
            node.loop._tick_seconds = self._world.cluster.tick_seconds

    def _members(self) -> list[Node]:
        """Everybody who belongs to a configuration of which somebody knows."""
        known: set[int] = set()
        world = self._world
        for node in world.nodes:
            if not world.plan.spares or node.id in world.joined:
                known.add(node.id)
        for conf in world.confs():
            known.update(conf.voters, conf.learners)
        return [node for node in world.nodes if node.id in known and node.id not in world.gone]

    def _choose(self) -> list[Node]:
        """A majority of the voters; everybody, while it is not certain who they are."""
        world = self._world
        up = [node for node in world.nodes if node.up]
        confs = world.confs()
        voters = [node for node in up if len(confs) == 1 and node.id in confs[0].voters]
        if len(confs) != 1 or self._chance.random() < 0.2:
            return up
        size = self._chance.randrange(majority(len(confs[0].voters)), len(confs[0].voters) + 1)
        if len(voters) <= size:
            return up
        return sorted(self._chance.sample(voters, size), key=lambda node: node.id)

    def _gather(self) -> list[Node]:
        """Everybody comes back."""
        world = self._world
        world.network.heal()
        for node in world.nodes:
            node.paused = False
        for node in self._members():
            world.start(node)
            self._keep_time(node)
        world.trace.say(0, "gathers")
        return world.nodes

    # What is promised.

    def _leader(self, among: list[Node]) -> Node | None:
        """The leader whom all of the members know who belong to its configuration."""
        leaders = [node for node in among if node.runs and node.role is Role.LEADER]
        leader = max(leaders, key=lambda node: node.loop.term, default=None)
        if leader is None:
            return None
        known = [node for node in present(among, leader) if node.loop.leader != leader.id]
        return None if known else leader

    def _equal(self, among: list[Node]) -> bool:
        """Whether all who belong to the leader's configuration hold the same, on disk as well."""
        leader = self._leader(among)
        if leader is None:
            return False
        last = leader.parts.core.status().last_index
        members = present(among, leader)
        for node in members:
            disk = node.parts.disk
            durable = disk.durable_applied.index
            if node.applied != last or durable != last or disk.installing:
                return False
        return len({(node.machine.hash_kv(0), node.machine.revision) for node in members}) == 1

    def _stay(self, core: list[Node]) -> None:
        leader = self._leader(core)
        assert leader is not None
        term = leader.loop.term
        for _ in range(self._world.plan.stable_timeouts * self._timeout):
            self._let_pass()
            now = self._leader(core)
            if now is not leader or leader.loop.term != term:
                fail(
                    "the leader changes without a reason",
                    was=(leader.id, term),
                    now=now and (now.id, now.loop.term),
                )

    def _make_progress_under_cuts(self) -> None:
        """Cut most ways, but leave somebody a majority, and see a write succeed.

        All logs are equal when the cut comes, and only who leads is given anything to write. For
        Raft promises nothing to a member whose log is behind: a leader that is heard by few could
        go on to lengthen their logs, and no one who reaches a majority would get their votes.
        """
        world = self._world
        leader = self._leader(world.nodes)
        if leader is None or len(leader.parts.conf.voters) < 3:
            return
        conf = leader.parts.conf
        self._cut_most(conf)
        puts: list[Put] = []
        for _ in range(PROGRESS_TIMEOUTS * self._timeout):
            world.let_pass()
            able = [node for node in world.nodes if node.runs and self._can_lead(node, conf)]
            if any(put.revision for put in puts):
                break
            if not puts or all(put.done for put in puts):
                puts += [self._put(node) for node in able if node.role is Role.LEADER]
        else:
            if able:
                fail("no progress though a majority is in reach", of=[node.id for node in able])
        world.network.heal()
        world.trace.say(0, "heals")

    def _cut_most(self, conf: ConfState) -> None:
        world = self._world
        ways = permutations([node.id for node in world.nodes], 2)
        share = self._chance.choice((0.2, 0.4, 0.6))
        cut = {way for way in ways if self._chance.random() < share}
        alive = [member for member in conf.voters if world.cluster[member].runs]
        hub, *reached = self._chance.sample(alive, majority(len(conf.voters)))
        for other in reached:
            cut -= {(hub, other), (other, hub)}
        world.network.cut_all(cut)
        world.trace.say(0, "cuts", kind="partial", hub=hub, ways=sorted(cut))

    def _can_lead(self, node: Node, conf: ConfState) -> bool:
        """Whether it reaches a majority both ways whose logs are no longer than its own."""
        cluster, network = self._world.cluster, self._world.network
        own = log_of(node)
        followers = [
            member
            for member in conf.voters
            if member == node.id
            or (
                network.open(node.id, member)
                and network.open(member, node.id)
                and cluster[member].runs
                and log_of(cluster[member]) <= own
            )
        ]
        return node.id in conf.voters and len(followers) >= majority(len(conf.voters))

    def _write(self, core: list[Node]) -> None:
        """Somebody writes, and is told that it was done."""
        put: Put | None = None

        def written() -> bool:
            nonlocal put
            leader = self._leader(core)
            if put is not None and put.done and isinstance(put.answer, Answer):
                return True
            if leader is not None and (put is None or put.done or put.lost):
                put = self._put(leader)
            return False

        self._within(self._equal_timeouts, "nothing can be written", written)

    def _read_from_successor(self) -> None:
        """The leader of a cluster at rest restarts; whoever leads then answers a read."""
        world = self._world
        leader = self._leader(world.nodes)
        if leader is None:
            return
        world.crash(leader, why="gives way", returns=False)
        world.start(leader)
        read: Call[Refusal | None] | None = None

        def answered() -> bool:
            nonlocal read
            successor = self._leader(world.nodes)
            if read is not None and read.done and read.answer is None:
                return True
            if successor is not None and (read is None or read.done or read.lost):
                read = successor.read()
            return False

        self._within(PROGRESS_TIMEOUTS, "a new leader answers no read", answered)

    def _put(self, node: Node) -> Put:
        self._puts += 1
        return node.put(b"calm", b"%d" % self._puts)

    def _let_pass(self) -> None:
        """One tick.

        Raises:
            Outvoted: those to whom something is promised are no majority any more.
        """
        world = self._world
        world.let_pass()
        if not world.plan.spares or self._have_majority():
            return
        if self._core is world.nodes:
            self._start_members()  # a voter may have been added whom nobody has started yet
        if not self._have_majority():
            raise Outvoted

    def _have_majority(self) -> bool:
        return self._world.have_majority({node.id for node in self._core if node.up})

    def _within(self, timeouts: int, what: str, condition: Callable[[], bool]) -> None:
        """Let time pass until a condition holds."""
        world = self._world
        world.settle()
        for _ in range(timeouts * self._timeout):
            if condition():
                return
            self._let_pass()
        fail(f"{what} after {timeouts} election timeouts")


def present(among: list[Node], leader: Node) -> list[Node]:
    """Those of its members, as far as they take part."""
    conf = leader.parts.conf
    members = {*conf.voters, *conf.learners}
    return [node for node in among if node.runs and node.id in members]


def log_of(node: Node) -> tuple[int, int]:
    """How long a member's log is, as voters compare it."""
    status = node.parts.core.status()
    return node.parts.disk.term(status.last_index), status.last_index


def resolved(core: list[Node]) -> bool:
    """Whether nobody waits for an answer any more."""
    return all(request.done for node in core if node.up for request in node.process.requests)
