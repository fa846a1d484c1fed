"""What may happen to a cluster besides the passing of time: faults of processes, of the network
and of clocks. An action that makes no sense for the member at the moment does nothing.

Whatever lasts ends by itself (`World.later`), so that an action never depends on another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import permutations
from typing import TYPE_CHECKING

from node.machine.errors import Refusal
from tests.simulator.churn import CHURN_ACTIONS, CHURN_WEIGHTS
from tests.simulator.network import CALM
from tests.simulator.plan import Weather
from tests.support.member_cluster import Call, Node

if TYPE_CHECKING:
    from tests.simulator.world import World

Action = Callable[["World", Node], None]

WEIGHTS = {
    "turn": 25.0,
    "sync": 15.0,
    "tick": 25.0,
    "kill": 0.5,
    "kill_leader": 0.2,
    "kill_all": 0.05,
    "pause": 0.4,
    "freeze": 0.4,
    "stall": 0.3,
    "jump": 0.2,
    "skew": 0.1,
    "weather": 0.6,
    "clog": 0.4,
    "clog_member": 0.2,
    "split": 0.25,
    "isolate": 0.25,
    "isolate_leader": 0.2,
    "one_way": 0.25,
    "ring": 0.1,
    "bridge": 0.1,
    "flap": 0.1,
    "transfer": 0.3,
    **CHURN_WEIGHTS,
}

# Processes.


def kill(world: World, node: Node) -> None:
    """The process ends without a word, and another one starts later."""
    world.crash(node, why="kill")


def kill_leader(world: World, node: Node) -> None:
    """The same for whoever leads."""
    leader = world.cluster.leader
    if leader is not None:
        world.crash(leader, why="kill")


def kill_all(world: World, node: Node) -> None:
    """The same for everybody at once."""
    for each in world.nodes:
        world.crash(each, why="kill")


def pause(world: World, node: Node) -> None:
    """The process is stopped and goes on later; the clock runs."""
    if node.runs:
        life = node.life
        node.paused = True

        def resume() -> None:
            if node.life is life:
                node.paused = False
                world.trace.say(node.id, "resumes")

        _for_a_while(world, node, "pauses", resume)


def freeze(world: World, node: Node) -> None:
    """The loop gets no time, the writer does."""
    if node.runs and not node.frozen:
        life = node.life
        node.frozen = True

        def thaw() -> None:
            if node.life is life:
                node.frozen = False

        _for_a_while(world, node, "freezes", thaw)


def stall(world: World, node: Node) -> None:
    """The writer gets no time, the loop does."""
    if node.runs and not node.stalled:
        life = node.life
        node.stalled = True

        def flow() -> None:
            if node.life is life:
                node.stalled = False

        _for_a_while(world, node, "stalls", flow)


def _for_a_while(world: World, node: Node, verb: str, end: Callable[[], None]) -> None:
    lo, hi = world.plan.pause_ms
    milliseconds = world.chance.uniform(lo, hi)
    world.trace.say(node.id, verb, ms=round(milliseconds))
    world.later(milliseconds / 1_000, end)


def transfer(world: World, node: Node) -> None:
    """Leadership is handed to somebody, who may be down or no voter."""
    leader = world.cluster.leader
    if leader is not None and leader.runs:
        to = world.chance.choice(world.nodes).id
        world.trace.say(leader.id, "transfers", to=to)
        done: Call[Refusal | None] = Call()
        leader.member.transfer_leader(to, done)


# Clocks.


def jump(world: World, node: Node) -> None:
    """The whole host stands still for a while."""
    seconds = world.chance.choice((0.05, 0.5, 2.0)) * world.plan.timeout_ms / 500
    world.trace.say(0, "stands still", seconds=seconds)
    world.cluster.now += seconds


def skew(world: World, node: Node) -> None:
    """A member's ticks come faster or slower than those of the others, also after a restart."""
    if node.life is not None:
        rate = world.chance.choice((0.5, 0.8, 1.0, 1.0, 1.25, 2.0))
        world.trace.say(node.id, "ticks", rate=rate)
        node.tick_rate = rate
        node.loop._tick_seconds = world.cluster.tick_seconds / rate


# The network.


def weather(world: World, node: Node) -> None:
    """Frames are lost, late and repeated for a while, as much as the plan allows."""
    worst, share = world.plan.weather, world.chance.choice((0.2, 0.5, 1.0))
    now = Weather(
        loss=worst.loss * share,
        duplicates=worst.duplicates * share,
        copies_max=worst.copies_max,
        repeat_ms=worst.repeat_ms,
        reorder_steps=round(worst.reorder_steps * share),
        delay_ms=round(worst.delay_ms * share),
    )
    if now == Weather(copies_max=worst.copies_max, repeat_ms=worst.repeat_ms):
        now = CALM
    world.network.weather = now
    world.trace.say(0, "weather", **_told(now))

    def clear() -> None:
        if world.network.weather is now:
            world.network.weather = CALM

    world.later(_duration(world, 0.5, 20.0), clear)


