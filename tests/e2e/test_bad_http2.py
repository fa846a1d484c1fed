"""Broken and hostile clients on a live node: each loses its connection or stream, nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.live_cluster import LiveCluster
from tests.support.rogue import HELLO, Rogue
from transport.http2 import ErrorCode
from transport.http2.frame import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    encode,
    encode_word,
)

pytestmark = pytest.mark.e2e

Attack = Callable[[Rogue], bytes]
TURNS = 40_000
"""More than any allowance."""
BORNE_BYTES = 64 << 20


@pytest.fixture
def node(shared: LiveCluster) -> Iterator[str]:
    """A follower that serves after the test as before it, and in the same process."""
    name = shared.followers[0]
    pid = shared.pid(name)
    yield name
    shared.assert_serves(name)
    assert shared.pid(name) == pid


CONNECTION_ERRORS: dict[str, tuple[Attack, ErrorCode]] = {
    "frame too large": (
        lambda rogue: rogue.head(1) + encode(DATA, 0, 1, bytes(16_385)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "frame announced too large": (
        lambda rogue: b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "settings of five octets": (
        lambda rogue: encode(SETTINGS, 0, 0, bytes(5)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "unknown header index": (
        lambda rogue: encode(HEADERS, END_HEADERS, 1, b"\xff\x7f"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "header block cut short": (
        lambda rogue: encode(HEADERS, END_HEADERS, 1, b"\x40\x0aname"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "endless header integer": (
        lambda rogue: encode(HEADERS, END_HEADERS, 1, b"\xff" + b"\x80" * 100),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "header bomb": (
        lambda rogue: b"".join(
            (
                encode(HEADERS, 0, 1, b""),
                encode(CONTINUATION, 0, 1, b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000),
                encode(CONTINUATION, END_HEADERS, 1, b"\xbe" * 16_000),
            )
        ),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "continuation flood": (
        lambda rogue: encode(HEADERS, 0, 1, b"") + encode(CONTINUATION, 0, 1, b"") * 1_000,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "header block without an end": (
        lambda rogue: encode(HEADERS, 0, 1, b"") + encode(CONTINUATION, 0, 1, bytes(16_000)) * 9,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "continuation of nothing": (
        lambda rogue: encode(CONTINUATION, END_HEADERS, 1, b""),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "window of the connection overflows": (
        lambda rogue: encode_word(WINDOW_UPDATE, 0, 0x7FFF_FFFF),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "initial window too large": (
        lambda rogue: encode(SETTINGS, 0, 0, b"\x00\x04\x80\x00\x00\x00"),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "data on an idle stream": (
        lambda rogue: encode(DATA, 0, 1, b"x"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "even stream": (lambda rogue: rogue.head(2), ErrorCode.PROTOCOL_ERROR),
    "rapid reset": (
        lambda rogue: b"".join(
            rogue.head(stream) + encode_word(RST_STREAM, stream, ErrorCode.CANCEL)
            for stream in range(1, 2 * TURNS, 2)
        ),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "ping flood": (
        lambda rogue: encode(PING, 0, 0, bytes(8)) * TURNS,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "settings flood": (
        lambda rogue: encode(SETTINGS, 0, 0) * TURNS,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "empty data flood": (
        lambda rogue: rogue.head(1) + encode(DATA, 0, 1) * 2 * TURNS,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
}


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_connection_is_ended_with_the_right_code(shared: LiveCluster, node: str, name: str) -> None:
    attack, code = CONNECTION_ERRORS[name]
    rogue = Rogue(shared.port(node))

    rogue.send(attack(rogue))
    verdict = rogue.until_closed()

    rogue.close()
    # A server that closes with our bytes unread resets the connection, and its farewell with it.
    assert verdict.goaway in (code, None)
    assert verdict.goaway == code or "flood" in name or "rapid" in name


STREAM_ERRORS: dict[str, tuple[Attack, ErrorCode]] = {
    "window of a stream overflows": (
        lambda rogue: rogue.head(1) + encode_word(WINDOW_UPDATE, 1, 0x7FFF_FFFF),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "upper-case field name": (
        lambda rogue: rogue.head(1, (b"Token", b"x")),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "data after the end": (
        lambda rogue: rogue.head(1, end=True) + encode(DATA, 0, 1, b"x"),
        ErrorCode.STREAM_CLOSED,
    ),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_stream_is_reset_with_the_right_code(shared: LiveCluster, node: str, name: str) -> None:
    attack, code = STREAM_ERRORS[name]
    rogue = Rogue(shared.port(node))

    rogue.send(attack(rogue))
    verdict = rogue.until_reset(1)

    rogue.close()
    assert (verdict.resets, verdict.goaway) == ({1: code}, None)


@pytest.mark.parametrize(
    "data",
    [
        PREFACE[:-1] + b"x",
        b"PRI * HTTP/9.9\r\n\r\nSM\r\n\r\n",
        b"\x00" * 64,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GARBAGE\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + b"x: y\r\n" * 10_000 + b"\r\n",
        b"GET " + b"/" * 100_000,
        b"POST /version HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999\r\n\r\n" + bytes(2 << 20),
        b"GET /health HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=lambda data: repr(data[:16]),
)
def test_bytes_that_no_client_sends_end_the_connection(
    shared: LiveCluster, node: str, data: bytes
) -> None:
    rogue = Rogue(shared.port(node), hello=False)

    rogue.send(data)

    assert rogue.until_closed().closed
    rogue.close()


def test_connections_that_say_nothing_or_half_of_it_disturb_nobody(
    shared: LiveCluster, node: str
) -> None:
    port = shared.port(node)
    openings = [b"", PREFACE[:7], HELLO, HELLO + b"\x00\x00", b"GET /hea", b"P"] * 20
    rogues = [Rogue(port, hello=False) for _ in openings]
    for rogue, opening in zip(rogues, openings, strict=True):
        rogue.send(opening)

    shared.assert_serves(node)

    for rogue in rogues:
        rogue.close()


def test_client_that_never_reads_is_borne(shared: LiveCluster, node: str) -> None:
    """It asks for 400 MiB and takes nothing: the node neither stalls nor keeps it all."""
    with shared.api(node) as api:
        api.put(b"large", bytes(1 << 20))
    rogue = Rogue(shared.port(node))
    before = shared.node(node)["rss_bytes"] or 0
    body = b"\x00\x00\x00\x00\x07\x0a\x05large"
    asks = b"".join(
        rogue.head(stream, method=b"Range") + encode(DATA, END_STREAM, stream, body)
        for stream in range(1, 800, 2)
    )

    rogue.send(asks)
    for name in shared.names:
        shared.assert_serves(name)

    assert (shared.node(node)["rss_bytes"] or 0) - before < BORNE_BYTES
    rogue.close()
