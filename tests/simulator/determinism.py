"""The same seed does the same, also in another process with other hashes of strings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from tests.simulator.equipment import plan_of
from tests.simulator.pool import simulate


def hashes(seeds: Sequence[int], steps: int | None) -> dict[int, int]:
    """Trace hashes, made here."""
    return {seed: simulate(plan_of(seed, steps)).hash for seed in seeds}


def hashes_elsewhere(seeds: Sequence[int], steps: int | None, hash_seed: int) -> dict[int, int]:
    """The same, made in a process with another seed for hashes of strings."""
    program = (
        "from tests.simulator.determinism import hashes\n"
        f"print(hashes({list(seeds)!r}, {steps!r}))\n"
    )
    found: dict[int, int] = eval(said_elsewhere(program, hash_seed))
    return found


def said_elsewhere(program: str, hash_seed: int) -> str:
    """What a program prints in a process of its own, with this seed for hashes of strings."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def differing(seeds: Sequence[int], steps: int | None = None) -> list[int]:
    """Seeds that do not do the same twice."""
    here = hashes_elsewhere(seeds, steps, 1)
    there = hashes_elsewhere(seeds, steps, 4242)
    return [seed for seed in seeds if here[seed] != there[seed]]
