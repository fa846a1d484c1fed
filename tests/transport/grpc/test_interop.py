"""The server codec judged by grpcio, an independent and strict client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from tests.support.grpc_echo import BIDI, ECHO, FAIL, HANG, METADATA, REPEAT, Echo, serve_echo

DEADLINE = 10.0


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with serve_echo() as running:
        yield running


@pytest.fixture
def channel(echo: Echo) -> Iterator[grpc.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{echo.port}", options=options) as opened:
        yield opened


def unary(channel: grpc.Channel, path: str, message: bytes, **options: Any) -> bytes:
    answer: bytes = channel.unary_unary(path)(message, timeout=DEADLINE, **options)
    return answer


def test_unary_echo(channel: grpc.Channel) -> None:
    answers = [unary(channel, ECHO, b"%d" % number) for number in range(50)]

    assert answers == [b"%d" % number for number in range(50)]


@pytest.mark.parametrize("size", [0, 1, 16_378, 16_379, 16_380, 65_530, 65_536, 7_000_000])
def test_unary_of_size(channel: grpc.Channel, size: int) -> None:
    message = b"0123456789" * (size // 10 + 1)

    assert unary(channel, ECHO, message[:size]) == message[:size]


def test_unary_in_parallel(channel: grpc.Channel) -> None:
    call = channel.unary_unary(ECHO)

    futures = [call.future(b"%d" % number, timeout=DEADLINE) for number in range(500)]

    assert [future.result() for future in futures] == [b"%d" % number for number in range(500)]


def test_bidi_stream_echoes_in_turn(channel: grpc.Channel) -> None:
    answered = threading.Semaphore(1)

    def requests() -> Iterator[bytes]:
        for number in range(20):
            assert answered.acquire(timeout=DEADLINE)
            yield b"%d" % number

    answers = []
    for answer in channel.stream_stream(BIDI)(requests(), timeout=DEADLINE):
        answers.append(answer)
        answered.release()

    assert answers == [b"%d" % number for number in range(20)]


def test_server_stream_larger_than_every_window(channel: grpc.Channel) -> None:
    answers = list(channel.unary_stream(REPEAT)(b"200".ljust(40_000), timeout=DEADLINE))

    assert answers == [b"200".ljust(40_000)] * 200


def test_metadata_and_deadline_arrive(channel: grpc.Channel) -> None:
    answer = unary(channel, METADATA, b"", metadata=[("hasleader", "true"), ("token", "a.1")])

    fields = dict(pair.split(b"=") for pair in answer.split(b";"))
    assert fields[b"hasleader"] == b"true"
    assert fields[b"token"] == b"a.1"
    assert DEADLINE / 2 < float(fields[b"timeout"]) <= DEADLINE * 1.1  # grpcio rounds up


@pytest.mark.parametrize("text", ["etcdserver: key not found", "100% ünïcode\n☃", ""])
def test_status_and_text_arrive(channel: grpc.Channel, text: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        unary(channel, FAIL, text.encode())

    assert raised.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert raised.value.details() == text


def test_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        unary(channel, "/test.Echo/Nothing", b"x")

    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_message_too_large_is_resource_exhausted(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        unary(channel, ECHO, bytes((8 << 20) + 1))

    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    expected = "grpc: received message larger than max (8388609 vs. 8388608)"
    assert raised.value.details() == expected


def test_compressed_request_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        unary(channel, ECHO, b"x" * 4096, compression=grpc.Compression.Gzip)

    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert 'grpc-encoding "gzip"' in raised.value.details()


def test_client_cancels(echo: Echo, channel: grpc.Channel) -> None:
    echo.cancelled.clear()
    future = channel.unary_unary(HANG).future(b"", timeout=DEADLINE)
    unary(channel, ECHO, b"the call before this one has arrived")

    future.cancel()

    assert echo.cancelled.wait(DEADLINE)


def test_client_deadline_passes(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(HANG)(b"", timeout=0.05)

    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_keepalive_pings_are_answered(echo: Echo) -> None:
    options = [
        ("grpc.keepalive_time_ms", 50),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with grpc.insecure_channel(f"127.0.0.1:{echo.port}", options=options) as channel:
        answers = list(channel.stream_stream(BIDI)(iter([b"a", b"b"]), timeout=DEADLINE))

    assert answers == [b"a", b"b"]
