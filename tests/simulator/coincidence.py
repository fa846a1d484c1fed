"""Actions for what needs several things at once, in runs that have little else to disturb them.

    leave_behind   dies with entries on its disk of which it has told nobody, and comes back when
                   they are compacted: the snapshot that it is sent holds nothing new
    lose_receipt   installs a snapshot, dies before that is known, and is sent it once more
    outsleep       sleeps through the votes that it has asked for, and through the next leader
    appoint        is told to lead before it has applied that it may
    usurp          comes back to a cluster that is led by one of whom it has never heard
    rot            a record goes bad below a running process

Each brings its members to the brink in one moment, by giving turns to those who are needed and to
nobody else, so that no client gets in between; what follows takes its course. Such a run has the
limits that its scenes need, and everything else in it happens seldom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from random import Random
from typing import TYPE_CHECKING

from node import snapshots
from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.proto import rpc
from node.raft.progress import ProgressState
from node.raft.ready import Role
from store.config import StoreConfig
from tests.simulator.churn import ask
from tests.simulator.coup import hand_over, heirs_of, hurry
from tests.simulator.disks import disk_of, may_damage
from tests.simulator.network import CALM
from tests.simulator.plan import PACE, REQUESTS, Plan, with_limits
from tests.simulator.situations import cut_off, fill, once, rush
from tests.support.member_cluster import Node, Outcome

if TYPE_CHECKING:
    from tests.simulator.world import World

Action = Callable[["World", Node], None]
LOOK_SECONDS = 0.1
LOOKS = 100
"""How often a scene looks whether what it waits for has come about."""
ROUNDS = 6
"""Of turns and writes: enough for an entry to be committed and applied by all who take part."""


def leave_behind(world: World, node: Node) -> None:
    """See the module's docstring."""
    hurry(world, world.nodes, ROUNDS)
    leader, limits = world.cluster.leader, world.plan.limits
    followers = _followers(world, leader)
    if leader is None or len(followers) < 2 or not _all_open(world):
        return
    node = world.chance.choice(followers)
    others = [each for each in world.nodes if each.runs and each not in (leader, node)]
    world.trace.say(node.id, "is left behind")
    for _ in range(limits.log_entries_max + limits.log_entries_held_max + 1):
        fill(leader, 1)
    world.turn(leader)
    world.turn(node)
    world.sync(node)
    world.crash(node, why="before its word is out", returns=False)
    hurry(world, [leader, *others], ROUNDS)
    absence = 0.4 * world.plan.timeout_ms / 1_000
    for each in others:  # nothing more is committed before it is back
        _freeze(world, each, absence * 1.5)
    world.later(absence, lambda: world.start(node))


def lose_receipt(world: World, node: Node) -> None:
    """See the module's docstring."""
    leader, limits = world.cluster.leader, world.plan.limits
    followers = _followers(world, leader)
    if leader is None or not followers:
        return
    node = world.chance.choice(followers)
    world.trace.say(node.id, "is to lose a receipt")
    cut_off(world, node.id, 3.0)
    rush(world, leader, limits.log_entries_max + limits.log_entries_held_max)
    once(node.process.parts.snapshots, "_begin", lambda: _lose_receipt(world, node))


def _lose_receipt(world: World, node: Node) -> None:
    """A snapshot begins to arrive: nobody is told of it by this process."""
    if world.quiet:
        return
    life, before = node.life, node.applied
    ways = [(node.id, each.id) for each in world.nodes if each is not node]
    world.network.cut_more(ways)

    def look(left: int) -> None:
        if left and node.life is life and node.applied <= before:
            world.later(LOOK_SECONDS, lambda: look(left - 1))
            return
        if node.life is life:
            world.crash(node, why="before its receipt is out", returns=False)
            world.start(node)
        world.later(snapshots.RETRY_SECONDS * 1.2, lambda: world.network.join_ways(ways))

    look(LOOKS)


def outsleep(world: World, node: Node) -> None:
    """See the module's docstring."""
    hurry(world, world.nodes, ROUNDS)
    leader = world.cluster.leader
    heirs = heirs_of(leader) if leader is not None else []
    if leader is None or not heirs or len(leader.parts.conf.voters) < 3:
        return
    heir = world.cluster[world.chance.choice(heirs)]
    hand_over(leader, heir.id)
    world.turn(leader)
    for act in (world.turn, world.sync, world.turn):  # its own vote is on disk, the others asked
        act(heir)
    if not heir.runs or heir.parts.core.status().role is not Role.CANDIDATE:
        return
    seconds = world.chance.uniform(3.0, 6.0) * world.plan.timeout_ms / 1_000
    world.trace.say(heir.id, "outsleeps its votes", seconds=seconds)
    life, heir.paused = heir.life, True

    def wake() -> None:
        if heir.life is life:
            heir.paused = False

    world.later(seconds, wake)
    hurry(world, [each for each in world.nodes if each is not heir], ROUNDS)


