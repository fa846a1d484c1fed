"""Targets of the HTTP side: HTTP/2 and gRPC in both roles, header blocks, HTTP/1.1.

An input of HTTP/2 begins with a head of three octets: what the owner of the connection does, how
the stream is cut, and whether the rest is taken as it is or as a list of frames to be built. Built
frames always have a right length, so that mutations reach what lies behind the framing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import hpack
from hpack.exceptions import HPACKError

from tests.fuzz.target import Tape, Target, block, pieces
from transport.errors import ConnectionLost, StreamsExhausted
from transport.grpc import (
    CallCancelled,
    CallEnded,
    CallStarted,
    GrpcClient,
    GrpcServer,
    HalfClosed,
    MessageReceived,
    UnaryCall,
    UnaryReply,
)
from transport.grpc.message import encode_message
from transport.http1 import Http1Protocol, Request, Responder
from transport.http1 import Limits as Http1Limits
from transport.http2 import (
    DataReceived,
    ErrorCode,
    Event,
    HeadersReceived,
    Http2Connection,
    Limits,
    RequestReceived,
    ResponseReceived,
)
from transport.http2.errors import ConnectionViolation
from transport.http2.frame import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER_BYTES,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    encode,
    encode_settings,
)
from transport.http2.header import HeaderDecoder, HeaderEncoder

LIMITS = Limits(
    streams_max=8,
    header_list_bytes_max=4096,
    header_frames_max=4,
    resets_burst=16,
    settings_burst=8,
    pings_burst=8,
    idle_frames_burst=32,
    partial_bytes_max=8192,
    send_buffer_bytes_max=1 << 17,
)
MESSAGE_BYTES_MAX = 4096
UNARY = "/etcdserverpb.KV/Put"
STREAM = "/etcdserverpb.Watch/Watch"
RAW = 0
BUILT = 1
ANSWER_BYTES = 70_000
"""More than the window that a peer begins with, so that answers have to wait."""
RESPONSE = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS = ((b"grpc-status", b"0"),)
REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", UNARY.encode()),
    (b":authority", b"localhost"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
)


def wire(tape: Tape) -> bytes:
    """The bytes of the stream: as they are, or frames built from what the tape says."""
    if tape.octet() % 2 == RAW:
        return tape.rest()
    frames = []
    while tape.left:
        kind, flags, stream_id = tape.octet() % 12, tape.octet(), tape.octet()
        frames.append(encode(kind, flags, stream_id, tape.block()[: LIMITS.frame_bytes_max]))
    return b"".join(frames)


def built(*frames: tuple[int, int, int, bytes]) -> bytes:
    """What `wire` takes for these frames: (kind, flags, stream id, payload)."""
    heads = [
        bytes((kind, flags, stream)) + block(payload) for kind, flags, stream, payload in frames
    ]
    return bytes((BUILT,)) + b"".join(heads)


def cut_size(octet: int) -> int:
    """How a stream is cut: mostly not at all."""
    return octet % 64 if octet >= 128 else 0


# HTTP/2.


def fuzz_http2_server(data: bytes) -> None:
    """A client writes anything; the owner answers in one of several ways."""
    tape = Tape(data)
    plan, cut = tape.octet(), cut_size(tape.octet())
    stream = wire(tape)
    if plan & 0x80:
        stream = PREFACE + encode_settings({}) + stream
    connection = Http2Connection(client=False, limits=LIMITS)
    _drive(connection, stream, cut, plan)


def fuzz_http2_client(data: bytes) -> None:
    """A server writes anything to a client with three requests under way."""
    tape = Tape(data)
    plan, cut = tape.octet(), cut_size(tape.octet())
    stream = wire(tape)
    if plan & 0x80:
        stream = encode_settings({}) + stream
    connection = Http2Connection(client=True, limits=LIMITS)
    connection.open_exchange(REQUEST, bytes(ANSWER_BYTES))
    connection.open_stream(REQUEST)
    connection.open_stream(REQUEST, end_stream=True)
    _drive(connection, stream, cut, plan)
    with contextlib.suppress(ConnectionLost, StreamsExhausted):
        connection.open_stream(REQUEST)


def _drive(connection: Http2Connection, stream: bytes, cut: int, plan: int) -> None:
    sent = len(connection.data_to_send())
    answered = taken = events = now = 0
    for piece in pieces(stream, cut):
        now += plan & 1
        found = connection.receive(piece, float(now))
        events += len(found)
        taken += sum(_data_bytes(event) for event in found)
        for event in found:
            answered += _act(connection, event, plan)
        sent += len(connection.data_to_send())
        assert len(connection._receiver._buffer) <= LIMITS.frame_bytes_max + HEADER_BYTES + len(
            piece
        )
        assert connection.open_streams <= LIMITS.streams_max
        assert not (connection.closed and connection.open_streams)
    frames = len(stream) // HEADER_BYTES + 1
    assert events <= frames * (LIMITS.streams_max + 1) + 1
    assert taken <= len(stream)
    assert sent <= 1024 + 16 * frames + 4 * len(stream) + 3 * ANSWER_BYTES + 2 * answered
    assert connection.waiting_bytes <= LIMITS.send_buffer_bytes_max + 3 * ANSWER_BYTES


def _data_bytes(event: Event) -> int:
    if isinstance(event, DataReceived | RequestReceived | ResponseReceived):
        return len(event.data)
    return 0


def _act(connection: Http2Connection, event: Event, plan: int) -> int:
    """What the owner of a server's connection does; the bytes that it sends."""
    if not isinstance(event, HeadersReceived | RequestReceived | DataReceived):
        return 0
    stream_id = event.stream_id
    answer = bytes(ANSWER_BYTES if plan & 0x40 else 10)
    match (plan >> 1) % 8:
        case 0:
            connection.send_exchange(stream_id, RESPONSE, answer, TRAILERS)
        case 1:
            connection.send_headers(stream_id, RESPONSE)
            connection.send_data(stream_id, answer)
        case 2:
            connection.send_headers(stream_id, RESPONSE)
            connection.send_data(stream_id, answer, end_stream=True)
        case 3:
            connection.send_headers(stream_id, RESPONSE)
            connection.send_data(stream_id, answer)
            connection.send_trailers(stream_id, TRAILERS)
        case 4:
            connection.reset(stream_id, ErrorCode.CANCEL)
        case 5:
            connection.goaway(reason="over")
        case _:
            return 0
    return len(answer) + 512


