"""Counts of the hot paths: plain numbers."""

from __future__ import annotations

import pytest

from node.tally import Histogram, Tally


@pytest.mark.parametrize(
    ("done", "txns"),
    [((0, 0, 0), 0), ((1, 0, 0), 0), ((0, 1, 0), 0), ((1, 1, 0), 1), ((0, 0, 2), 1)],
)
def test_view_used_more_than_once_is_a_txn(done: tuple[int, int, int], txns: int) -> None:
    tally = Tally()

    tally.operations(*done)

    assert (tally.ranges, tally.puts, tally.deletes, tally.txns) == (*done, txns)


def test_histogram_counts_a_bound_below_itself() -> None:
    histogram = Histogram((0.1, 0.2))

    for seconds in (0.0, 0.1, 0.15, 0.2, 5.0):
        histogram.add(seconds)

    assert histogram.counts == [2, 2, 1]
    assert histogram.sum_seconds == pytest.approx(5.45)
