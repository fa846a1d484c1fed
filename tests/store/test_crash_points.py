"""SIGKILL for a real process at every step of a write, a start, an install, a sweep.

What it had acknowledged is there afterwards, nothing else appears, and nothing is refused.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.store.crash.points import ONCE, POINTS
from tests.store.crash.script import Content
from tests.store.crash.trace import notes_of
from tests.store.crash.witness import (
    REPORTS,
    History,
    acknowledged,
    compiled_shim,
    record_on,
    reported,
    run_child,
)

STEPS = 60
LIVES = 2
OFTEN = 12
"""Up to which time a point that is passed again and again is let go."""


def end_at(point: str, root: Path, seed: int, start: Content) -> tuple[bool, Content]:
    """One life that ends at the point, or in order if it does not get there."""
    (root / REPORTS).unlink(missing_ok=True)
    count = 1 if point in ONCE else Random(seed).randint(1, OFTEN)
    killed = run_child(root, seed, STEPS, kill=(point, count)) == -9
    history = History.of(seed, STEPS, start)

    content = history.assert_held(root, acknowledged(reported(root)))
    return killed, replace(content, write_seq=content.write_seq + 1)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_point_loses_nothing_acknowledged(
    tmp_path: Path, request: pytest.FixtureRequest, point: str
) -> None:
    kills = 0
    for number in range(int(request.config.getoption("--crash-seeds")) // 2 or 1):
        root = tmp_path / str(number)
        root.mkdir()
        content = Content()
        for life in range(LIVES):
            seed = 1000 * number + life
            killed, content = end_at(point, root, seed, content)
            kills += killed

    assert kills > 0


CALLS = 400
"""About as many as a life makes to its files."""


def test_killed_in_the_middle_of_a_call_loses_nothing_acknowledged(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Inside LevelDB, too: a write to a log, a table or the manifest is half done."""
    shim = compiled_shim(tmp_path)
    chance = Random(7)
    kills = 0
    for seed in range(4 * int(request.config.getoption("--crash-seeds"))):
        root = tmp_path / str(seed)
        root.mkdir()
        at = chance.randint(1, CALLS)
        status, calls = record_on(root, shim, tmp_path / "trace", seed, STEPS, kill_at=at)
        History.of(seed, STEPS).assert_held(root, acknowledged(notes_of(calls)))
        kills += status == -9

    assert kills > 0
