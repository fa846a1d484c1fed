"""Looks for the first seed that kills a mutant.

A mutant is killed by a run that fails with it and holds without it. When what failed was one of the
product's own checks, the mutant is hunted once more with those taken away (`blindfold`), because
the simulator has to see from outside what the product sees from inside.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import pytest

from tests.simulator.determinism import said_elsewhere
from tests.simulator.equipment import plan_of
from tests.simulator.mutants.catalogue import MUTANTS
from tests.simulator.mutants.mutant import Mutant, blindfold
from tests.simulator.plan import Plan
from tests.simulator.pool import simulate

CHUNK = 10
"""Seeds of one mutant that a process takes at once."""
RUN_SECONDS_MAX = 10.0
"""Of processor time, thirty times what a run takes."""
RAISED = re.compile(r"(?:\w+\.)*([A-Z]\w+):")
"""How a failure begins that is an exception and not a verdict of an observer."""


@dataclass(frozen=True)
class Quarry:
    """One mutant, and how far it was hunted."""

    number: int
    blind: bool = False
    """Without the product's own checks."""
    runs: int = 0
    seed: int | None = None
    """The first that kills it."""
    step: int = 0
    """Where the run failed."""
    phase: str = ""
    how: str = ""
    void: tuple[int, ...] = ()
    """Seeds that fail without the mutant, too, and prove nothing."""

    @property
    def mutant(self) -> Mutant:
        """What is hunted."""
        return MUTANTS[self.number]

    @property
    def killed(self) -> bool:
        """Whether a seed was found."""
        return self.seed is not None

    @property
    def raised(self) -> str:
        """The exception by which the product noticed; "" = an observer or judge did."""
        found = RAISED.match(self.how)
        return found[1] if found else ""

    def document(self) -> dict[str, object]:
        """All of it, for other programs."""
        mutant = self.mutant
        document: dict[str, object] = {**asdict(self), "name": mutant.name}
        return {**document, "caught_by": mutant.caught_by, "raised": self.raised}


@contextmanager
def planted(mutant: Mutant, *, blind: bool = False) -> Iterator[None]:
    """The product has this bug."""
    with pytest.MonkeyPatch.context() as patch:
        mutant.plant(patch)
        if blind:
            blindfold(patch)
        yield


class RunsAway(Exception):
    """A run that does not come to its end."""


@contextmanager
def bounded() -> Iterator[None]:
    """A bug may also turn a loop of the product into one without end, which eats all memory."""

    def end(*_: object) -> None:
        raise RunsAway(f"more than {RUN_SECONDS_MAX} s of processor time")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, RUN_SECONDS_MAX, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def chase(quarry: Quarry, seeds: Sequence[int], steps: int | None) -> Quarry:
    """Hunt through some seeds, in this process."""
    gc.disable()  # as the simulator's pool does: a run is one heap of cycles
    try:
        for seed in seeds:
            quarry = _shoot(quarry, seed, steps)
            gc.collect()
            if quarry.killed:
                break
    finally:
        gc.enable()
    return quarry


def _shoot(quarry: Quarry, seed: int, steps: int | None) -> Quarry:
    mutant = quarry.mutant
    quarry = replace(quarry, runs=quarry.runs + 1)
    if mutant.hash_seeds:
        hashes = {hash_elsewhere(mutant.number, seed, steps, hash_seed) for hash_seed in (1, 4242)}
        how = "another trace under another PYTHONHASHSEED"
        return replace(quarry, seed=seed, how=how) if len(hashes) > 1 else quarry
    plan = plan_of(seed, steps, mutant.family)
    plan = replace(plan, weights={**plan.weights, **mutant.weights})
    with planted(mutant, blind=quarry.blind), bounded():
        result = simulate(plan)
    if not result.failure:
        return quarry
    if not holds(plan):
        return replace(quarry, void=(*quarry.void, seed))
    how = result.failure.splitlines()[0]
    phase = "calm" if result.calming else "run"
    return replace(quarry, seed=seed, step=result.steps, phase=phase, how=how)


def trace_hash(number: int, seed: int, steps: int | None) -> int:
    """What a run does that has this bug, in one number."""
    with planted(MUTANTS[number]):
        return simulate(plan_of(seed, steps)).hash


def hash_elsewhere(number: int, seed: int, steps: int | None, hash_seed: int) -> int:
    """The same, made in a process with this seed for hashes of strings."""
    program = (
        "from tests.simulator.mutants.hunt import trace_hash\n"
        f"print(trace_hash({number}, {seed}, {steps}))\n"
    )
    return int(said_elsewhere(program, hash_seed))


def holds(plan: Plan) -> bool:
    """Whether the product as it is survives a run."""
    return not simulate(plan).failure


def hunt(
    numbers: Sequence[int],
    seeds: range,
    steps: int | None = None,
    workers: int | None = None,
) -> Iterator[Quarry]:
    """Each mutant through the seeds until one kills it, in the order in which they end."""
    waiting = deque((Quarry(number), seeds) for number in numbers)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context) as pool:
        running: dict[Future[Quarry], range] = {}
        try:
            while waiting or running:
                while waiting and len(running) < (workers or os.cpu_count() or 1):
                    quarry, left = waiting.popleft()
                    running[pool.submit(chase, quarry, left[:CHUNK], steps)] = left[CHUNK:]
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    left, quarry = running.pop(done), done.result()
                    if left and not quarry.killed:
                        waiting.append((quarry, left))
                        continue
                    yield quarry
                    if quarry.raised and not quarry.blind:
                        waiting.append((Quarry(quarry.number, blind=True), seeds))
        finally:
            for future in running:
                future.cancel()
