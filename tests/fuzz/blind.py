"""One target, mutated without a guide: `python -m tests.fuzz.blind NAME SEEDS FOUND SECONDS SEED`.

An input is written to FOUND before it is tried and removed when it has passed, so that one which
hangs or kills the interpreter is there afterwards. Of inputs that fail at the same line only the
shortest is kept.
"""

from __future__ import annotations

import faulthandler
import sys
import time
import traceback
from pathlib import Path
from random import Random

from tests.fuzz.catalogue import TARGETS
from tests.fuzz.mutation import mutate, random_edits
from tests.fuzz.target import Target

INPUT_SECONDS_MAX = 10
"""What an input may take before it counts as a hang."""


def main(arguments: list[str]) -> int:
    """Run; 1 = something failed."""
    name, seeds, found, seconds, seed = arguments
    inputs = [path.read_bytes() for path in sorted(Path(seeds).iterdir())]
    number = int(seed) or time.time_ns()
    random = Random(number)
    end = time.monotonic() + float(seconds)
    runs = 0
    failures: dict[str, bytes] = {}
    while time.monotonic() < end:
        data = mutate(random.choice(inputs), random_edits(random), inputs)
        place = attempt(TARGETS[name], data, Path(found, "running"))
        if place and len(data) < len(failures.get(place, data + b"x")):
            failures[place] = data
        runs += 1
    for at, data in enumerate(failures.values()):
        Path(found, f"{at:04}").write_bytes(data)
    print(f"{name}: {runs} runs, {runs / float(seconds):.0f}/s, seed {number}")  # noqa: T201
    return 1 if failures else 0


def attempt(target: Target, data: bytes, running: Path) -> str:
    """Where an input fails; "" = it holds."""
    running.write_bytes(data)
    faulthandler.dump_traceback_later(INPUT_SECONDS_MAX, exit=True)
    try:
        target.fuzz(data)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
        print(f"{target.name}: {place}: {error}"[:200])  # noqa: T201
        return place
    finally:
        faulthandler.cancel_dump_traceback_later()
        running.unlink()
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
