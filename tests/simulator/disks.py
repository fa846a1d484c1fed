"""The members' disks in a simulated world: how they are paced, and what may happen to them.

A `PacedWriter` takes the place of the writer thread: a group takes as long as the disk is slow,
what arrives meanwhile waits for the next group, and now and then the loop gets a turn between the
write and the news of it. The actions make trouble; `Keeper` ends it when calm begins, and takes
members out whose disk is damaged although nobody has read the damage yet.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from node.machine.envelope import RequestKind
from node.raft.message import Entry
from store.boot import MemoryStore
from store.errors import DiskFailed, Quarantined
from store.writer import SteppedWriter
from tests.simulator.churn import add, ask
from tests.simulator.disk_fault import STAGES, Fault, MachineDied
from tests.simulator.observer import Observer, fail
from tests.simulator.simulated_disk import SimulatedDisk
from tests.support.member_cluster import Node

if TYPE_CHECKING:
    from tests.simulator.world import World

__all__ = [
    "DISK_ACTIONS",
    "DISK_WEIGHTS",
    "MachineDied",
    "SimulatedDisk",
    "disk_of",
    "make_disk",
    "open_store",
]


RARE_KINDS = ("chunk", "chunk", "flip", "flip", "sweep", "floor", "conf")
WAITING_MAX = 3
"""Faults that wait for a write of a rare kind, at one disk."""


class PacedWriter(SteppedWriter):
    """A writer that is as fast as its disk."""

    def __init__(
        self, writer: SteppedWriter, disk: SimulatedDisk, clock: Callable[[], float]
    ) -> None:
        """Take over a writer that has not been given anything yet."""
        super().__init__(writer._committer, writer._intake)
        self._disk = disk
        self._clock = clock
        self._due = 0.0

    def step(self, batches_max: int | None = None) -> bool:
        """Do what the disk has time for; False: nothing was acknowledged."""
        disk = self._disk
        if disk.stalled:
            return False
        if disk.latency[1] == 0.0 and not self.busy:
            return super().step(batches_max)
        if not self.busy:
            if not self.take(batches_max):
                return False
            self._due = self._clock() + disk.chance.uniform(*disk.latency)
        if self._clock() < self._due:
            return False
        if not self.written:
            self.write()
            if disk.latency[1] and disk.chance.random() < 0.5:
                return False  # the loop may run before it hears of the write
        self.acknowledge()
        return True


class Keeper(Observer):
    """Lets processes die in the middle of a turn, and ends the disks' faults when calm begins."""

    def __init__(self, world: World) -> None:
        self._world = world

    def started(self, node: Node) -> None:
        applier, disk = node.parts.applier, disk_of(node)
        apply = applier.apply

        def watched(entries_max: int) -> Entry | None:
            if disk.faults:
                disk.reach("before_apply")
            last = apply(entries_max)
            if disk.faults:
                disk.reach("after_apply")
            return last

        setattr(applier, "apply", watched)  # noqa: B010  mypy calls an assignment an error

    def ended(self, node: Node) -> None:
        """A kill does not take back what the writer was doing: the group may be there or not."""
        disk, writer = disk_of(node), node.process.store.writer
        if writer.busy and not writer.written and not disk.failed and disk.chance.random() < 0.5:
            with suppress(MachineDied):
                writer.write()

    def calming(self) -> None:
        for node in self._world.nodes:
            disk = disk_of(node)
            disk.mend()
            if disk.damaged or disk.must_refuse:
                self._world.lose(node, disk.damaged or disk.must_refuse)


def make_disk(world: World, member: int) -> SimulatedDisk:
    """The disk of a member, and whoever ends its faults."""
    if not any(isinstance(observer, Keeper) for observer in world.observers):
        world.observers.append(Keeper(world))
    disk = SimulatedDisk(Random(f"disk/{world.plan.seed}/{member}"), world.marks.hit)
    if "crash_at_boot" in world.plan.weights and disk.chance.random() < 0.2:  # while it is made
        disk.faults.append(Fault(disk.chance.choice(STAGES)))
    return disk


