"""A small gRPC server over the codec, on a real socket, for foreign clients to call.

It shows the whole of what an owner has to do: feed bytes, act on events, write once per turn.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from transport.grpc import (
    CallCancelled,
    CallStarted,
    GrpcServer,
    HalfClosed,
    MessageReceived,
    ServerEvent,
    Status,
    UnaryCall,
)

ECHO = "/test.Echo/Unary"
METADATA = "/test.Echo/Metadata"
FAIL = "/test.Echo/Fail"
HANG = "/test.Echo/Hang"
BIDI = "/test.Echo/Bidi"
REPEAT = "/test.Echo/Repeat"
UNARY = frozenset((ECHO, METADATA, FAIL, HANG))


class EchoProtocol(asyncio.Protocol):
    """One connection of the echo server."""

    def __init__(self, cancelled: threading.Event) -> None:
        self._server = GrpcServer(unary=UNARY, message_bytes_max=8 << 20)
        self._cancelled = cancelled
        self._paths: dict[int, str] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for event in self._server.receive(data, asyncio.get_running_loop().time()):
            self._take(event)
        if out := self._server.data_to_send():
            self._transport.write(out)
        if self._server.closed:
            self._transport.close()

    def _take(self, event: ServerEvent) -> None:
        match event:
            case UnaryCall():
                self._take_unary(event)
            case CallStarted(call_id, path):
                self._paths[call_id] = path
            case MessageReceived(call_id, message):
                repeat = int(message[:8]) if self._paths[call_id] == REPEAT else 1
                for _ in range(repeat):
                    self._server.send(call_id, message)
            case HalfClosed(call_id):
                unknown = self._paths[call_id] not in (BIDI, REPEAT)
                status = Status.UNIMPLEMENTED if unknown else Status.OK
                self._server.finish(call_id, status, "unknown method" if unknown else "")
            case CallCancelled():
                self._cancelled.set()

    def _take_unary(self, call: UnaryCall) -> None:
        match call.path:
            case "/test.Echo/Unary":
                self._server.reply(call.call_id, call.message)
            case "/test.Echo/Metadata":
                pairs = [*call.metadata.items(), (b"timeout", str(call.timeout).encode())]
                self._server.reply(call.call_id, b";".join(b"%s=%s" % pair for pair in pairs))
            case "/test.Echo/Fail":
                self._server.finish(call.call_id, Status.OUT_OF_RANGE, call.message.decode())


class Echo:
    """Where the server listens, and what it saw."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.port = 0


@contextmanager
def serve_echo() -> Iterator[Echo]:
    """Run the echo server on a loopback port in a thread of its own."""
    echo = Echo()
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    def run() -> None:
        server = loop.run_until_complete(
            loop.create_server(lambda: EchoProtocol(echo.cancelled), "127.0.0.1", 0)
        )
        echo.port = server.sockets[0].getsockname()[1]
        ready.set()
        loop.run_forever()
        server.close()
        loop.run_until_complete(server.wait_closed())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    try:
        yield echo
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
