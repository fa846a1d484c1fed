"""The server side of gRPC over one HTTP/2 connection, without I/O.

A unary call that arrives in one piece takes the short way: one HTTP/2 event, one UnaryCall, and a
`reply` that is one write of cached blocks around the message. Everything else goes through a `Call`
that collects bytes into messages. A call lives from its head until `reply` or `finish`, until the
client cancels it, or until it is refused here (too large, compressed, not gRPC), which the owner
learns by CallCancelled if it knew of the call.

No clock, no deadlines: the owner ends a call whose `timeout` has passed with DEADLINE_EXCEEDED.
"""

from __future__ import annotations

from typing import Final

from transport.grpc.event import (
    CallCancelled,
    CallStarted,
    ConnectionClosed,
    Drained,
    HalfClosed,
    MessageReceived,
    ServerEvent,
    UnaryCall,
)
from transport.grpc.head import (
    OK_TRAILERS,
    RESPONSE_HEADERS,
    Head,
    is_head,
    parse_head,
    split_timeout,
    status_trailers,
    with_timeout,
)
from transport.grpc.message import (
    PREFIX,
    PREFIX_BYTES,
    MessageReader,
    MessageRefused,
    encode_message,
)
from transport.grpc.ping import SECONDS_MIN, PingPolice
from transport.grpc.status import Status
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

_HEADS_MAX: Final = 64


class Call:
    """A call whose request is still arriving, or whose answer has begun."""

    __slots__ = ("answering", "head", "message", "reader")

    def __init__(self, head: Head, message_bytes_max: int) -> None:
        self.head = head
        self.reader = MessageReader(message_bytes_max)
        self.message: bytes | None = None
        """The one message of a unary request."""
        self.answering = False
        """Initial headers were sent."""


