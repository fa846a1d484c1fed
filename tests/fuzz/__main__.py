"""Long runs: `make fuzz [TARGET=name,…] [SECONDS=n]`.

With atheris (the extra `fuzz`) a run is guided by coverage: inputs that reach new branches become
seeds for others. Without it seeds are mutated blindly, as in the short run, only longer. Either way
an input that fails is saved under `regressions/`, where every short run replays it.

Each target runs in a process of its own, because a guided run ends its process, and because a hang
or a crash of the interpreter must end one target only.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.catalogue import TARGETS

GRACE_SECONDS = 60
"""How much longer than asked for a target may take before it counts as hung."""


def main(arguments: list[str]) -> int:
    """Run targets one after the other; 1 = something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", default="", help="names, separated by commas; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="0: a new one each time")
    options = parser.parse_args(arguments)
    names = [name for name in options.target.split(",") if name] or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    guided = importlib.util.find_spec("atheris") is not None
    if not guided:
        print("atheris is not installed (pip install -e .[fuzz]): mutating without a guide")  # noqa: T201
    failed = [name for name in names if not run(name, options.seconds, options.seed, guided)]
    for name in failed:
        print(f"FAILED {name}: replay with  pytest tests/fuzz -k {name}")  # noqa: T201
    return 1 if failed else 0


def run(name: str, seconds: int, seed: int, guided: bool) -> bool:
    """Run one target; False = an input failed, and was saved."""
    target = TARGETS[name]
    mode = "guided" if guided else "blind"
    with tempfile.TemporaryDirectory(prefix="conclave-fuzz-") as scratch:
        seeds, found = Path(scratch, "seeds"), Path(scratch, "found")
        seeds.mkdir()
        found.mkdir()
        for number, data in enumerate(corpus.seeds(target)):
            (seeds / f"{number:04}").write_bytes(data)
        command = [sys.executable, "-m", f"tests.fuzz.{mode}", name, str(seeds), str(found)]
        command += [str(seconds), str(seed)]
        try:
            code = subprocess.run(command, timeout=seconds + GRACE_SECONDS, check=False).returncode
        except subprocess.TimeoutExpired:
            code = 1
        for path in sorted(found.iterdir()):
            print(f"{name}: {corpus.keep(target, path.read_bytes())}")  # noqa: T201
        return code == 0 and not any(found.iterdir())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
