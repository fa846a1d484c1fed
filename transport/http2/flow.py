"""Flow control: what waits to be sent on a stream, and what the peer may still send.

Sending: every stream and the connection have a window that DATA uses up and WINDOW_UPDATE refills.
What does not fit waits in the stream's outbox, in order, with its trailers behind it. Receiving: a
window is refilled as soon as half of it was used, whether or not the owner is done with the bytes;
an owner that wants the peer to wait stops reading from the socket.
Source: RFC 9113 §5.2, §6.9.
"""

from __future__ import annotations

from collections import deque

from transport.http2.errors import ConnectionViolation, ErrorCode
from transport.http2.event import Headers


class Outbox:
    """Bytes of one stream that wait for flow control, then its trailers or its end."""

    __slots__ = ("_chunks", "end_stream", "size", "trailers")

    def __init__(self) -> None:
        self._chunks: deque[memoryview] = deque()
        self.size = 0
        self.trailers: Headers | None = None
        """Sent after the last byte; they end the stream."""
        self.end_stream = False
        """The last byte ends the stream (there are no trailers then)."""

    def add(self, data: bytes) -> None:
        """Queue bytes behind those that wait already."""
        if data:
            self._chunks.append(memoryview(data))
            self.size += len(data)

    def take(self, bytes_max: int) -> memoryview:
        """Remove the next bytes: at most so many, and never across two `add`s."""
        chunk = self._chunks[0]
        if len(chunk) <= bytes_max:
            self._chunks.popleft()
        else:
            self._chunks[0] = chunk[bytes_max:]
            chunk = chunk[:bytes_max]
        self.size -= len(chunk)
        return chunk


class ReceiveWindow:
    """What the peer may still send on the connection as a whole."""

    __slots__ = ("_full", "_left")

    def __init__(self, bytes_max: int) -> None:
        self._full = bytes_max
        self._left = bytes_max

    def use(self, size: int) -> int:
        """Count bytes received; gives the increment to announce once half is used, else 0.

        Raises:
            ConnectionViolation: the peer sent more than it was allowed to.
        """
        left = self._left - size
        if left > self._full // 2:
            self._left = left
            return 0
        if left < 0:
            raise ConnectionViolation(ErrorCode.FLOW_CONTROL_ERROR, "connection window exceeded")
        self._left = self._full
        return self._full - left


class Stream:
    """One stream that is open or half closed."""

    __slots__ = (
        "head_seen",
        "id",
        "local_closed",
        "outbox",
        "receive_window",
        "remote_closed",
        "send_window",
    )

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.send_window = send_window
        """May be negative: the peer can shrink its initial window (RFC 9113 §6.9.2)."""
        self.receive_window = receive_window
        self.head_seen = False
        """The peer's first header block came; the next one is trailers."""
        self.remote_closed = False
        self.local_closed = False
        """The end of our side is sent or stands in the outbox; nothing may be added."""
        self.outbox: Outbox | None = None
        """None = nothing waits."""
