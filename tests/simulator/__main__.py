"""The simulator on the command line; `make sim` is this.

    make sim [SEEDS=200] [FIRST=0] [STEPS=5000]     many seeds on all cores, and what came of them
    make sim SEED=17                                one seed with its trace; if it fails, the
                                                    smallest run that still does
    make sim-determinism [SEEDS=100]                each seed in two processes with other hashes of
                                                    strings: equal traces

A seed is one run of a whole cluster in one thread: members as the product composes them, virtual
time, and a network, disks, clients and faults that draw from generators of that seed.

    plan         what a seed draws              world      members, time, steps, who watches
    actions      faults of processes, clocks    network    what becomes of a frame
    churn        members come and go            disks      crashes, power loss, damage
    situations   several faults that belong     coup       leaders deposed unawares
                 together                       coincidence  what needs many things at once
    clients      what is asked, and the judges  invariants what must hold after every step
    calm         faults end: what must happen   marks      what should have happened at all
    shrink       a smaller run that fails       seeds      runs that once failed
    mutants      bugs that must be found: the simulator is tested by planting them

A trace line is `step  virtual time  member  verb  facts`. To add a fault, write a function of world
and member, and put it into a table of actions beside its weight; every plan then draws whether and
how often it happens. To add a rule, write an `Observer`.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress

from tests.simulator.coincidence import COINCIDENCE
from tests.simulator.coup import REVOLT
from tests.simulator.determinism import differing
from tests.simulator.equipment import plan_of
from tests.simulator.plan import FAMILIES
from tests.simulator.pool import simulate, simulate_many
from tests.simulator.shrink import Shrinking
from tests.simulator.summary import Summary


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--steps", type=int, help="steps of each run")
    parser.add_argument(
        "--family", choices=[*FAMILIES, REVOLT, COINCIDENCE], help="instead of what each seed draws"
    )
    parser.add_argument("--workers", type=int, help="processes; by default one per core")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON document")
    parser.add_argument("--seed", type=int, help="replay one seed")
    parser.add_argument("--no-trace", action="store_true", help="replay without the trace")
    parser.add_argument("--no-shrink", action="store_true", help="do not look for a smaller run")
    parser.add_argument("--determinism", type=int, metavar="SEEDS", help="compare trace hashes")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return replay(options)
    if options.determinism is not None:
        return compare(options)
    return campaign(options)


def campaign(options: argparse.Namespace) -> int:
    """Run many seeds."""
    seeds = range(options.first, options.first + options.seeds)
    summary = Summary(options.workers)
    shows = sys.stderr.isatty() and not options.json
    with suppress(KeyboardInterrupt):  # what is known by then is told
        for result in simulate_many(seeds, options.steps, options.family, options.workers):
            summary.add(result)
            if result.failure and not options.json:
                tell(f"seed {result.seed} fails: {result.failure.splitlines()[0][:200]}")
            if shows:
                sys.stderr.write(f"\r{summary.seeds} of {len(seeds)} ")
    tell(json.dumps(summary.document(), indent=2) if options.json else summary.table())
    return 1 if summary.failures else 0


def replay(options: argparse.Namespace) -> int:
    """Run one seed where everybody can see it."""
    plan = plan_of(options.seed, options.steps, options.family)
    tell(plan.describe())
    result = simulate(plan, None if options.no_trace else tell)
    if not result.failure:
        tell(f"holds: {result.steps} steps, {result.simulated_ms} ms, trace {result.hash:08x}")
        return 0
    tell(f"\nfails: {result.failure}\n{result.where}")
    if not options.no_shrink:
        smaller, found = Shrinking(plan, result, lambda line: tell(f"  {line}")).run()
        tell(f"\nthe smallest that was found: {found.failure}\n{smaller.describe()}")
        simulate(smaller, tell)
        tell(found.where)
    return 1


def compare(options: argparse.Namespace) -> int:
    """Run seeds twice and compare what they did."""
    seeds = range(options.first, options.first + options.determinism)
    wrong = differing(seeds, options.steps)
    tell(f"{len(seeds)} seeds, {len(wrong)} of which did not do the same twice: {wrong}")
    return 1 if wrong else 0


def tell(line: str) -> None:
    """One line for whoever sits there, at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
