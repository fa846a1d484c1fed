"""Key intervals in etcd's notation, translated once.

    range_end ""      exactly `key`
    range_end "\\0"    every key from `key` on
    else              [key, range_end), empty when range_end <= key

From here on an interval is half-open `(lo, hi)`, and `hi` None means "no upper bound".
"""

from __future__ import annotations

Interval = tuple[bytes, bytes | None]

FROM_KEY = b"\x00"


def interval(key: bytes, range_end: bytes) -> Interval:
    """The half-open interval that a request means."""
    if not range_end:
        return key, key + b"\x00"
    return key, None if range_end == FROM_KEY else range_end


def contains(lo: bytes, hi: bytes | None, key: bytes) -> bool:
    """Whether `key` lies in the interval."""
    return lo <= key and (hi is None or key < hi)
