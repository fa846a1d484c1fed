"""The policing of client pings.

A client that pings more often than it may, or with no call open, collects strikes; any
HEADERS or DATA that the server sends forgives them, because clients measure bandwidth by pings of
their own around data. The third strike ends the connection.
Source: etcd's gRPC server options (min time 5 s, no pings without a stream) and the keepalive
enforcement of grpc-go's server.
"""

from __future__ import annotations

from typing import Final

SECONDS_MIN: Final = 5.0
"""etcd's default (--grpc-keepalive-min-time)."""
_SECONDS_MIN_WITHOUT_CALL: Final = 7200.0
_STRIKES_MAX: Final = 2


class PingPolice:
    """Strikes of one connection."""

    __slots__ = ("_last", "_seconds_min", "_strikes")

    def __init__(self, seconds_min: float = SECONDS_MIN) -> None:
        """`seconds_min`: how far apart pings of a client with open calls have to be."""
        self._seconds_min = seconds_min
        self._last: float | None = None
        self._strikes = 0

    def allows(self, now: float, open_calls: int, *, provoked: bool) -> bool:
        """Judge one ping; False = the connection has to end with "too_many_pings".

        Args:
            now: monotonic seconds.
            open_calls: calls that are not over.
            provoked: the server sent headers or data since the last ping.
        """
        last, self._last = self._last, now
        if provoked:
            self._strikes = 0
            return True
        needed = self._seconds_min if open_calls else _SECONDS_MIN_WITHOUT_CALL
        if last is not None and now - last < needed:
            self._strikes += 1
        return self._strikes <= _STRIKES_MAX