def disk_of(node: Node) -> SimulatedDisk:
    """Under its full name."""
    assert isinstance(node.engine, SimulatedDisk)
    return node.engine


def open_store(world: World, node: Node) -> MemoryStore:
    """Open what lies on a member's disk, by the product's own boot.

    Raises:
        Quarantined: it must not be trusted.
        MachineDied: in the middle of it, or because it cannot be opened now.
        SimulationFailed: it was trusted although acknowledged writes are missing, or refused
            although nothing was done to it.
    """
    disk = disk_of(node)
    try:
        if disk.found:  # the supervisor does not start a member again that has ended so
            raise Quarantined("found while serving")
        store = node.open_store()
    except MachineDied:
        world.marks.hit("crash_at_boot")
        raise
    except DiskFailed as failure:
        world.marks.hit("disk_full_start")
        raise MachineDied(failure.reason) from failure
    except Quarantined as refusal:
        if not disk.damaged:
            fail("a good disk is refused", member=node.id, because=refusal.reason)
        world.marks.hit("quarantine_entered")
        raise
    if disk.must_refuse:
        fail("a disk was trusted that must not be", member=node.id, because=disk.must_refuse)
    if store.image.write_seq < disk.acknowledged:
        fail("an acknowledged batch was lost", member=node.id, wanted=disk.acknowledged)
    writer = PacedWriter(store.writer, disk, lambda: world.now)
    return replace(store, writer=writer)


# -- what may happen -----------------------------------------------------------------------------


def crash_at_write(world: World, node: Node) -> None:
    """The process ends in one of its next writes; if one waits, in that."""
    chance = world.chance
    skip = chance.choice([0, 0, 0, 1, 3])
    disk_of(node).faults.append(Fault(chance.choice(STAGES), skip=skip, power=is_power(world)))
    world.sync(node, chance.choice([1, 2, None]))


def crash_at_kind(world: World, node: Node) -> None:
    """The process ends in the next write of a rare kind."""
    chance, faults = world.chance, disk_of(node).faults
    if len(faults) < WAITING_MAX:
        faults.append(
            Fault(chance.choice(STAGES), chance.choice(RARE_KINDS), power=is_power(world))
        )


def crash_at_apply(world: World, node: Node) -> None:
    """The process ends in the middle of one of its next turns."""
    stage = world.chance.choice(["before_apply", "after_apply"])
    disk_of(node).faults.append(Fault(stage, skip=world.chance.randrange(3)))


def crash_at_boot(world: World, node: Node) -> None:
    """The next process ends while it brings the mark up to date, or makes its database."""
    if not node.up:
        disk_of(node).faults.append(Fault(world.chance.choice(STAGES), power=is_power(world)))


def is_power(world: World) -> bool:
    """Whether the machine goes dark together with the process."""
    return world.chance.random() < 0.4


def write_fails(world: World, node: Node) -> None:
    """One of the next writes or syncs fails, or there is no room any more."""
    chance, disk = world.chance, disk_of(node)
    if chance.random() < 0.3:
        disk.full = True
        world.later(chance.uniform(0, 5), lambda: make_room(disk))
        return
    stage, error = chance.choice(
        [
            ("before_write", "no space left on device"),
            ("before_write", "input/output error"),
            ("before_sync", "input/output error"),
        ]
    )
    disk.faults.append(Fault(stage, skip=chance.randrange(4), error=error))


def make_room(disk: SimulatedDisk) -> None:
    disk.full = False


def slow_disk(world: World, node: Node) -> None:
    """Every group takes its time, for a while."""
    chance, disk = world.chance, disk_of(node)
    worst = chance.choice([0.02, 0.1, 0.1, 0.5, 0.5, 5.0])
    disk.latency = (chance.choice([0.0, worst / 2]), worst)
    world.later(chance.uniform(0, 10), lambda: hurry_up(disk))


