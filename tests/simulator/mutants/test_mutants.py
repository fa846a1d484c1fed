"""The hunt finds planted bugs, says so, and does not cry wolf.

All of them take hours (`make sim-mutants`); a handful that dies soon shows that the harness works.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from node.watch import WatchHub
from tests.simulator.mutants import __main__ as command
from tests.simulator.mutants import catalogue, hunt
from tests.simulator.mutants.catalogue import MUTANTS
from tests.simulator.mutants.hunt import Quarry, chase, planted
from tests.simulator.mutants.mutant import Mutant

SEEDS = range(25)
FRAGILE = (1, 3, 7, 8, 12, 24)
"""Of elections, replication, the log, what a leader knows, reads, and installs."""


@pytest.fixture
def harmless(monkeypatch: pytest.MonkeyPatch) -> Mutant:
    """A mutant that is none."""
    mutant = Mutant(99, "nothing is wrong", lambda patch: None)
    monkeypatch.setitem(catalogue.MUTANTS, 99, mutant)
    return mutant


def test_catalogue_isComplete_andSaysWhatCatchesEach() -> None:
    assert list(MUTANTS) == list(range(1, len(MUTANTS) + 1))
    assert len(MUTANTS) >= 40
    for mutant in MUTANTS.values():
        assert mutant.caught_by, mutant.number


@pytest.mark.parametrize("number", FRAGILE)
def test_fragileMutant_diesSoon(number: int) -> None:
    quarry = chase(Quarry(number), SEEDS, None)

    assert quarry.killed
    assert quarry.how


def test_mutantThatTheProductSees_isSeenWithoutIt() -> None:
    seen = chase(Quarry(7), SEEDS, None)
    blind = chase(Quarry(7, blind=True), SEEDS, None)

    assert seen.raised == "InvariantViolated"
    assert blind.killed
    assert not blind.raised


def test_mutant_isGoneAfterwards() -> None:
    from node.raft.log import RaftLog

    before = RaftLog.commit_to
    with planted(MUTANTS[7], blind=True):
        assert RaftLog.commit_to is not before
    assert RaftLog.commit_to is before


def test_leakOfHashOrder_isFoundInTwoProcesses() -> None:
    assert chase(Quarry(36), range(3), 600).killed


def test_harmlessMutant_survives(harmless: Mutant) -> None:
    quarry = chase(Quarry(harmless.number), range(2), 300)

    assert not quarry.killed
    assert quarry.runs == 2
    assert "SURVIVED 2 runs" in command.line(quarry)


def test_runWithoutEnd_isEnded(harmless: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    def search(self: WatchHub) -> list[tuple[int, bytes]]:
        while True:
            pass

    def never_found(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(WatchHub, "take_output", search)

    monkeypatch.setitem(catalogue.MUTANTS, 99, replace(harmless, plant=never_found))
    monkeypatch.setattr(hunt, "RUN_SECONDS_MAX", 0.2)
    quarry = chase(Quarry(99), range(1), None)

    assert quarry.raised == "RunsAway"


def test_seedThatFailsAnyway_provesNothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunt, "holds", lambda plan: False)
    killer = chase(Quarry(7), SEEDS, None)

    assert not killer.killed
    assert killer.void


def test_document_isJson_andExitCodeTellsOfSurvivors(
    harmless: Mutant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Quarry(7, runs=2, seed=1, step=9, phase="run", how="x"), Quarry(99, runs=3)]
    monkeypatch.setattr(command, "hunt", lambda *_: iter(found))

    code = command.main(["7", "99", "--json"])
    document = json.loads(capsys.readouterr().out)

    assert code == 1
    assert document["survivors"] == [99]
    assert document["mutants"][0]["name"] == MUTANTS[7].name
