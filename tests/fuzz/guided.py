"""One target, guided by coverage: `python -m tests.fuzz.guided NAME SEEDS FOUND SECONDS SEED`.

The product is instrumented while it is imported, hence the import inside. libFuzzer stops at the
first input that fails, hangs or takes too much memory, writes it to FOUND, and ends the process.
"""

from __future__ import annotations

import sys

import atheris

INPUT_SECONDS_MAX = 10
INPUT_BYTES_MAX = 1 << 14
MEMORY_MIB_MAX = 1024


def main(arguments: list[str]) -> None:
    """Run; ends the process."""
    name, seeds, found, seconds, seed = arguments
    with atheris.instrument_imports(include=["transport", "store", "node", "cluster", "tools"]):
        from tests.fuzz.catalogue import TARGETS
    options = [
        f"-artifact_prefix={found}/",
        f"-max_total_time={seconds}",
        f"-timeout={INPUT_SECONDS_MAX}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}",
        f"-seed={seed}",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([name, *options, seeds], TARGETS[name].fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
