"""etcd's API as JSON over HTTP/1.1: POST /v3/<family>/<verb>, for curl and clients without gRPC.

    POST body ──JSON──► message ──► the same handler as of the gRPC call ──► message ──JSON──► body

A handler cannot tell the difference: here a call's way back ends in an HTTP answer. A stream
answers in chunks, one `{"result": …}` a line, until its call ends or the client leaves; all of its
requests are in the body, one JSON object after the other.

Errors carry the keys of both generations of etcd's gateway: `error` is the older one's.
Source: etcd server/embed/serve.go, grpc-gateway runtime (handler.go, errors.go).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from node.api.call import Call, Kind, Method, StreamCall, refusal_of
from node.api.errors import CORRUPT, Fault
from node.api.identity import admit
from node.api.json_message import BadRequest, document_of, documents, encode, fill
from node.api.member import Member
from node.api.route import ROUTES
from node.api.service import Services
from node.proto.pool import POOL
from transport.grpc import Metadata
from transport.grpc.head import parse_timeout
from transport.grpc.status import Status
from transport.http1 import Headers, Request, Responder

PREFIX: Final = "/v3/"
OLD_PREFIX: Final = "/v3beta/"

HTTP_STATUS: Final[dict[int, int]] = {
    Status.OK: 200,
    Status.CANCELLED: 499,
    Status.UNKNOWN: 500,
    Status.INVALID_ARGUMENT: 400,
    Status.DEADLINE_EXCEEDED: 504,
    Status.NOT_FOUND: 404,
    Status.ALREADY_EXISTS: 409,
    Status.PERMISSION_DENIED: 403,
    Status.RESOURCE_EXHAUSTED: 429,
    Status.FAILED_PRECONDITION: 400,
    Status.ABORTED: 409,
    Status.OUT_OF_RANGE: 400,
    Status.UNIMPLEMENTED: 501,
    Status.INTERNAL: 500,
    Status.UNAVAILABLE: 503,
    Status.DATA_LOSS: 500,
    Status.UNAUTHENTICATED: 401,
}

NOT_FOUND = Fault(Status.NOT_FOUND, "Not Found")
METHOD_NOT_ALLOWED = Fault(Status.UNIMPLEMENTED, "Method Not Allowed")

_JSON: Final[Headers] = (("content-type", "application/json"),)
_TIMEOUT: Final = "grpc-timeout"
_METADATA_PREFIX: Final = "grpc-metadata-"
_CALL: Final = 1
"""The id of the one call of an exchange."""

Later = Callable[[float, Callable[[], None]], None]
InTurn = Callable[[Callable[[], None]], None]


class Gateway:
    """Answers every request below /v3/."""

    def __init__(
        self,
        member: Member,
        services: Services,
        later: Later,
        in_turn: InTurn,
        timed: set[Call | StreamCall],
    ) -> None:
        """Serve with the handlers of `services`; `timed` gets the calls that have a deadline."""
        self._member = member
        self._services = services
        self._later = later
        self._in_turn = in_turn
        self._timed = timed

    def serves(self, path: str) -> bool:
        """Whether the gateway answers this path, if only by a refusal."""
        return path.startswith((PREFIX, OLD_PREFIX))

    def handle(self, request: Request, responder: Responder) -> None:
        """Answer one request, now or when its call ends."""
        route = ROUTES.get(request.path.removeprefix(PREFIX).removeprefix(OLD_PREFIX))
        if route is None:
            refuse(responder, NOT_FOUND)
        elif request.method != "POST":
            refuse(responder, METHOD_NOT_ALLOWED)
        else:
            try:
                self._start(route, request, responder)
            except BadRequest as error:
                refuse(responder, error.fault)

    def _start(self, route: tuple[str, str], request: Request, responder: Responder) -> None:
        service, name = route
        asked, answered = messages_of(service, name)
        path = f"/{service}/{name}"
        exchange = Exchange(
            self._member, self._services, responder, answered, self._later, self._in_turn
        )
        metadata, timeout = metadata_of(request.headers), timeout_of(request.headers)
        call: Call | StreamCall
        if path in self._services.unary:
            method, handler = self._services.unary[path]
            call = exchange.start_unary(method, handler, metadata, one(asked, request.body))
        elif path in self._services.streams:
            method, opener = self._services.streams[path]
            alone = method.kind is Kind.SERVER_STREAM
            messages = [one(asked, request.body)] if alone else several(asked, request.body)
            call = exchange.start_stream(method, opener, metadata, messages)
        else:
            refuse(responder, self._services.unserved(path))
            return
        if timeout is not None and not call.over:
            call.deadline = self._member.now() + timeout
            self._timed.add(call)


class Exchange:
    """One call's link: its answers leave as the answer of one HTTP request."""

    def __init__(
        self,
        member: Member,
        services: Services,
        responder: Responder,
        answered: type[Message],
        later: Later,
        in_turn: InTurn,
    ) -> None:
        """`answered` is the message that the call's answers are."""
        self.member = member
        self.grpc = self
        self.common_name = ""
        """Never the certificate's: etcd's gateway connects with one of its own, which is nobody's
        name, and so only a token says who asks through it."""
        self.unwritten = 0
        self.later = later
        self.in_turn = in_turn
        self._services = services
        self._responder = responder
        self._answered = answered
        self._stream: StreamCall | None = None
        self._streaming = False
        self._writable = True

    def start_unary(
        self,
        method: Method,
        handler: Callable[[Call, bytes], None],
        metadata: Metadata,
        message: bytes,
    ) -> Call:
        """Make a unary call."""
        method.started += 1
        method.bytes_received += len(message)
        call = self._services.new_call(self, _CALL, method)
        self._responder.on_disconnect = lambda: call.abandon(Status.CANCELLED)
        fault = refusal_of(self.member, method, metadata)
        if fault is not None:
            call.fail(fault)
        elif self.member.machine.auth.enabled:
            admit(call, metadata, lambda: handler(call, message))
        else:
            handler(call, message)
        return call

    def start_stream(
        self,
        method: Method,
        handler: Callable[[StreamCall], Any],
        metadata: Metadata,
        messages: list[bytes],
    ) -> StreamCall:
        """Open a stream and make all of its requests."""
        method.started += 1
        call = self._stream = self._services.new_stream(self, _CALL, method, metadata)
        self._responder.on_disconnect = lambda: call.abandon(Status.CANCELLED)
        self._responder.on_drain = self._drained
        fault = refusal_of(self.member, method, metadata)
        if fault is not None:
            call.fail(fault)
            return call
        call.stream = handler(call)
        for message in messages:
            if not call.over:
                method.received += 1
                method.bytes_received += len(message)
                call.stream.received(message)
        if not call.over:
            call.stream.half_closed()
        return call

    # What calls use of a connection.

    def when_writable(self, call: Call, go_on: Callable[[], None]) -> None:
        """There is one request at a time, so there is always room for its answer."""
        go_on()

    def awaits(self, call: Call) -> bool:
        """Whether the client is still connected."""
        return self._responder.connected

    def touch(self) -> None:
        """Answers are written as they come."""

    def sent(self, call: StreamCall) -> None:
        """Pause a stream whose client does not read."""
        if not self._writable and not call.paused and call.stream is not None:
            call.paused = True
            call.stream.pause()

    def ended(self, call: StreamCall) -> None:
        """There is nothing else to forget."""

    def reply(self, call_id: int, message: bytes) -> None:
        """The one answer of a unary call."""
        body = encode(self._answered.FromString(message))
        self._responder.respond(200, _JSON, body)

    def send(self, call_id: int, message: bytes) -> None:
        """One answer of a stream."""
        stream = self._stream
        if stream is not None and self.member.accused and not stream.method.accused:
            stream.fail(CORRUPT)
            return
        result = document_of(self._answered.FromString(message))
        self._write({"result": result}, 200)

    def finish(self, call_id: int, status: int = Status.OK, text: str = "") -> None:
        """The end of a call that failed, or of a stream."""
        if self._stream is None:
            refuse(self._responder, Fault(Status(status), text))
            return
        if status != Status.OK:
            self._write({"error": error_document(status, text)}, HTTP_STATUS[status])
        elif not self._streaming:
            self._begin(200)
        self._responder.end()

    def _write(self, document: dict[str, Any], status: int) -> None:
        if not self._streaming:
            self._begin(status)
        self._writable = self._responder.write(msgspec.json.encode(document) + b"\n")

    def _begin(self, status: int) -> None:
        self._streaming = True
        self._responder.start(status, _JSON)

    def _drained(self) -> None:
        self._writable = True
        call = self._stream
        if call is not None and call.paused and call.stream is not None:
            call.paused = False
            call.stream.resume()


