"""The scripts in testdata/auth/: users, roles and what they allow. See `auth_scenario`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.machine.auth_scenario import AuthScenario
from tests.support import datadriven

SCRIPTS = sorted(Path(__file__).parent.joinpath("testdata", "auth").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_auth_script(path: Path, rewrite: bool) -> None:
    datadriven.run(path, AuthScenario().execute, rewrite=rewrite)


def test_auth_scripts_are_found() -> None:
    assert len(SCRIPTS) >= 3
