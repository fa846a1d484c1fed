"""Members come and go: asked for at any member, as a client would ask.

A member that is added is started a while later, or never; one that learns that it was removed ends
its process, as the product's does. An id that was removed must never become a member again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.errors import Refusal
from node.proto import rpc
from node.raft.message import ConfChange, ConfChangeKind, ConfState, EntryKind
from tests.simulator.observer import fail
from tests.support.member_cluster import Call, Node, Outcome

if TYPE_CHECKING:
    from tests.simulator.world import World

CHURN_WEIGHTS = {
    "add": 0.4,
    "promote": 1.0,
    "remove": 0.2,
    "replace": 0.15,
    "race": 0.15,
    "readd": 0.1,
}
LINGER_SECONDS = 0.2
"""How long a removed member still answers before its process ends."""

_decode_change = msgspec.msgpack.Decoder(ConfChange).decode


def add(world: World, node: Node) -> None:
    """Somebody new, mostly as a learner."""
    fresh = [each for each in world.nodes if each.id not in _known(world) and not each.up]
    if node.runs and fresh:
        joiner = world.chance.choice(fresh)
        _add(world, node, joiner, learner=world.chance.random() < 0.8)


def promote(world: World, node: Node) -> None:
    """A learner that may be ready becomes a voter."""
    if node.runs and node.parts.conf.learners:
        ask(world, node, RequestKind.MEMBER_PROMOTE, world.chance.choice(node.parts.conf.learners))


def remove(world: World, node: Node) -> None:
    """Any member, the leader and the one that is asked included."""
    if node.runs and len(node.parts.conf.voters) > 1:
        members = sorted({*node.parts.conf.voters, *node.parts.conf.learners})
        ask(world, node, RequestKind.MEMBER_REMOVE, world.chance.choice(members))


def replace(world: World, node: Node) -> None:
    """One is removed and another added, at once and at different members."""
    remove(world, node)
    add(world, world.chance.choice(world.nodes))


def race(world: World, node: Node) -> None:
    """Two changes at once, and the leader that may have taken one of them hands over or dies."""
    leader = world.cluster.leader
    for change in world.chance.sample((add, promote, remove), 2):
        change(world, world.chance.choice(world.nodes) if leader is None else leader)
    if leader is not None and leader.runs:
        world.turn(leader)
        if leader not in [node for node in world.nodes if node.runs]:
            return  # the turn was its last
        if world.chance.random() < 0.5:
            world.crash(leader, why="in the middle of a change")
        else:
            done: Call[Refusal | None] = Call()
            leader.member.transfer_leader(world.chance.choice(leader.parts.conf.voters), done)


def readd(world: World, node: Node) -> None:
    """An id that was removed comes back, which must be refused."""
    if not node.runs or not world.removed:
        return
    member = world.chance.choice(sorted(world.removed))

    def refused(outcome: Outcome) -> None:
        if isinstance(outcome, Answer):
            fail("a removed member was added again", member=member, at=node.id)

    ask(world, node, RequestKind.MEMBER_ADD, member, done=refused)


CHURN_ACTIONS = {each.__name__: each for each in (add, promote, remove, replace, race, readd)}


def _add(world: World, node: Node, joiner: Node, *, learner: bool) -> None:
    def added(outcome: Outcome) -> None:
        if isinstance(outcome, Answer):
            world.later(world.chance.uniform(0, 1), lambda: world.start(joiner))

    ask(world, node, RequestKind.MEMBER_ADD, joiner.id, learner=learner, done=added)


def ask(
    world: World,
    node: Node,
    kind: RequestKind,
    member: int,
    *,
    learner: bool = False,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> None:
    """Ask `node` for a change of the members, as a client would."""
    call: Call[Outcome] = Call()
    node.process.requests.append(call)
    world.trace.say(node.id, "asks", kind=kind.name, member=member, learner=learner)

    def answered(outcome: Outcome) -> None:
        told = type(outcome).__name__ if isinstance(outcome, Refusal) else "done"
        world.trace.say(node.id, "answers", kind=kind.name, member=member, outcome=told)
        if kind is RequestKind.MEMBER_REMOVE and isinstance(outcome, Answer):
            world.removed[member] = None
        call(outcome)
        done(outcome)

    request = rpc.Member(ID=member, peerURLs=[f"unix://n{member}"], isLearner=learner)
    node.member.change_members(kind, request, answered)


def _known(world: World) -> set[int]:
    """Members of any configuration that is in force somewhere, and those that were removed."""
    known = set(world.gone) | set(world.removed)
    for conf in world.confs():
        known.update(conf.voters, conf.learners)
    return known


def confs_of(node: Node) -> Iterator[ConfState]:
    """What a member has applied, and what the entries of its log that it has not may bring."""
    if node.life is None:
        return
    parts = node.parts
    conf = parts.conf
    if conf.voters:
        yield conf
    lo, hi = parts.disk.applied.index + 1, parts.disk.last_index() + 1
    if lo >= hi or lo < parts.disk.first_index():
        return
    for entry in parts.disk.entries(lo, hi, 1 << 30):
        if entry.kind == EntryKind.CONF_CHANGE and entry.data:
            conf = changed(conf, _decode_change(entry.data))
            yield conf


def changed(conf: ConfState, change: ConfChange) -> ConfState:
    """A configuration after a change."""
    voters, learners = set(conf.voters), set(conf.learners)
    voters.discard(change.member)
    learners.discard(change.member)
    if change.kind is ConfChangeKind.ADD_VOTER:
        voters.add(change.member)
    elif change.kind is ConfChangeKind.ADD_LEARNER:
        learners.add(change.member)
    return ConfState(voters=tuple(sorted(voters)), learners=tuple(sorted(learners)))


# What a process does besides its loop.


def keep_roster(world: World) -> None:
    """Members publish their names, and those that have been removed leave."""
    for node in world.nodes:
        if node.life is not None and node.parts.membership.removed:
            _leave(world, node)
        elif node.runs and node.loop.leader and not _published(world, node):
            _publish(world, node)


def _leave(world: World, node: Node) -> None:
    if node.runs and node.id not in world.removed:
        world.removed[node.id] = None
        world.trace.say(node.id, "leaves")
    life = node.life

    def end() -> None:
        if node.life is life and life is not None:
            world.lose(node, "removed")

    if world.quiet:
        end()
    else:
        world.later(LINGER_SECONDS, end)


def _published(world: World, node: Node) -> bool:
    return node.id in world.publishing or any(
        record.id == node.id and record.name for record in node.machine.members()
    )


def _publish(world: World, node: Node) -> None:
    member = rpc.Member(
        ID=node.id,
        name=f"n{node.id}",
        peerURLs=[f"unix://n{node.id}"],
        clientURLs=[f"http://n{node.id}"],
    )
    world.publishing.add(node.id)

    def published(outcome: Outcome) -> None:
        world.publishing.discard(node.id)

    node.member.propose(RequestKind.MEMBER_PUBLISH, member.SerializeToString(), published)
