"""What the HTTP/2 codec tells its owner: plain values, in the order of the wire.

Headers are tuples of (name, value) byte pairs. A block that was seen before on the connection is
given as the *same* tuple object, so that an owner may remember what it derived from one.
"""

from __future__ import annotations

import msgspec

Headers = tuple[tuple[bytes, bytes], ...]


class RequestReceived(msgspec.Struct, frozen=True, gc=False):
    """Server: a request whose only DATA frame followed its headers at once and ended it.

    The short form of HeadersReceived and DataReceived for what nearly all unary calls look like.
    """

    stream_id: int
    headers: Headers
    data: bytes


class ResponseReceived(msgspec.Struct, frozen=True, gc=False):
    """Client: headers, one DATA frame and trailers that arrived at once; the stream is over."""

    stream_id: int
    headers: Headers
    data: bytes
    trailers: Headers


class HeadersReceived(msgspec.Struct, frozen=True, gc=False):
    """The headers of a stream, or its trailers when it had headers before."""

    stream_id: int
    headers: Headers
    end_stream: bool


class DataReceived(msgspec.Struct, frozen=True, gc=False):
    """Some bytes of a stream; their boundaries mean nothing."""

    stream_id: int
    data: bytes
    end_stream: bool


class StreamReset(msgspec.Struct, frozen=True, gc=False):
    """A stream that was open is over by RST_STREAM of either side (never by our `reset`)."""

    stream_id: int
    error_code: int
    reason: str


class StreamDrained(msgspec.Struct, frozen=True, gc=False):
    """Bytes of this stream had to wait for flow control; now none is left waiting."""

    stream_id: int


class PingReceived(msgspec.Struct, frozen=True, gc=False):
    """The peer's PING; it is answered already."""

    payload: bytes
    provoked: bool
    """We sent headers or data since the last PING: gRPC peers measure bandwidth that way."""


class GoAwayReceived(msgspec.Struct, frozen=True, gc=False):
    """The peer takes no new streams, and has not touched ours above `last_stream_id`."""

    last_stream_id: int
    error_code: int
    reason: str


class ConnectionTerminated(msgspec.Struct, frozen=True, gc=False):
    """A limit or rule was broken: GOAWAY is in `data_to_send()`, further bytes are ignored."""

    error_code: int
    reason: str


Event = (
    RequestReceived
    | ResponseReceived
    | HeadersReceived
    | DataReceived
    | StreamReset
    | StreamDrained
    | PingReceived
    | GoAwayReceived
    | ConnectionTerminated
)
