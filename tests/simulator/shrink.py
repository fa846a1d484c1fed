"""The smallest run that still fails in the same way, as far as a bounded search finds it.

Whatever is left out leaves the rest as it was: steps are drawn all the same and only do nothing,
and every action draws from a generator of its own step. First the shortest prefix, then whole kinds
of actions, then single ones, by halves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.simulator.plan import PACE, Plan
from tests.simulator.pool import Result, simulate

TRIES_MAX = 150
ALIKE_WORDS = 3
"""How many words of a failure must be the same for it to be the same failure."""


class Shrinking:
    """One search."""

    def __init__(self, plan: Plan, result: Result, tell: Callable[[str], object]) -> None:
        """Begin with a plan that fails."""
        self.plan = plan
        self.result = result
        self._tell = tell
        self._tries = TRIES_MAX
        self._kind = result.failure.split()[:ALIKE_WORDS]

    def run(self) -> tuple[Plan, Result]:
        """Search."""
        self._shorten()
        while self._leave_out():
            pass
        self._thin()
        self._shorten()
        return self.plan, self.result

    def _leave_out(self) -> int:
        """Fewer kinds of actions; returns how many less."""
        kinds = sorted(set(self.plan.weights) - set(PACE) - self.plan.skipped)
        return sum(self._try(self.plan.without(name)) for name in kinds)

    def _shorten(self) -> None:
        """Fewer steps: up to the failure, or by halves when it comes in the liveness phase."""
        if not self.result.calming:
            self.plan = replace(self.plan, steps=self.result.steps)
            return
        cut = self.plan.steps // 2
        while cut and self._tries:
            shorter = replace(self.plan, steps=self.plan.steps - cut)
            if not self._try(shorter) or cut > self.plan.steps // 2:
                cut //= 2

    def _thin(self) -> None:
        """Fewer single actions."""
        acted = self._acted()
        size = len(acted) // 2
        while size and self._tries:
            for at in range(0, len(acted), size):
                left_out = self.plan.skipped_steps.union(acted[at : at + size])
                self._try(replace(self.plan, skipped_steps=left_out))
            acted = [step for step in acted if step not in self.plan.skipped_steps]
            size //= 2

    def _acted(self) -> Sequence[int]:
        from tests.simulator.world import World

        world = World(self.plan)
        return [
            step
            for step, (name, _) in zip(range(1, self.plan.steps + 1), world.draw(), strict=False)
            if name not in PACE and name not in self.plan.skipped
        ]

    def _try(self, plan: Plan) -> bool:
        if not self._tries:
            return False
        self._tries -= 1
        result = simulate(plan)
        if result.failure.split()[:ALIKE_WORDS] != self._kind:
            return False
        self.plan, self.result = plan, result
        if not result.calming:
            self.plan = replace(plan, steps=result.steps)
        self._tell(f"still fails: {self.plan.steps} steps, {result.failure[:80]}")
        return True