def head_block() -> bytes:
    """A compressed request head."""
    return HeaderEncoder().encode(REQUEST)


def server_streams() -> Iterator[bytes]:
    """What a client writes after its preface: a unary call, a stream, every kind of frame."""
    head, message = head_block(), encode_message(b"\x0a\x01k\x12\x01v")
    tail = HeaderEncoder().encode(((b"grpc-status", b"0"),))
    yield built((HEADERS, END_HEADERS, 1, head), (DATA, END_STREAM, 1, message))
    yield built(
        (HEADERS, END_HEADERS, 1, head),
        (DATA, 0, 1, message[:3]),
        (DATA, 0, 1, message[3:]),
        (DATA, END_STREAM, 1, b""),
        (HEADERS, END_HEADERS | END_STREAM, 3, head),
    )
    yield built(
        (HEADERS, 0, 1, head[:9]),
        (CONTINUATION, 0, 1, head[9:20]),
        (CONTINUATION, END_HEADERS, 1, head[20:]),
        (DATA, PADDED, 1, b"\x02" + message + b"\x00\x00"),
        (HEADERS, END_HEADERS | END_STREAM, 1, tail),
    )
    yield built(
        (SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x00"),
        (HEADERS, END_HEADERS | PADDED | PRIORITISED, 1, b"\x01" + bytes(5) + head + b"\x00"),
        (PRIORITY, 0, 1, bytes(5)),
        (PING, 0, 0, b"12345678"),
        (WINDOW_UPDATE, 0, 0, b"\x00\x01\x00\x00"),
        (WINDOW_UPDATE, 0, 1, b"\x00\x01\x00\x00"),
        (SETTINGS, 0, 0, b"\x00\x04\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00"),
        (DATA, 0, 1, message),
        (HEADERS, END_HEADERS | END_STREAM, 1, tail),
        (RST_STREAM, 0, 1, b"\x00\x00\x00\x08"),
        (SETTINGS, ACK, 0, b""),
        (GOAWAY, 0, 0, bytes(8) + b"bye"),
        (0xB, 0, 0, b"unknown"),
    )


def client_streams() -> Iterator[bytes]:
    """What a server answers."""
    encoder = HeaderEncoder()
    head, tail = encoder.encode(RESPONSE), encoder.encode(TRAILERS)
    message = encode_message(b"\x0a\x00")
    answer = (
        (HEADERS, END_HEADERS, 1, head),
        (DATA, 0, 1, message),
        (HEADERS, END_HEADERS | END_STREAM, 1, tail),
    )
    yield built(*answer)
    yield built(
        (WINDOW_UPDATE, 0, 0, b"\x00\x10\x00\x00"),
        (WINDOW_UPDATE, 0, 1, b"\x00\x10\x00\x00"),
        *answer,
        (HEADERS, END_HEADERS, 3, head),
        (HEADERS, END_HEADERS | END_STREAM, 5, encoder.encode(RESPONSE + TRAILERS)),
        (RST_STREAM, 0, 3, b"\x00\x00\x00\x07"),
    )
    interim = encoder.encode(((b":status", b"103"), (b"link", b"x")))
    yield built(
        (
            SETTINGS,
            0,
            0,
            b"\x00\x04\x00\x00\x00\x01\x00\x05\x00\x00\x40\x00\x00\x01\x00\x00\x00\x00",
        ),
        (HEADERS, END_HEADERS, 1, interim),
        *answer,
        (PING, 0, 0, b"12345678"),
        (GOAWAY, 0, 0, b"\x00\x00\x00\x01" + bytes(4) + b"drain"),
    )


def planned(streams: Iterable[bytes], plans: Iterable[int]) -> Iterator[bytes]:
    """Each stream under each plan, whole and cut."""
    for stream in streams:
        for plan in plans:
            for cut in (0, 128 + 7):
                yield bytes((plan, cut)) + stream


def http2_server_seeds() -> Iterator[bytes]:
    """Streams as frames to be built, and one as raw bytes."""
    yield from planned(server_streams(), (0x80, 0x82, 0xC6, 0xC2, 0xCE))
    stream = wire(Tape(next(server_streams())))
    yield bytes((0, 0, RAW)) + PREFACE + encode_settings({}) + stream


# Header blocks.


def fuzz_hpack(data: bytes) -> None:
    """Blocks of one connection: what we accept, the reference reads alike, and we write alike."""
    tape = Tape(data)
    decoder, encoder = HeaderDecoder(LIMITS.header_list_bytes_max), HeaderEncoder()
    reference, mirror = hpack.Decoder(1 << 20), hpack.Decoder(1 << 20)
    while tape.left:
        compressed = tape.block()
        try:
            headers = decoder.decode(compressed)
        except ConnectionViolation:
            return
        assert sum(len(name) + len(value) for name, value in headers) <= 4096
        assert len(decoder._cache) <= 64
        try:
            expected = reference.decode(compressed, raw=True)
        except HPACKError:
            return  # stricter than the RFC asks; nothing to compare any more
        assert headers == tuple((bytes(name), bytes(value)) for name, value in expected)
        again = mirror.decode(encoder.encode(headers), raw=True)
        assert headers == tuple((bytes(name), bytes(value)) for name, value in again)


def hpack_seeds() -> Iterator[bytes]:
    """Blocks of our own encoder, and of the reference's with Huffman coding."""
    ours, theirs = HeaderEncoder(), hpack.Encoder()
    yield block(ours.encode(REQUEST)) + block(ours.encode(REQUEST)) + block(ours.encode(TRAILERS))
    yield b"".join(block(theirs.encode(headers)) for headers in (REQUEST, RESPONSE, REQUEST))
    theirs.header_table_size = 64
    yield block(theirs.encode(REQUEST)) + block(b"\x3f\xe1\x1f\x82") + block(b"\x20\x82\xbe")


# gRPC.


def fuzz_grpc_server(data: bytes) -> None:
    """A client writes anything to a gRPC server that answers."""
    tape = Tape(data)
    plan, cut = tape.octet(), cut_size(tape.octet())
    stream = PREFACE + encode_settings({}) + wire(tape)
    server = GrpcServer(
        unary=frozenset((UNARY,)), message_bytes_max=MESSAGE_BYTES_MAX, limits=LIMITS
    )
    started: set[int] = set()
    ended: set[int] = set()
    for piece in pieces(stream, cut):
        for event in server.receive(piece, 1.0):
            match event:
                case UnaryCall(call_id, path, _, _, message):
                    assert path == UNARY
                    assert len(message) <= MESSAGE_BYTES_MAX
                    assert call_id not in started
                    started.add(call_id)
                    ended.add(call_id)
                    _reply(server, call_id, plan)
                case CallStarted(call_id):
                    assert call_id not in started
                    started.add(call_id)
                    if plan & 1:
                        server.send(call_id, bytes(ANSWER_BYTES))
                case MessageReceived(call_id, message):
                    assert call_id in started - ended or plan & 2
                    assert len(message) <= MESSAGE_BYTES_MAX
                    if plan & 2:
                        server.finish(call_id, 5, "not \u00e9nough")
                case HalfClosed(call_id):
                    server.finish(call_id)
                case CallCancelled(call_id):
                    ended.add(call_id)
                case _:
                    pass
        server.data_to_send()
        assert 0 <= server._partial_bytes <= LIMITS.partial_bytes_max
        assert server.open_calls <= LIMITS.streams_max
        assert len(server._calls) <= LIMITS.streams_max
        assert len(server._heads) <= 64


def _reply(server: GrpcServer, call_id: int, plan: int) -> None:
    match plan >> 2 & 3:
        case 0:
            server.reply(call_id, bytes(10))
        case 1:
            server.reply(call_id, bytes(ANSWER_BYTES))
        case 2:
            server.finish(call_id, 3, "no")
        case _:
            pass


def fuzz_grpc_client(data: bytes) -> None:
    """A server writes anything to a gRPC client; no call ends twice."""
    tape = Tape(data)
    _, cut = tape.octet(), cut_size(tape.octet())
    client = GrpcClient(authority="localhost", message_bytes_max=MESSAGE_BYTES_MAX, limits=LIMITS)
    calls = {client.unary(UNARY, b"request"), client.start(STREAM), client.start(UNARY)}
    client.send(3, bytes(ANSWER_BYTES))
    client.half_close(5)
    over: set[int] = set()
    for piece in pieces(encode_settings({}) + wire(tape), cut):
        for event in client.receive(piece, 1.0):
            if isinstance(event, CallEnded | UnaryReply):
                assert event.call_id in calls - over
                over.add(event.call_id)
            elif isinstance(event, MessageReceived):
                assert len(event.message) <= MESSAGE_BYTES_MAX
                assert event.call_id in calls - over
        client.data_to_send()
        held = sum(answer.reader.held for answer in client._answers.values())
        assert held <= len(data)


def grpc_server_seeds() -> Iterator[bytes]:
    """Unary and streamed calls, with what refuses them."""
    yield from planned(server_streams(), (0, 3, 4, 8))
    head = dict(REQUEST)
    for change in (
        {b":path": STREAM.encode()},
        {b"content-type": b"text/plain"},
        {b"grpc-encoding": b"gzip"},
        {b"grpc-timeout": b"100m"},
        {b"grpc-timeout": b"x"},
    ):
        compressed = HeaderEncoder().encode(tuple({**head, **change}.items()))
        message = encode_message(b"abc")
        tail = HeaderEncoder().encode(((b"x-end", b"1"),))
        yield from planned(
            [
                built(
                    (HEADERS, END_HEADERS, 1, compressed),
                    (DATA, 0, 1, message),
                    (DATA, 0, 1, message[:4]),
                    (HEADERS, END_HEADERS | END_STREAM, 1, tail),
                )
            ],
            (0, 3),
        )


# HTTP/1.1.


class Wire(asyncio.Transport):
    """A transport that keeps what is written and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.closed = False

    def write(self, data: Any) -> None:
        """Count."""
        self.written += len(data)

    def close(self) -> None:
        """Remember."""
        self.closed = True

    def abort(self) -> None:
        """As close."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def pause_reading(self) -> None:
        """Nothing is read by itself."""

    def resume_reading(self) -> None:
        """Nothing is read by itself."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""


def fuzz_http1(data: bytes) -> None:
    """A client writes anything; each request is answered once, at once, later or in pieces."""
    tape = Tape(data)
    plan, cut = tape.octet(), cut_size(tape.octet())
    limits = Http1Limits(body_bytes_max=1000, head_bytes_max=2000)
    waiting: list[Responder] = []
    requests = 0

    def handle(request: Request, way: Responder) -> None:
        nonlocal requests
        requests += 1
        assert len(request.body) <= limits.body_bytes_max
        assert request.method
        match plan % 3:
            case 0:
                way.respond(200, [("content-type", "text/plain")], b"well\n")
            case 1:
                way.start(200)
                way.write(b"piece")
                way.end()
            case _:
                waiting.append(way)

    transport = Wire()
    protocol = Http1Protocol(handle, limits)
    protocol.connection_made(transport)
    stream = tape.rest()
    for piece in pieces(stream, cut):
        protocol.data_received(piece)
        if waiting and plan & 0x10:
            waiting.pop().respond(404, (), b"late")
        assert len(protocol._body) <= limits.body_bytes_max + len(piece)
    if not transport.closed and plan & 0x20:
        protocol.eof_received()
    for way in waiting:
        way.respond(500, (), b"later")
    protocol.connection_lost(None)
    assert requests <= len(stream) // 16 + 1
    assert transport.written <= 1024 + 512 * (requests + 1) + 2 * len(stream)


def http1_seeds() -> Iterator[bytes]:
    """Requests as curl, kubelet and Prometheus write them, and rarer ones."""
    get = b"GET /v1/events?since=3&follow=0 HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-A: 2\r\n\r\n"
    post = b'POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\n\r\n{"method":"ping"}'
    chunks = (
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    for request in (
        get,
        post + get,
        chunks,
        b"HEAD /%41?a=%zz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"CONNECT host:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://[::1]/a HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    ):
        for plan in (0, 1, 2, 0x12, 0x22):
            yield bytes((plan, 0)) + request
            yield bytes((plan, 128 + 9)) + request


TARGETS = (
    Target("http2-server", fuzz_http2_server, http2_server_seeds, 250),
    Target(
        "http2-client",
        fuzz_http2_client,
        lambda: planned(client_streams(), (0x80, 0x8C)),
        200,
    ),
    Target("hpack", fuzz_hpack, hpack_seeds, 200),
    Target("grpc-server", fuzz_grpc_server, grpc_server_seeds, 300),
    Target("grpc-client", fuzz_grpc_client, lambda: planned(client_streams(), (0,)), 200),
    Target("http1", fuzz_http1, http1_seeds, 250),
)
