"""Options of the whole suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite`: scenario scripts take what they get for what they expect; read the diff."""
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="rewrite the expected output of scenario scripts instead of comparing it",
    )


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether scripts are to be rewritten."""
    return bool(request.config.getoption("--rewrite"))
