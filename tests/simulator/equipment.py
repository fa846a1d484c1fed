"""What a world is made of besides the cluster, from all who contribute to it: actions and their
weights, clients, judges."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulator import coincidence, coup, invariants
from tests.simulator.actions import ACTIONS, WEIGHTS, Action
from tests.simulator.clients import CLIENT_ACTIONS, CLIENT_WEIGHTS, Clients
from tests.simulator.disks import DISK_ACTIONS, DISK_WEIGHTS
from tests.simulator.plan import Plan, draw
from tests.simulator.situations import SITUATION_WEIGHTS, SITUATIONS

if TYPE_CHECKING:
    from tests.simulator.world import World

ALL_ACTIONS: dict[str, Action] = {
    **ACTIONS,
    **DISK_ACTIONS,
    **CLIENT_ACTIONS,
    **SITUATIONS,
    **coup.COUPS,
    **coincidence.COINCIDENCES,
}
ALL_WEIGHTS: dict[str, float] = {
    **WEIGHTS,
    **DISK_WEIGHTS,
    **CLIENT_WEIGHTS,
    **SITUATION_WEIGHTS,
}


def plan_of(seed: int, steps: int | None = None, family: str | None = None) -> Plan:
    """What a seed stands for, at this version of the simulator; of whichever family, with coups or
    coincidences if the seed says so or `family` is REVOLT or COINCIDENCE."""
    special = family in (coup.REVOLT, coincidence.COINCIDENCE)
    plan = draw(seed, ALL_WEIGHTS, None if special else family)
    if family == coup.REVOLT or (family is None and coup.is_revolt(seed)):
        plan = coup.revolt(plan)
    elif family == coincidence.COINCIDENCE or (family is None and coincidence.is_coincidence(seed)):
        plan = coincidence.coincide(plan)
    return plan if steps is None else replace(plan, steps=steps)


def observe(world: World) -> None:
    """Have everybody watch a world who has something to say about it."""
    world.clients = Clients(world)
    world.observers += invariants.all_of(world)
