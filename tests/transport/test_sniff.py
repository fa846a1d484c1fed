"""Which codec the first bytes of a connection choose."""

from __future__ import annotations

import pytest

from transport.http2.frame import PREFACE
from transport.sniff import protocol_of


@pytest.mark.parametrize(
    ("first_bytes", "expected"),
    [
        (b"", "unknown-yet"),
        (b"P", "unknown-yet"),
        (b"PRI", "unknown-yet"),
        (b"PRI ", "http2"),
        (PREFACE, "http2"),
        (b"PRIVATE", "http1"),
        (b"POST /v3/kv/put HTTP/1.1\r\n", "http1"),
        (b"GET /health HTTP/1.1\r\n", "http1"),
        (b"\x16\x03\x01", "tls"),
        (b"\x17\x03\x01", "http1"),
    ],
)
def test_protocol_of(first_bytes: bytes, expected: str) -> None:
    assert protocol_of(first_bytes) == expected
