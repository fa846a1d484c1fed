"""Many seeds, on all cores.

A run is bounded by its steps, so no clock is needed to end one. A worker that dies takes the seeds
of its batch with it, and all of them are reported as failed.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from tests.simulator import equipment
from tests.simulator.observer import SimulationFailed
from tests.simulator.plan import Plan
from tests.simulator.world import World

BATCH = 5
"""Seeds that a worker takes at once."""


@dataclass(frozen=True)
class Result:
    """What came of one run."""

    seed: int
    family: str = ""
    steps: int = 0
    simulated_ms: int = 0
    seconds: float = 0.0
    """Of processor time."""
    hash: int = 0
    marks: dict[str, int] = field(default_factory=dict)
    failure: str = ""
    """What does not hold; "" = everything does."""
    where: str = ""
    """The members at that moment."""
    calming: bool = False
    """Whether it failed in the liveness phase."""
    void: bool = False
    """Whether there was no liveness phase, because too many members were gone."""


def simulate(plan: Plan, show: Callable[[str], object] | None = None) -> Result:
    """Make the run of a plan, both phases."""
    began = time.process_time()  # only to tell how fast it was
    world = World(plan, show=show)
    failure = where = ""
    try:
        world.run()
        world.calm()
    except SimulationFailed as failed:
        failure = str(failed)
        where = "\n".join(getattr(failed, "__notes__", ()))
        if show is not None and failed.__cause__ is not None:
            where += "\n" + "\n".join(trail(failed.__cause__))
    return Result(
        plan.seed,
        plan.family,
        world.step,
        world.trace.now_ms,
        time.process_time() - began,
        world.trace.hash,
        world.marks.counts,
        failure,
        where,
        world.quiet,
        world.void,
    )


def trail(error: BaseException) -> Iterator[str]:
    """Where an exception came from, the innermost places last."""
    import traceback

    for frame in traceback.extract_tb(error.__traceback__)[-6:]:
        yield f"  {os.path.relpath(frame.filename)}:{frame.lineno} {frame.name}: {frame.line}"


def simulate_batch(seeds: Sequence[int], steps: int | None, family: str | None) -> list[Result]:
    """A few seeds in this process; what is raised otherwise is a failure as well."""
    results = []
    gc.freeze()  # what is there already is not looked at again and again
    gc.disable()  # a run is one heap of cycles: collected at its end, it costs least
    try:
        for seed in seeds:
            results.append(simulate(equipment.plan_of(seed, steps, family)))
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    return results


def simulate_many(
    seeds: range, steps: int | None = None, family: str | None = None, workers: int | None = None
) -> Iterator[Result]:
    """All of them, in the order in which they end."""
    workers = workers or os.cpu_count() or 1
    batches = [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]
    if workers == 1:
        for batch in batches:
            yield from simulate_batch(batch, steps, family)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting: dict[Future[list[Result]], range] = {}
        try:
            while batches or waiting:
                while batches and len(waiting) < 2 * workers:
                    batch = batches.pop(0)
                    waiting[pool.submit(simulate_batch, batch, steps, family)] = batch
                for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield from _results(done, waiting.pop(done))
        finally:
            for future in waiting:
                future.cancel()


def _results(done: Future[list[Result]], batch: range) -> list[Result]:
    try:
        return done.result()
    except BrokenProcessPool as error:
        return [Result(seed, failure=f"a worker died: {error}") for seed in batch]
