"""The client codec judged by grpcio's own server."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from transport.grpc import (
    CallEnded,
    ClientEvent,
    Draining,
    GrpcClient,
    MessageReceived,
    ResponseStarted,
    Status,
    UnaryReply,
)

DEADLINE = 10.0


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A few methods on raw bytes."""

    def service(self, call: Any) -> Any:
        match call.method:
            case "/test.Echo/Unary":
                return grpc.unary_unary_rpc_method_handler(self.echo)
            case "/test.Echo/Fail":
                return grpc.unary_unary_rpc_method_handler(self.fail)
            case "/test.Echo/Metadata":
                return grpc.unary_unary_rpc_method_handler(self.metadata)
            case "/test.Echo/Bidi":
                return grpc.stream_stream_rpc_method_handler(lambda requests, _: requests)
            case _:
                return None

    def echo(self, message: bytes, context: Any) -> bytes:
        return message

    def fail(self, message: bytes, context: Any) -> bytes:
        context.set_trailing_metadata([("reason", "test")])
        context.abort(grpc.StatusCode.OUT_OF_RANGE, "50% ünïcode\n")
        return b""

    def metadata(self, message: bytes, context: Any) -> bytes:
        context.send_initial_metadata([("seen", "yes")])
        token = dict(context.invocation_metadata())["token"]
        return f"{token} {0 < context.time_remaining() <= DEADLINE}".encode()


class Caller:
    """Our client role on a blocking socket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self.client = GrpcClient("localhost")

    def turn(self) -> list[ClientEvent]:
        """Send what is to be sent, and read once."""
        self.socket.sendall(self.client.data_to_send())
        data = self.socket.recv(1 << 18)
        assert data, "the server closed the connection"
        return self.client.receive(data, time.monotonic())

    def until_end(self, call_id: int) -> list[ClientEvent]:
        """Collect the events of one call up to its end."""
        events: list[ClientEvent] = []
        while not (events and isinstance(events[-1], (CallEnded, UnaryReply))):
            events += [
                event
                for event in self.turn()
                if not isinstance(event, Draining) and getattr(event, "call_id", 0) == call_id
            ]
        return events


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    options = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(2), handlers=[Service()], options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait(DEADLINE)


@pytest.fixture
def caller(port: int) -> Iterator[Caller]:
    opened = Caller(port)
    yield opened
    opened.socket.close()


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 65_531, 1_000_000])
def test_unary_echo(caller: Caller, size: int) -> None:
    call_id = caller.client.unary("/test.Echo/Unary", bytes(size))

    events = caller.until_end(call_id)

    answers = [
        event.message for event in events if isinstance(event, (MessageReceived, UnaryReply))
    ]
    assert answers == [bytes(size)]
    assert caller.client.open_calls == 0


def test_many_calls_on_one_connection(caller: Caller) -> None:
    for number in range(50):
        call_id = caller.client.unary("/test.Echo/Unary", b"%d" % number)
        message = caller.until_end(call_id)

        assert any(getattr(event, "message", None) == b"%d" % number for event in message)


def test_failure_has_status_text_and_trailers(caller: Caller) -> None:
    call_id = caller.client.unary("/test.Echo/Fail", b"")

    events = caller.until_end(call_id)

    expected = CallEnded(call_id, Status.OUT_OF_RANGE, "50% ünïcode\n", {b"reason": b"test"})
    assert events[-1] == expected


def test_unknown_method(caller: Caller) -> None:
    call_id = caller.client.unary("/test.Echo/Nothing", b"")

    end = caller.until_end(call_id)[-1]

    assert isinstance(end, CallEnded)
    assert end.status == Status.UNIMPLEMENTED


def test_metadata_and_timeout_travel(caller: Caller) -> None:
    call_id = caller.client.unary(
        "/test.Echo/Metadata", b"", ((b"token", b"a.1"),), timeout=DEADLINE
    )

    events = caller.until_end(call_id)

    assert isinstance(events[0], ResponseStarted)
    assert events[0].metadata[b"seen"] == b"yes"
    assert events[1] == MessageReceived(call_id, b"a.1 True")


def test_bidi_stream(caller: Caller) -> None:
    call_id = caller.client.start("/test.Echo/Bidi")
    for number in range(5):
        caller.client.send(call_id, b"%d" % number)
        events = caller.turn()
        while not any(isinstance(event, MessageReceived) for event in events):
            events = caller.turn()
        assert MessageReceived(call_id, b"%d" % number) in events

    caller.client.half_close(call_id)

    assert caller.until_end(call_id)[-1] == CallEnded(call_id, Status.OK, "", {})


def test_cancelled_call_gives_no_more_events(caller: Caller) -> None:
    cancelled = caller.client.start("/test.Echo/Bidi")
    caller.client.send(cancelled, b"x")
    caller.client.cancel(cancelled)
    other = caller.client.unary("/test.Echo/Unary", b"y")

    events = caller.until_end(other)

    assert all(getattr(event, "call_id", other) == other for event in events)
    assert caller.client.open_calls == 0
