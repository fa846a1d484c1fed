"""The client side of gRPC over one HTTP/2 connection, without I/O.

A call starts with `unary` (the whole request at once) or `start`, and ends with exactly one of
UnaryReply or CallEnded, unless the connection ends first (ConnectionClosed). The owner counts its
own deadlines and calls `cancel`; the server is told the timeout as well.
"""

from __future__ import annotations

from typing import Final

from transport.grpc.event import (
    CallEnded,
    ClientEvent,
    ConnectionClosed,
    Drained,
    Draining,
    MessageReceived,
    Metadata,
    ResponseStarted,
    UnaryReply,
)
from transport.grpc.head import OK_TRAILERS, encode_timeout, parse_response, request_headers
from transport.grpc.message import (
    PREFIX,
    PREFIX_BYTES,
    MessageReader,
    MessageRefused,
    encode_message,
)
from transport.grpc.status import Status, status_of_http
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

_STATUS_OF_RESET: Final[dict[int, Status]] = {
    ErrorCode.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCode.CANCEL: Status.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}
MESSAGE_BYTES_MAX: Final = 0x7FFF_FFFF
"""etcd's own client takes answers of any size, too."""


class Answer:
    """A call that is open, as far as its answer has come."""

    __slots__ = ("http_status", "reader", "started")

    def __init__(self, message_bytes_max: int) -> None:
        self.reader = MessageReader(message_bytes_max)
        self.started = False
        self.http_status = 200


