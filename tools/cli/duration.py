"""Durations and sizes as people write them: `250ms`, `2s`, `1m30s`, `64KiB`.

A bare number is refused, because 5 may mean milliseconds to one reader and seconds to the next; the
refusal names both ways to write it. Values inside the program are whole milliseconds and bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import click

MILLISECONDS: Mapping[str, float] = {
    "us": 0.001,
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
}
BYTES: Mapping[str, int] = {
    "B": 1,
    "kB": 1_000,
    "MB": 1_000**2,
    "GB": 1_000**3,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
DURATION_MS_MAX = 100 * 365 * 86_400_000
SIZE_MAX = 1 << 60
NUMBER = r"[0-9]+(?:\.[0-9]+)?"
DURATION_PART = re.compile(rf"({NUMBER})(us|ms|s|m|h|d)")
DURATION = re.compile(rf"(?:{NUMBER}(?:us|ms|s|m|h|d))+")
SIZE = re.compile(rf"({NUMBER})\s*(B|kB|MB|GB|KiB|MiB|GiB)")
BARE = re.compile(rf"-?{NUMBER}")


def parse_duration(text: str) -> float:
    """Milliseconds of a duration such as `250ms`, `2s` or `1m30s`; `0` alone needs no unit.

    Raises:
        ValueError: with a text that tells how to write it.
    """
    text = text.strip()
    if text == "0":
        return 0.0
    if BARE.fullmatch(text):
        number = text.lstrip("-")
        raise ValueError(f"{text!r} has no unit: write {number}s for seconds or {number}ms")
    if not DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration: write for example 250ms, 2s, 1m30s, 1h")
    parts = DURATION_PART.findall(text)
    milliseconds = sum(float(number) * MILLISECONDS[unit] for number, unit in parts)
    if milliseconds > DURATION_MS_MAX:
        raise ValueError(f"{text[:20]!r} is too long: a hundred years are the most")
    return milliseconds


def parse_size(text: str) -> int:
    """Bytes of a size such as `256B`, `64KiB` or `1.5MB`; `0` alone needs no unit.

    Raises:
        ValueError: with a text that tells how to write it.
    """
    text = text.strip()
    if text == "0":
        return 0
    if BARE.fullmatch(text):
        number = text.lstrip("-")
        raise ValueError(f"{text!r} has no unit: write {number}B for bytes or {number}KiB")
    matched = SIZE.fullmatch(text)
    if matched is None:
        raise ValueError(f"{text!r} is not a size: write for example 256B, 64KiB, 1.5MB, 2GiB")
    count = float(matched[1]) * BYTES[matched[2]]
    if count > SIZE_MAX:
        raise ValueError(f"{text[:20]!r} is too large")
    return round(count)


def format_duration(milliseconds: float) -> str:
    """Two units at most, as a person would say it: `8 ms`, `12s`, `4m12s`, `3h05m`, `2d4h`."""
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    seconds = int(milliseconds // 1_000)
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h"


def format_bytes(count: float) -> str:
    """A size in the largest binary unit that keeps it above one: `61M`, `1.4G`."""
    for unit in ("B", "K", "M"):
        if count < 1024:
            return f"{count:.0f}{unit}"
        count /= 1024
    return f"{count:.1f}G"


def duration(text: str) -> float:
    """A click type: `--timeout 30s` arrives as milliseconds. The help shows its name."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def size(text: str) -> int:
    """A click type: `--value-size 64KiB` arrives as bytes."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