def _told(now: Weather) -> dict[str, object]:
    return {name: value for name, value in vars(now).items() if value}


def clog(world: World, node: Node) -> None:
    """One link holds back everything for a while."""
    to = world.chance.choice(world.nodes).id
    if to != node.id:
        milliseconds = world.chance.uniform(0, 5_000)
        world.trace.say(node.id, "clogs", to=to, ms=round(milliseconds))
        world.network.clog(node.id, to, milliseconds)


def clog_member(world: World, node: Node) -> None:
    """All links of a member do, and become free one after the other."""
    world.trace.say(node.id, "clogs wholly")
    for other in world.nodes:
        if other is not node:
            for way in ((node.id, other.id), (other.id, node.id)):
                world.network.clog(*way, world.chance.uniform(100, 5_000))


Ways = list[tuple[int, int]]


def split(world: World, node: Node) -> None:
    """Two groups that do not hear each other."""
    side = {each.id for each in world.nodes if world.chance.random() < 0.5}
    _cut(world, "split", [way for way in _ways(world) if (way[0] in side) != (way[1] in side)])


def isolate(world: World, node: Node) -> None:
    """One member alone."""
    _cut(world, "isolate", [way for way in _ways(world) if node.id in way])


def isolate_leader(world: World, node: Node) -> None:
    """The leader alone."""
    leader = world.cluster.leader
    if leader is not None:
        isolate(world, leader)


def one_way(world: World, node: Node) -> None:
    """One member is not heard, or does not hear, by some of the others."""
    end = world.chance.randrange(2)
    share = world.chance.choice((0.5, 1.0))
    ways = [w for w in _ways(world) if w[end] == node.id and world.chance.random() < share]
    _cut(world, "one way", ways)


def ring(world: World, node: Node) -> None:
    """Everybody hears a majority, and each another one."""
    order = [each.id for each in world.nodes]
    world.chance.shuffle(order)
    reach = len(order) // 4 + 1 if len(order) > 3 else 1
    place = {member: at for at, member in enumerate(order)}

    def far(way: tuple[int, int]) -> bool:
        apart = abs(place[way[0]] - place[way[1]])
        return min(apart, len(order) - apart) > reach

    _cut(world, "ring", [way for way in _ways(world) if far(way)])


def bridge(world: World, node: Node) -> None:
    """Two groups that do not hear each other, and one member that hears and is heard by all."""
    others = [each.id for each in world.nodes if each is not node]
    world.chance.shuffle(others)
    left = set(others[: len(others) // 2])
    ways = [w for w in _ways(world) if node.id not in w and (w[0] in left) != (w[1] in left)]
    _cut(world, "bridge", ways)


def flap(world: World, node: Node) -> None:
    """One link comes and goes."""
    to = world.chance.choice(world.nodes).id
    if to == node.id:
        return
    ways = [(node.id, to), (to, node.id)]
    period = _duration(world, 0.1, 4.0)
    turns = world.chance.randrange(2, 10)
    world.trace.say(node.id, "flaps", to=to, seconds=period, turns=turns)

    def turn(left: int) -> None:
        if left % 2:
            world.network.cut_more(ways)
        else:
            world.network.join_ways(ways)
        if left:
            world.later(period, lambda: turn(left - 1))

    turn(turns * 2 + 1)


def _ways(world: World) -> Ways:
    return list(permutations([each.id for each in world.nodes], 2))


def _cut(world: World, kind: str, ways: Iterable[tuple[int, int]]) -> None:
    """Cut exactly these ways for a while, unless other cuts replace them first."""
    cut = list(ways)
    world.trace.say(0, "cuts", kind=kind, ways=cut)
    world.network.cut_all(cut)
    era = world.network.era

    def heal() -> None:
        if world.network.era == era:
            world.trace.say(0, "heals")
            world.network.heal()

    world.later(_duration(world, 0.2, 20.0), heal)


def _duration(world: World, lo: float, hi: float) -> float:
    """Seconds between so many election timeouts; the short ones as often as the long ones."""
    timeout = world.plan.timeout_ms / 1_000
    return float(timeout * lo * (hi / lo) ** world.chance.random())


ACTIONS: dict[str, Action] = {
    **{
        each.__name__: each
        for each in (
            kill,
            kill_leader,
            kill_all,
            pause,
            freeze,
            stall,
            jump,
            skew,
            weather,
            clog,
            clog_member,
            split,
            isolate,
            isolate_leader,
            one_way,
            ring,
            bridge,
            flap,
            transfer,
        )
    },
    **CHURN_ACTIONS,
}
