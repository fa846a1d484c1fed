"""Whole members under seeded faults keep every promise. A failure names its seed."""

from __future__ import annotations

import pytest

from node import loop
from tests.node.storm import HANDOVERS, PATIENT_LIMITS, Storm


def weather(seeds: range, steps: int) -> int:
    """One storm per seed; how many snapshots were installed in all of them."""
    installed = 0
    for seed in seeds:
        storm = Storm(seed)
        try:
            storm.run(steps)
            storm.calm()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        installed += storm.snapshots
    return installed


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_storm_keepsEveryPromise(first: int) -> None:
    weather(range(first, first + 20), 400)


def test_longStorm_keepsEveryPromise() -> None:
    installed = weather(range(200, 230), 1_500)

    assert installed > 5


def test_storm_withTurnsThatTakeLittle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a turn leaves for the next one is not lost, and not out of its place."""
    monkeypatch.setattr(loop, "FRAMES_PER_TURN", 2)
    monkeypatch.setattr(loop, "ENTRIES_PER_SLICE", 1)
    monkeypatch.setattr(loop, "SLICES_PER_TURN", 1)
    monkeypatch.setattr(loop, "CATCH_UP_EVENTS", 3)

    weather(range(300, 340), 1_000)


def test_stormOverFive_keepsEveryPromise() -> None:
    for seed in range(400, 420):
        storm = Storm(seed, members=5)
        storm.run(800)
        storm.calm()


@pytest.mark.parametrize("first", range(500, 580, 20))
def test_stormOfHandovers_writesNothingTwice(first: int) -> None:
    """Proposals outlive their leaders, and forwards arrive at leaders that were elected again."""
    repeated = 0
    for seed in range(first, first + 20):
        storm = Storm(seed, weights=HANDOVERS, limits=PATIENT_LIMITS)
        try:
            storm.run(1_500)
            repeated += storm.repeated
            storm.calm()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise

    assert repeated > 50
