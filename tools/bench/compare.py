"""This cluster against a real three-member etcd, in turn and in the same run.

    python -m tools.bench.compare [--rounds 3] [--clients 1,100,1000] [--seconds 3] [--json]

Both clusters run all the time, so that every round sees the same machine; only one has load. Rounds
alternate, medians are compared, and ratios are "conclave per etcd": above 1 is faster for rates and
more for memory and times. Ratios mean something on a busy machine; absolute figures do not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

import msgspec

from tools.bench.errors import BenchFailed
from tools.bench.load import measure
from tools.bench.plan import Plan, Workload
from tools.bench.report import Report
from tools.bench.side import ConclaveSide, EtcdSide, Side

SCHEMA: Final = "conclave/compare.v1"
_WORKLOADS: Final[tuple[Workload, ...]] = ("put", "range")
_KEYS: Final = 1_000
"""Keys that ranges are drawn from; put before the first round."""
_MIB: Final = 1 << 20


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of both sides."""

    title: str
    unit: str
    conclave: float
    etcd: float

    @property
    def ratio(self) -> float:
        """Conclave's figure in units of etcd's."""
        return self.conclave / self.etcd if self.etcd else 0.0

    def line(self) -> str:
        """One line for people."""
        return (
            f"{self.title:<34} {self.conclave:>11,.2f} {self.etcd:>11,.2f} {self.unit:<6}"
            f" {self.ratio:>6.2f}×"
        )


def compare(
    sides: tuple[Side, Side], clients: Sequence[int], seconds: float, rounds: int
) -> list[Row]:
    """Measure both sides in turn; the first one is conclave."""
    rows = [_row("start to first committed write", "s", [[side.start_s] for side in sides])]
    for side in sides:
        _fill(side)
    for workload in _WORKLOADS:
        for count in clients:
            rows += _load_rows(sides, workload, count, seconds, rounds)
    memory = [[rss / _MIB for rss in side.memory_bytes()] for side in sides]
    rows.append(_row("memory of a member after the load", "MiB", memory))
    restarts = [[side.restart_member() for _ in range(rounds)] for side in sides]
    rows.append(_row("killed member restarted to serving", "s", restarts))
    return rows


def _load_rows(
    sides: tuple[Side, Side], workload: Workload, clients: int, seconds: float, rounds: int
) -> list[Row]:
    reports: list[list[Report]] = [[], []]
    for turn in range(rounds):
        for mine, side in zip(reports, sides, strict=True):
            report = measure(_plan(side, workload, clients, seconds, turn))
            print(f"  {side.name:<9} {report.line()}", file=sys.stderr)
            mine.append(report)
    title = f"{workload}, {clients} clients"
    return [
        _row(title, "1/s", [[one.rate for one in mine] for mine in reports]),
        _row(f"{title}, p99", "ms", [[one.p99_ms for one in mine] for mine in reports]),
    ]


def _plan(side: Side, workload: Workload, clients: int, seconds: float, turn: int) -> Plan:
    drawn = workload != "put"
    first = turn % len(side.endpoints)
    return Plan(
        # Another member comes first in each round: a lone client must not always meet the leader.
        endpoints=side.endpoints[first:] + side.endpoints[:first],
        workload=workload,
        clients=clients,
        total=0,
        duration_s=seconds,
        key_space=_KEYS if drawn else 0,
        prefix=b"read/" if drawn else b"put/%d/%d/" % (clients, turn),
    )


def _fill(side: Side) -> None:
    """Put the keys that ranges will read, and warm both sides alike."""
    measure(Plan(endpoints=side.endpoints, clients=50, total=_KEYS, prefix=b"read/"))


def _row(title: str, unit: str, figures: Iterable[Sequence[float]]) -> Row:
    conclave, etcd = (round(median(side), 4) for side in figures)
    return Row(title=title, unit=unit, conclave=conclave, etcd=etcd)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a comparison from the command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="tools.bench.compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", default="1,100,1000")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    clients = [int(count) for count in options.clients.split(",")]
    try:
        with ConclaveSide() as conclave, EtcdSide() as etcd:
            rows = compare((conclave, etcd), clients, options.seconds, options.rounds)
    except BenchFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        entries = [{**msgspec.structs.asdict(row), "ratio": round(row.ratio, 3)} for row in rows]
        print(json.dumps({"schema": SCHEMA, "rounds": options.rounds, "rows": entries}))
    else:
        print(f"{'':<34} {'conclave':>11} {'etcd':>11}         ratio")
        print("\n".join(row.line() for row in rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
