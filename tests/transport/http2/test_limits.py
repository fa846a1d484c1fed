"""What a hostile or broken client gets: the right error code, and no growth of ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.http2 import HELLO, Peer
from transport.http2 import (
    ConnectionTerminated,
    ErrorCode,
    Event,
    HeadersReceived,
    Limits,
    RequestReceived,
    StreamReset,
)
from transport.http2.frame import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    encode,
    encode_word,
)
from transport.http2.limits import Allowance

Attack = Callable[[Peer], bytes]


def terminated(peer: Peer, events: list[Event]) -> int:
    """Check that the connection ended properly, and give the error code it ended with."""
    assert isinstance(events[-1], ConnectionTerminated)
    assert peer.server.closed
    assert peer.server.open_streams == 0
    last = peer.sent()[-1]
    assert last[0] == GOAWAY
    assert int.from_bytes(last[3][4:8], "big") == events[-1].error_code
    assert peer.feed(b"anything") == []
    return events[-1].error_code


@pytest.mark.parametrize(
    "wrong", [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", PREFACE[:-1] + b"x", b"\x00", b"PRI * HTTP/1"]
)
def test_wrong_preface(wrong: bytes) -> None:
    peer = Peer(greet=False)

    assert terminated(peer, peer.feed(wrong)) == ErrorCode.PROTOCOL_ERROR


def test_wrong_preface_is_seen_at_its_first_wrong_octet() -> None:
    peer = Peer(greet=False)

    assert peer.feed(b"PRI * HT") == []
    assert terminated(peer, peer.feed(b"X")) == ErrorCode.PROTOCOL_ERROR


CONNECTION_ERRORS: dict[str, tuple[Attack, ErrorCode]] = {
    "frame too large": (
        lambda peer: encode(DATA, 0, 1, bytes(16_385)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "announced too large, never sent": (
        lambda peer: b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "settings of five octets": (
        lambda peer: encode(SETTINGS, 0, 0, bytes(5)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "settings acknowledged with a payload": (
        lambda peer: encode(SETTINGS, 1, 0, bytes(6)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "settings on a stream": (
        lambda peer: encode(SETTINGS, 0, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "initial window too large": (
        lambda peer: encode(SETTINGS, 0, 0, b"\x00\x04\x80\x00\x00\x00"),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "frame size too small": (
        lambda peer: encode(SETTINGS, 0, 0, b"\x00\x05\x00\x00\x00\x01"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "push neither on nor off": (
        lambda peer: encode(SETTINGS, 0, 0, b"\x00\x02\x00\x00\x00\x02"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "ping of seven octets": (
        lambda peer: encode(PING, 0, 0, bytes(7)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "ping on a stream": (lambda peer: encode(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "goaway too short": (lambda peer: encode(GOAWAY, 0, 0, b"x"), ErrorCode.FRAME_SIZE_ERROR),
    "reset of three octets": (
        lambda peer: encode(RST_STREAM, 0, 1, bytes(3)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "reset of an idle stream": (
        lambda peer: encode_word(RST_STREAM, 1, 8),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "data on stream zero": (lambda peer: encode(DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "data on an idle stream": (lambda peer: encode(DATA, 0, 1, b"x"), ErrorCode.PROTOCOL_ERROR),
    "headers on stream zero": (lambda peer: peer.head(0), ErrorCode.PROTOCOL_ERROR),
    "headers on a stream of ours": (lambda peer: peer.head(2), ErrorCode.PROTOCOL_ERROR),
    "priority on stream zero": (
        lambda peer: encode(PRIORITY, 0, 0, bytes(5)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "push promise of a client": (
        lambda peer: encode(PUSH_PROMISE, 4, 1, bytes(4)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "window of an idle stream": (
        lambda peer: encode_word(WINDOW_UPDATE, 1, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "window of the connection by zero": (
        lambda peer: encode_word(WINDOW_UPDATE, 0, 0),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "window of the connection overflows": (
        lambda peer: encode_word(WINDOW_UPDATE, 0, 0x7FFF_FFFF),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "padding longer than the frame": (
        lambda peer: peer.head(1) + encode(DATA, PADDED, 1, b"\x05abcd"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "padded frame without a length": (
        lambda peer: peer.head(1) + encode(DATA, PADDED, 1),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "continuation of nothing": (
        lambda peer: encode(CONTINUATION, 4, 1, b""),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "header block interrupted": (
        lambda peer: encode(HEADERS, 0, 1, b"") + encode(PING, 0, 0, bytes(8)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "header block continued elsewhere": (
        lambda peer: encode(HEADERS, 0, 1, b"") + encode(CONTINUATION, 4, 3, b""),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "header block of an unknown index": (
        lambda peer: encode(HEADERS, END_HEADERS, 1, b"\xff\x7f"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "header block cut short": (
        lambda peer: encode(HEADERS, END_HEADERS, 1, b"\x40\x0aname"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "header block with an endless integer": (
        lambda peer: encode(HEADERS, END_HEADERS, 1, b"\xff" + b"\x80" * 100),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "header block with bad Huffman code": (
        lambda peer: encode(HEADERS, END_HEADERS, 1, b"\x40\x81\xff\x01a"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "table larger than announced": (
        lambda peer: encode(HEADERS, END_HEADERS, 1, b"\x3f\xff\xff\x03"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "table resized after a field": (
        lambda peer: encode(HEADERS, END_HEADERS, 1, b"\x82\x20"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "header list too large": (
        lambda peer: b"".join(
            (
                encode(HEADERS, 0, 1, b""),
                encode(CONTINUATION, 0, 1, b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000),
                encode(CONTINUATION, END_HEADERS, 1, b"\xbe" * 16_000),
            )
        ),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "header block in too many frames": (
        lambda peer: encode(HEADERS, 0, 1, b"") + encode(CONTINUATION, 0, 1, b"") * 100,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "header block too large": (
        lambda peer: encode(HEADERS, 0, 1, b"") + encode(CONTINUATION, 0, 1, bytes(16_000)) * 5,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "stream id used twice": (
        lambda peer: peer.request(3) + encode_word(RST_STREAM, 3, 8) + peer.head(3),
        ErrorCode.STREAM_CLOSED,
    ),
    "stream id below the last": (
        lambda peer: peer.request(5) + peer.head(3),
        ErrorCode.STREAM_CLOSED,
    ),
}


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_connection_ends(name: str) -> None:
    peer = Peer()
    attack, code = CONNECTION_ERRORS[name]

    assert terminated(peer, peer.feed(attack(peer))) == code


def test_first_frame_has_to_be_settings() -> None:
    peer = Peer(greet=False)

    events = peer.feed(PREFACE + encode(PING, 0, 0, bytes(8)))

    assert terminated(peer, events) == ErrorCode.PROTOCOL_ERROR


STREAM_ERRORS: dict[str, tuple[Attack, ErrorCode]] = {
    "upper-case field name": (
        lambda peer: peer.head(1, (b"Token", b"x")),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "connection field": (
        lambda peer: peer.head(1, (b"connection", b"close")),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "te that is not trailers": (
        lambda peer: peer.head(1, (b"te", b"gzip")),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "line break in a value": (
        lambda peer: peer.head(1, (b"token", b"a\r\nb")),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "pseudo-header behind a field": (
        lambda peer: peer.head(1, (b":path", b"/")),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "no pseudo-headers": (
        lambda peer: encode(HEADERS, END_HEADERS, 1, bytes(peer.encoder.encode([(b"a", b"b")]))),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "trailers that do not end": (
        lambda peer: (
            peer.head(1)
            + encode(HEADERS, END_HEADERS, 1, bytes(peer.encoder.encode([(b"a", b"b")])))
        ),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "data after the end": (
        lambda peer: peer.head(1, end=True) + encode(DATA, 0, 1, b"x"),
        ErrorCode.STREAM_CLOSED,
    ),
    "headers after the end": (
        lambda peer: peer.head(1, end=True) + peer.head(1, end=True),
        ErrorCode.STREAM_CLOSED,
    ),
    "window of a stream by zero": (
        lambda peer: peer.head(1) + encode_word(WINDOW_UPDATE, 1, 0),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "window of a stream overflows": (
        lambda peer: peer.head(1) + encode_word(WINDOW_UPDATE, 1, 0x7FFF_FFFF),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "more data than the stream's window": (
        lambda peer: peer.head(1) + encode(DATA, 0, 1, bytes(1001)),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_stream_ends_and_connection_lives(name: str) -> None:
    peer = Peer(Limits(stream_window_bytes=1000))
    attack, code = STREAM_ERRORS[name]

    events = peer.feed(attack(peer))

    assert (RST_STREAM, 0, 1, int(code).to_bytes(4, "big")) in peer.sent()
    known = any(isinstance(event, HeadersReceived) for event in events)
    assert isinstance(events[-1], StreamReset) if known else events == []
    assert peer.server.open_streams == 0
    assert peer.feed(peer.request(3))[-1].stream_id == 3  # type: ignore[union-attr]


def test_late_frames_on_a_stream_that_we_reset_are_ignored() -> None:
    peer = Peer()
    peer.feed(peer.head(1))
    peer.server.reset(1)

    late = encode(DATA, 0, 1, b"x") + encode_word(WINDOW_UPDATE, 1, 5) + peer.head(1, end=True)

    assert peer.feed(late + encode_word(RST_STREAM, 1, 8)) == []
    assert not peer.server.closed


def test_too_many_streams_are_refused() -> None:
    peer = Peer(Limits(streams_max=2))

    peer.feed(peer.head(1) + peer.head(3) + peer.head(5))

    assert peer.sent() == [(RST_STREAM, 0, 5, b"\x00\x00\x00\x07")]
    assert peer.server.open_streams == 2


FLOODS: dict[str, Callable[[Peer, int], bytes]] = {
    "rapid reset": lambda peer, turn: (
        peer.head(2 * turn + 1) + encode_word(RST_STREAM, 2 * turn + 1, 8)
    ),
    "made-you-reset": lambda peer, turn: (
        peer.head(2 * turn + 1) + encode_word(WINDOW_UPDATE, 2 * turn + 1, 0)
    ),
    "malformed requests": lambda peer, turn: peer.head(2 * turn + 1, (b"te", b"no")),
    "settings": lambda peer, turn: encode(SETTINGS, 0, 0),
    "pings": lambda peer, turn: encode(PING, 0, 0, bytes(8)),
    "empty data": lambda peer, turn: (
        peer.head(1) if turn == 0 else encode(DATA, PADDED, 1, b"\x00")
    ),
    "priority": lambda peer, turn: encode(PRIORITY, 0, 99, bytes(5)),
    "unknown kinds": lambda peer, turn: encode(0x77, 0, 0, b"grease"),
    "frames on a closed stream": lambda peer, turn: (
        peer.request(1) + encode_word(RST_STREAM, 1, 8)
        if turn == 0
        else encode_word(WINDOW_UPDATE, 1, 1)
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_flood_ends_the_connection(name: str) -> None:
    peer = Peer(Limits(resets_burst=50, settings_burst=50, pings_burst=50, idle_frames_burst=50))
    flood = FLOODS[name]

    sent = b""
    turns = 0
    while not peer.server.closed and turns < 60:
        events = peer.feed(flood(peer, turns))
        sent = peer.server.data_to_send() or sent
        turns += 1

    assert 50 <= turns < 60
    assert isinstance(events[-1], ConnectionTerminated)
    assert events[-1].error_code == ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("name", FLOODS)
def test_same_frames_at_a_calm_rate_are_taken(name: str) -> None:
    peer = Peer(Limits(resets_burst=50, settings_burst=50, pings_burst=50, idle_frames_burst=50))
    flood = FLOODS[name]

    for turn in range(200):
        peer.now += 1.0
        peer.feed(flood(peer, turn))

    assert not peer.server.closed


def test_pings_between_answers_are_free() -> None:
    peer = Peer(Limits(pings_burst=2))
    peer.feed(peer.head(1))
    peer.server.send_headers(1, ((b":status", b"200"),))

    for _ in range(100):
        peer.server.send_data(1, b"event")
        peer.feed(encode(PING, 0, 0, bytes(8)))

    assert not peer.server.closed


def test_peer_that_asks_and_never_reads_is_ended() -> None:
    peer = Peer(Limits(send_buffer_bytes_max=1_000_000))
    peer.feed(b"".join(peer.request(1 + 2 * number) for number in range(4)))

    for number in range(4):
        stream_id = 1 + 2 * number
        peer.server.send_exchange(stream_id, ((b":status", b"200"),), bytes(600_000), ())

    assert peer.server.closed
    assert peer.server.waiting_bytes == 0
    assert isinstance(peer.feed(b"")[0], ConnectionTerminated)


def test_window_of_one_octet_is_served_octet_by_octet() -> None:
    peer = Peer()
    peer.feed(encode(SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x00"))
    events = peer.feed(peer.request(1))
    peer.server.data_to_send()
    assert isinstance(events[0], RequestReceived)

    peer.server.send_exchange(1, ((b":status", b"200"),), b"abc", ((b"grpc-status", b"0"),))
    first = peer.sent()
    later = []
    for _ in range(3):
        peer.feed(encode_word(WINDOW_UPDATE, 1, 1))
        later += peer.sent()

    assert [kind for kind, *_ in first] == [HEADERS]
    assert [payload for kind, _, _, payload in later if kind == DATA] == [b"a", b"b", b"c"]
    assert later[-1][:2] == (HEADERS, END_HEADERS | END_STREAM)


def test_settings_that_overflow_an_open_window_end_the_connection() -> None:
    peer = Peer()
    peer.feed(peer.head(1) + encode_word(WINDOW_UPDATE, 1, 0x7FFF_0000))

    events = peer.feed(encode(SETTINGS, 0, 0, b"\x00\x04\x7f\xff\xff\xff"))

    assert terminated(peer, events) == ErrorCode.FLOW_CONTROL_ERROR


def test_goaway_refuses_new_streams_and_keeps_old_ones() -> None:
    peer = Peer()
    peer.feed(peer.head(1))
    peer.server.goaway()
    peer.server.data_to_send()

    events = peer.feed(peer.head(3) + encode(DATA, END_STREAM, 1, b"rest"))

    assert [event.stream_id for event in events] == [1]  # type: ignore[union-attr]
    assert peer.server.open_streams == 1


def test_events_before_the_violation_are_kept() -> None:
    peer = Peer()
    peer.feed(peer.request(1) + peer.request(3))

    events = peer.feed(peer.request(5) + encode(DATA, 0, 0, b"bad"))

    assert [type(event) for event in events] == [RequestReceived, ConnectionTerminated]


def test_allowance_refills_by_the_clock_it_is_given() -> None:
    allowance = Allowance(burst=2, per_second=1.0)

    taken = [allowance.take(now) for now in (10.0, 10.0, 10.0, 10.5, 11.0, 5.0, 12.0)]

    assert taken == [True, True, False, False, True, False, True]


def test_hello_is_answered_by_settings_window_and_acknowledgement() -> None:
    peer = Peer(greet=False)

    assert peer.feed(HELLO) == []
    assert [frame_[:3] for frame_ in peer.sent()] == [
        (SETTINGS, 0, 0),
        (WINDOW_UPDATE, 0, 0),
        (SETTINGS, 1, 0),
    ]
