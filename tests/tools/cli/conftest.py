"""A home of its own for every test: no cluster, no settings, no environment of the developer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import RunConclave
from tests.support.management_server import ManagementServer
from tests.support.status_document import status_document


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Directories below a fresh place; the runtime one is short, as socket paths must be."""
    for name in [name for name in os.environ if name.startswith(("CONCLAVE_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    with tempfile.TemporaryDirectory(prefix="cl-", dir="/tmp") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        yield tmp_path


@pytest.fixture
def run(home: Path) -> RunConclave:
    """The command, in a home of its own."""
    return RunConclave()


@pytest.fixture
def server(home: Path) -> Iterator[ManagementServer]:
    """The management socket of a running cluster named default, a directory per node beside it."""
    directory = home / "kept"
    with ManagementServer(directory, status_document()) as running:
        for name in ("n1", "n2", "n3"):
            (directory / name).mkdir()
        yield running
