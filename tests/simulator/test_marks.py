"""Marks count what is declared and refuse what is not."""

from __future__ import annotations

import pytest

from tests.simulator.marks import MARKS, Marks, UnknownMark


def test_hits_areCounted() -> None:
    marks = Marks()

    marks.hit("restart")
    marks.hit("restart", 2)

    assert marks["restart"] == 3
    assert marks.counts == {"restart": 3}


def test_undeclaredMark_isAnError() -> None:
    with pytest.raises(UnknownMark):
        Marks().hit("something")


def test_countsOfOtherProcesses_areAdded() -> None:
    one, other = Marks(), Marks()
    one.hit("restart")
    other.hit("restart", 4)
    other.hit("truncated")

    one.merge(other.counts)

    assert one.counts == {"restart": 5, "truncated": 1}


def test_missing_isWhatWasNeverHit() -> None:
    marks = Marks()
    marks.hit("restart")

    assert set(marks.missing()) == set(MARKS) - {"restart"}


def test_rare_dependsOnTheNumberOfSeeds() -> None:
    marks = Marks()
    marks.hit("restart", 10)

    assert "restart" not in marks.rare(1_000)
    assert "restart" in marks.rare(2_000)


def test_table_starsTheRare() -> None:
    marks = Marks()
    marks.hit("restart", 10)

    rarest, *_, most_frequent = marks.table(100).splitlines()

    assert rarest.startswith("*")
    assert most_frequent.split()[:2] == ["10", "restart"]
