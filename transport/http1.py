"""HTTP/1.1 for one connection, as an asyncio Protocol over h11.

Used for the plain side of the client port and for the management socket. One request at a time is
given to `handle` with a `Responder`; pipelined ones wait their turn in the connection. Bodies are
collected whole, within a limit. Timeouts are the owner's.

    idle ──request whole──► handling ──answer ended──► idle (keep-alive) or closed

What the client does wrong is answered here and ends the connection: 400 (not HTTP), 413 (body),
431 (head), 501 (transfer coding, CONNECT). While a request is handled the socket is read on, so
that a client that goes away is noticed, but only up to one head of pipelined bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

import h11
import msgspec

Headers = Sequence[tuple[str, str]]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one connection; sizes are bytes."""

    body_bytes_max: int = 1 << 20
    head_bytes_max: int = 16 * 1024


class Request(msgspec.Struct, frozen=True):
    """One request with its whole body."""

    method: str
    target: str
    path: str
    """The target without its query, percent-decoded."""
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """By lower-case name; repeated ones joined by a comma."""
    body: bytes


class Responder:
    """The way back for one request: `respond` once, or `start`, `write` …, `end`."""

    def __init__(self, protocol: Http1Protocol) -> None:
        self._protocol: Http1Protocol | None = protocol
        self.on_disconnect: Callable[[], None] | None = None
        """Called once if the client goes away before the answer has ended."""
        self.on_drain: Callable[[], None] | None = None
        """Called when the client has read enough after `write` returned False."""
        self.always: Headers = ()
        """Headers that the answer has whoever gives it."""

    def respond(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        """Send a whole answer; content-length is added. After a disconnect: ignored (all verbs)."""
        if self._protocol is not None:
            length = ("content-length", str(len(body)))
            self._protocol.send_answer(status, [*headers, *self.always, length], body)

    def start(self, status: int, headers: Headers = ()) -> None:
        """Begin a streamed answer: chunked, or until the end of the connection for HTTP/1.0."""
        if self._protocol is not None:
            self._protocol.send_head(status, [*headers, *self.always])

    def write(self, chunk: bytes) -> bool:
        """Send a piece; False = the client reads too slowly, wait for `on_drain`."""
        return self._protocol is not None and self._protocol.send_chunk(chunk)

    def end(self) -> None:
        """End a streamed answer."""
        if self._protocol is not None:
            self._protocol.send_end()

    @property
    def connected(self) -> bool:
        """False once the answer has ended or the client is gone."""
        return self._protocol is not None

    def detach(self, *, disconnected: bool) -> None:
        """Cut the way back; called by the connection only."""
        self._protocol = None
        if disconnected and self.on_disconnect is not None:
            self.on_disconnect()

    def drained(self) -> None:
        """Pass on that the client has read; called by the connection only."""
        if self.on_drain is not None:
            self.on_drain()


Handle = Callable[[Request, Responder], None]


class Http1Protocol(asyncio.Protocol):
    """One connection. Errors of the client are answered here."""

    def __init__(self, handle: Handle, limits: Limits | None = None) -> None:
        self._handle = handle
        self._limits = limits or Limits()
        self._parser = h11.Connection(
            h11.SERVER, max_incomplete_event_size=self._limits.head_bytes_max
        )
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._responder: Responder | None = None
        self._bodiless = False
        """The request was HEAD: its answer has a body's headers and no body."""
        self._streaming = False
        self._writable = True
        self._advancing = False

    @property
    def busy(self) -> bool:
        """Whether a request is being handled, or its answer streamed."""
        return self._responder is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back to the client."""
        self._transport = cast(asyncio.Transport, transport)

    def feed_initial(self, data: bytes) -> None:
        """Take bytes that were read before this protocol was chosen (after `connection_made`)."""
        self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and go on if no request is being handled."""
        if not self._transport.is_closing():
            self._parser.receive_data(data)
            self._advance()

    def eof_received(self) -> bool:
        """Let the answer that is due go out; a request cut short gets none.

        For a streamed answer the end of the requests counts as the client's leaving: its own end
        might never come, and a client that follows a stream keeps its side open.
        """
        if self._responder is None or self._streaming:
            return False
        self._parser.receive_data(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being handled."""
        responder, self._responder = self._responder, None
        if responder is not None:
            responder.detach(disconnected=True)

    def pause_writing(self) -> None:
        """Make `write` say that the client reads too slowly."""
        self._writable = False

    def resume_writing(self) -> None:
        """Let a streamed answer go on."""
        self._writable = True
        if self._responder is not None:
            self._responder.drained()

    def _advance(self) -> None:
        """Take events until the parser wants more bytes or an answer of us.

        An answer given inside `handle` comes back here; the loop of the first call goes on then.
        """
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._responder is None and self._step():
                pass
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))
        finally:
            self._advancing = False
        if not self._transport.is_closing():
            self._regulate()

    def _step(self) -> bool:
        """Take one event; False = none is to be had now."""
        event = self._parser.next_event()
        if event is h11.NEED_DATA:
            if self._parser.they_are_waiting_for_100_continue:
                self._write(h11.InformationalResponse(status_code=100, headers=[]))
            return False
        if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            self._transport.close()
            return False
        if isinstance(event, h11.Request):
            return self._take_head(event)
        if isinstance(event, h11.Data):
            self._body += event.data
            if len(self._body) > self._limits.body_bytes_max:
                self._refuse(413, "request body too large")
                return False
        elif isinstance(event, h11.EndOfMessage):
            self._start_handling()
        return True

    def _take_head(self, head: h11.Request) -> bool:
        """Begin a request; False = it is refused at once.

        CONNECT would turn the connection into a tunnel as soon as a handler says "200", and there
        is no answer to be ended in a tunnel.
        """
        self._body.clear()
        # Known before anything is refused: the answer to a HEAD with a bad body has no body either.
        self._bodiless = head.method == b"HEAD"
        if head.method == b"CONNECT":
            self._refuse(501, "no tunnels here")
            return False
        if _length_of(head) > self._limits.body_bytes_max:
            self._refuse(413, "request body too large")
            return False
        self._head = head
        return True

    def _start_handling(self) -> None:
        head, self._head = self._head, None
        if head is None:
            return
        self._responder = responder = Responder(self)
        try:
            request = _request(head, bytes(self._body))
        except ValueError:
            self._refuse(400, "malformed request target")
            return
        self._body.clear()
        self._handle(request, responder)

    def _regulate(self) -> None:
        """Stop reading while a request is handled and enough is pipelined behind it."""
        held = len(self._parser.trailing_data[0])
        if self._responder is not None and held > self._limits.head_bytes_max:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer what is wrong with the request, then end the connection."""
        if self._parser.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = reason.encode() + b"\n"
            headers = [("content-length", str(len(body))), ("connection", "close")]
            self.send_answer(status, headers, body)
        self._transport.close()

    def send_answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Write a whole answer; called by the responder."""
        data = h11.Data(data=b"" if self._bodiless else body)
        self._write(h11.Response(status_code=status, headers=_encode(headers)), data)
        self.send_end()

    def send_head(self, status: int, headers: Headers) -> None:
        """Write the head of an answer; called by the responder."""
        self._streaming = True
        self._write(h11.Response(status_code=status, headers=_encode(headers)))

    def send_chunk(self, chunk: bytes) -> bool:
        """Write a piece of a streamed answer; called by the responder."""
        if not self._bodiless:
            self._write(h11.Data(data=chunk))
        return self._writable

    def send_end(self) -> None:
        """End an answer, and go on with the next request; called by the responder."""
        self._write(h11.EndOfMessage())
        self._streaming = self._bodiless = False
        responder, self._responder = self._responder, None
        if responder is not None:
            responder.detach(disconnected=False)
        if self._parser.our_state is h11.DONE and self._parser.their_state is h11.DONE:
            self._parser.start_next_cycle()
            self._advance()
        else:
            self._transport.close()

    def _write(self, *events: h11.Event) -> None:
        pieces = [self._parser.send(event) for event in events]
        self._transport.write(b"".join(piece for piece in pieces if piece))


def _length_of(head: h11.Request) -> int:
    """How many bytes of body are announced; the parser has judged the header already."""
    return max((int(value) for name, value in head.headers if name == b"content-length"), default=0)


def _encode(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _request(head: h11.Request, body: bytes) -> Request:
    """Interpret a request head.

    Raises:
        ValueError: the target is no URL.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    target = head.target.decode("latin-1")
    parts = urlsplit(target)
    return Request(
        head.method.decode("latin-1"),
        target,
        unquote(parts.path),
        parse_qs(parts.query, keep_blank_values=True, max_num_fields=64),
        headers,
        body,
    )
