"""Runs that once failed, made again in every run of the tests.

A seed means something only together with the simulator that drew its plan: another fault in the
tables, another weight, and it stands for another run. So a saved run keeps what made it fail as
well, as far as it is known, by fields of `Plan` that replace what the seed draws; and whatever is a
bug of one part has a test of its own beside that part's others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.simulator.equipment import plan_of
from tests.simulator.plan import Plan


@dataclass(frozen=True)
class Saved:
    """One run."""

    seed: int
    steps: int
    why: str
    """What was broken, in a few words."""
    family: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the plan, as `limits` or `weights`; of these two, only what differs."""

    def plan(self) -> Plan:
        """What is to be run."""
        plan = plan_of(self.seed, self.steps, self.family)
        changed = dict(self.overrides)
        if "weights" in changed:
            changed["weights"] = {**plan.weights, **changed["weights"]}
        return replace(plan, **changed)


DARK = {"weights": {"crash_at_boot": 2.0, "crash_at_write": 2.0, "power_loss": 2.0}}

SAVED: tuple[Saved, ...] = (
    Saved(6, 1_500, "a mark that came back at 0 made a start begin anew", overrides=DARK),
    Saved(269, 1_500, "a mark that was moved and not synced came back at 0", overrides=DARK),
)
