"""One owner per data directory."""

import subprocess
import sys
from pathlib import Path

import pytest

from store.directory import DataDirectory
from store.errors import DirectoryHeld

HOLD = """
import sys
from pathlib import Path
from store.directory import DataDirectory
DataDirectory(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_second_owner_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "n1")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DirectoryHeld, match=f"in use by process {holder.pid}") as refused:
            DataDirectory(tmp_path / "n1").acquire()
        holder.kill()

    assert refused.value.holder == holder.pid
    with DataDirectory(tmp_path / "n1"):
        pass  # the lock of a killed process is free at once


def test_release_lets_the_next_one_in(tmp_path: Path) -> None:
    first, second = DataDirectory(tmp_path / "n1"), DataDirectory(tmp_path / "n1")
    with first, pytest.raises(DirectoryHeld):
        second.acquire()
    second.acquire()
    second.release()
    second.release()


def test_two_members_in_one_place_do_not_meet(tmp_path: Path) -> None:
    with DataDirectory(tmp_path / "n1"), DataDirectory(tmp_path / "n2"):
        assert not DataDirectory(tmp_path / "n1").holds_database()