def messages_of(service: str, name: str) -> tuple[type[Message], type[Message]]:
    """The classes of a method's request and response."""
    method = POOL.FindMethodByName(f"{service}.{name}")
    return GetMessageClass(method.input_type), GetMessageClass(method.output_type)


def one(asked: type[Message], body: bytes) -> bytes:
    """The first message in a body, encoded; an empty one if there is none.

    Raises:
        BadRequest: it is none.
    """
    return _encoded(asked, next(documents(body), None))


def several(asked: type[Message], body: bytes) -> list[bytes]:
    """All messages in a body, encoded.

    Raises:
        BadRequest: one of them is none.
    """
    return [_encoded(asked, document) for document in documents(body)]


def _encoded(asked: type[Message], document: Any) -> bytes:
    message = asked()
    fill(message, document)
    return message.SerializeToString()


def metadata_of(headers: Mapping[str, str]) -> Metadata:
    """What a client says about its call beside the message: `Grpc-Metadata-<name>`, and a token."""
    metadata = {
        name.removeprefix(_METADATA_PREFIX).encode(): value.encode()
        for name, value in headers.items()
        if name.startswith(_METADATA_PREFIX)
    }
    if "authorization" in headers:
        metadata[b"authorization"] = headers["authorization"].encode()
    return metadata


def timeout_of(headers: Mapping[str, str]) -> float | None:
    """How long the client waits, in seconds, by its Grpc-Timeout; None = for ever.

    Raises:
        BadRequest: it is none.
    """
    raw = headers.get(_TIMEOUT)
    if raw is None:
        return None
    timeout = parse_timeout(raw.encode())
    if timeout is None:
        raise BadRequest(f"invalid grpc-timeout: {raw}")
    return timeout


def refuse(responder: Responder, fault: Fault) -> None:
    """Answer with an error."""
    body = msgspec.json.encode(error_document(fault.status, fault.text))
    responder.respond(HTTP_STATUS[fault.status], _JSON, body)


def error_document(status: int, text: str) -> dict[str, Any]:
    """An error in the spelling of old and new gateways."""
    return {"error": text, "code": int(status), "message": text}
