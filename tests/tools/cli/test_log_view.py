"""Reading, merging and following log files."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tools.cli.log_view import BEGINNING, Tail, merged, read_log, time_of


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z x", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.250Z x", datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)),
        ("2026-01-02 03:04:05,250 x", datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)),
        ("2026-01-02T04:04:05+01:00 x", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (
            '{"level": "info", "ts": "2026-01-02T03:04:05Z"}',
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        ),
        ("no time here", None),
        ("2026-13-40T99:99:99Z not a date", None),
        (" " * 80 + "2026-01-02T03:04:05Z too late in the line", None),
    ],
)
def test_time_of_a_line(text: str, moment: datetime | None) -> None:
    assert time_of(text) == moment


def test_read_log_of_an_absent_file_is_empty(tmp_path: Path) -> None:
    assert list(read_log("n1", tmp_path / "log")) == []


def test_read_log_survives_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"2026-01-01T00:00:00Z \xff\xfe\nlast without newline")

    lines = list(read_log("n1", tmp_path / "log"))

    assert [line.text for line in lines] == ["2026-01-01T00:00:00Z ��", "last without newline"]
    assert lines[0].moment == lines[1].moment


def test_merged_lines_without_any_time_come_first(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("2026-01-01T00:00:01Z a\n")
    (tmp_path / "b").write_text("b1\nb2\n")

    lines = list(merged({"n1": tmp_path / "a", "n2": tmp_path / "b"}))

    assert [line.text[-2:] for line in lines] == ["b1", "b2", " a"]
    assert lines[0].moment == BEGINNING


def test_tail_hands_out_whole_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    tail = Tail("n1", path, from_end=True)

    with path.open("a") as file:
        file.write("one\ntw")
    first = [line.text for line in tail.poll()]
    with path.open("a") as file:
        file.write("o\n")
    second = [line.text for line in tail.poll()]

    assert (first, second, tail.poll()) == (["one"], ["two"], [])


def test_tail_starts_over_when_the_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a long old line\n")
    tail = Tail("n1", path, from_end=True)

    (tmp_path / "new").write_text("fresh\n")
    os.replace(tmp_path / "new", path)

    assert [line.text for line in tail.poll()] == ["fresh"]


def test_tail_starts_over_when_the_file_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a long old line\n")
    tail = Tail("n1", path, from_end=True)

    path.write_text("cut\n")

    assert [line.text for line in tail.poll()] == ["cut"]


def test_tail_waits_for_a_file_that_does_not_exist_yet(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail("n1", path, from_end=True)

    before = tail.poll()
    path.write_text("first\n")

    assert before == []
    assert [line.text for line in tail.poll()] == ["first"]
