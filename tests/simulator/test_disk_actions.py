"""Disks that fail in a world of whole members: every way to die is found, and nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from node.config import Limits
from store.commit import Admitted, figures_of
from store.errors import Quarantined
from tests.simulator.actions import WEIGHTS
from tests.simulator.clients import CLIENT_WEIGHTS
from tests.simulator.disk_fault import STAGES, Fault
from tests.simulator.disks import DISK_WEIGHTS, disk_of
from tests.simulator.equipment import plan_of
from tests.simulator.observer import SimulationFailed
from tests.simulator.plan import PACE, Plan, Weather
from tests.simulator.world import World

COMMON = {*(f"crash_{stage}" for stage in STAGES), "disk_error", "quarantine_entered"}
"""What few runs are enough for; campaigns of many seeds count the rest of the marks."""


def harsh(seed: int) -> Plan:
    """Clients, and some of what disks can do, and nothing else that could go wrong."""
    plan = plan_of(seed, 2_500, "compaction")
    weights = {name: WEIGHTS[name] for name in PACE} | CLIENT_WEIGHTS
    for name in Random(seed).sample(sorted(DISK_WEIGHTS), k=4):
        weights[name] = DISK_WEIGHTS[name]
    limits = Limits(
        **{
            **{name: getattr(plan.limits, name) for name in plan.limits.__struct_fields__},
            "log_entries_max": 8,
            "log_entries_kept": 3,
        }
    )
    return replace(
        plan, weights=weights, limits=limits, members=3, weather=Weather(), down_ms=(0, 200)
    )


def test_disks_of_a_world_end_its_members_in_every_way() -> None:
    hits: set[str] = set()
    for seed in range(10):
        world = World(harsh(seed))
        world.run()
        if seed % 4 == 0:
            world.calm()
        hits.update(world.marks.counts)

    assert hits >= COMMON


def quiet_world() -> World:
    """Three members that nobody disturbs, and who have a leader."""
    plan = replace(
        plan_of(0, 600, "steady"), members=3, weather=Weather(), tick_rates=(), down_ms=(0, 100)
    )
    pace = {name: plan.weights[name] for name in ("turn", "sync", "tick")}
    world = World(replace(plan, weights=pace), observed=False)
    world.run()
    world.let_pass(60)
    assert world.cluster.leader is not None
    return world


def test_slow_disk_takes_its_time() -> None:
    world = quiet_world()
    leader = world.cluster.leader
    assert leader is not None
    for node in world.nodes:
        disk_of(node).latency = (0.4, 0.4)
    put = leader.put(b"key", b"value")
    asked = world.now
    while not put.done:
        world.let_pass()

    assert put.revision
    assert 0.4 <= world.now - asked < 2.0


def test_kill_in_the_middle_of_a_slow_write_leaves_it_or_not() -> None:
    found = set()
    for seed in range(8):
        world = quiet_world()
        node = world.cluster.followers()[0]
        disk = disk_of(node)
        disk.chance = Random(seed)
        disk.latency = (5.0, 5.0)
        leader = world.cluster.leader
        assert leader is not None
        leader.put(b"key", b"value")
        world.let_pass(2)
        assert node.process.store.writer.busy
        before = node.process.store.log.load(0).last.index
        world.crash(node)
        world.start(node)
        found.add(node.process.store.image.last.index - before)

    assert found == {0, 1}


def test_lost_member_stays_out_and_the_others_go_on() -> None:
    world = quiet_world()
    node = world.cluster.followers()[0]
    world.crash(node, returns=False)
    assert disk_of(node).lose(1)
    world.start(node)

    assert "the disk lost its tail" in world.gone[node.id]
    assert not world.can_lose(world.nodes[node.id % 3])
    with pytest.raises(Quarantined):
        node.start()
    world.calm()


def test_mark_that_runs_ahead_of_the_disk_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that refuses a disk to which nothing was done is as wrong as one that trusts it."""
    world = quiet_world()
    node = world.cluster.followers()[0]
    committer = node.process.store.writer._committer

    def hasty(group: Sequence[Admitted]) -> None:
        committer._mark.update(figures_of(committer._meta, group[-1].head))
        committer._engine.write([])

    monkeypatch.setattr(committer, "write", hasty)
    leader = world.cluster.leader
    assert leader is not None
    leader.put(b"key", b"value")
    world.let_pass(3)
    world.crash(node, returns=False)
    with pytest.raises(SimulationFailed, match="a good disk is refused"):
        world.start(node)


def test_process_whose_write_fails_is_replaced_by_one_that_catches_up() -> None:
    world = quiet_world()
    leader = world.cluster.leader
    assert leader is not None
    disk_of(leader).faults.append(Fault("before_sync", error="input/output error"))
    put = leader.put(b"key", b"value")
    world.let_pass(200)

    assert put.lost or put.done
    assert leader.up
    world.calm()