def hurry_up(disk: SimulatedDisk) -> None:
    disk.latency = (0.0, 0.0)


def hang_disk(world: World, node: Node) -> None:
    """It completes nothing any more, for a while."""
    disk = disk_of(node)
    disk.stalled = True
    world.later(world.chance.uniform(0, world.chance.choice([1, 3, 10])), lambda: resume_disk(disk))


def resume_disk(disk: SimulatedDisk) -> None:
    disk.stalled = False


def power_loss(world: World, node: Node) -> None:
    """One member's machine goes dark."""
    if node.up:
        die_writing(world, node)
        world.crash(node, why="power loss")
    disk_of(node).power_loss()


def blackout(world: World, node: Node) -> None:
    """The host of all members goes dark."""
    for each in world.nodes:
        power_loss(world, each)


def die_writing(world: World, node: Node) -> None:
    """What was under way may have come as far as the page cache."""
    if world.chance.random() < 0.7:
        fault = Fault("before_sync")
        disk_of(node).faults.insert(0, fault)
        world.sync(node)
        if fault in disk_of(node).faults:
            disk_of(node).faults.remove(fault)


def lose_tail(world: World, node: Node) -> None:
    """The last writes of a member vanish while it is down."""
    disk = disk_of(node)
    if may_damage(world, node):
        world.crash(node, why="before damage")
        disk.lose(world.chance.choice([1, 2, 5, 20]))


def lose_middle(world: World, node: Node) -> None:
    """Some of the last writes of a member vanish while it is down, and newer ones stay."""
    if may_damage(world, node):
        world.crash(node, why="before damage")
        kept = world.chance.choice([1, 1, 2, 5])
        disk_of(node).lose(kept + world.chance.choice([1, 2, 5]), kept)


def damage_record(world: World, node: Node) -> None:
    """A record does not read back any more."""
    disk = disk_of(node)
    if may_damage(world, node):
        world.crash(node, why="before damage")
        if world.chance.random() < 0.1:
            disk.damage_mark()
        else:
            world.trace.say(node.id, "is damaged", what=disk.damage())


def replace_lost(world: World, node: Node) -> None:
    """A member whose disk is lost is removed and somebody new is added, as an operator would do."""
    if node.runs and world.plan.spares:
        members = {*node.parts.conf.voters, *node.parts.conf.learners}
        lost = [member for member in world.gone if member in members]
        if lost:
            ask(world, node, RequestKind.MEMBER_REMOVE, lost[0])
            add(world, node)


def may_damage(world: World, node: Node) -> bool:
    """Whether the cluster can do without this member for ever."""
    disk = disk_of(node)
    return not (world.quiet or disk.damaged or disk.must_refuse) and world.can_lose(node)


DISK_ACTIONS = {
    "crash_at_write": crash_at_write,
    "crash_at_kind": crash_at_kind,
    "crash_at_apply": crash_at_apply,
    "crash_at_boot": crash_at_boot,
    "write_fails": write_fails,
    "slow_disk": slow_disk,
    "hang_disk": hang_disk,
    "power_loss": power_loss,
    "blackout": blackout,
    "lose_tail": lose_tail,
    "lose_middle": lose_middle,
    "damage_record": damage_record,
    "replace_lost": replace_lost,
}

DISK_WEIGHTS = {
    "crash_at_write": 0.6,
    "crash_at_kind": 0.5,
    "crash_at_apply": 0.2,
    "crash_at_boot": 0.2,
    "write_fails": 0.3,
    "slow_disk": 0.4,
    "hang_disk": 0.2,
    "power_loss": 0.2,
    "blackout": 0.05,
    "lose_tail": 0.04,
    "lose_middle": 0.03,
    "damage_record": 0.05,
    "replace_lost": 0.5,
}
