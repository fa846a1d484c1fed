"""Every file of a store damaged in every way: refused, detected or harmless, never a wrong answer.

`--crash-seeds N -s` takes N recorded stores and prints what became of them.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.store.crash.damage import Table, damaged, moments, outcome, written
from tests.store.crash.witness import History, compiled_shim, record

STEPS = 100
CASES = 120


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_shim(tmp_path_factory.mktemp("shim"))


def test_damaged_file_is_never_believed(
    shim: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table: Table = {}
    for seed in range(int(request.config.getoption("--crash-seeds"))):
        chance = Random(seed)
        history = History.of(seed, STEPS)
        found = moments(record(shim, tmp_path / "recorded", seed, STEPS, {}), chance, 60)
        for _ in range(CASES):
            older, newer = sorted(chance.sample(range(len(found)), 2))
            case = damaged(found[newer], found[older], chance)
            if case is None:
                continue
            name, files = case
            root = tmp_path / "left"
            root.mkdir()
            try:
                ended = outcome(root, files, history, found[newer].acknowledged, monkeypatch)
            except Exception as error:
                error.add_note(f"seed {seed}: {name}")
                raise
            table.setdefault(name, Counter())[ended] += 1
            shutil.rmtree(root)
    sys.stdout.write(written(table))

    assert sum(counts.total() for counts in table.values()) > CASES