def appoint(world: World, node: Node) -> None:
    """See the module's docstring."""
    leader = world.cluster.leader
    learners = [each for each in _followers(world, leader) if each.parts.is_learner]
    if leader is None or not learners:
        return
    learner = world.chance.choice(learners)

    def promoted(outcome: Outcome) -> None:
        if isinstance(outcome, Answer) and leader.runs:
            leader.parts.core.transfer_leader(learner.id)

    world.trace.say(leader.id, "appoints", to=learner.id)
    request = rpc.Member(ID=learner.id)
    leader.member.change_members(RequestKind.MEMBER_PROMOTE, request, promoted)
    world.turn(leader)
    hurry(world, [learner], ROUNDS)  # has it, and has said so
    learner.frozen = learner.runs
    others = [each for each in world.nodes if each not in (leader, learner)]
    hurry(world, [leader, *others], ROUNDS)
    learner.frozen = False


def usurp(world: World, node: Node) -> None:
    """See the module's docstring."""
    leader = world.cluster.leader
    fresh = [each for each in world.nodes if not each.up and each.id not in world.joined]
    if leader is None or node is leader or not fresh or not node.runs:
        return
    if node.id not in leader.parts.conf.voters or len(leader.parts.conf.voters) < 3:
        return
    usurper = world.chance.choice(fresh)
    world.trace.say(usurper.id, "is to usurp", behind=node.id)
    ways = [way for each in world.nodes for way in ((node.id, each.id), (each.id, node.id))]
    world.network.cut_more(ways)

    def added(outcome: Outcome) -> None:
        if isinstance(outcome, Answer):
            world.start(usurper)

    def look(left: int) -> None:
        now = world.cluster.leader
        if now is usurper or not left:
            world.later(LOOK_SECONDS, lambda: world.network.join_ways(ways))
            return
        if now is not None and now is not node:
            conf = now.parts.conf
            if usurper.id in conf.voters:
                hand_over(now, usurper.id)
            elif usurper.id in conf.learners:
                ask(world, now, RequestKind.MEMBER_PROMOTE, usurper.id)
        world.later(LOOK_SECONDS * 3, lambda: look(left - 1))

    ask(world, leader, RequestKind.MEMBER_ADD, usurper.id, learner=True, done=added)
    world.later(LOOK_SECONDS, lambda: look(LOOKS // 2))


def rot(world: World, node: Node) -> None:
    """See the module's docstring."""
    if node.runs and may_damage(world, node):
        world.trace.say(node.id, "rots", what=disk_of(node).damage(served=True))


def _followers(world: World, leader: Node | None) -> list[Node]:
    """Whom the leader serves as members that are well."""
    if leader is None or not leader.runs:
        return []
    peers = leader.parts.core.status().progress
    return [
        each
        for each in world.nodes
        if each is not leader
        and each.runs
        and not (each.frozen or each.stalled)
        and each.id in peers
        and peers[each.id].state == ProgressState.REPLICATE.value
    ]


def _all_open(world: World) -> bool:
    """Whether frames arrive at once."""
    ids = [each.id for each in world.nodes]
    calm = world.network.weather is CALM
    return calm and all(world.network.open(*way) for way in permutations(ids, 2))


def _freeze(world: World, node: Node, seconds: float) -> None:
    life = node.life
    node.frozen = node.runs

    def thaw() -> None:
        if node.life is life:
            node.frozen = False

    world.later(seconds, thaw)


COINCIDENCES: dict[str, Action] = {
    each.__name__: each for each in (leave_behind, lose_receipt, outsleep, appoint, usurp, rot)
}
WEIGHTS = {
    "leave_behind": 0.5,
    "lose_receipt": 0.4,
    "outsleep": 0.4,
    "appoint": 0.6,
    "usurp": 0.8,
    "rot": 0.1,
    "add": 0.4,
    "remove": 0.1,
    "hash": 0.3,
    "compact": 0.3,
}
COINCIDENCE = "coincidence"
"""Asks for such a run where a family could be asked for."""
SHARE = 0.08
"""Of all runs that are not revolts."""
OTHER_FAULTS = 0.1
"""How much is left of what else the plan has drawn."""
LIMITS = {
    "log_entries_max": 20,
    "log_entries_kept": 5,
    "log_entries_held_max": 10,
    "append_bytes_max": 200_000,
    "inflight_bytes_max": 200_000,
    "inflight_messages_max": 8,
    "uncommitted_bytes_max": 1_000_000,
    "apply_bytes_max": 10_000,
    "pending_proposals_max": 1_000,
    "apply_lag_entries_max": 1_000,
    "snapshot_chunk_bytes": 100_000,
}


def is_coincidence(seed: int) -> bool:
    """Whether a seed is such a run; these actions are no part of other runs."""
    return Random(f"coincidence/{seed}").random() < SHARE


def coincide(plan: Plan) -> Plan:
    """The same plan with coincidences as its main fault."""
    members, spares = max(3, plan.members), max(3, plan.spares)
    calmed = {
        name: weight * (1.0 if name in (*PACE, *REQUESTS) else OTHER_FAULTS)
        for name, weight in plan.weights.items()
    }
    for name in ("turn", "sync"):  # drawn for the members that the plan had
        calmed[name] *= (members + spares) / plan.members
    return replace(
        plan,
        members=members,
        spares=spares,
        limits=with_limits(plan.limits, **LIMITS),
        store_config=StoreConfig(sweep_records=plan.store_config.sweep_records),
        constants={"SILENCE_SECONDS_MAX": plan.constants.get("SILENCE_SECONDS_MAX", 5.0)},
        weights={**calmed, **WEIGHTS},
        down_ms=(0, 1_000),
    )