class GrpcServer:
    """One client's connection: bytes in, call events out; answers in, bytes out.

    Args:
        unary: paths ("/package.Service/Method") whose calls are given as one UnaryCall.
            Calls of every other path, known or not, are given as CallStarted and so on.
        message_bytes_max: larger requests end with RESOURCE_EXHAUSTED by themselves.
        ping_seconds_min: how far apart the client's pings have to be while it has calls open.
    """

    def __init__(
        self,
        *,
        unary: frozenset[str],
        message_bytes_max: int,
        limits: Limits | None = None,
        ping_seconds_min: float = SECONDS_MIN,
    ) -> None:
        self._limits = limits or Limits()
        self._unary = unary
        self._message_bytes_max = message_bytes_max
        self._connection = Http2Connection(client=False, limits=self._limits)
        self._calls: dict[int, Call] = {}
        self._heads: dict[Headers, Head] = {}
        self._last_headers: Headers = ()
        self._last_head = Head("", {}, None, unary=False)
        self._pings = PingPolice(ping_seconds_min)
        self._partial_bytes = 0
        self._events: list[ServerEvent] = []

    def receive(self, data: bytes, now: float) -> list[ServerEvent]:
        """Take bytes from the socket. `now` is monotonic seconds (polices pings and floods)."""
        events = self._events = []
        for event in self._connection.receive(data, now):
            if type(event) is RequestReceived:
                self._on_request(event)
            else:
                self._on_event(event, now)
        return events

    def data_to_send(self) -> bytes:
        """Take all bytes that may leave now; call once after a turn, b"" = nothing."""
        return self._connection.data_to_send()

    @property
    def open_calls(self) -> int:
        """Calls that are not yet over."""
        return self._connection.open_streams

    @property
    def buffered_total(self) -> int:
        """Bytes of all calls that wait for the peer's flow control."""
        return self._connection.waiting_bytes

    @property
    def closed(self) -> bool:
        """True once the connection has to end: write `data_to_send()`, then close the socket.

        Look at it after a turn, too: a client that asks and never reads is ended by a verb.
        """
        return self._connection.closed

    def buffered(self, call_id: int) -> int:
        """Bytes of this call that wait for the peer's flow control; Drained tells when it is 0."""
        return self._connection.pending_bytes(call_id)

    def awaits(self, call_id: int) -> bool:
        """Whether the client still waits for this call: it is neither ended nor cancelled."""
        return self._connection.is_open(call_id)

    def reply(self, call_id: int, message: bytes) -> None:
        """Answer a unary call with status OK. A call that is gone is ignored (all verbs)."""
        self._connection.send_exchange(
            call_id, RESPONSE_HEADERS, PREFIX.pack(0, len(message)) + message, OK_TRAILERS
        )

    def send(self, call_id: int, message: bytes) -> None:
        """Send one message of a streamed answer."""
        call = self._calls.get(call_id)
        if call is None:
            return
        if not call.answering:
            call.answering = True
            self._connection.send_headers(call_id, RESPONSE_HEADERS)
        self._connection.send_data(call_id, encode_message(message))

    def finish(self, call_id: int, status: int = Status.OK, text: str = "") -> None:
        """End the call, after the messages sent before."""
        trailers = status_trailers(status, text)
        call = self._calls.get(call_id)
        self._forget(call_id)
        if call is not None and call.answering:
            self._connection.send_trailers(call_id, trailers)
        else:
            self._connection.send_headers(call_id, RESPONSE_HEADERS + trailers, end_stream=True)

    def ping(self) -> None:
        """Ask the client for a sign of life; whatever it sends next is one."""
        self._connection.ping(bytes(8))

    def goaway(self, reason: str = "") -> None:
        """Take no more calls; those open may end. Close the socket once `open_calls` is 0."""
        self._connection.goaway(ErrorCode.NO_ERROR, reason)

    def _on_request(self, event: RequestReceived) -> None:
        """Take a whole request: the short way for one plain message of a unary method."""
        head = self._head_of(event.headers)
        data = event.data
        size = len(data) - PREFIX_BYTES
        if (
            size >= 0
            and head.unary
            and PREFIX.unpack_from(data) == (0, size)
            and size <= self._message_bytes_max
        ):
            self._events.append(
                UnaryCall(event.stream_id, head.path, head.metadata, head.timeout, data[5:])
            )
        elif self._start(event.stream_id, head):
            self._take_data(event.stream_id, data)
            self._half_close(event.stream_id)

    def _on_event(self, event: Event, now: float) -> None:
        match event:
            case HeadersReceived(stream_id, headers, end_stream):
                # Trailers may come after a call was refused or ended by us: nobody waits for them.
                if is_head(headers) and not self._start(stream_id, self._head_of(headers)):
                    return
                if end_stream:
                    self._half_close(stream_id)
            case DataReceived(stream_id, data, end_stream):
                self._take_data(stream_id, data)
                if end_stream:
                    self._half_close(stream_id)
            case StreamReset(stream_id):
                self._forget(stream_id)
                self._events.append(CallCancelled(stream_id))
            case StreamDrained(stream_id):
                self._events.append(Drained(stream_id))
            case PingReceived(_, provoked):
                self._police_ping(now, provoked)
            case ConnectionTerminated(_, reason):
                self._calls.clear()
                self._events.append(ConnectionClosed(reason))
            case RequestReceived() | ResponseReceived() | GoAwayReceived():
                pass  # the first is taken in `receive`; a client's GOAWAY binds nobody here

    def _head_of(self, headers: Headers) -> Head:
        """Interpret headers; the same tuple as last time is the common case."""
        if headers is self._last_headers:
            return self._last_head
        plain, timeout = split_timeout(headers)
        head = self._heads.get(plain)
        if head is None:
            if len(self._heads) >= _HEADS_MAX:
                self._heads.clear()
            head = self._heads[plain] = parse_head(plain, self._unary)
        if timeout is not None:
            head = with_timeout(head, timeout)
        self._last_headers, self._last_head = headers, head
        return head

    def _start(self, call_id: int, head: Head) -> bool:
        if head.http_refusal:
            status = (b":status", b"%d" % head.http_refusal)
            self._connection.send_headers(call_id, (status,), end_stream=True)
            return False
        if head.refusal is not None:
            self.finish(call_id, *head.refusal)
            return False
        self._calls[call_id] = Call(head, self._message_bytes_max)
        if not head.unary:
            self._events.append(CallStarted(call_id, head.path, head.metadata, head.timeout))
        return True

    def _take_data(self, call_id: int, data: bytes) -> None:
        call = self._calls.get(call_id)
        if call is None:
            return
        try:
            for message in self._cut(call.reader, data):
                self._take_message(call_id, call, message)
        except MessageRefused as refused:
            self._refuse(call_id, call, refused)

    def _cut(self, reader: MessageReader, data: bytes) -> list[bytes]:
        held = reader.held
        try:
            messages = reader.add(data)
        finally:
            self._partial_bytes += reader.held - held
        if self._partial_bytes > self._limits.partial_bytes_max:
            text = "too many bytes in messages that are not complete"
            raise MessageRefused(Status.RESOURCE_EXHAUSTED, text)
        return messages

    def _take_message(self, call_id: int, call: Call, message: bytes) -> None:
        if not call.head.unary:
            self._events.append(MessageReceived(call_id, message))
        elif call.message is None:
            call.message = message
        else:
            raise MessageRefused(Status.INTERNAL, "a unary request of several messages")

    def _refuse(self, call_id: int, call: Call, refused: MessageRefused) -> None:
        self.finish(call_id, refused.status, refused.text)
        if not call.head.unary:
            self._events.append(CallCancelled(call_id))

    def _half_close(self, call_id: int) -> None:
        call = self._calls.get(call_id)
        if call is None:
            return
        if call.reader.held:
            self._refuse(call_id, call, MessageRefused(Status.INTERNAL, "a message cut short"))
        elif not call.head.unary:
            self._events.append(HalfClosed(call_id))
        elif call.message is None:
            text = "a unary request without a message"
            self._refuse(call_id, call, MessageRefused(Status.INTERNAL, text))
        else:
            head = call.head
            self._forget(call_id)
            self._events.append(
                UnaryCall(call_id, head.path, head.metadata, head.timeout, call.message)
            )

    def _forget(self, call_id: int) -> None:
        call = self._calls.pop(call_id, None)
        if call is not None:
            self._partial_bytes -= call.reader.held

    def _police_ping(self, now: float, provoked: bool) -> None:
        if not self._pings.allows(now, self.open_calls, provoked=provoked):
            self._connection.terminate(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")
            self._calls.clear()
            self._events.append(ConnectionClosed("too_many_pings"))
