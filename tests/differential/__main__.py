"""Requests drawn at random to a real etcd and to conclave; `make differential` is this.

    make differential [OPS=100000] [SEED=1] [AGAINST=cluster|member]

Every answer must be equal, field by field, and every watcher be told the same, in the same order.

    generator    draws episodes              step       what is asked, the same of everybody
    episode      runs one at all sides       side       one server: asks and takes answers
    observer     its watch streams           numbering  revisions and leases as a server counts them
    shrink       the shortest way to a difference

What is drawn is a function of the seed. A difference ends the run and is told in the fewest steps
that were found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.differential.campaign import campaign
from tests.differential.side import Side
from tests.support.api_member import ApiMember, ServedMember
from tests.support.etcd_process import running_etcd
from tests.support.live_cluster import running_cluster


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.differential",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--operations", type=int, default=10_000, help="how many to compare")
    parser.add_argument("--seed", type=int, default=1, help="of the first episode")
    parser.add_argument(
        "--against",
        choices=("cluster", "member"),
        default="cluster",
        help="three real nodes, or one without consensus in this process",
    )
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        etcd = stack.enter_context(running_etcd(directory / "etcd"))
        if options.against == "cluster":
            cluster = running_cluster(directory / "conclave", "differential")
            endpoints = stack.enter_context(cluster).endpoints
        else:
            endpoints = [stack.enter_context(ServedMember(ApiMember())).address]
        sides = [Side("etcd", [etcd.address]), Side("conclave", endpoints)]
        for side in sides:
            stack.callback(side.close)
        try:
            experience = campaign(sides, options.operations, options.seed, tell)
        except AssertionError as error:
            tell(str(error))
            return 1
        tell(experience.table())
        return 0


def tell(line: str) -> None:
    """One line for whoever sits there, at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
