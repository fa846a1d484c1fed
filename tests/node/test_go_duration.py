"""Durations in Go's notation."""

from __future__ import annotations

import pytest

from node.go_duration import go_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("2h0m0s", 7200.0),
        ("-1m", -60.0),
        ("+90s", 90.0),
        ("250ms", 0.25),
        ("3us", 3e-6),
        ("3µs", 3e-6),
        ("1ns", 1e-9),
    ],
)
def test_duration_is_what_go_makes_of_it(text: str, seconds: float) -> None:
    assert go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "-", "5", "1d", "m", "1m 5s", "1..5s", ".s", "--1s", "٥s", "1h3"]
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        go_duration(text)
