"""Each coincidence brings about what it is for, in a cluster that nobody disturbs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulator.coincidence import (
    COINCIDENCE,
    COINCIDENCES,
    WEIGHTS,
    coincide,
    is_coincidence,
)
from tests.simulator.equipment import ALL_WEIGHTS, plan_of
from tests.simulator.plan import PACE, Weather, draw
from tests.simulator.world import World

BROUGHT_ABOUT = {
    "leave_behind": "snapshot_fast_forward",
    "lose_receipt": "snapshot_ignored_old",
    "outsleep": "late_leader",
    "appoint": "campaign_blocked_no_voter",
    "usurp": "unknown_leader_met",
    "rot": "damage_read",
}
TRIES = 20
STEPS = 400
"""Between two tries."""


def test_every_coincidence_is_here() -> None:
    assert set(BROUGHT_ABOUT) == set(COINCIDENCES) <= set(WEIGHTS)


@pytest.mark.parametrize(("scene", "mark"), BROUGHT_ABOUT.items())
def test_coincidence_comes_about(scene: str, mark: str) -> None:
    plan = plan_of(0, STEPS, COINCIDENCE)
    weights = {name: plan.weights[name] for name in PACE} | {
        "put": 1.0,
        "read": 1.0,
        "compact": 0.3,
    }
    if scene == "appoint":
        weights["add"] = 0.5  # else there is no learner
    calm = replace(plan, members=3, weather=Weather(), tick_rates=(), stable_timeouts=1)
    world = World(replace(calm, weights=weights))
    world.run()

    for number in range(TRIES):
        world._act(COINCIDENCES[scene], world.nodes[number % 3])
        world.run(STEPS)
        if world.marks[mark]:
            break

    assert world.marks[mark]
    world.calm()


def test_seeds_of_other_runs_are_drawn_as_if_there_were_no_coincidences() -> None:
    drawn = {seed: plan_of(seed) for seed in range(100) if not is_coincidence(seed)}
    special = [seed for seed in range(100) if is_coincidence(seed)]

    assert special
    assert all(not set(plan.weights) & set(COINCIDENCES) for plan in drawn.values())
    assert all(
        plan_of(seed, family=COINCIDENCE) == coincide(draw(seed, ALL_WEIGHTS)) for seed in special
    )
