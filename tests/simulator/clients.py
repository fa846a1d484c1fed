"""Clients of all kinds in a simulated world, what they saw, and the judgement on it.

Each client has one request under way at most, at the member that it calls home. Its edge is where
things get lost: a reply may never come or come late, a client gives up and goes elsewhere, a member
dies with the request in hand. Whatever a client was not told is recorded as unknown, and what it
does next is a new request with a new value.

    act ──► attend to what is due ──► an idle client at this member asks ──► wire ──► member
                                              recorder ◄── told | late | lost | gave up

Once the cluster is calm and equal, everything is read once more, watchers are brought up to date,
and leases must have run out. Then the history is judged by `tools.check`, and the members' log is
held against it (`ledger`).
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Final

from node.machine.errors import Refusal
from node.proto import rpc
from tests.simulator.client import Client
from tests.simulator.experience import experience
from tests.simulator.history import Asked, Recorder, explain, objections
from tests.simulator.ledger import Ledger, differences, mark
from tests.simulator.observer import Observer, fail
from tests.simulator.watchers import Watcher
from tests.simulator.wire import Wire
from tests.simulator.workload import EVERY, KEYS, TTL_SECONDS, Workload
from tests.support.member_cluster import Node
from tools.check import Bounds, History, Result, result_of
from tools.check.convert import message_of
from tools.check.history import (
    LeaseTimeToLive,
    Put,
    Range,
    RangeResponse,
    Request,
)
from tools.check.keyspace import Keyspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulator.world import World

OPERATIONS_MAX: Final = 2_000
"""More than that is not asked in one run, so that the judges need no more than moments."""
OPERATIONS_PER_STEP: Final = 0.1
"""Clients spread what they may ask over the steps of a run."""
CLIENTS: Final = (3, 16)
WATCHERS: Final = (1, 4)
EXPIRY_GRACE_SECONDS: Final = 1.0
BOUNDS: Final = Bounds(steps_max=20_000, configurations_max=50_000)
"""Open outcomes are settled by the log, so good runs are far below these."""


class Clients(Observer):
    """All clients of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        # Who they are is drawn once; what they do is drawn step by step, so that a step that is
        # left out leaves the others as they were.
        chance = Random(f"clients/{world.plan.seed}")
        self._chance = world.chance
        self.recorder = Recorder(world.cluster.clock)
        self.ledger = Ledger(self.recorder.clock)
        self.workload = Workload(world.chance)
        members = [node.id for node in world.nodes]
        self.clients = [
            Client(f"c{number}", chance.choice(members), chance)
            for number in range(chance.randint(*CLIENTS))
        ]
        self.watchers = [
            Watcher(f"w{number}", self.recorder, chance, world.chance)
            for number in range(chance.randint(*WATCHERS))
        ]
        self._lost = chance.choice((0.0, 0.0, 0.02, 0.1))
        self._late = chance.choice((0.0, 0.05, 0.2))
        self._wires: dict[int, Wire] = {}
        self._calming = False
        self._last: Asked | None = None
        """The last read of everything."""
        world.observers.append(self)

    def act(self, kind: str, node: Node) -> None:
        """Let an idle client at this member ask for something, if there is one."""
        self._attend()
        wire = self._wire(node)
        if wire is None or self._world.quiet:
            return
        if kind == "watch":
            watcher = self._chance.choice(self.watchers)
            self._world.trace.say(node.id, "is watched", by=watcher.name)
            watcher.act(wire)
            return
        if kind == "hash":
            self._hash(wire)
            return
        budget = min(OPERATIONS_MAX, 20 + OPERATIONS_PER_STEP * self._world.step)
        for client in self.clients:
            idle = client.asked is None and (client.roams or client.home == node.id)
            if idle and len(self.recorder.asked) < budget:
                self._ask(client, wire, self.workload.draw(kind))
                if self._chance.random() < 0.5:
                    return

    # Requests.

    def _hash(self, wire: Wire) -> None:
        """Have a member hash what it holds at a revision of late."""
        revision = max(1, self.recorder.revision - self._chance.randrange(4))
        asked = rpc.HashKVRequest(revision=revision)

        def told(message: bytes | None, error: str) -> None:
            if message is not None:
                hashed = rpc.HashKVResponse.FromString(message)
                self.recorder.hashed(
                    wire.node.id, hashed.hash_revision, hashed.hash, hashed.compact_revision
                )

        wire.ask("HashKV", asked.SerializeToString(), told)

    def _ask(self, client: Client, wire: Wire, request: Request) -> Asked:
        asked = self.recorder.ask(client.name, f"n{wire.node.id}", request)
        name = type(request).__name__
        trace = self._world.trace
        trace.say(wire.node.id, "is asked", by=client.name, id=asked.id, what=name)
        if trace.shown:
            trace.show(wire.node.id, "request", {"id": asked.id, "is": str(request)})
        client.asked, client.wire, client.fate = asked, wire, self._fate()
        client.gives_up = self._world.now + client.patience
        asking = message_of(request)
        if isinstance(asking, rpc.CompactionRequest):
            asking.physical = self._chance.random() < 0.3  # answered when it is gone from disk
        message = mark(asking.SerializeToString(), asked.id)
        client.cancel = wire.ask(
            name, message, lambda reply, error: self._answered(client, asked, reply, error)
        )
        return asked

    def _answered(self, client: Client, asked: Asked, message: bytes | None, error: str) -> None:
        if client.asked is not asked:
            return  # it has given up
        if self._calming or client.fate == 0:
            self._hear(client, asked, message, error)
        else:
            client.reply = self._world.now + client.fate, message, error

    def _fate(self) -> float:
        """By how many seconds the next answer comes late."""
        chance = self._chance.random()
        if chance < self._lost:
            return math.inf
        if chance < self._lost + self._late:
            return self._chance.choice((0.01, 0.2, 2.0))
        return 0.0

    def _hear(self, client: Client, asked: Asked, message: bytes | None, error: str) -> None:
        self.recorder.told(asked, message, error)
        self._world.trace.say(0, "is told", id=asked.id, outcome=asked.outcome, error=error)
        if asked.response is not None:
            self.workload.learn(asked.request, asked.response)
        self._go_on(client)

    def _go_on(self, client: Client) -> None:
        if client.roams and client.asked is not None and client.asked.outcome != "ok":
            client.home = self._chance.choice(self._world.nodes).id
        client.asked = client.reply = None

    def _attend(self) -> None:
        """What came late comes now; who has waited long enough gives up."""
        now = self._world.now
        for client in self.clients:
            asked = client.asked
            if asked is None or client.wire is None:
                continue
            if client.reply is not None and client.reply[0] <= now:
                self._hear(client, asked, *client.reply[1:])
            elif client.gives_up <= now:
                self.recorder.gave_up(asked, "context deadline exceeded")
                if client.polite:
                    client.cancel()
                self._go_on(client)
            elif not client.wire.alive and client.reply is None:
                self.recorder.gave_up(asked, "connection lost")
                self._go_on(client)
        for wire in self._wires.values():
            wire.flush()

    def _wire(self, node: Node) -> Wire | None:
        """The connection to the process that a member has; None = it has none."""
        wire = self._wires.get(node.id)
        if wire is not None and wire.alive:
            return wire
        if node.life is None:
            self._wires.pop(node.id, None)
            return None
        wire = self._wires[node.id] = Wire(node, Random(self._chance.getrandbits(32)))
        return wire

    # What the world tells.

    def started(self, node: Node) -> None:
        """A new life: look at what it applies."""
        self.ledger.follow(node)

    def calming(self) -> None:
        """No more faults at the clients' edge either."""
        self._calming = True
        self.ledger.calming()

    def looked(self) -> None:
        """A cluster that has no majority left ends here, but what it said must have been true."""
        if self._world.void:
            self.judge()

    def calmed(self) -> None:
        """The cluster is well: see to the end of everything, and judge."""
        self.finish()
        self.judge()

    # The end.

    def finish(self) -> None:
        """Let everything that is under way come to its end, and read all there is once more.

        Raises:
            SimulationFailed: a request is never answered, or a lease does not end.
        """
        self._calming = True
        nodes = [node for node in self._world.nodes if self._takes_part(node)]
        self._until("a request is not answered", self._answered_all)
        self._outlive_leases(nodes)
        self._bring_watchers_up_to_date(nodes)
        for number, node in enumerate(nodes):
            self._read_all(Client(f"final{number}", node.id, self._chance), node)
        self._compare_members(nodes)

    def _takes_part(self, node: Node) -> bool:
        leader = self._world.cluster.leader
        return node.runs and leader is not None and node.id in leader.parts.conf.voters

    def _until(self, what: str, condition: Callable[[], bool]) -> None:
        plan = self._world.plan
        patience_ms = plan.limits.request_timeout_ms + 12 * plan.timeout_ms
        for _ in range(patience_ms // plan.ticks.tick_ms):
            self._attend()
            if condition():
                return
            self._world.let_pass()
        fail(what)

    def _answered_all(self) -> bool:
        """Whether every call was answered, if only to nobody: who gave up counts as well."""
        live = [wire for wire in self._wires.values() if wire.alive]
        return not any(wire.waits for wire in live if self._takes_part(wire.node))

    def _outlive_leases(self, nodes: list[Node]) -> None:
        """Without renewals a lease is over after its time, two election timeouts and a second."""
        world = self._world
        patience = max(2, *TTL_SECONDS) + 2 * world.plan.timeout_ms / 1_000 + EXPIRY_GRACE_SECONDS
        over = world.now + patience
        while world.now < over:
            world.let_pass()
        self._attend()
        for node in nodes:
            left = node.machine.leases()
            if left:
                fail("a lease outlives its time", member=node.id, leases=left)

    def _read_all(self, client: Client, node: Node) -> None:
        leases: list[Request] = [LeaseTimeToLive(lease) for lease in self.workload.leases[-4:]]
        reads: list[Request] = [Range(EVERY, EVERY), Range(EVERY, EVERY, serializable=True)]
        self._last = self._ask_at_last(client, node, reads[0])
        for request in reads[1:] + leases:
            self._ask_at_last(client, node, request)

    def _ask_at_last(self, client: Client, node: Node, request: Request) -> Asked:
        wire = self._wire(node)
        assert wire is not None
        asked = self._ask(client, wire, request)
        self._until("the last request is not answered", lambda: client.asked is None)
        if asked.response is None:
            fail("the last request is refused", member=node.id, error=asked.error)
        return asked

    def _bring_watchers_up_to_date(self, nodes: list[Node]) -> None:
        for watcher in self.watchers:
            wire = self._wire(self._chance.choice(nodes))
            assert wire is not None
            if watcher.wire is not None and watcher.wire.node not in nodes:
                watcher.leave()
            watcher.settle(wire, self.recorder.revision)
        # Who goes on from the next revision is told of progress only when there is one.
        last = Client("last", nodes[0].id, self._chance)
        self._ask_at_last(last, nodes[0], Put(KEYS[0], b"last"))
        revision = self.recorder.revision

        def told() -> bool:
            late = [each for each in self.watchers if not each.up_to_date(revision)]
            for watcher in late:
                watcher.settle(watcher.wire or self._wires[nodes[0].id], revision)
                watcher.ask_progress()
            return not late

        self._until("a watcher is not brought up to date", told)
        for watcher in self.watchers:
            watcher.leave(revision)

    def _compare_members(self, nodes: list[Node]) -> None:
        for node in nodes:
            machine = node.machine
            hashed = machine.hash_kv(0)
            assert not isinstance(hashed, Refusal), hashed
            self.recorder.hashed(node.id, machine.revision, hashed, machine.compact_revision)

    # The judgement.

    def history(self) -> History:
        """What the clients saw; after `judge`, with what the log says of open outcomes."""
        return self.recorder.history(self.ledger)

    def judge(self) -> None:
        """Hold the log against what clients were told, then ask all judges.

        Raises:
            SimulationFailed: one of them objects. If one cannot decide, the run is void.
        """
        replay = self.ledger.replay(self.recorder.asked)
        if replay.objections:
            fail("the log does not agree with what clients were told", why=replay.objections[:3])
        self._compare_last_state(replay.space)
        objected = objections(self.history(), BOUNDS)
        if result_of(objected) is Result.VIOLATED:
            fail("a judge objects", verdicts=Told(explain(objected)))
        self._world.void |= bool(objected)
        for name in experience(self.recorder, self.ledger):
            self._world.marks.hit(name)

    def _compare_last_state(self, space: Keyspace) -> None:
        """What was read in the end must be what the replayed log comes to."""
        if self._last is not None and isinstance(self._last.response, RangeResponse):
            shown = self._last.response
            wrong = differences(space, {kv.key: kv for kv in shown.kvs})
            if wrong or shown.revision != space.revision:
                fail("the last state is not that of the log", keys=wrong)


class Told(str):
    """Text that is shown as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _action(kind: str) -> Callable[[World, Node], None]:
    def act(world: World, node: Node) -> None:
        clients: Clients | None = world.clients
        if clients is not None:
            clients.act(kind, node)

    return act


CLIENT_WEIGHTS: Final = {
    "put": 8.0,
    "read": 7.0,
    "txn": 3.0,
    "delete": 1.5,
    "compact": 0.6,
    "lease": 3.0,
    "watch": 3.0,
    "hash": 0.4,
}
CLIENT_ACTIONS: Final = {kind: _action(kind) for kind in CLIENT_WEIGHTS}
