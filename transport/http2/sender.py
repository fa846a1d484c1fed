"""The outgoing half of a connection: frames in wire order, within the peer's windows.

A stream with bytes waiting is in one of two places. While its own window is open it queues in
`_ready` for the connection's window, and the streams there take turns frame by frame. While its own
window is shut it is in no queue at all, and its next WINDOW_UPDATE finds it. So each frame sent
costs the same, however many streams a peer leaves waiting.
"""

from __future__ import annotations

from typing import Final

from transport.http2 import frame
from transport.http2.errors import ConnectionViolation, ErrorCode, StreamViolation
from transport.http2.event import Headers
from transport.http2.flow import Outbox, Stream
from transport.http2.frame import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADER,
    HEADERS,
    WINDOW_MAX,
    Setting,
)
from transport.http2.header import HeaderEncoder

_INITIAL_WINDOW: Final = 65_535
_FRAME_BYTES_MAX: Final = 65_536
"""Frames of ours stay below this even if the peer takes larger ones: others get their turn."""


class Sender:
    """Collects what is to be sent; `take` empties it."""

    def __init__(self) -> None:
        self.window = _INITIAL_WINDOW
        """What the peer lets us send on the connection as a whole."""
        self.stream_window = _INITIAL_WINDOW
        """The window that a new stream starts with."""
        self.frame_bytes_max = 16_384
        self.streams_max: int | None = None
        """How many streams the peer lets us open; None = it did not say."""
        self.waiting_bytes = 0
        """Bytes in all outboxes."""
        self.spoke = False
        """Headers or data were sent; whoever judges the peer's PINGs resets it."""
        self._encoder = HeaderEncoder()
        self._out: list[bytes | memoryview] = []
        self._ready: dict[int, Stream] = {}

    def take(self) -> bytes:
        """Give all frames collected since the last call."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def control(self, encoded: bytes) -> None:
        """Append a frame that no window bounds."""
        self._out.append(encoded)

    def headers(self, stream: Stream, headers: Headers, end_stream: bool) -> None:
        """Append a header block; never for trailers while bytes wait (see `trailers`)."""
        flags = END_STREAM if end_stream else 0
        self.spoke = True
        block = self._encoder.encode(headers)
        self._out.append(frame.encode_block(stream.id, block, flags, self.frame_bytes_max))
        stream.local_closed = end_stream

    def data(self, stream: Stream, data: bytes, end_stream: bool) -> None:
        """Append DATA as far as the windows allow; the rest waits in the stream's outbox."""
        size = len(data)
        stream.local_closed = end_stream
        if stream.outbox is None and self._fits(stream, size):
            self.spoke = True
            self.window -= size
            stream.send_window -= size
            flags = END_STREAM if end_stream else 0
            self._out.append(HEADER.pack(size << 8 | DATA, flags, stream.id))
            self._out.append(data)
            return
        outbox = stream.outbox or Outbox()
        stream.outbox = outbox
        outbox.add(data)
        outbox.end_stream = end_stream
        self.waiting_bytes += size
        self._advance(stream)

    def trailers(self, stream: Stream, trailers: Headers) -> None:
        """End the stream by trailers, behind the bytes that wait."""
        if stream.outbox is None:
            self.headers(stream, trailers, end_stream=True)
        else:
            stream.outbox.trailers = trailers
            stream.local_closed = True

    def exchange(self, stream: Stream, headers: Headers, data: bytes, trailers: Headers) -> bool:
        """Send a whole short answer in one go; False = it does not fit, nothing was done.

        The one place where speed shaped the code: headers, DATA and trailers of a unary answer
        are joined at once, from cached blocks.
        """
        size = len(data)
        if stream.outbox is not None or not self._fits(stream, size):
            return False
        head = self._encoder.encode(headers)
        tail = self._encoder.encode(trailers)
        stream_id = stream.id
        pack = HEADER.pack
        self.spoke = True
        self.window -= size
        stream.local_closed = True
        self._out += (
            pack(len(head) << 8 | HEADERS, END_HEADERS, stream_id),
            head,
            pack(size << 8 | DATA, 0, stream_id),
            data,
            pack(len(tail) << 8 | HEADERS, END_HEADERS | END_STREAM, stream_id),
            tail,
        )
        return True

    def _fits(self, stream: Stream, size: int) -> bool:
        return size <= self.window and size <= stream.send_window and size <= self.frame_bytes_max

    def forget(self, stream: Stream) -> None:
        """Drop what waits on a stream that was reset."""
        self._ready.pop(stream.id, None)
        if stream.outbox is not None:
            self.waiting_bytes -= stream.outbox.size
            stream.outbox = None

    def apply_settings(self, values: dict[int, int], streams: dict[int, Stream]) -> list[Stream]:
        """Follow the peer's SETTINGS; gives the streams that have nothing left waiting.

        Raises:
            ConnectionViolation: the new initial window overflows a stream's window.
        """
        if (table := values.get(Setting.HEADER_TABLE_SIZE)) is not None:
            self._encoder.resize(table)
        if (size := values.get(Setting.MAX_FRAME_SIZE)) is not None:
            self.frame_bytes_max = min(size, _FRAME_BYTES_MAX)
        if (streams_max := values.get(Setting.MAX_CONCURRENT_STREAMS)) is not None:
            self.streams_max = streams_max
        window = values.get(Setting.INITIAL_WINDOW_SIZE, self.stream_window)
        change, self.stream_window = window - self.stream_window, window
        if change == 0:
            return []
        for stream in streams.values():
            stream.send_window += change
            if stream.send_window > WINDOW_MAX:
                raise ConnectionViolation(ErrorCode.FLOW_CONTROL_ERROR, "stream window overflow")
            self._enqueue(stream)
        return self._pump()

    def widen(self, increment: int) -> list[Stream]:
        """Follow a WINDOW_UPDATE of the connection; gives the streams drained by it.

        Raises:
            ConnectionViolation: the increment is zero or the window overflows.
        """
        if increment == 0:
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "window increment of zero")
        self.window += increment
        if self.window > WINDOW_MAX:
            raise ConnectionViolation(ErrorCode.FLOW_CONTROL_ERROR, "connection window overflow")
        return self._pump()

    def widen_stream(self, stream: Stream, increment: int) -> list[Stream]:
        """Follow a WINDOW_UPDATE of one stream; gives the streams drained by it.

        Raises:
            StreamViolation: the increment is zero or the window overflows.
        """
        if increment == 0:
            raise StreamViolation(stream.id, ErrorCode.PROTOCOL_ERROR, "window increment of zero")
        stream.send_window += increment
        if stream.send_window > WINDOW_MAX:
            code = ErrorCode.FLOW_CONTROL_ERROR
            raise StreamViolation(stream.id, code, "stream window overflow")
        return self._advance(stream)

    def _advance(self, stream: Stream) -> list[Stream]:
        self._enqueue(stream)
        return self._pump()

    def _enqueue(self, stream: Stream) -> None:
        outbox = stream.outbox
        if outbox is not None and (stream.send_window > 0 or outbox.size == 0):
            self._ready[stream.id] = stream

    def _pump(self) -> list[Stream]:
        """Let the ready streams take turns until the connection's window is used up."""
        drained: list[Stream] = []
        ready = self._ready
        while ready:
            stream_id = next(iter(ready))
            stream = ready[stream_id]
            outbox = stream.outbox
            if outbox is not None and outbox.size and self.window <= 0:
                break
            del ready[stream_id]
            if outbox is None or (outbox.size and stream.send_window <= 0):
                continue  # reset, or its window shrank since it queued
            self._send_turn(stream, outbox)
            if outbox.size == 0:
                self._close_outbox(stream, outbox)
                drained.append(stream)
            elif stream.send_window > 0:
                ready[stream_id] = stream
        return drained

    def _send_turn(self, stream: Stream, outbox: Outbox) -> None:
        room = min(self.window, stream.send_window, self.frame_bytes_max)
        chunk = outbox.take(room) if outbox.size else memoryview(b"")
        size = len(chunk)
        self.spoke = True
        self.window -= size
        stream.send_window -= size
        self.waiting_bytes -= size
        last = outbox.end_stream and outbox.size == 0
        if size or last:
            flags = END_STREAM if last else 0
            self._out.append(HEADER.pack(size << 8 | DATA, flags, stream.id))
            self._out.append(chunk)

    def _close_outbox(self, stream: Stream, outbox: Outbox) -> None:
        stream.outbox = None
        if outbox.trailers is not None:
            self.headers(stream, outbox.trailers, end_stream=True)
