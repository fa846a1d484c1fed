"""A hand-driven HTTP/2 peer: frames are spelled out, so that wrong ones can be, too."""

from __future__ import annotations

from hpack import Encoder

from transport.http2 import Event, Http2Connection, Limits, frame
from transport.http2.frame import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADER,
    HEADER_BYTES,
    HEADERS,
    PREFACE,
    SETTINGS,
)

REQUEST = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/test.Echo/Unary"),
    (b":authority", b"localhost"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
]
HELLO = PREFACE + frame.encode(SETTINGS, 0, 0)


class Peer:
    """A client's side of the wire, with an HPACK encoder that is not ours."""

    def __init__(self, limits: Limits | None = None, *, greet: bool = True) -> None:
        self.server = Http2Connection(client=False, limits=limits)
        self.encoder = Encoder()
        self.now = 1.0
        if greet:
            self.feed(HELLO)
            self.server.data_to_send()

    def feed(self, data: bytes) -> list[Event]:
        """Give bytes to the server."""
        return self.server.receive(data, self.now)

    def block(self, *extra: tuple[bytes, bytes]) -> bytes:
        """Compress the usual request headers and some more."""
        return bytes(self.encoder.encode([*REQUEST, *extra]))

    def head(self, stream_id: int, *extra: tuple[bytes, bytes], end: bool = False) -> bytes:
        """Build the HEADERS frame of a request."""
        flags = END_HEADERS | (END_STREAM if end else 0)
        return frame.encode(HEADERS, flags, stream_id, self.block(*extra))

    def request(self, stream_id: int, body: bytes = b"body") -> bytes:
        """Build a whole request."""
        return self.head(stream_id) + frame.encode(DATA, END_STREAM, stream_id, body)

    def sent(self) -> list[tuple[int, int, int, bytes]]:
        """Take what the server sent as (kind, flags, stream id, payload)."""
        return frames_of(self.server.data_to_send())


def frames_of(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Cut a server's output into (kind, flags, stream id, payload)."""
    frames = []
    position = 0
    while position < len(data):
        word, flags, stream_id = HEADER.unpack_from(data, position)
        start = position + HEADER_BYTES
        position = start + (word >> 8)
        assert position <= len(data)
        frames.append((word & 0xFF, flags, stream_id, data[start:position]))
    return frames
