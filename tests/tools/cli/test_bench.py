"""`conclave bench` against a served member."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api_member import ApiMember, ServedMember
from tests.support.command import RunConclave, document_of, error_of
from tools.bench.plan import WORKLOADS as PLANNED
from tools.cli.bench import WORKLOADS
from tools.cli.exit import Exit


@pytest.fixture
def served() -> Iterator[ServedMember]:
    """An empty store behind a client port."""
    with ServedMember(ApiMember()) as running:
        yield running


def test_workloads_are_those_of_the_generator() -> None:
    assert WORKLOADS == PLANNED


@pytest.mark.parametrize("workload", ["put", "range", "txn-put"])
def test_bench_prints_a_line(run: RunConclave, served: ServedMember, workload: str) -> None:
    result = run(
        "bench", workload, "--total", "50", "--clients", "4", "--endpoints", served.address
    )

    assert result.exit_code == Exit.DONE, result.stderr
    assert result.stdout.startswith(workload)
    assert "p99" in result.stdout


def test_bench_json_and_its_keys(run: RunConclave, served: ServedMember) -> None:
    given = ["--total", "20", "--clients", "2", "--value-size", "1KiB", "--prefix", "load/"]

    document = document_of(run("bench", *given, "--endpoints", served.address, "--json"))
    count = run("kv", "get", "load/", "--prefix", "--count-only", "--endpoints", served.address)

    assert document["schema"] == "conclave/bench.v1"
    assert (document["requests"], document["errors"]) == (20, {})
    assert count.stdout == "20\n"


def test_bench_refuses_what_cannot_be_measured(run: RunConclave) -> None:
    result = run("bench", "--total", "0", "--endpoints", "127.0.0.1:1")

    assert result.exit_code == Exit.USAGE
    assert "neither a total nor a duration" in result.stderr


def test_bench_names_the_errors_of_a_run(run: RunConclave, served: ServedMember) -> None:
    given = ["--total", "4", "--clients", "1", "--value-size", "3MiB"]

    result = run("bench", *given, "--endpoints", served.address, "--json")

    assert result.exit_code == Exit.FAILED
    assert error_of(result)["message"] == "4 requests failed"