class GrpcClient:
    """One connection to a server: calls in, bytes out; bytes in, call events out."""

    def __init__(
        self,
        authority: str,
        *,
        user_agent: str = "conclave",
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        limits: Limits | None = None,
        secure: bool = False,
    ) -> None:
        self._authority = authority
        self._scheme = "https" if secure else "http"
        self._user_agent = user_agent
        self._message_bytes_max = message_bytes_max
        self._connection = Http2Connection(client=True, limits=limits)
        self._heads: dict[str, Headers] = {}
        self._answers: dict[int, Answer] = {}
        self._events: list[ClientEvent] = []

    def unary(
        self, path: str, message: bytes, metadata: Headers = (), timeout: float | None = None
    ) -> int:
        """Send a whole request of one message and give the call's id.

        Raises:
            ConnectionLost: the connection is closed or going away.
            StreamsExhausted: the server allows no further call for now.
        """
        head = self._head(path, metadata, timeout)
        call_id = self._connection.open_exchange(head, encode_message(message))
        self._answers[call_id] = Answer(self._message_bytes_max)
        return call_id

    def start(self, path: str, metadata: Headers = (), timeout: float | None = None) -> int:
        """Open a call whose messages follow by `send`. Raises as `unary`."""
        call_id = self._connection.open_stream(self._head(path, metadata, timeout))
        self._answers[call_id] = Answer(self._message_bytes_max)
        return call_id

    def send(self, call_id: int, message: bytes) -> None:
        """Send one message. A call that is over is ignored, here and below."""
        self._connection.send_data(call_id, encode_message(message))

    def half_close(self, call_id: int) -> None:
        """Send no further messages on this call."""
        self._connection.send_data(call_id, b"", end_stream=True)

    def cancel(self, call_id: int) -> None:
        """Give a call up. No event follows for it."""
        if self._answers.pop(call_id, None) is not None:
            self._connection.reset(call_id, ErrorCode.CANCEL)

    def receive(self, data: bytes, now: float) -> list[ClientEvent]:
        """Take bytes from the socket; `now` is monotonic seconds."""
        events = self._events = []
        for event in self._connection.receive(data, now):
            if type(event) is ResponseReceived:
                self._on_response(event)
            else:
                self._on_event(event)
        return events

    def data_to_send(self) -> bytes:
        """Take all bytes that may leave now."""
        return self._connection.data_to_send()

    @property
    def open_calls(self) -> int:
        """Calls that are not yet over."""
        return len(self._answers)

    @property
    def closed(self) -> bool:
        """True after ConnectionClosed."""
        return self._connection.closed

    def buffered(self, call_id: int) -> int:
        """Bytes of this call that wait for the server's flow control."""
        return self._connection.pending_bytes(call_id)

    def _head(self, path: str, metadata: Headers, timeout: float | None) -> Headers:
        head = self._heads.get(path)
        if head is None:
            head = self._heads[path] = request_headers(
                path, self._authority, self._user_agent, self._scheme
            )
        if metadata:
            head += metadata
        if timeout is not None:
            head += ((b"grpc-timeout", encode_timeout(timeout)),)
        return head

    def _on_response(self, event: ResponseReceived) -> None:
        """Take a whole answer: the short way for one plain message and status OK."""
        data = event.data
        size = len(data) - PREFIX_BYTES
        if (
            event.trailers == OK_TRAILERS
            and event.headers[0][1] == b"200"
            and 0 <= size <= self._message_bytes_max
            and PREFIX.unpack_from(data) == (0, size)
        ):
            del self._answers[event.stream_id]
            self._events.append(UnaryReply(event.stream_id, data[PREFIX_BYTES:]))
            return
        self._on_headers(event.stream_id, event.headers, end_stream=False)
        self._on_data(event.stream_id, data, end_stream=False)
        self._on_headers(event.stream_id, event.trailers, end_stream=True)

    def _on_event(self, event: Event) -> None:
        match event:
            case HeadersReceived(stream_id, headers, end_stream):
                self._on_headers(stream_id, headers, end_stream)
            case DataReceived(stream_id, data, end_stream):
                self._on_data(stream_id, data, end_stream)
            case StreamReset(stream_id, code, reason):
                status = _STATUS_OF_RESET.get(code, Status.INTERNAL)
                self._end(stream_id, status, reason)
            case StreamDrained(stream_id):
                self._events.append(Drained(stream_id))
            case GoAwayReceived(_, _, reason):
                self._events.append(Draining(reason))
            case ConnectionTerminated(_, reason):
                self._answers.clear()
                self._events.append(ConnectionClosed(reason))
            case PingReceived() | RequestReceived() | ResponseReceived():
                pass

    def _on_headers(self, call_id: int, headers: Headers, end_stream: bool) -> None:
        answer = self._answers.get(call_id)
        if answer is None:
            return
        http_status, status, text, metadata = parse_response(headers)
        if not answer.started and 100 <= http_status < 200:
            return
        if not answer.started:
            answer.started = True
            answer.http_status = http_status
            if not end_stream:
                self._events.append(ResponseStarted(call_id, metadata))
        if end_stream:
            self._end_by_trailers(call_id, answer, status, text, metadata)

    def _end_by_trailers(
        self, call_id: int, answer: Answer, status: int | None, text: str, metadata: Metadata
    ) -> None:
        if status is None:
            status = status_of_http(answer.http_status)
            text = f"no grpc-status; HTTP status {answer.http_status}"
        elif answer.reader.held and status == Status.OK:
            status, text = Status.INTERNAL, "a message cut short"
        self._end(call_id, status, text, metadata)

    def _on_data(self, call_id: int, data: bytes, end_stream: bool) -> None:
        answer = self._answers.get(call_id)
        if answer is None:
            return
        try:
            for message in answer.reader.add(data):
                self._events.append(MessageReceived(call_id, message))
        except MessageRefused as refused:
            self._end(call_id, refused.status, refused.text)
            self._connection.reset(call_id, ErrorCode.CANCEL)
            return
        if end_stream:
            self._end(call_id, Status.INTERNAL, "the answer ended without trailers")

    def _end(self, call_id: int, status: int, text: str, metadata: Metadata | None = None) -> None:
        if self._answers.pop(call_id, None) is not None:
            self._events.append(CallEnded(call_id, status, text, metadata or {}))
