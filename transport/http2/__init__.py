"""HTTP/2 (RFC 9113) for one connection as a codec without I/O, both roles."""

from __future__ import annotations

from transport.http2.connection import Http2Connection
from transport.http2.errors import ErrorCode
from transport.http2.event import (
    ConnectionTerminated,
    DataReceived,
    Event,
    GoAwayReceived,
    Headers,
    HeadersReceived,
    PingReceived,
    RequestReceived,
    ResponseReceived,
    StreamDrained,
    StreamReset,
)
from transport.http2.limits import Limits

__all__ = [
    "ConnectionTerminated",
    "DataReceived",
    "ErrorCode",
    "Event",
    "GoAwayReceived",
    "Headers",
    "HeadersReceived",
    "Http2Connection",
    "Limits",
    "PingReceived",
    "RequestReceived",
    "ResponseReceived",
    "StreamDrained",
    "StreamReset",
]
