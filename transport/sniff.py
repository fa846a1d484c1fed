"""Which protocol a client speaks, told by its first bytes.

One client port carries gRPC (HTTP/2) and plain HTTP/1.1. An HTTP/2 client with prior knowledge
opens with a fixed preface that is no valid HTTP/1.1 request, so the question is settled after at
most four bytes. A client that means a port with TLS opens with a handshake record; an answer in
plain text would only puzzle it. This module looks and never consumes: the chosen codec is fed the
same bytes.
"""

from __future__ import annotations

from typing import Literal

Protocol = Literal["http2", "http1", "tls", "unknown-yet"]

_PREFACE_START = b"PRI "
"""`PRI` is a method reserved by RFC 9113 §3.4, so four bytes suffice to tell."""
_TLS_HANDSHAKE = b"\x16"
"""RFC 8446 §5.1; no method of HTTP begins like that."""


def protocol_of(first_bytes: bytes) -> Protocol:
    """Name the protocol, or ask for more bytes.

    Anything that does not open like the preface is "http1": the HTTP/1.1 codec knows how to refuse
    garbage with a readable 400.
    """
    if first_bytes.startswith(_PREFACE_START):
        return "http2"
    if _PREFACE_START.startswith(first_bytes):
        return "unknown-yet"
    if first_bytes.startswith(_TLS_HANDSHAKE):
        return "tls"
    return "http1"
