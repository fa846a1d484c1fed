"""Columns line up whatever the cells hold."""

from __future__ import annotations

from tools.cli.colour import Paint
from tools.cli.table import columns, printable, width


def test_columns_start_at_the_same_place() -> None:
    lines = columns([["NODE", "STATE", "PID"], ["n1", "running", "7"], ["n10", "-", "24112"]])

    assert lines == ["NODE  STATE    PID", "n1    running  7", "n10   -        24112"]


def test_columns_count_painted_and_wide_cells_by_what_is_seen() -> None:
    paint = Paint(on=True)

    lines = columns([[paint("a", "red"), "x"], ["木", "y"], ["bb", "z"]])

    assert [width(line) for line in lines] == [5, 5, 5]


def test_columns_take_ragged_rows() -> None:
    assert columns([["a", "b"], ["ccc"]]) == ["a    b", "ccc"]
    assert columns([]) == []


def test_printable_replaces_control_characters() -> None:
    assert printable("a\x1b[2Jb\nc\x7f") == "a�[2Jb�c�"
