"""Claim: one living process per name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from transport.claim import Claim, Claimed

HOLD = """
import sys, time
from transport.claim import Claim
claim = Claim(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_second_claim_is_refused_with_the_holders_pid(tmp_path: Path) -> None:
    path = str(tmp_path / "claim")
    held = Claim(path)

    with pytest.raises(Claimed) as caught:
        Claim(path)

    assert caught.value.holder == str(os.getpid())
    held.close()
    Claim(path).close()


def test_claim_ends_with_its_process(tmp_path: Path) -> None:
    path = str(tmp_path / "claim")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(Claimed) as caught:
        Claim(path)
    holder.kill()
    holder.communicate()

    assert caught.value.holder == str(holder.pid)
    Claim(path).close()
