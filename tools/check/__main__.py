"""Judge a recorded run from the command line.

    python -m tools.check run.jsonl [--expiry-grace-ms 2000]

Exit codes: 0 all checks passed, 1 something was violated, 2 something could not be decided, 3 the
file is no history.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from tools.check.errors import HistoryInvalid
from tools.check.lines import read_history
from tools.check.suite import Bounds, check_history, result_of
from tools.check.verdict import Result, describe_verdict

_EXIT_CODES: Final = {Result.OK: 0, Result.VIOLATED: 1, Result.UNKNOWN: 2}
_EXIT_INVALID: Final = 3
_NS_PER_MS: Final = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the verdicts; give the exit code."""
    options = _parse(arguments)
    grace_ms: int | None = options.expiry_grace_ms
    bounds = Bounds(expiry_grace_ns=None if grace_ms is None else grace_ms * _NS_PER_MS)
    try:
        with open(options.file, "rb") as file:
            history = read_history(file)
    except (HistoryInvalid, OSError) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return _EXIT_INVALID
    verdicts = check_history(history, bounds)
    for verdict in verdicts:
        print(describe_verdict(verdict))
    return _EXIT_CODES[result_of(verdicts)]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.check", description="judge a history")
    parser.add_argument("file", help="a history as JSON lines")
    parser.add_argument("--expiry-grace-ms", type=int, help="how late a lease may end in this run")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
