"""Every bound of one HTTP/2 connection, and the allowance that limits floods.

Counts and sizes are per connection unless a field says otherwise. A peer that exceeds a bound loses
the stream or the connection; it never makes the process grow.
"""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds; sizes are bytes."""

    frame_bytes_max: int = 16_384
    """Largest frame payload accepted: the smallest value that RFC 9113 lets us announce."""
    header_list_bytes_max: int = 64 * 1024
    """Largest decoded header list, and largest compressed block over all its frames."""
    header_frames_max: int = 16
    """HEADERS plus CONTINUATION frames of one block; empty ones cost nothing but time."""
    streams_max: int = 10_000
    """Concurrent streams that the peer may open; more are refused with REFUSED_STREAM."""
    stream_window_bytes: int = 4 << 20
    """Receive window of one stream: one full-size request needs no WINDOW_UPDATE."""
    connection_window_bytes: int = 16 << 20
    partial_bytes_max: int = 64 << 20
    """Bytes of messages that are not complete yet; the stream that exceeds it is refused."""
    send_buffer_bytes_max: int = 256 << 20
    """Bytes waiting for the peer's flow control. One answer may exceed it, a second one ends the
    connection: that peer asks and does not read."""
    resets_burst: int = 10_000
    resets_per_second: float = 1_000.0
    """Streams that the peer opens and resets before they are answered (CVE-2023-44487). All
    streams of one connection may run into their deadline at once, hence the burst."""
    settings_burst: int = 100
    settings_per_second: float = 10.0
    pings_burst: int = 1_000
    pings_per_second: float = 100.0
    """PINGs without headers or data of ours in between; the others are free, because both sides
    of grpc-go send one after nearly every message that they get."""
    idle_frames_burst: int = 20_000
    idle_frames_per_second: float = 20_000.0
    """Frames that change nothing: empty DATA, PRIORITY, unknown kinds, frames on closed streams.
    A client may well send a WINDOW_UPDATE for each answer that was already its stream's end."""


class Allowance:
    """A token bucket: `burst` at once, refilled `per_second`; the clock is an argument."""

    __slots__ = ("_burst", "_left", "_per_second", "_since")

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst = float(burst)
        self._left = self._burst
        self._per_second = per_second
        self._since = 0.0

    def take(self, now: float) -> bool:
        """Use one token; False = none left. A clock that goes back refills nothing."""
        if now > self._since:
            refill = (now - self._since) * self._per_second
            self._left = min(self._burst, self._left + refill)
            self._since = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
