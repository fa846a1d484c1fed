"""Hunts planted bugs on the command line; `make sim-mutants` is this.

Exits with 1 if one survives.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from tests.simulator.mutants.catalogue import MUTANTS
from tests.simulator.mutants.hunt import Quarry, hunt

WIDTH = 110
"""Characters of a failure that are shown."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator.mutants", description=__doc__)
    parser.add_argument("numbers", type=int, nargs="*", help="of mutants; by default all")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many at most")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--steps", type=int, help="steps of each run; by default the simulator's")
    parser.add_argument("--workers", type=int, help="processes; by default one per core")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args(arguments)
    numbers = options.numbers or list(MUTANTS)
    seeds = range(options.first, options.first + options.seeds)
    found = []
    for quarry in hunt(numbers, seeds, options.steps, options.workers):
        found.append(quarry)
        if not options.json:
            show(line(quarry))
    found.sort(key=lambda quarry: (quarry.number, quarry.blind))
    survivors = [quarry.number for quarry in found if not quarry.killed]
    if options.json:
        document = {"mutants": [each.document() for each in found], "survivors": survivors}
        show(json.dumps(document, indent=2))
    else:
        show("\n".join(table(found)))
    return 1 if survivors else 0


def show(text: str) -> None:
    """For whoever waits."""
    print(text, flush=True)  # noqa: T201


def table(found: Sequence[Quarry]) -> Iterator[str]:
    """What came of a hunt, by number."""
    yield ""
    yield from map(line, found)
    killed = [quarry for quarry in found if quarry.killed and not quarry.blind]
    blind = [quarry for quarry in found if quarry.blind]
    yield f"killed {len(killed)} of {len(found) - len(blind)} mutants"
    if blind:
        seen = sum(quarry.killed for quarry in blind)
        yield f"and {seen} of {len(blind)} without the product's own checks"


def line(quarry: Quarry) -> str:
    """One mutant in one line."""
    name = quarry.mutant.name + (" (no own checks)" if quarry.blind else "")
    if quarry.killed:
        fate = f"seed {quarry.seed:<5} {quarry.phase:>4} {quarry.step:>6}  {quarry.how[:WIDTH]}"
    else:
        fate = f"SURVIVED {quarry.runs} runs"
    void = f"  (void: {len(quarry.void)})" if quarry.void else ""
    return f"{quarry.number:>2} {name:<62} {fate}{void}"


if __name__ == "__main__":
    sys.exit(main())
