"""Both roles against each other, and bytes that no peer should send."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.http2 import HELLO, Peer
from transport.errors import ConnectionLost, StreamsExhausted
from transport.http2 import (
    ConnectionTerminated,
    DataReceived,
    ErrorCode,
    Event,
    GoAwayReceived,
    Headers,
    HeadersReceived,
    Http2Connection,
    Limits,
    PingReceived,
    RequestReceived,
    ResponseReceived,
    StreamDrained,
    StreamReset,
    frame,
)
from transport.http2.frame import DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PING, SETTINGS

REQUEST: Headers = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a.B/C"),
    (b":authority", b"a"),
)
RESPONSE: Headers = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS: Headers = ((b"grpc-status", b"0"),)


class Pair:
    """A client and a server with a wire between them."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.client = Http2Connection(client=True, limits=limits)
        self.server = Http2Connection(client=False, limits=limits)
        self.at_client: list[Event] = []
        self.at_server: list[Event] = []
        self.run()

    def run(self) -> None:
        """Carry bytes until none is left."""
        while True:
            up, down = self.client.data_to_send(), self.server.data_to_send()
            if not up and not down:
                return
            self.at_server += self.server.receive(up, 1.0)
            self.at_client += self.client.receive(down, 1.0)

    def call(self, body: bytes = b"question") -> int:
        """Make the usual call, so that both sides know its headers."""
        stream_id = self.client.open_exchange(REQUEST, body)
        self.run()
        self.server.send_exchange(stream_id, RESPONSE, b"answer", TRAILERS)
        self.run()
        return stream_id


def body_of(events: list[Event], stream_id: int) -> bytes:
    return b"".join(
        event.data
        for event in events
        if isinstance(event, (DataReceived, RequestReceived, ResponseReceived))
        and event.stream_id == stream_id
    )


def test_repeated_exchange_is_one_event_on_each_side() -> None:
    pair = Pair()
    for _ in range(3):
        pair.call()
    pair.at_server.clear()
    pair.at_client.clear()

    stream_id = pair.call()

    assert pair.at_server == [RequestReceived(stream_id, REQUEST, b"question")]
    assert pair.at_client == [ResponseReceived(stream_id, RESPONSE, b"answer", TRAILERS)]
    assert pair.client.open_streams == pair.server.open_streams == 0


