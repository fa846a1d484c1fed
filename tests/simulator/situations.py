"""Actions that bring about what independent faults hardly ever do together.

Each sets a scene in a few moves: a leader that is cut off with a long tail, a follower that the log
has run away from, a member that is told to lead before it knows that it may vote. What comes of it
is left to the other faults of the run. The coverage marks say which scenes were missing.

The log is filled with requests that every member refuses when it applies them (changes of a member
that nobody knows), so that no client's history is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from node import snapshots
from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.errors import Refusal, TooManyRequests
from node.proto import rpc
from tests.simulator.churn import CHURN_ACTIONS
from tests.support.member_cluster import Call, Node, Outcome

if TYPE_CHECKING:
    from tests.simulator.world import World

Action = Callable[["World", Node], None]
NOBODY = 0xFFFF
"""A member id that no run uses."""
AT_ONCE = 8
"""Fillers that wait for an answer at a time, unless a member takes fewer."""
MOVES = ("stall", "crash", "mute", "mute", "mute", "nothing")


def strand(world: World, node: Node) -> None:
    """The leader is cut off with a long tail that nobody else has, while the others go on under
    two leaders: the second one has to find out how far back their logs agree."""
    leader = world.cluster.leader
    if leader is None or len(world.nodes) < 3:
        return
    chance = world.chance
    size = chance.choice((1, 1, 1_000, 4_000))
    world.trace.say(leader.id, "is stranded", size=size)
    timeouts = chance.uniform(3.0, 6.0)
    cut_off(world, leader.id, timeouts)
    world.later(0.8 * timeouts * world.plan.timeout_ms / 1_000, lambda: _hand_over(world, leader))
    for _ in range(chance.randrange(12, 30)):
        fill(leader, size)
    if world.plan.spares:
        CHURN_ACTIONS[chance.choice(("add", "remove"))](world, leader)
    for other in world.nodes:
        if other is not leader and other.runs:
            for _ in range(chance.randrange(6, 15)):
                fill(other, 1)


def outrun(world: World, node: Node) -> None:
    """One or two followers are cut off until the log has run away from them."""
    leader = world.cluster.leader
    others = [each for each in world.nodes if each is not leader and each.runs]
    if leader is None or not others:
        return
    chance = world.chance
    left = chance.sample(others, min(len(others), chance.choice((1, 1, 2, 3))))
    world.trace.say(leader.id, "runs away", of=[each.id for each in left])
    seconds = chance.uniform(1.5, 4.0)
    for each in left:
        cut_off(world, each.id, seconds)
        _await_install(world, each)
    limits = world.plan.limits
    rush(world, leader, chance.randint(1, 3) * (limits.log_entries_max + limits.log_entries_kept))


def rush(world: World, node: Node, count: int = 40) -> None:
    """Somebody asks for much, as fast as it is answered."""
    life = node.life
    left = count

    def more(outcome: Outcome | None = None) -> None:
        nonlocal left
        if isinstance(outcome, TooManyRequests) or world.quiet:
            left = 0
        if left > 0 and node.life is life and life is not None:
            left -= 1
            fill(node, 1, more)

    for _ in range(min(AT_ONCE, world.plan.limits.pending_proposals_max)):
        more()


def promote_and_transfer(world: World, node: Node) -> None:
    """A learner becomes a voter and is told to lead, perhaps before it knows that it may vote."""
    leader = world.cluster.leader
    if leader is None or not leader.parts.conf.learners:
        return
    learner = world.chance.choice(leader.parts.conf.learners)

    def promoted(outcome: Outcome) -> None:
        if isinstance(outcome, Answer):
            leader.parts.core.transfer_leader(learner)

    world.trace.say(leader.id, "promotes and hands over", to=learner)
    leader.member.change_members(RequestKind.MEMBER_PROMOTE, rpc.Member(ID=learner), promoted)


def expel(world: World, node: Node) -> None:
    """A member, often the leader, is removed, and then somebody asks for it to be added again."""
    leader = world.cluster.leader
    if leader is None or len(leader.parts.conf.voters) < 2 or not world.plan.spares:
        return
    conf, chance = leader.parts.conf, world.chance
    victim = leader.id if chance.random() < 0.5 else chance.choice([*conf.voters, *conf.learners])

    def ask_again() -> None:
        for each in world.nodes:
            CHURN_ACTIONS["readd"](world, each)

    def gone(outcome: Outcome) -> None:
        if isinstance(outcome, Answer):
            world.removed[victim] = None
            world.later(1.0, ask_again)

    world.trace.say(leader.id, "is to expel", victim=victim)
    leader.member.change_members(RequestKind.MEMBER_REMOVE, rpc.Member(ID=victim), gone)


def estrange(world: World, node: Node) -> None:
    """A member is away while another one joins, and comes back when that one leads."""
    leader = world.cluster.leader
    if leader is None or node is leader or not node.runs or not world.plan.spares:
        return
    timeout = world.plan.timeout_ms / 1_000
    known = {*node.parts.conf.voters, *node.parts.conf.learners}
    world.trace.say(node.id, "is estranged")
    cut_off(world, node.id, 8.0)
    CHURN_ACTIONS["add"](world, leader)

    def promote() -> None:
        now = world.cluster.leader
        if now is not None:
            CHURN_ACTIONS["promote"](world, now)

    def crown() -> None:
        now = world.cluster.leader
        new = [v for v in now.parts.conf.voters if v not in known] if now is not None else []
        if now is not None and new and now.id not in new:
            now.member.transfer_leader(world.chance.choice(new), Call[Refusal | None]())

    for after in (2.5, 3.5, 4.5):
        world.later(after * timeout, promote)
    for after in (3.0, 5.0, 6.0, 7.0):
        world.later(after * timeout, crown)


def hang_behind_change(world: World, node: Node) -> None:
    """A voter learns that a change is committed while its disk hangs, and then hears no more."""
    leader = world.cluster.leader
    if leader is None or node is leader or not node.runs or not world.plan.spares:
        return
    life, timeout = node.life, world.plan.timeout_ms / 1_000
    node.stalled = True
    world.trace.say(node.id, "hangs behind a change")
    for change in ("add", "promote"):
        CHURN_ACTIONS[change](world, leader)

    def flow() -> None:
        if node.life is life:
            node.stalled = False

    world.later(world.chance.uniform(0.4, 1.0) * timeout, lambda: cut_off(world, node.id, 4.0))
    world.later(4.5 * timeout, flow)


def borrow_url(world: World, node: Node) -> None:
    """A member takes the URL of one that is being added: the change is refused when applied."""
    leader = world.cluster.leader
    strangers = [each.id for each in world.nodes if not each.up and each.id not in world.removed]
    if leader is None or not strangers:
        return
    joiner = world.chance.choice(strangers)
    life = leader.life

    def call(member: int) -> rpc.Member:
        return rpc.Member(ID=leader.id, peerURLs=[f"unix://n{member}"])

    def give_back(outcome: Outcome) -> None:
        if leader.life is life:
            leader.propose(RequestKind.MEMBER_UPDATE, call(leader.id).SerializeToString())

    world.trace.say(leader.id, "borrows a URL", of=joiner)
    leader.propose(RequestKind.MEMBER_UPDATE, call(joiner).SerializeToString())
    world.turn(leader)  # so that it stands before the change that it spoils
    if leader.life is not life:
        return
    added = rpc.Member(ID=joiner, peerURLs=[f"unix://n{joiner}"], isLearner=True)
    leader.member.change_members(RequestKind.MEMBER_ADD, added, give_back)


def fill(node: Node, size: int, done: Callable[[Outcome], None] | None = None) -> None:
    """Ask a member for an entry of about `size` bytes that changes nothing."""
    if node.life is None:
        return
    request = rpc.Member(ID=NOBODY, peerURLs=["x" * size]).SerializeToString()
    call: Call[Outcome] = Call()
    node.life.requests.append(call)

    def answered(outcome: Outcome) -> None:
        call(outcome)
        if done is not None:
            done(outcome)

    node.member.propose(RequestKind.MEMBER_UPDATE, request, answered)


def _hand_over(world: World, stranded: Node) -> None:
    """Whoever leads the others makes place for another one of them."""
    leader = world.cluster.leader
    if leader is None or leader is stranded:
        return
    voters = [v for v in leader.parts.conf.voters if v not in (leader.id, stranded.id)]
    if voters:
        leader.member.transfer_leader(world.chance.choice(voters), Call[Refusal | None]())


def cut_off(world: World, member: int, timeouts: float) -> None:
    """Nobody hears a member, and it hears nobody, for so many election timeouts."""
    ways = [way for each in world.nodes for way in ((member, each.id), (each.id, member))]
    cut_for(world, [way for way in ways if way[0] != way[1]], timeouts)


def cut_for(world: World, ways: Iterable[tuple[int, int]], timeouts: float) -> None:
    cut = list(ways)
    world.network.cut_more(cut)
    world.later(timeouts * world.plan.timeout_ms / 1_000, lambda: world.network.join_ways(cut))


def _await_install(world: World, node: Node) -> None:
    """Something goes wrong when this life is sent a snapshot, or installs it; or nothing does."""
    assert node.life is not None
    move = world.chance.choice(MOVES)
    if move == "mute":
        once(node.life.parts.snapshots, "_begin", lambda: _mute(world, node))
    else:
        once(node.life.parts.disk, "_install", lambda: _disturb(world, node, move))


def _mute(world: World, node: Node) -> None:
    """It gets the snapshot, and for longer than its sender has patience nobody hears that."""
    if not world.quiet:
        world.trace.say(node.id, "falls silent")
        ways = [(node.id, each.id) for each in world.nodes if each is not node]
        seconds = snapshots.SILENCE_SECONDS_MAX + world.chance.choice((0.5, 1.5))
        cut_for(world, ways, seconds * 1_000 / world.plan.timeout_ms)


def _disturb(world: World, node: Node, move: str) -> None:
    """Its disk hangs in the middle of the install, and perhaps it ends before it is done."""
    if world.quiet or move == "nothing":
        return
    life = node.life
    world.trace.say(node.id, "installs", move=move)
    node.stalled = True
    node.read()
    timeouts = world.chance.uniform(1.0, 4.0)
    if move == "stall":  # long enough to campaign meanwhile
        timeouts = 4.0
        cut_off(world, node.id, timeouts)

    def go_on() -> None:
        if node.life is life and move == "crash":
            world.crash(node, why="install")
        elif node.life is life:
            node.stalled = False

    world.later(timeouts * world.plan.timeout_ms / 1_000, go_on)


def once(owner: object, name: str, before: Callable[[], None]) -> None:
    """Have something happen before the next call of a method."""
    method = getattr(owner, name)

    def called(*arguments: Any) -> Any:
        setattr(owner, name, method)
        before()
        return method(*arguments)

    setattr(owner, name, called)


SITUATIONS: dict[str, Action] = {
    each.__name__: each
    for each in (
        strand,
        outrun,
        rush,
        promote_and_transfer,
        borrow_url,
        expel,
        estrange,
        hang_behind_change,
    )
}
SITUATION_WEIGHTS = {
    "strand": 0.25,
    "outrun": 0.5,
    "rush": 0.15,
    "promote_and_transfer": 2.0,
    "borrow_url": 0.5,
    "expel": 0.4,
    "estrange": 0.3,
    "hang_behind_change": 0.5,
}
