"""The precedence of the colour rules, and that plain paint leaves text alone."""

from __future__ import annotations

import pytest

from tools.cli.colour import PLAIN, Choice, Paint, wants_colour


@pytest.mark.parametrize(
    ("choice", "environment", "terminal", "wanted"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_wants_colour_by_precedence(
    choice: Choice, environment: dict[str, str], terminal: bool, wanted: bool
) -> None:
    assert wants_colour(choice, environment, terminal) is wanted


def test_paint_wraps_and_resets() -> None:
    assert Paint(on=True)("READY", "green", "bold") == "\x1b[32;1mREADY\x1b[0m"


def test_paint_without_a_colour_changes_nothing() -> None:
    assert Paint(on=True)("READY", "") == "READY"
    assert Paint(on=True)("", "red") == ""
    assert PLAIN("READY", "green") == "READY"
