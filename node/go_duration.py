"""Durations as etcd's flags have them: 10m, 1h30m, 1.5s. Standard library only: the command line,
which refuses what cannot be read, starts with this.

Source: Go's time.ParseDuration.
"""

from __future__ import annotations

import re

_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


def go_duration(text: str) -> float:
    """Seconds; negative with a minus before it.

    Raises:
        ValueError: it is none.
    """
    bare = text[1:] if text.startswith(("+", "-")) else text
    parts = _PART.findall(bare)
    if bare != "0" and (not parts or "".join(map("".join, parts)) != bare):
        raise ValueError(f"{text!r} is no duration: use 10m, 1h30m, 90s")
    seconds = sum((float(number) * _UNIT_SECONDS[unit] for number, unit in parts), 0.0)
    return -seconds if text.startswith("-") else seconds
