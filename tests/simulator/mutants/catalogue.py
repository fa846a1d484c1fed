"""All planted bugs, by number."""

from __future__ import annotations

from tests.simulator.mutants import (
    configuring,
    reading,
    replicating,
    serving,
    storing,
    voting,
)
from tests.simulator.mutants.mutant import Mutant, mutants_of

MUTANTS: dict[int, Mutant] = {
    mutant.number: mutant
    for mutant in sorted(
        (
            mutant
            for module in (configuring, reading, replicating, serving, storing, voting)
            for mutant in mutants_of(module)
        ),
        key=lambda mutant: mutant.number,
    )
}
