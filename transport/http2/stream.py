"""The streams of a connection, from their first frame until both sides have ended them.

    idle ──HEADERS──► open ──END_STREAM of one side──► half closed ──END_STREAM──► closed
                        └───────────────RST_STREAM of either side───────────────────▲

Closed streams are forgotten: an id at or below the highest one that is not in the table was closed.
Those that *we* closed early are remembered for a while, because the peer may have sent frames on
them before it knew, and may not be punished for that.
Source: RFC 9113 §5.1.
"""

from __future__ import annotations

from typing import Final

from transport.http2 import frame
from transport.http2.errors import ConnectionViolation, ErrorCode, StreamViolation
from transport.http2.flow import Stream
from transport.http2.frame import RST_STREAM, STREAM_MASK, WINDOW_UPDATE
from transport.http2.limits import Limits
from transport.http2.sender import Sender

_FORGIVEN_MAX: Final = 4_096


class StreamTable:
    """All streams that are not closed; shared by both halves of a connection."""

    def __init__(self, client: bool, limits: Limits, sender: Sender) -> None:
        self.open: dict[int, Stream] = {}
        self.last_stream_id = 0
        """The highest stream that the client side opened; all above are idle."""
        self.goes_away = False
        """We sent GOAWAY: new streams of the peer are ignored."""
        self._client = client
        self._limits = limits
        self._sender = sender
        self._forgiven: dict[int, None] = {}

    def add(self, stream_id: int) -> Stream:
        """Open a stream."""
        self.last_stream_id = stream_id
        window = self._limits.stream_window_bytes
        stream = Stream(stream_id, self._sender.stream_window, window)
        self.open[stream_id] = stream
        return stream

    def may_add(self, stream_id: int) -> bool:
        """True if the client may open this stream now, with nothing to say about it."""
        return (
            self.last_stream_id < stream_id <= STREAM_MASK
            and stream_id & 1 == 1
            and not self.goes_away
            and len(self.open) < self._limits.streams_max
        )

    def add_by_peer(self, stream_id: int) -> Stream | None:
        """Open the stream that HEADERS of the peer name; None = the frame is to be ignored.

        Raises:
            ConnectionViolation: the id is not the peer's to open, or was used before.
            StreamViolation: too many streams are open.
        """
        if stream_id in self._forgiven:
            return None
        if self._client or stream_id & 1 == 0:
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "a stream id of the wrong side")
        if stream_id <= self.last_stream_id:
            raise ConnectionViolation(ErrorCode.STREAM_CLOSED, "headers on a closed stream")
        self.last_stream_id = stream_id
        if self.goes_away:
            self.forgive(stream_id)
            return None
        if len(self.open) >= self._limits.streams_max:
            raise StreamViolation(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
        return self.add(stream_id)

    def require_known(self, stream_id: int) -> None:
        """Refuse frames on idle streams: id zero, of the wrong side, or not opened yet.

        Raises:
            ConnectionViolation: the stream is idle.
        """
        if stream_id & 1 == 0 or stream_id > self.last_stream_id:
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "a frame on an idle stream")

    def use_window(self, stream: Stream, size: int, *, refill: bool) -> None:
        """Count DATA of the peer against the stream's window; refill it when half is used.

        Raises:
            StreamViolation: the peer sent more than it was allowed to.
        """
        full = self._limits.stream_window_bytes
        left = stream.receive_window - size
        if left < 0:
            code = ErrorCode.FLOW_CONTROL_ERROR
            raise StreamViolation(stream.id, code, "stream window exceeded")
        if left <= full // 2 and refill:
            self._sender.control(frame.encode_word(WINDOW_UPDATE, stream.id, full - left))
            left = full
        stream.receive_window = left

    def end_remote(self, stream: Stream) -> None:
        """Follow the end of the peer's side."""
        stream.remote_closed = True
        if stream.local_closed and stream.outbox is None:
            self.open.pop(stream.id, None)

    def end_local(self, stream: Stream) -> None:
        """Follow the end of our side, once nothing waits before it."""
        if stream.remote_closed:
            self.open.pop(stream.id, None)
        elif not self._client:
            self.reset(stream.id, ErrorCode.NO_ERROR)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Send RST_STREAM and forget the stream with everything that waits on it."""
        stream = self.open.get(stream_id)
        if stream is not None:
            self.drop(stream)
        self.forgive(stream_id)
        self._sender.control(frame.encode_word(RST_STREAM, stream_id, code))

    def drop(self, stream: Stream) -> None:
        """Forget a stream with everything that waits on it."""
        self.open.pop(stream.id, None)
        self._sender.forget(stream)

    def forgive(self, stream_id: int) -> None:
        """Remember that late frames on this stream are no fault of the peer."""
        self._forgiven[stream_id] = None
        if len(self._forgiven) > _FORGIVEN_MAX:
            del self._forgiven[next(iter(self._forgiven))]
