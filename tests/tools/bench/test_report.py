"""Figures of a run."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.bench.plan import Plan
from tools.bench.report import make_report, percentile_ms


@given(values=st.lists(st.integers(1, 1000), min_size=1, max_size=200))
@settings(deadline=None, max_examples=100)
def test_percentile_is_the_smallest_that_enough_do_not_exceed(values: list[int]) -> None:
    ordered = sorted(values)

    p50 = percentile_ms([value / 1e3 for value in ordered], 0.5)

    assert 2 * sum(value <= p50 for value in ordered) >= len(ordered)
    assert 2 * sum(value < p50 for value in ordered) < len(ordered)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)])
def test_percentile_of_one_to_hundred(share: float, expected: float) -> None:
    assert percentile_ms([number / 1e3 for number in range(1, 101)], share) == expected


def test_percentile_of_nothing_is_zero() -> None:
    assert percentile_ms([], 0.99) == 0.0


def test_report_counts_and_says_its_schema() -> None:
    plan = Plan(endpoints=("a:1",), clients=3)

    report = make_report(plan, [0.002, 0.001], {"etcdserver: no leader": 4}, 0.5)

    document = json.loads(json.dumps(report.document()))
    assert document["schema"] == "conclave/bench.v1"
    assert (document["requests"], document["rate"], document["max_ms"]) == (2, 4.0, 2.0)
    assert document["errors"] == {"etcdserver: no leader": 4}
    assert "4 errors" in report.line()
