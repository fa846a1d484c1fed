"""The incoming half of a connection: frames to events, rules and limits enforced.

One method per frame kind. A method raises ConnectionViolation or StreamViolation for what the peer
did wrong; the first ends `receive`, the second is turned into RST_STREAM here. `_shortcut` carries
the load of unary calls: headers that are followed at once by all the rest of a request (or, if they
were seen before, of a response) become one event.
"""

from __future__ import annotations

from transport.http2 import frame
from transport.http2.errors import ConnectionViolation, ErrorCode, StreamViolation
from transport.http2.event import (
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
from transport.http2.flow import ReceiveWindow, Stream
from transport.http2.frame import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER,
    HEADER_BYTES,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM_MASK,
    WINDOW_UPDATE,
)
from transport.http2.header import (
    Block,
    HeaderDecoder,
    fault_of_request,
    fault_of_response,
    fault_of_trailers,
)
from transport.http2.limits import Allowance, Limits
from transport.http2.sender import Sender
from transport.http2.stream import StreamTable


class Receiver:
    """State of what came in; shares `sender` and `streams` with its connection."""

    def __init__(self, client: bool, limits: Limits, sender: Sender, streams: StreamTable) -> None:
        self.peer_goes_away = False
        self._client = client
        self._limits = limits
        self._sender = sender
        self._streams = streams
        self._decoder = HeaderDecoder(limits.header_list_bytes_max)
        self._buffer = b""
        self._events: list[Event] = []
        self._block: Block | None = None
        self._preface_left = b"" if client else PREFACE
        self._settings_seen = False
        self._window = ReceiveWindow(limits.connection_window_bytes)
        self._now = 0.0
        self._resets = Allowance(limits.resets_burst, limits.resets_per_second)
        self._settings = Allowance(limits.settings_burst, limits.settings_per_second)
        self._pings = Allowance(limits.pings_burst, limits.pings_per_second)
        self._idle = Allowance(limits.idle_frames_burst, limits.idle_frames_per_second)
        self._handlers = {
            DATA: self._on_data,
            HEADERS: self._on_headers,
            PRIORITY: self._on_priority,
            RST_STREAM: self._on_rst_stream,
            SETTINGS: self._on_settings,
            PUSH_PROMISE: self._on_push_promise,
            PING: self._on_ping,
            GOAWAY: self._on_goaway,
            WINDOW_UPDATE: self._on_window_update,
            CONTINUATION: self._on_continuation,
        }

    def take_events(self) -> list[Event]:
        """Give the events collected so far."""
        events, self._events = self._events, []
        return events

    def add_event(self, event: Event) -> None:
        """Report with the next `receive` what a verb of the owner brought about."""
        self._events.append(event)

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes, and turn all frames that are complete into events.

        Raises:
            ConnectionViolation: the connection cannot go on.
        """
        self._now = now
        buffer = self._buffer + data if self._buffer else data
        if self._preface_left:
            buffer = self._take_preface(buffer)
        position, end = 0, len(buffer)
        frame_bytes_max = self._limits.frame_bytes_max
        unpack = HEADER.unpack_from
        while end - position >= HEADER_BYTES:
            word, flags, stream_id = unpack(buffer, position)
            size = word >> 8
            if size > frame_bytes_max:
                raise ConnectionViolation(ErrorCode.FRAME_SIZE_ERROR, "frame too large")
            start = position + HEADER_BYTES
            stop = start + size
            if stop > end:
                break
            payload = buffer[start:stop]
            kind = word & 0xFF
            position = stop
            try:
                if kind == HEADERS and flags == END_HEADERS:
                    position = self._shortcut(buffer, stop, stream_id, payload) or stop
                if position == stop:
                    self._dispatch(kind, flags, stream_id & STREAM_MASK, payload)
            except StreamViolation as violation:
                self._fail_stream(violation)
        self._buffer = buffer[position:] if position < end else b""

    def _take_preface(self, buffer: bytes) -> bytes:
        """Match the client's preface, which may come in pieces."""
        expected = self._preface_left
        size = min(len(expected), len(buffer))
        if buffer[:size] != expected[:size]:
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "not the HTTP/2 preface")
        self._preface_left = expected[size:]
        return buffer[size:]

    def _shortcut(self, buffer: bytes, position: int, stream_id: int, block: bytes) -> int:
        """Take the frames that complete a unary call; gives the position behind them.

        0 = not of that shape, or something is unusual: nothing was done, take the long way.
        A malformed head raises here as there, and the frames behind it are met one by one.
        """
        start = position + HEADER_BYTES
        if start > len(buffer):
            return 0
        word, flags, data_stream_id = HEADER.unpack_from(buffer, position)
        stop: int = start + (word >> 8)
        if word & 0xFF != DATA or data_stream_id != stream_id or stop > len(buffer):
            return 0
        if self._block is not None or stop - start > self._limits.frame_bytes_max:
            return 0
        if self._client:
            if flags:
                return 0
            return self._short_response(buffer, start, stop, stream_id, block)
        if flags != END_STREAM or not self._streams.may_add(stream_id) or not self._settings_seen:
            return 0
        stream = self._streams.add(stream_id)
        headers = self._decoder.heads.get(block)
        if headers is None:
            headers = self._decoder.decode(block)
            self._take_head(stream, block, headers)
        stream.head_seen = stream.remote_closed = True
        self._use_window(stop - start)
        self._events.append(RequestReceived(stream_id, headers, buffer[start:stop]))
        return stop

    def _short_response(
        self, buffer: bytes, start: int, stop: int, stream_id: int, block: bytes
    ) -> int:
        stream = self._streams.open.get(stream_id)
        headers = self._decoder.heads.get(block)
        begin = stop + HEADER_BYTES
        if headers is None or stream is None or stream.head_seen or begin > len(buffer):
            return 0
        word, flags, tail_stream_id = HEADER.unpack_from(buffer, stop)
        end: int = begin + (word >> 8)
        if word & 0xFF != HEADERS or tail_stream_id != stream_id or end > len(buffer):
            return 0
        trailers = self._decoder.tails.get(buffer[begin:end])
        if trailers is None or flags != END_HEADERS | END_STREAM or not stream.local_closed:
            return 0
        if stream.outbox is not None or stop - start > stream.receive_window:
            return 0
        del self._streams.open[stream_id]
        self._use_window(stop - start)
        self._events.append(ResponseReceived(stream_id, headers, buffer[start:stop], trailers))
        return end

    def _dispatch(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        block = self._block
        if block is not None and (kind != CONTINUATION or stream_id != block.stream_id):
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "a header block was left open")
        if not self._settings_seen and (kind != SETTINGS or flags & ACK):
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        handler = self._handlers.get(kind)
        if handler is None:
            self._spend(self._idle, "too many frames of unknown kinds")
        else:
            handler(flags, stream_id, payload)

    def _spend(self, allowance: Allowance, reason: str) -> None:
        if not allowance.take(self._now):
            raise ConnectionViolation(ErrorCode.ENHANCE_YOUR_CALM, reason)

    # Headers.

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._require_stream(stream_id)
        self._block = Block(stream_id, bool(flags & END_STREAM))
        piece = frame.strip_padding(payload, flags, priority=True)
        self._add_to_block(self._block, flags, piece)

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._add_to_block(self._block, flags, payload)

    def _add_to_block(self, block: Block, flags: int, piece: bytes) -> None:
        limits = self._limits
        block.add(piece, limits.header_list_bytes_max, limits.header_frames_max)
        if flags & END_HEADERS:
            self._block = None
            self._end_block(block, block.whole())

    def _end_block(self, block: Block, compressed: bytes) -> None:
        """Decode a whole block (always: the table must stay in step), then judge what it opens."""
        headers = self._decoder.decode(compressed)
        stream = self._streams.open.get(block.stream_id)
        if stream is None:
            stream = self._streams.add_by_peer(block.stream_id)
            if stream is None:
                self._spend(self._idle, "too many frames on closed streams")
                return
        if stream.remote_closed:
            raise StreamViolation(stream.id, ErrorCode.STREAM_CLOSED, "headers after the end")
        if stream.head_seen:
            self._take_tail(stream, block.end_stream, compressed, headers)
        else:
            self._take_head(stream, compressed, headers)
        self._events.append(HeadersReceived(stream.id, headers, block.end_stream))
        if block.end_stream:
            self._streams.end_remote(stream)

    def _take_head(self, stream: Stream, raw: bytes, headers: Headers) -> None:
        fault = fault_of_response(headers) if self._client else fault_of_request(headers)
        if fault:
            raise StreamViolation(stream.id, ErrorCode.PROTOCOL_ERROR, fault)
        if self._client and headers[0][1].startswith(b"1"):
            return  # an interim response; the head is still to come
        stream.head_seen = True
        self._decoder.admit_head(raw)

    def _take_tail(self, stream: Stream, end_stream: bool, raw: bytes, headers: Headers) -> None:
        fault = fault_of_trailers(headers)
        if fault or not end_stream:
            reason = fault or "trailers that do not end the stream"
            raise StreamViolation(stream.id, ErrorCode.PROTOCOL_ERROR, reason)
        self._decoder.admit_tail(raw)

    # Data and windows.

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._streams.require_known(stream_id)
        self._use_window(len(payload))
        stream = self._streams.open.get(stream_id)
        if stream is None:
            self._spend(self._idle, "too many frames on closed streams")
            return
        if stream.remote_closed or not stream.head_seen:
            raise StreamViolation(stream_id, ErrorCode.STREAM_CLOSED, "data outside of the body")
        data = frame.strip_padding(payload, flags) if flags & frame.PADDED else payload
        end_stream = bool(flags & END_STREAM)
        if not data and not end_stream:
            self._spend(self._idle, "too many empty frames")
        self._streams.use_window(stream, len(payload), refill=not end_stream)
        self._events.append(DataReceived(stream_id, data, end_stream))
        if end_stream:
            self._streams.end_remote(stream)

    def _use_window(self, size: int) -> None:
        increment = self._window.use(size)
        if increment:
            self._sender.control(frame.encode_word(WINDOW_UPDATE, 0, increment))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        increment = frame.decode_word(payload, "WINDOW_UPDATE") & STREAM_MASK
        if stream_id == 0:
            self._drained(self._sender.widen(increment))
            return
        self._streams.require_known(stream_id)
        stream = self._streams.open.get(stream_id)
        if stream is None:
            self._spend(self._idle, "too many frames on closed streams")
        else:
            self._drained(self._sender.widen_stream(stream, increment))

    def _drained(self, streams: list[Stream]) -> None:
        for stream in streams:
            self._events.append(StreamDrained(stream.id))
            if stream.local_closed:
                self._streams.end_local(stream)

    # Connection.

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._require_connection(stream_id)
        if flags & ACK:
            frame.require_size(not payload, "SETTINGS acknowledgement")
            return
        self._spend(self._settings, "too many SETTINGS")
        values = frame.decode_settings(payload)
        self._settings_seen = True
        # The acknowledgement leaves first: grpcio holds DATA in front of it against the old window.
        self._sender.control(frame.encode(SETTINGS, ACK, 0))
        self._drained(self._sender.apply_settings(values, self._streams.open))

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._require_connection(stream_id)
        frame.require_size(len(payload) == 8, "PING")
        if not flags & ACK:
            provoked, self._sender.spoke = self._sender.spoke, False
            if not provoked:
                self._spend(self._pings, "too many PING")
            self._sender.control(frame.encode(PING, ACK, 0, payload))
            self._events.append(PingReceived(payload, provoked))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._require_connection(stream_id)
        last_stream_id, code, reason = frame.decode_goaway(payload)
        self.peer_goes_away = True
        self._events.append(GoAwayReceived(last_stream_id, code, reason))
        if self._client:
            for stream in [one for one in self._streams.open.values() if one.id > last_stream_id]:
                self._streams.drop(stream)
                event = StreamReset(stream.id, ErrorCode.REFUSED_STREAM, "the server goes away")
                self._events.append(event)

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._require_stream(stream_id)
        frame.require_size(len(payload) == 5, "PRIORITY")
        self._spend(self._idle, "too many PRIORITY")

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE was never allowed")

    # Ends.

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        code = frame.decode_word(payload, "RST_STREAM")
        self._streams.require_known(stream_id)
        stream = self._streams.open.get(stream_id)
        if stream is None:
            self._spend(self._idle, "too many frames on closed streams")
            return
        if not self._client:
            self._spend(self._resets, "too many streams reset")
        self._streams.drop(stream)
        self._events.append(StreamReset(stream_id, code, "reset by the peer"))

    def _fail_stream(self, violation: StreamViolation) -> None:
        """Reset a stream for a broken rule; making us do it often costs the connection."""
        self._spend(self._resets, "too many streams failed")
        stream_id = violation.stream_id
        stream = self._streams.open.get(stream_id)
        self._streams.reset(stream_id, violation.code)
        if stream is not None and stream.head_seen:
            self._events.append(StreamReset(stream_id, violation.code, violation.reason))

    # What a frame's stream id has to be.

    def _require_connection(self, stream_id: int) -> None:
        if stream_id != 0:
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "not a frame of a stream")

    def _require_stream(self, stream_id: int) -> None:
        if stream_id == 0:
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "a frame that needs a stream")
