"""Heads of calls: timeouts, metadata, status texts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport.grpc.head import (
    encode_timeout,
    parse_head,
    parse_response,
    parse_timeout,
    split_timeout,
    with_timeout,
)
from transport.grpc.status import Status, decode_text, encode_text, status_of_http
from transport.http2.event import Headers

BASE: Headers = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a.B/C"),
    (b"content-type", b"application/grpc"),
)


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"4m", 0.004),
        (b"5u", 5e-6),
        (b"6n", 6e-9),
        (b"99999999S", 99_999_999.0),
        (b"", None),
        (b"S", None),
        (b"1", None),
        (b"1x", None),
        (b"-1S", None),
        (b"123456789S", None),
        (b"\xb2S", None),
    ],
)
def test_timeout_parsed(raw: bytes, seconds: float | None) -> None:
    assert parse_timeout(raw) == (None if seconds is None else pytest.approx(seconds))


@given(seconds=st.floats(1e-6, 1e9))
@settings(deadline=None, max_examples=200)
def test_timeout_written_is_what_was_meant(seconds: float) -> None:
    raw = encode_timeout(seconds)

    read = parse_timeout(raw)
    assert read is not None
    assert read == pytest.approx(min(seconds, 99_999_999), rel=0.02, abs=2e-6)


def test_metadata_is_what_is_left() -> None:
    extra = ((b"token", b"a"), (b"token", b"b"), (b"grpc-timeout", b"1S"), (b"user-agent", b"x"))

    plain, timeout = split_timeout(BASE + extra)
    assert timeout is not None
    head = with_timeout(parse_head(plain, frozenset(("/a.B/C",))), timeout)

    assert (head.path, head.metadata, head.timeout) == ("/a.B/C", {b"token": b"a,b"}, 1.0)
    assert head.unary


def test_malformed_timeout_is_refused() -> None:
    head = with_timeout(parse_head(BASE, frozenset(("/a.B/C",))), b"soon")

    assert head.refusal == (Status.INTERNAL, "malformed grpc-timeout")
    assert not head.unary


def test_unknown_encoding_is_refused() -> None:
    head = parse_head((*BASE, (b"grpc-encoding", b"gzip")), frozenset(("/a.B/C",)))

    assert head.refusal is not None
    assert head.refusal[0] is Status.UNIMPLEMENTED
    assert not with_timeout(head, b"1S").unary


def test_timeout_is_taken_out_from_anywhere() -> None:
    timeout = (b"grpc-timeout", b"1S")

    assert split_timeout((*BASE[:2], timeout, *BASE[2:])) == (BASE, b"1S")
    assert split_timeout(BASE) == (BASE, None)


@pytest.mark.parametrize(
    ("method", "kind", "expected"),
    [
        (b"POST", b"application/grpc", 0),
        (b"POST", b"application/grpc+proto", 0),
        (b"POST", b"application/grpc;v=1", 0),
        (b"POST", b"application/grpc-web", 415),
        (b"POST", b"application/json", 415),
        (b"GET", b"application/grpc", 405),
    ],
)
def test_head_refused_by_http(method: bytes, kind: bytes, expected: int) -> None:
    headers = ((b":method", method), *BASE[1:3], (b"content-type", kind))

    assert parse_head(headers, frozenset()).http_refusal == expected


@given(text=st.text(max_size=50))
@settings(deadline=None, max_examples=200)
def test_status_text_round_trip(text: str) -> None:
    raw = encode_text(text)

    assert decode_text(raw) == text.encode("utf-8", "replace").decode()
    assert all(0x20 <= octet < 0x7F for octet in raw)


def test_status_text_of_a_sloppy_server_is_kept() -> None:
    assert decode_text(b"50% \xff") == "50% \ufffd"


@pytest.mark.parametrize(("raw", "expected"), [(b"5", 5), (b"x", 2), (b"", 2), (b"99999999999", 2)])
def test_response_status(raw: bytes, expected: int) -> None:
    _, status, text, _ = parse_response(((b"grpc-status", raw), (b"grpc-message", b"a%20b")))

    assert (status, text) == (expected, "a b")


def test_status_of_http() -> None:
    assert status_of_http(503) is Status.UNAVAILABLE
    assert status_of_http(418) is Status.UNKNOWN
