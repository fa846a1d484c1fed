"""One HTTP/2 connection as a codec without I/O: bytes in, events out; verbs in, bytes out.

    socket ── receive(data, now) ──► events ──► owner ── send_* ──► data_to_send() ── socket

What it does by itself: preface and SETTINGS, acknowledgements, both directions of flow control,
header compression, the order of frames, refusal of what exceeds `Limits`. What it deliberately
leaves out: TLS, server push (refused), priorities (ignored), the check of content-length, a clock.

A server whose answer has ended does not wait for the rest of a request: it resets the stream with
NO_ERROR (RFC 9113 §8.1). Frames that the peer sent before it saw a reset of ours are ignored.

No input makes `receive` raise. A broken rule ends the stream (StreamReset) or the connection
(ConnectionTerminated); afterwards the owner writes what is left to send and closes the socket.

Back-pressure is the owner's: it must stop reading when its socket does not take bytes, because
every PING and SETTINGS read produces an acknowledgement to write.
"""

from __future__ import annotations

from typing import Final

from transport.errors import ConnectionLost, StreamsExhausted
from transport.http2 import frame
from transport.http2.errors import ConnectionViolation, ErrorCode
from transport.http2.event import ConnectionTerminated, Event, Headers
from transport.http2.flow import Stream
from transport.http2.frame import PREFACE, WINDOW_UPDATE, Setting
from transport.http2.limits import Limits
from transport.http2.receiver import Receiver
from transport.http2.sender import Sender
from transport.http2.stream import StreamTable

_INITIAL_WINDOW: Final = 65_535


