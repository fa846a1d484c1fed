"""How long history is kept, as etcd's flags say it. Standard library only: the command line, which
refuses what cannot be read, starts with this.

Source: etcd server/embed/etcd.go (parseCompactionRetention), Go's time.ParseDuration.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from node.go_duration import go_duration

Mode = Literal["periodic", "revision"]

HOUR_SECONDS = 3600.0
SECONDS_MAX = 100 * 365 * 24 * HOUR_SECONDS


def parse_retention(mode: str, text: str) -> float:
    """Seconds (periodic) or revisions (revision) of etcd's flag.

    A plain number is hours or revisions, by the mode; else it is a duration of Go's, which only the
    clock can keep. (etcd takes that for a number of revisions as well: of its nanoseconds.)

    Raises:
        ValueError: neither; the text says what may be.
    """
    if mode not in ("periodic", "revision"):
        raise ValueError(f"auto-compaction-mode {mode!r}: use periodic or revision")
    retention = -1.0
    if text.isdecimal() and text.isascii():
        retention = int(text) * (HOUR_SECONDS if mode == "periodic" else 1)
    elif mode == "periodic":
        with suppress(ValueError):
            retention = go_duration(text)
    if not 0 <= retention <= (SECONDS_MAX if mode == "periodic" else 1 << 62):
        kind = "a number of revisions (1000)" if mode == "revision" else "hours (1) or 10h, 30m, 5s"
        raise ValueError(f"auto-compaction-retention {text!r}: use {kind}, 0 for never")
    return retention
