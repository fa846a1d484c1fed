"""The simulator as a part of the suite: a few hundred seeds, every saved one, and itself."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from tests.simulator.determinism import differing
from tests.simulator.equipment import ALL_ACTIONS, plan_of
from tests.simulator.mark_table import MARKS
from tests.simulator.observer import Observer, SimulationFailed, fail
from tests.simulator.plan import FAMILIES, PACE, Plan
from tests.simulator.pool import Result, simulate, simulate_batch, simulate_many
from tests.simulator.seeds import SAVED, Saved
from tests.simulator.shrink import Shrinking
from tests.simulator.summary import Summary
from tests.simulator.world import World
from tests.support.member_cluster import Node

SEEDS, STEPS, PART = 200, 5_000, 10


def assert_holds(result: Result) -> None:
    replay = f"replay: make sim SEED={result.seed} STEPS={STEPS}"
    assert not result.failure, f"{result.failure}\n{result.where}\n{replay}"


@pytest.fixture(scope="module")
def batches() -> Iterator[dict[int, Future[list[Result]]]]:
    """All seeds, under way on all cores; by the first of each part."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context) as pool:
        parts = range(0, SEEDS, PART)
        yield {
            first: pool.submit(simulate_batch, range(first, first + PART), STEPS, None)
            for first in parts
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_seeds_hold(first: int, batches: dict[int, Future[list[Result]]]) -> None:
    for result in batches[first].result():
        assert_holds(result)


def test_seeds_areNotVoid(batches: dict[int, Future[list[Result]]]) -> None:
    """A silence means something only if things have happened."""
    results = [result for batch in batches.values() for result in batch.result()]
    marks: Counter[str] = Counter()
    for result in results:
        marks.update(result.marks)

    assert sum(result.void for result in results) <= SEEDS // 50
    assert len(marks) >= 0.8 * len(MARKS)


@pytest.mark.parametrize("saved", SAVED, ids=lambda saved: f"{saved.seed}: {saved.why}")
def test_seed_thatFailedOnce_holds(saved: Saved) -> None:
    assert_holds(simulate(saved.plan()))


def test_sameSeed_doesTheSame_whateverTheHashesOfStrings() -> None:
    assert differing(range(5), 2_000) == []


def test_otherSeed_doesSomethingElse() -> None:
    hashes = {simulate(plan_of(seed, 500)).hash for seed in range(4)}

    assert len(hashes) == 4


# The plan.


def test_plan_leavesOutHalfOfTheFaults_andNotAlwaysTheSame() -> None:
    plans = [plan_of(seed) for seed in range(100)]
    faults = set(ALL_ACTIONS) - {"put", "read"}

    shares = [len(faults.intersection(plan.weights)) / len(faults) for plan in plans]

    assert 0.3 < sum(shares) / len(shares) < 0.6
    for fault in faults:
        assert 0 < sum(fault in plan.weights for plan in plans) < len(plans), fault
    assert {plan.family for plan in plans} == set(FAMILIES)
    assert {plan.members for plan in plans} == {1, 2, 3, 4, 5, 7}


def test_plan_isToldInAFewLines() -> None:
    assert len(plan_of(3).describe().splitlines()) < 10


# What the simulator does with what it finds.


class Objection(Observer):
    """Objects to something that a run does sooner or later."""

    def __init__(self, world: World) -> None:
        self._world = world

    def ended(self, node: Node) -> None:
        if self._world.cluster.nodes[1].up and node.id != 1:
            fail("somebody ended", member=node.id)


def test_failure_isReported_andMadeSmaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.simulator.world.observe", lambda w: w.observers.append(Objection(w)))
    plan = next(p for p in map(plan_of, range(100)) if "kill" in p.weights and p.members == 3)

    result = simulate(plan)
    smaller, found = Shrinking(plan, result, lambda line: None).run()

    assert result.failure.startswith("somebody ended member=")
    assert "step" in result.where
    assert found.failure.startswith("somebody ended member=")
    assert smaller.steps <= plan.steps
    acts = set(smaller.weights) - set(PACE) - smaller.skipped
    assert len(acts) <= 2  # which one ended somebody, and at most one that made it


def test_invariant_ofTheProduct_failsTheRun(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("node.loop.Loop._apply", broken)

    with pytest.raises(SimulationFailed, match="ZeroDivisionError: a bug"):
        World(plan_of(1, 500)).run()


def test_skippedActions_leaveTheOthersAsTheyWere() -> None:
    plan = Plan(1, weights={"turn": 50.0, "sync": 20.0, "tick": 20.0, "kill": 1.0, "pause": 1.0})
    drawn = list(zip(World(plan).draw(), range(500), strict=False))
    left = list(zip(World(plan.without("kill")).draw(), range(500), strict=False))

    assert [(name, node.id) for (name, node), _ in drawn] == [
        (name, node.id) for (name, node), _ in left
    ]


def test_campaign_onTwoCores_findsTheSame() -> None:
    alone = {r.seed: r.hash for r in simulate_many(range(6), 300, None, 1)}

    together = {r.seed: r.hash for r in simulate_many(range(6), 300, None, 2)}

    assert alone == together


def test_summary_namesWhatFailed_andWhatNeverHappened() -> None:
    summary = Summary(1)
    summary.add(Result(7, "steady", 100, 5_000, 0.1, failure="no leader\nat all"))
    summary.add(Result(8, "tiny", 100, 5_000, 0.1, marks={"disk_error": 3}))

    table, document = summary.table(), summary.document()

    assert "seed 7" in table
    assert "no leader" in table
    assert "disk_error 3" in table
    assert document["failures"] == [{"seed": 7, "step": 100, "failure": "no leader\nat all"}]
    never = document["never_hit"]
    assert isinstance(never, list)
    assert "disk_error" not in never
