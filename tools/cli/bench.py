"""`conclave bench`: the way from the command line to the load generator.

The generator itself is `tools.bench`; it is imported when it runs, with asyncio and all that it
needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tools.cli.duration import duration, size
from tools.cli.exit import Exit, Failure
from tools.cli.session import Session, pass_session
from tools.cli.tls_options import client_tls_options, destination
from tools.cli.verb import Verb

if TYPE_CHECKING:
    from tools.bench.plan import Plan
    from tools.bench.report import Report
    from transport.tls import ClientFiles

WORKLOADS = ("put", "range", "range-serializable", "txn-put", "watch")


@click.command("bench", cls=Verb, short_help="A light load, its rate and latencies.")
@click.argument("workload", type=click.Choice(WORKLOADS), default="put")
@click.option("--clients", type=click.IntRange(1), default=100, show_default=True, help="At once.")
@click.option("--connections", type=click.IntRange(0), default=0, help="0 = one per client, ≤ 100.")
@click.option(
    "--total", type=click.IntRange(0), default=10_000, show_default=True, help="Requests."
)
@click.option("--for", "period", type=duration, default="0", help="At most this long.")
@click.option("--key-size", type=size, default="8B", show_default=True, help="Behind the prefix.")
@click.option("--key-space", type=click.IntRange(0), default=0, help="So many random keys.")
@click.option("--value-size", type=size, default="256B", show_default=True)
@click.option("--prefix", default="bench/", show_default=True, help="Of every key.")
@click.option("--endpoints", metavar="HOST:PORT,…", help="Any etcd instead of a cluster.")
@client_tls_options
@pass_session
def bench_verb(session: Session, /, **options: Any) -> None:
    """Put a load on the cluster and print its rate and latencies.

    WORKLOAD is put, range, range-serializable, txn-put or watch. The keys stay; they go with
    conclave kv del bench/ --prefix
    """
    from tools.bench.errors import BenchFailed
    from tools.bench.load import measure

    endpoints, tls = destination(session, options)
    try:
        report = measure(plan_of(options, endpoints, tls))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except BenchFailed as error:
        raise Failure(f"nothing was measured: {error}", hint="conclave status") from error
    session.result(report.document(), [report.line()])
    check_errors(report)


def plan_of(
    options: Mapping[str, Any], endpoints: Sequence[str], tls: ClientFiles | None = None
) -> Plan:
    """What was typed, as the generator takes it.

    Raises:
        ValueError: the numbers contradict each other.
    """
    from tools.bench.plan import Plan

    return Plan(
        endpoints=tuple(endpoints),
        tls=tls,
        workload=options["workload"],
        clients=options["clients"],
        connections=options["connections"],
        total=options["total"],
        duration_s=options["period"] / 1_000,
        key_bytes=options["key_size"],
        key_space=options["key_space"],
        value_bytes=options["value_size"],
        prefix=options["prefix"].encode(),
    )


def check_errors(report: Report) -> None:
    """A run with errors is no clean measurement.

    Raises:
        Failure: naming the errors by their number.
    """
    if not report.errors:
        return
    counted = [f"{count} × {text}" for text, count in report.errors.items()]
    raise Failure(
        f"{sum(report.errors.values())} requests failed",
        code=Exit.PARTLY_DONE if report.requests else Exit.FAILED,
        cause="\n".join(counted),
        hint="conclave status",
    )
