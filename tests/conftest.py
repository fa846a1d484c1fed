"""Options of the whole suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite`: scenario scripts take what they get for what they expect; read the diff.
    `--crash-seeds`: damage and crashes of the store, from a selection to hours."""
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="rewrite the expected output of scenario scripts instead of comparing it",
    )
    parser.addoption(
        "--crash-seeds",
        type=int,
        default=2,
        help="how many seeds the tests of damaged and crashed stores take",
    )


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether scripts are to be rewritten."""
    return bool(request.config.getoption("--rewrite"))
