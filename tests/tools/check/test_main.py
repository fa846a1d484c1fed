"""The command line over a file: verdicts for a person, an exit code for a script."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.tools.check.client_mutations import stale_read
from tests.tools.check.generator import Generator
from tests.tools.check.surgery import Run
from tools.check import History, write_history
from tools.check.__main__ import main


def _save(history: History, folder: Path) -> str:
    path = folder / "run.jsonl"
    with path.open("wb") as file:
        write_history(history, file)
    return str(path)


def test_good_history_exits_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _save(Generator(1).run(), tmp_path)

    assert main([path, "--expiry-grace-ms", "500"]) == 0
    assert "linearizability: ok" in capsys.readouterr().out


def test_stale_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = Generator(1)
    broken = stale_read(Random(1), Run(generator.run(), generator.store))
    assert broken is not None

    assert main([_save(broken, tmp_path)]) == 1
    assert "real-time order: revision" in capsys.readouterr().out


def test_what_is_no_history_exits_three(tmp_path: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("nothing of the kind\n")

    assert main([str(path)]) == 3
    assert main([str(tmp_path / "missing")]) == 3
