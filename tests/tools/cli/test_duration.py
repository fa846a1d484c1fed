"""Durations and sizes: accepted forms, refused forms, and how they are told back."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.cli.duration import format_bytes, format_duration, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("250ms", 250),
        ("2s", 2_000),
        ("1m", 60_000),
        ("1m30s", 90_000),
        ("1.5s", 1_500),
        ("0.5ms", 0.5),
        ("100us", 0.1),
        ("1h", 3_600_000),
        ("2d", 172_800_000),
        (" 3s ", 3_000),
        ("0", 0),
    ],
)
def test_parse_duration_reads_units(text: str, milliseconds: float) -> None:
    assert parse_duration(text) == pytest.approx(milliseconds)


@pytest.mark.parametrize("text", ["30", "1.5", "-3"])
def test_parse_duration_refuses_a_bare_number_with_the_fix(text: str) -> None:
    with pytest.raises(ValueError, match="has no unit") as refused:
        parse_duration(text)

    assert f"{text.lstrip('-')}s" in str(refused.value)
    assert f"{text.lstrip('-')}ms" in str(refused.value)


@pytest.mark.parametrize("text", ["", "s", "5 s", "5 seconds", "1s2", "-2s", "1e3s", "2S", "١s"])
def test_parse_duration_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256B", 256),
        ("64KiB", 65_536),
        ("1kB", 1_000),
        ("1.5MB", 1_500_000),
        ("2 GiB", 2 << 30),
        ("0", 0),
    ],
)
def test_parse_size_reads_units(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_parse_size_refuses_a_bare_number_with_the_fix() -> None:
    with pytest.raises(ValueError, match="write 64B for bytes or 64KiB"):
        parse_size("64")


@pytest.mark.parametrize("text", ["64K", "64kib", "KiB", "-1KiB", "1MiB2"])
def test_parse_size_refuses_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (8.4, "8 ms"),
        (999, "999 ms"),
        (12_000, "12s"),
        (59_999, "59s"),
        (252_000, "4m12s"),
        (11_100_000, "3h05m"),
        (187_200_000, "2d4h"),
    ],
)
def test_format_duration_uses_two_units_at_most(milliseconds: float, text: str) -> None:
    assert format_duration(milliseconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (61 << 20, "61M"), (1 << 30, "1.0G"), (1536 << 20, "1.5G")],
)
def test_format_bytes_uses_the_largest_unit(size: int, text: str) -> None:
    assert format_bytes(size) == text


@given(st.integers(0, 10**4), st.sampled_from(["us", "ms", "s", "m", "h", "d"]))
@settings(deadline=None, max_examples=50)
def test_parse_duration_grows_with_its_unit(count: int, unit: str) -> None:
    assert parse_duration(f"{count}{unit}") >= parse_duration(f"{count}us")


@given(st.text(max_size=12))
@settings(deadline=None, max_examples=200)
def test_parse_refuses_by_value_error_only(text: str) -> None:
    for parse in (parse_duration, parse_size):
        with suppress(ValueError):
            assert parse(text) >= 0