@pytest.mark.parametrize("size", [0, 16_384, 16_385, 65_535, 65_536, 1_000_000])
def test_bodies_of_all_sizes_arrive(size: int) -> None:
    pair = Pair()
    body = bytes(range(256)) * (size // 256 + 1)

    stream_id = pair.client.open_exchange(REQUEST, body[:size])
    pair.run()
    pair.server.send_exchange(stream_id, RESPONSE, body[:size], TRAILERS)
    pair.run()

    assert body_of(pair.at_server, stream_id) == body[:size]
    assert body_of(pair.at_client, stream_id) == body[:size]
    assert pair.client.open_streams == pair.server.open_streams == 0
    assert pair.server.waiting_bytes == 0


def test_blocked_stream_keeps_its_bytes_and_tells_when_drained() -> None:
    limits = Limits(stream_window_bytes=1000)
    pair = Pair(limits)
    stream_id = pair.client.open_stream(REQUEST)
    pair.run()

    pair.server.send_headers(stream_id, RESPONSE)
    pair.server.send_data(stream_id, bytes(700))
    pair.server.send_data(stream_id, b"x" * 700)
    waiting = pair.server.pending_bytes(stream_id)
    pair.server.send_trailers(stream_id, TRAILERS)
    pair.run()

    assert waiting == pair.server.waiting_bytes + 400
    assert StreamDrained(stream_id) in pair.at_server
    assert body_of(pair.at_client, stream_id) == bytes(700) + b"x" * 700
    assert pair.at_client[-2] == HeadersReceived(stream_id, TRAILERS, True)


def test_blocked_stream_does_not_block_others() -> None:
    pair = Pair(Limits(stream_window_bytes=1000))
    one, two = pair.client.open_stream(REQUEST), pair.client.open_stream(REQUEST)
    pair.run()

    pair.server.send_data(one, bytes(5000))
    pair.server.send_exchange(two, RESPONSE, b"short", TRAILERS)
    frames = pair.server.data_to_send()

    assert b"short" in frames


def test_streams_share_the_connection_window_in_turns() -> None:
    peer = Peer()
    peer.feed(frame.encode(SETTINGS, 0, 0, b"\x00\x04\x7f\xff\xff\xff"))
    peer.feed(peer.head(1, end=True) + peer.head(3, end=True))
    for stream_id in (1, 3):
        peer.server.send_headers(stream_id, RESPONSE)
        peer.server.send_data(stream_id, bytes(100_000), end_stream=True)
    peer.sent()

    order = []
    for _ in range(20):
        peer.feed(frame.encode_word(frame.WINDOW_UPDATE, 0, 16_384))
        order += [stream_id for kind, _, stream_id, _ in peer.sent() if kind == DATA]

    assert order[:4] in ([1, 3, 1, 3], [3, 1, 3, 1])
    assert peer.server.open_streams == 0


def test_wider_initial_window_is_used_behind_its_acknowledgement() -> None:
    peer = Peer()
    peer.feed(frame.encode(SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x05"))
    peer.feed(peer.head(1, end=True))
    peer.server.send_data(1, b"0123456789")
    peer.sent()

    peer.feed(frame.encode(SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x0a"))

    assert [(kind, payload) for kind, _, _, payload in peer.sent()] == [
        (SETTINGS, b""),
        (DATA, b"56789"),
    ]


def test_initial_window_that_shrinks_below_zero_stops_a_queued_stream() -> None:
    peer = Peer()
    wide, none = b"\x00\x04\x00\x02\x00\x00", b"\x00\x04\x00\x00\x00\x00"
    peer.feed(frame.encode(SETTINGS, 0, 0, wide))
    peer.feed(peer.head(1, end=True))
    peer.server.send_data(1, bytes(200_000))
    sent = sum(len(payload) for kind, _, _, payload in peer.sent() if kind == DATA)
    assert sent == 65_535

    peer.feed(frame.encode(SETTINGS, 0, 0, none))
    peer.feed(frame.encode_word(frame.WINDOW_UPDATE, 0, 1 << 20))
    stopped = [kind for kind, *_ in peer.sent()]
    peer.feed(frame.encode_word(frame.WINDOW_UPDATE, 1, 65_535 + 7))

    assert stopped == [SETTINGS]
    assert [len(payload) for kind, _, _, payload in peer.sent() if kind == DATA] == [7]


def test_server_that_answers_early_resets_without_error() -> None:
    pair = Pair()
    stream_id = pair.client.open_stream(REQUEST)
    pair.run()

    pair.server.send_headers(stream_id, RESPONSE + TRAILERS, end_stream=True)
    pair.run()
    pair.client.send_data(stream_id, b"too late")
    pair.run()

    assert pair.at_client == [
        HeadersReceived(stream_id, RESPONSE + TRAILERS, True),
        StreamReset(stream_id, ErrorCode.NO_ERROR, "reset by the peer"),
    ]
    assert pair.client.open_streams == pair.server.open_streams == 0


def test_reset_by_the_client_reaches_the_server_once() -> None:
    pair = Pair()
    stream_id = pair.client.open_stream(REQUEST)
    pair.run()
    pair.at_server.clear()

    pair.client.reset(stream_id)
    pair.client.reset(stream_id)
    pair.run()

    assert pair.at_server == [StreamReset(stream_id, ErrorCode.CANCEL, "reset by the peer")]
    pair.server.send_data(stream_id, b"nobody listens")
    assert pair.server.data_to_send() == b""


def test_client_obeys_the_servers_stream_limit() -> None:
    pair = Pair(Limits(streams_max=1))
    pair.client.open_stream(REQUEST)

    with pytest.raises(StreamsExhausted):
        pair.client.open_stream(REQUEST)


def test_goaway_ends_streams_that_the_server_never_saw() -> None:
    pair = Pair()
    seen = pair.client.open_stream(REQUEST)
    pair.run()
    pair.server.goaway(reason="restart")
    unseen = pair.client.open_stream(REQUEST)
    pair.run()

    assert GoAwayReceived(seen, ErrorCode.NO_ERROR, "restart") in pair.at_client
    assert pair.at_client[-1] == StreamReset(
        unseen, ErrorCode.REFUSED_STREAM, "the server goes away"
    )
    assert pair.server.is_open(seen)
    with pytest.raises(ConnectionLost):
        pair.client.open_stream(REQUEST)


def test_ping_is_answered_with_its_payload() -> None:
    peer = Peer()

    events = peer.feed(frame.encode(PING, 0, 0, b"12345678"))

    assert events == [PingReceived(b"12345678", False)]
    assert peer.sent() == [(PING, 1, 0, b"12345678")]


def test_padding_and_priority_are_stripped() -> None:
    peer = Peer()
    head = b"\x03" + b"\x00\x00\x00\x00\x10" + peer.block() + bytes(3)
    flags = END_HEADERS | PADDED | frame.PRIORITISED

    events = peer.feed(
        frame.encode(HEADERS, flags, 1, head)
        + frame.encode(DATA, PADDED | END_STREAM, 1, b"\x04body" + bytes(4))
    )

    assert isinstance(events[0], HeadersReceived)
    assert events[1] == DataReceived(1, b"body", True)


def test_large_header_block_travels_in_continuation_frames() -> None:
    pair = Pair()
    large = tuple((b"x-%d" % number, b"~" * 2000) for number in range(20))

    stream_id = pair.client.open_stream(REQUEST + large, end_stream=True)
    pair.run()

    assert pair.at_server == [HeadersReceived(stream_id, REQUEST + large, True)]


def test_client_takes_an_interim_response_for_no_head() -> None:
    pair = Pair()
    stream_id = pair.client.open_stream(REQUEST, end_stream=True)
    pair.run()

    pair.server.send_headers(stream_id, ((b":status", b"103"),))
    pair.server.send_exchange(stream_id, RESPONSE, b"answer", TRAILERS)
    pair.run()

    statuses = [event.headers[0] for event in pair.at_client if isinstance(event, HeadersReceived)]
    assert statuses[:2] == [(b":status", b"103"), (b":status", b"200")]
    assert pair.client.open_streams == 0


def test_table_shrunk_by_the_peer_is_followed() -> None:
    pair = Pair()
    pair.call()
    pair.server.receive(frame.encode(SETTINGS, 0, 0, b"\x00\x01\x00\x00\x00\x00"), 1.0)

    for _ in range(3):
        pair.call()

    assert not pair.client.closed
    assert pair.client.open_streams == 0


# Bytes of any kind.

VALID = st.sampled_from(
    [
        HELLO,
        frame.encode(SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x05"),
        frame.encode(PING, 0, 0, bytes(8)),
        Peer().request(1),
        Peer().request(3),
        Peer().head(5),
        frame.encode_word(frame.WINDOW_UPDATE, 0, 100),
        frame.encode_word(frame.RST_STREAM, 1, 8),
        frame.encode_goaway(0, 0, "bye"),
    ]
)
FRAMES = st.builds(
    frame.encode,
    st.integers(0, 12),
    st.integers(0, 255),
    st.integers(0, 7),
    st.binary(max_size=40),
)


@given(
    pieces=st.lists(st.one_of(VALID, FRAMES, st.binary(max_size=60)), max_size=12),
    greeted=st.booleans(),
    client=st.booleans(),
)
@settings(deadline=None, max_examples=400)
def test_no_bytes_make_a_codec_raise(pieces: list[bytes], greeted: bool, client: bool) -> None:
    connection = Http2Connection(client=client)
    if greeted:
        connection.receive(frame.encode(SETTINGS, 0, 0) if client else HELLO, 1.0)
    if client:
        connection.open_stream(REQUEST)

    for piece in pieces:
        was_closed = connection.closed
        events = connection.receive(piece, 1.0)
        for event in events:
            if isinstance(event, (HeadersReceived, RequestReceived)) and not client:
                connection.send_exchange(event.stream_id, RESPONSE, b"x" * 20, TRAILERS)
        ended = any(isinstance(event, ConnectionTerminated) for event in events)
        assert ended == (connection.closed and not was_closed)


def merged(events: list[Event]) -> list[Event]:
    """Bring events to a form in which the cuts between bytes do not show."""
    plain: list[Event] = []
    for event in events:
        match event:
            case RequestReceived(stream_id, headers, data):
                plain.append(HeadersReceived(stream_id, headers, False))
                plain.append(DataReceived(stream_id, data, True))
            case _:
                plain.append(event)
    return plain


@given(
    cuts=st.lists(st.integers(1, 200), min_size=1, max_size=20),
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=8),
)
@settings(deadline=None, max_examples=100)
def test_cuts_between_bytes_do_not_show(cuts: list[int], sizes: list[int]) -> None:
    peer = Peer(greet=False)
    stream = HELLO + b"".join(
        peer.request(2 * number + 1, b"b" * size) for number, size in enumerate(sizes)
    )
    whole = Http2Connection(client=False)
    expected = merged(whole.receive(stream, 1.0))

    in_pieces = Http2Connection(client=False)
    events: list[Event] = []
    position = 0
    for turn in range(len(stream)):
        size = cuts[turn % len(cuts)]
        events += in_pieces.receive(stream[position : position + size], 1.0)
        position += size

    assert merged(events) == expected
    assert in_pieces.data_to_send() == whole.data_to_send()
