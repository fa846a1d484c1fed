"""Actions by which a leader is deposed without noticing it, and goes on as if nothing had been.

    overthrow    hands over to another and is cut off in that moment, while the others are quick;
                 reads are asked of it, forwards wait on the way to it, and later it may be given
                 the lead again
    stillborn    hands over to another who is cut off before it can ask for a vote, and comes back
                 with a term of its own, while the leader leads on
    oversleep    is stopped for longer than a lease lasts, while clients renew theirs elsewhere

Independent faults seldom do this: a transfer takes a moment only, and who is cut off at another
time is deposed about when it notices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from node.machine.errors import Refusal
from tests.simulator.clients import CLIENT_ACTIONS
from tests.simulator.plan import PACE, REQUESTS, Plan
from tests.support.member_cluster import Call, Node

if TYPE_CHECKING:
    from tests.simulator.world import World

Action = Callable[["World", Node], None]
LEASE_CALL_SECONDS = 0.1
QUICK_ROUNDS = 12
"""Of turns and writes: an election and the first commit take fewer."""
READS = 8
"""Asked of a leader that may be none any more, at even intervals."""


def overthrow(world: World, node: Node) -> None:
    """See the module's docstring."""
    leader = world.cluster.leader
    if leader is None:
        return
    heirs = heirs_of(leader)
    if not heirs:
        return
    chance = world.chance
    heir = chance.choice(heirs)
    timeout = world.plan.timeout_ms / 1_000
    absence = chance.uniform(0.5, 3.0) * timeout
    returns = chance.random() < 0.6
    world.trace.say(leader.id, "is overthrown", by=heir, seconds=absence, returns=returns)
    others = [each for each in world.nodes if each.runs and each.id not in (leader.id, heir)]
    if returns and others:
        late = absence + chance.uniform(0.5, 3.0) * timeout
        _hold_back_forwards(world, chance.choice(others), leader, late)
    hand_over(leader, heir)
    world.turn(leader)
    ways = [(leader.id, each.id) for each in world.nodes if each is not leader]
    ways += [(to, sender) for sender, to in ways]
    world.network.cut_more(ways)
    world.later(absence, lambda: world.network.join_ways(ways))
    if chance.random() < 0.4:
        _hang_disk(world, leader, absence + chance.uniform(0.1, 0.6) * timeout)
    hurry(world, [each for each in world.nodes if each is not leader])
    _ask(world, leader, absence / READS, READS)
    if returns:
        again = chance.random() < 0.5
        world.later(absence + timeout * 0.3, lambda: _give_back(world, leader, again=again))


def stillborn(world: World, node: Node) -> None:
    """See the module's docstring."""
    leader = world.cluster.leader
    heirs = heirs_of(leader) if leader is not None else []
    if leader is None or not heirs:
        return
    heir = world.cluster[world.chance.choice(heirs)]
    seconds = world.chance.uniform(0.2, 3.0) * world.plan.timeout_ms / 1_000
    world.trace.say(heir.id, "is stillborn", seconds=seconds)
    hand_over(leader, heir.id)
    world.turn(leader)
    ways = [(heir.id, each.id) for each in world.nodes if each is not heir]
    ways += [(to, sender) for sender, to in ways]
    world.network.cut_more(ways)
    world.later(seconds, lambda: world.network.join_ways(ways))
    hurry(world, [heir])


def oversleep(world: World, node: Node) -> None:
    """See the module's docstring."""
    leader = world.cluster.leader
    call = CLIENT_ACTIONS["lease"]
    if leader is None or world.clients is None:
        return
    life, seconds = leader.life, world.chance.uniform(2.2, 6.0)
    world.trace.say(leader.id, "oversleeps", seconds=seconds)
    for each in world.nodes:
        call(world, each)

    def fall_asleep() -> None:
        if leader.life is life:
            leader.paused = True
            world.later(seconds, wake)
            keep(round(seconds / LEASE_CALL_SECONDS))

    def keep(left: int) -> None:
        if left:
            call(world, world.chance.choice(world.nodes))
            world.later(LEASE_CALL_SECONDS, lambda: keep(left - 1))

    def wake() -> None:
        if leader.life is life:
            leader.paused = False

    world.later(0.3, fall_asleep)


def hand_over(leader: Node, heir: int) -> None:
    """Ask for it, and forget about the answer."""
    leader.member.transfer_leader(heir, Call[Refusal | None]())


def heirs_of(leader: Node) -> list[int]:
    """Who would be told to campaign at once."""
    status = leader.parts.core.status()
    return [
        member
        for member, peer in status.progress.items()
        if member != leader.id and not peer.learner and peer.match == status.last_index
    ]


def _hold_back_forwards(world: World, other: Node, leader: Node, seconds: float) -> None:
    """Proposals of this member are on their way to the leader for a long time."""
    world.network.clog(other.id, leader.id, seconds * 1_000)
    for _ in range(3):
        CLIENT_ACTIONS["put"](world, other)
    world.turn(other)


def _hang_disk(world: World, node: Node, seconds: float) -> None:
    """What clients ask of this member is under way to its disk for a while."""
    life = node.life
    node.stalled = node.runs
    for _ in range(3):
        CLIENT_ACTIONS["put"](world, node)

    def flow() -> None:
        if node.life is life:
            node.stalled = False

    world.later(seconds, flow)


def hurry(world: World, nodes: Sequence[Node], rounds: int = QUICK_ROUNDS) -> None:
    """These do at once what they can, and nobody else does anything."""
    for _ in range(rounds):
        for each in nodes:
            world.turn(each)
            world.sync(each)


def _ask(world: World, node: Node, seconds: float, count: int) -> None:
    """Ask for so many reads, one after the other, as long as this process lives."""
    life = node.life

    def ask(left: int) -> None:
        if left and node.life is life and node.runs:
            node.read()
            world.later(seconds, lambda: ask(left - 1))

    ask(count)


def _give_back(world: World, node: Node, *, again: bool) -> None:
    leader = world.cluster.leader
    if leader is None or leader is node or not leader.runs:
        return
    world.trace.say(leader.id, "gives back", to=node.id)
    hand_over(leader, node.id)
    if again:
        seconds = world.chance.uniform(0.3, 1.5) * world.plan.timeout_ms / 1_000
        world.later(seconds, lambda: overthrow(world, node))


COUPS: dict[str, Action] = {each.__name__: each for each in (overthrow, stillborn, oversleep)}
COUP_WEIGHTS = {
    "overthrow": 0.6,
    "stillborn": 0.2,
    "oversleep": 0.15,
    "put": 8.0,
    "read": 7.0,
    "lease": 3.0,
}
REVOLT = "revolt"
"""Asks for a run of coups where a family could be asked for."""
SHARE = 0.12
"""Of all runs."""
OTHER_FAULTS = 0.1
"""How much is left of what else the plan has drawn: a coup needs a cluster that is well."""


def is_revolt(seed: int) -> bool:
    """Whether a seed is one of coups; they are no part of other runs."""
    return Random(f"revolt/{seed}").random() < SHARE


def revolt(plan: Plan) -> Plan:
    """The same plan with coups as its main fault."""
    calmed = {
        name: weight * (1.0 if name in (*PACE, *REQUESTS) else OTHER_FAULTS)
        for name, weight in plan.weights.items()
    }
    return replace(plan, weights={**calmed, **COUP_WEIGHTS}, down_ms=(0, 1_000))
