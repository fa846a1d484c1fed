"""The scripts in testdata/: what watch streams get, line by line. See `scenario`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.watch.scenario import Scenario
from tests.support import datadriven

SCRIPTS = sorted(Path(__file__).with_name("testdata").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scenario_script(path: Path, rewrite: bool) -> None:
    datadriven.run(path, Scenario().execute, rewrite=rewrite)


def test_scenario_scripts_are_found() -> None:
    assert len(SCRIPTS) >= 6