class Http2Connection:
    """One side of one connection.

    Args:
        client: True = this side opens the streams.
        limits: what the peer may do.
    """

    def __init__(self, *, client: bool, limits: Limits | None = None) -> None:
        self._client = client
        self._limits = limits or Limits()
        self._sender = Sender()
        self._streams = StreamTable(client, self._limits, self._sender)
        self._receiver = Receiver(client, self._limits, self._sender, self._streams)
        self._closed = False
        self._greet()

    def _greet(self) -> None:
        limits = self._limits
        values = {
            Setting.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            Setting.MAX_FRAME_SIZE: limits.frame_bytes_max,
            Setting.MAX_HEADER_LIST_SIZE: limits.header_list_bytes_max,
        }
        if self._client:
            self._sender.control(PREFACE)
            values[Setting.ENABLE_PUSH] = 0
        else:
            values[Setting.MAX_CONCURRENT_STREAMS] = limits.streams_max
        self._sender.control(frame.encode_settings(values))
        extra = limits.connection_window_bytes - _INITIAL_WINDOW
        self._sender.control(frame.encode_word(WINDOW_UPDATE, 0, extra))

    @property
    def closed(self) -> bool:
        """True after a GOAWAY of ours for a broken rule; bytes are ignored from then on."""
        return self._closed

    @property
    def open_streams(self) -> int:
        """Streams that are not yet closed."""
        return len(self._streams.open)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of all streams that wait for the peer's flow control."""
        return self._sender.waiting_bytes

    def pending_bytes(self, stream_id: int) -> int:
        """Bytes of one stream that wait for the peer's flow control."""
        stream = self._streams.open.get(stream_id)
        return stream.outbox.size if stream is not None and stream.outbox is not None else 0

    def is_open(self, stream_id: int) -> bool:
        """True while something can still be sent on the stream."""
        stream = self._streams.open.get(stream_id)
        return stream is not None and not stream.local_closed

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes from the peer, cut anywhere; `now` is monotonic seconds."""
        if not self._closed:
            try:
                self._receiver.receive(data, now)
            except ConnectionViolation as violation:
                self._terminate(violation.code, violation.reason)
        return self._receiver.take_events()

    def data_to_send(self) -> bytes:
        """Give all bytes that may leave now; they leave this object with the call."""
        return self._sender.take()

    def open_stream(self, headers: Headers, *, end_stream: bool = False) -> int:
        """Client: start a request and give its stream id.

        Raises:
            ConnectionLost: the connection is closed or goes away, or its ids are used up.
            StreamsExhausted: the peer allows no more concurrent streams for now.
        """
        stream = self._new_stream()
        self._sender.headers(stream, headers, end_stream)
        return stream.id

    def open_exchange(self, headers: Headers, data: bytes) -> int:
        """Client: send a whole request and give its stream id. Raises as `open_stream`."""
        stream = self._new_stream()
        self._sender.headers(stream, headers, end_stream=False)
        self._sender.data(stream, data, end_stream=True)
        return stream.id

    def _new_stream(self) -> Stream:
        stream_id = self._streams.last_stream_id + 2 if self._streams.last_stream_id else 1
        if self._closed or self._receiver.peer_goes_away or stream_id > frame.STREAM_MASK:
            raise ConnectionLost
        streams_max = self._sender.streams_max
        if streams_max is not None and len(self._streams.open) >= streams_max:
            raise StreamsExhausted
        return self._streams.add(stream_id)

    def send_headers(self, stream_id: int, headers: Headers, *, end_stream: bool = False) -> None:
        """Send a header block (not trailers). A stream that is gone is ignored, here and below."""
        stream = self._writable(stream_id)
        if stream is not None:
            self._sender.headers(stream, headers, end_stream)
            self._settle(stream)

    def send_data(self, stream_id: int, data: bytes, *, end_stream: bool = False) -> None:
        """Send bytes, or let them wait for the peer's flow control in order.

        A peer that leaves more than `send_buffer_bytes_max` waiting loses the connection.
        """
        stream = self._writable(stream_id)
        if stream is not None and self._buffer_allows():
            self._sender.data(stream, data, end_stream)
            self._settle(stream)

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """End the stream by trailers behind everything sent on it before."""
        stream = self._writable(stream_id)
        if stream is not None:
            self._sender.trailers(stream, trailers)
            self._settle(stream)

    def send_exchange(
        self, stream_id: int, headers: Headers, data: bytes, trailers: Headers
    ) -> None:
        """Send a whole answer: headers, data, trailers."""
        stream = self._writable(stream_id)
        if stream is None:
            return
        if self._sender.exchange(stream, headers, data, trailers):
            if stream.remote_closed:
                del self._streams.open[stream_id]
            else:
                self._settle(stream)
        elif self._buffer_allows():
            self._sender.headers(stream, headers, end_stream=False)
            self._sender.data(stream, data, end_stream=False)
            self._sender.trailers(stream, trailers)
            self._settle(stream)

    def reset(self, stream_id: int, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """End a stream at once; what waits on it is dropped. No event follows."""
        if stream_id in self._streams.open:
            self._streams.reset(stream_id, code)

    def ping(self, payload: bytes) -> None:
        """Send a PING of eight octets."""
        self._sender.control(frame.encode(frame.PING, 0, 0, payload))

    def goaway(self, code: ErrorCode = ErrorCode.NO_ERROR, reason: str = "") -> None:
        """Accept no further streams; those open go on. The owner closes when none is left."""
        last = 0 if self._client else self._streams.last_stream_id
        self._streams.goes_away = True
        self._sender.control(frame.encode_goaway(last, code, reason))

    def terminate(self, code: ErrorCode, reason: str) -> None:
        """End the connection now: GOAWAY, and every stream is gone. No event follows."""
        self._closed = True
        self.goaway(code, reason)
        for stream in list(self._streams.open.values()):
            self._streams.drop(stream)

    def _terminate(self, code: ErrorCode, reason: str) -> None:
        self.terminate(code, reason)
        self._receiver.add_event(ConnectionTerminated(code, reason))

    def _writable(self, stream_id: int) -> Stream | None:
        stream = self._streams.open.get(stream_id)
        return None if stream is None or stream.local_closed else stream

    def _buffer_allows(self) -> bool:
        if self._sender.waiting_bytes <= self._limits.send_buffer_bytes_max:
            return True
        reason = "the peer asks and does not read"
        self._terminate(ErrorCode.ENHANCE_YOUR_CALM, reason)
        return False

    def _settle(self, stream: Stream) -> None:
        if stream.local_closed and stream.outbox is None:
            self._streams.end_local(stream)
