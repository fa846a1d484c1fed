"""The server's rules of calls, messages and pings, driven by our own client role."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.http2 import HELLO, Peer
from transport.grpc import (
    CallCancelled,
    CallEnded,
    CallStarted,
    ClientEvent,
    ConnectionClosed,
    Drained,
    GrpcClient,
    GrpcServer,
    HalfClosed,
    MessageReceived,
    ServerEvent,
    Status,
    UnaryCall,
    UnaryReply,
)
from transport.grpc.message import encode_message
from transport.http2 import Limits, frame
from transport.http2.frame import DATA, END_HEADERS, END_STREAM, HEADERS, PING

UNARY = "/test.Echo/Unary"
STREAM = "/test.Echo/Stream"


class Pair:
    """A client and a server with a wire between them."""

    def __init__(self, limits: Limits | None = None, message_bytes_max: int = 1 << 20) -> None:
        self.server = GrpcServer(
            unary=frozenset((UNARY,)), message_bytes_max=message_bytes_max, limits=limits
        )
        self.client = GrpcClient("localhost")
        self.at_server: list[ServerEvent] = []
        self.at_client: list[ClientEvent] = []
        self.run()

    def run(self) -> None:
        """Carry bytes until none is left."""
        while True:
            up, down = self.client.data_to_send(), self.server.data_to_send()
            if not up and not down:
                return
            self.at_server += self.server.receive(up, 1.0)
            self.at_client += self.client.receive(down, 1.0)


def test_unary_call_short_and_long_way_look_the_same() -> None:
    pair = Pair()

    for number in range(1, 5):
        call_id = pair.client.unary(UNARY, b"question")
        pair.run()
        assert pair.at_server.pop() == UnaryCall(call_id, UNARY, {}, None, b"question")
        pair.server.reply(call_id, b"answer")
        pair.run()
        assert len(pair.at_client) == (1 if number > 2 else 3 * number)
        if number > 2:
            assert pair.at_client.pop() == UnaryReply(call_id, b"answer")
        else:
            assert pair.at_client[-1] == CallEnded(call_id, Status.OK, "", {})
            assert pair.at_client[-2] == MessageReceived(call_id, b"answer")
        if number == 2:
            pair.at_client.clear()


def test_unary_call_is_given_once_it_is_whole() -> None:
    pair = Pair()
    call_id = pair.client.start(UNARY)
    pair.client.send(call_id, b"question")
    pair.run()
    assert pair.at_server == []

    pair.client.half_close(call_id)
    pair.run()

    assert pair.at_server == [UnaryCall(call_id, UNARY, {}, None, b"question")]


def test_streamed_call_gives_every_step() -> None:
    pair = Pair()

    call_id = pair.client.start(STREAM, ((b"token", b"a.1"),), timeout=2.5)
    pair.client.send(call_id, b"one")
    pair.client.send(call_id, b"")
    pair.client.half_close(call_id)
    pair.run()

    assert pair.at_server == [
        CallStarted(call_id, STREAM, {b"token": b"a.1"}, 2.5),
        MessageReceived(call_id, b"one"),
        MessageReceived(call_id, b""),
        HalfClosed(call_id),
    ]
    assert pair.server.open_calls == 1


def test_streamed_answer_ends_with_status_and_text() -> None:
    pair = Pair()
    call_id = pair.client.start(STREAM)
    pair.run()

    pair.server.send(call_id, b"one")
    pair.server.send(call_id, b"two")
    pair.server.finish(call_id, Status.OUT_OF_RANGE, "etcdserver: compacted")
    pair.server.send(call_id, b"after the end")
    pair.run()

    assert pair.at_client[1:] == [
        MessageReceived(call_id, b"one"),
        MessageReceived(call_id, b"two"),
        CallEnded(call_id, Status.OUT_OF_RANGE, "etcdserver: compacted", {}),
    ]
    assert pair.server.open_calls == 0


def test_refusal_without_an_answer_is_headers_only() -> None:
    pair = Pair()
    call_id = pair.client.unary(UNARY, b"question")
    pair.run()

    pair.server.finish(call_id, Status.UNAVAILABLE, "etcdserver: no leader")
    sent = frame.HEADER.unpack_from(pair.server.data_to_send())

    assert sent[0] & 0xFF == HEADERS
    assert sent[1] == END_HEADERS | END_STREAM


def test_verbs_on_a_call_that_is_gone_do_nothing() -> None:
    pair = Pair()
    call_id = pair.client.start(STREAM)
    pair.run()
    pair.client.cancel(call_id)
    pair.run()
    assert pair.at_server[-1] == CallCancelled(call_id)

    pair.server.send(call_id, b"x")
    pair.server.reply(call_id, b"x")
    pair.server.finish(call_id)

    assert pair.server.data_to_send() == b""


@pytest.mark.parametrize("path", [UNARY, STREAM])
def test_message_above_the_limit(path: str) -> None:
    pair = Pair(message_bytes_max=1000)

    call_id = pair.client.unary(path, bytes(1001))
    pair.run()

    text = "grpc: received message larger than max (1001 vs. 1000)"
    assert pair.at_client[-1] == CallEnded(call_id, Status.RESOURCE_EXHAUSTED, text, {})
    cancelled = [event for event in pair.at_server if isinstance(event, CallCancelled)]
    assert len(cancelled) == (path == STREAM)
    assert pair.server.open_calls == 0


def test_message_above_the_limit_is_refused_at_its_prefix() -> None:
    peer = Peer()
    server = GrpcServer(unary=frozenset((UNARY,)), message_bytes_max=1 << 20)
    server.receive(HELLO + peer.head(1), 1.0)

    server.receive(frame.encode(DATA, 0, 1, b"\x00\x7f\xff\xff\xff"), 1.0)

    assert server.open_calls == 0


def test_messages_never_completed_are_bounded() -> None:
    peer = Peer()
    server = GrpcServer(
        unary=frozenset(), message_bytes_max=1 << 20, limits=Limits(partial_bytes_max=50_000)
    )
    events = server.receive(HELLO, 1.0)
    for number in range(10):
        head = peer.head(2 * number + 1)
        part = frame.encode(DATA, 0, 2 * number + 1, b"\x00\x00\x01\x00\x00" + bytes(9_995))
        events += server.receive(head + part, 1.0)

    refused = [event for event in events if isinstance(event, CallCancelled)]
    assert len(refused) == 5
    assert server.open_calls == 5


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "a unary request without a message"),
        (encode_message(b"a") + encode_message(b"b"), "a unary request of several messages"),
        (b"\x00\x00\x00\x00\x05abc", "a message cut short"),
        (b"\x01\x00\x00\x00\x01a", "grpc: compressed flag set with identity or empty encoding"),
    ],
)
def test_unary_request_of_another_shape(body: bytes, text: str) -> None:
    peer = Peer()
    server = GrpcServer(unary=frozenset((UNARY,)), message_bytes_max=1 << 20)
    server.receive(HELLO, 1.0)

    events = server.receive(peer.head(1) + frame.encode(DATA, END_STREAM, 1, body), 1.0)

    assert events == []
    assert text.encode() in server.data_to_send()
    assert server.open_calls == 0


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        ((b"content-type", b"text/html"), b"415"),
        ((b"content-type", b""), b"415"),
    ],
)
def test_request_that_is_not_grpc(extra: tuple[bytes, bytes], status: bytes) -> None:
    peer = Peer()
    server = GrpcServer(unary=frozenset((UNARY,)), message_bytes_max=1 << 20)
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", UNARY.encode()), extra]
    block = bytes(peer.encoder.encode(fields))

    events = server.receive(HELLO + frame.encode(HEADERS, END_HEADERS | END_STREAM, 1, block), 1.0)

    assert events == []
    assert status in server.data_to_send()
    assert server.open_calls == 0


def test_client_reads_a_plain_http_refusal_as_a_status() -> None:
    pair = Pair()
    call_id = pair.client.start(STREAM, ((b"grpc-encoding", b"gzip"),))
    pair.run()

    assert pair.at_client[-1] == CallEnded(
        call_id,
        Status.UNIMPLEMENTED,
        'grpc: Decompressor is not installed for grpc-encoding "gzip"',
        {},
    )


def test_answer_larger_than_the_window_is_buffered_and_reported() -> None:
    peer = Peer()
    server = GrpcServer(unary=frozenset((UNARY,)), message_bytes_max=1 << 20)
    server.receive(HELLO, 1.0)
    server.receive(peer.head(1) + frame.encode(DATA, END_STREAM, 1, encode_message(b"q")), 1.0)

    server.reply(1, bytes(100_000))

    assert server.buffered(1) == server.buffered_total == 100_005 - 65_535
    wider = frame.encode_word(frame.WINDOW_UPDATE, 0, 1 << 20)
    assert server.receive(wider, 1.0) == []
    assert server.receive(frame.encode_word(frame.WINDOW_UPDATE, 1, 1 << 20), 1.0) == [Drained(1)]
    assert server.open_calls == 0


def ping(server: GrpcServer, now: float) -> list[ServerEvent]:
    return server.receive(frame.encode(PING, 0, 0, bytes(8)), now)


def test_pings_too_often_end_the_connection() -> None:
    server = GrpcServer(unary=frozenset(), message_bytes_max=1 << 20)
    server.receive(HELLO + Peer().head(1), 100.0)

    events = [ping(server, 100.0 + second) for second in range(5)]

    assert events[:3] == [[], [], []]
    assert events[3] == [ConnectionClosed("too_many_pings")]
    assert b"too_many_pings" in server.data_to_send()
    assert server.closed


def test_pings_every_five_seconds_are_welcome_while_a_call_is_open() -> None:
    server = GrpcServer(unary=frozenset(), message_bytes_max=1 << 20)
    server.receive(HELLO + Peer().head(1), 100.0)

    for number in range(50):
        assert ping(server, 100.0 + 5.0 * number) == []


def test_pings_may_come_as_often_as_was_set() -> None:
    server = GrpcServer(unary=frozenset(), message_bytes_max=1 << 20, ping_seconds_min=0.5)
    server.receive(HELLO + Peer().head(1), 100.0)

    welcome = [ping(server, 100.0 + 0.5 * number) for number in range(50)]
    too_often = [ping(server, 200.0 + 0.4 * number) for number in range(4)]

    assert welcome == [[]] * 50
    assert too_often[3] == [ConnectionClosed("too_many_pings")]


def test_pings_without_a_call_end_the_connection() -> None:
    server = GrpcServer(unary=frozenset(), message_bytes_max=1 << 20)
    server.receive(HELLO, 100.0)

    events = [ping(server, 100.0 + 30.0 * number) for number in range(5)]

    assert events[3] == [ConnectionClosed("too_many_pings")]


def test_pings_beside_answers_are_never_too_many() -> None:
    peer = Peer()
    server = GrpcServer(unary=frozenset(), message_bytes_max=1 << 20)
    server.receive(HELLO + peer.head(1), 100.0)

    for _ in range(50):
        server.send(1, b"event")
        assert ping(server, 100.0) == []

    assert not server.closed


def test_goaway_lets_open_calls_end() -> None:
    pair = Pair()
    call_id = pair.client.unary(UNARY, b"question")
    pair.run()

    pair.server.goaway("shutting down")
    pair.server.reply(call_id, b"answer")
    pair.run()

    assert pair.at_client[-1] == CallEnded(call_id, Status.OK, "", {})
    assert pair.server.open_calls == 0


@given(
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                frame.encode,
                st.integers(0, 10),
                st.integers(0, 63),
                st.integers(0, 7),
                st.one_of(st.binary(max_size=30), st.binary(max_size=20).map(encode_message)),
            ),
            st.integers(0, 9).map(lambda number: Peer().head(2 * number + 1)),
            st.integers(0, 9).map(lambda number: Peer().request(2 * number + 1, b"\0\0\0\0\1a")),
        ),
        max_size=15,
    )
)
@settings(deadline=None, max_examples=300)
def test_no_bytes_make_the_server_raise(pieces: list[bytes]) -> None:
    server = GrpcServer(unary=frozenset((UNARY,)), message_bytes_max=10)
    server.receive(HELLO, 1.0)

    for piece in pieces:
        for event in server.receive(piece, 1.0):
            match event:
                case UnaryCall(call_id):
                    server.reply(call_id, b"answer")
                case CallStarted(call_id) | MessageReceived(call_id):
                    server.send(call_id, b"answer")
                case HalfClosed(call_id):
                    server.finish(call_id)
                case ConnectionClosed():
                    assert server.closed

    assert server.open_calls == 0 or not server.closed
