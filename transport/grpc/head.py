"""The head of a call: what the request's HTTP/2 headers mean to gRPC, and the other way round.

Parsed once per distinct header list and shared by all calls that carry it; only the timeout, which
differs from call to call, is read each time.
Source: gRPC over HTTP/2, "Requests".
"""

from __future__ import annotations

from typing import Final

import msgspec

from transport.grpc.event import Metadata
from transport.grpc.status import Status, decode_text, encode_text
from transport.http2.event import Headers

_TIMEOUT_UNITS: Final = {
    ord("H"): 3600.0,
    ord("M"): 60.0,
    ord("S"): 1.0,
    ord("m"): 1e-3,
    ord("u"): 1e-6,
    ord("n"): 1e-9,
}
_TIMEOUT_DIGITS_MAX: Final = 8
_RESERVED: Final = frozenset((b"content-type", b"te", b"user-agent"))

RESPONSE_HEADERS: Final[Headers] = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
)
OK_TRAILERS: Final[Headers] = ((b"grpc-status", b"0"),)


class Head(msgspec.Struct, frozen=True):
    """One request head; exactly one of the two refusals may be set."""

    path: str
    metadata: Metadata
    timeout: float | None
    unary: bool
    """The path is one of a method known to be unary, and nothing is refused."""
    http_refusal: int = 0
    """HTTP status for what is no gRPC request at all."""
    refusal: tuple[Status, str] | None = None


def is_head(headers: Headers) -> bool:
    """Tell the first header list of a request from its trailers, which have no pseudo-headers.

    Source: RFC 9113 §8.1, §8.3: in a well-formed head they come first.
    """
    return bool(headers) and headers[0][0].startswith(b":")


def parse_head(headers: Headers, unary: frozenset[str]) -> Head:
    """Interpret a well-formed header list without its timeout; refusals say what is not gRPC."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        fields[name] = fields[name] + b"," + value if name in fields else value
    path = fields[b":path"].decode("latin-1")
    refusal = None
    encoding = fields.get(b"grpc-encoding", b"identity")
    if encoding != b"identity":
        told = encoding.decode("latin-1")
        text = f'grpc: Decompressor is not installed for grpc-encoding "{told}"'
        refusal = (Status.UNIMPLEMENTED, text)
    metadata = {name: value for name, value in fields.items() if _is_custom(name)}
    http_refusal = _http_refusal(fields)
    plain = path in unary and refusal is None and not http_refusal
    return Head(path, metadata, None, plain, http_refusal, refusal)


def _http_refusal(fields: dict[bytes, bytes]) -> int:
    kind = fields.get(b"content-type", b"")
    if kind != b"application/grpc" and not kind.startswith(
        (b"application/grpc+", b"application/grpc;")
    ):
        return 415
    return 0 if fields[b":method"] == b"POST" else 405


def _is_custom(name: bytes) -> bool:
    return not name.startswith((b":", b"grpc-")) and name not in _RESERVED


def split_timeout(headers: Headers) -> tuple[Headers, bytes | None]:
    """Take the one field out of a header list that differs from call to call."""
    for at, (name, value) in enumerate(headers):
        if name == b"grpc-timeout":
            return headers[:at] + headers[at + 1 :], value
    return headers, None


def with_timeout(head: Head, raw: bytes) -> Head:
    """Give a head its timeout; a malformed one makes it a refusal."""
    timeout = parse_timeout(raw)
    if timeout is None and head.refusal is None:
        refusal = (Status.INTERNAL, "malformed grpc-timeout")
        return Head(head.path, head.metadata, None, False, head.http_refusal, refusal)
    return Head(head.path, head.metadata, timeout, head.unary, head.http_refusal, head.refusal)


def parse_timeout(raw: bytes) -> float | None:
    """Read a grpc-timeout as seconds; None = malformed."""
    digits, unit = raw[:-1], raw[-1:]
    if not digits.isdigit() or len(digits) > _TIMEOUT_DIGITS_MAX or unit[0] not in _TIMEOUT_UNITS:
        return None
    return int(digits) * _TIMEOUT_UNITS[unit[0]]


def encode_timeout(seconds: float) -> bytes:
    """Write a grpc-timeout, rounded up to what eight digits can say."""
    micros = max(1, int(seconds * 1e6))
    if micros < 10**_TIMEOUT_DIGITS_MAX:
        return b"%du" % micros
    millis = -(-micros // 1000)
    if millis < 10**_TIMEOUT_DIGITS_MAX:
        return b"%dm" % millis
    return b"%dS" % min(-(-millis // 1000), 10**_TIMEOUT_DIGITS_MAX - 1)


def request_headers(path: str, authority: str, user_agent: str, scheme: str = "http") -> Headers:
    """Build the head of a call without metadata or timeout."""
    return (
        (b":method", b"POST"),
        (b":scheme", scheme.encode("latin-1")),
        (b":path", path.encode("latin-1")),
        (b":authority", authority.encode("latin-1")),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", user_agent.encode("latin-1")),
    )


def parse_response(headers: Headers) -> tuple[int, int | None, str, Metadata]:
    """Give (HTTP status or 0, gRPC status if there is one, its text, custom metadata)."""
    fields = dict(headers)
    http_status = fields.get(b":status", b"0")
    raw = fields.get(b"grpc-status")
    status = None
    if raw is not None:
        status = int(raw) if raw.isdigit() and len(raw) < 10 else int(Status.UNKNOWN)
    text = decode_text(fields.get(b"grpc-message", b""))
    metadata = {name: value for name, value in fields.items() if _is_custom(name)}
    return int(http_status), status, text, metadata


def status_trailers(status: int, text: str) -> Headers:
    """Build the trailers that end a call."""
    if status == Status.OK and not text:
        return OK_TRAILERS
    return ((b"grpc-status", b"%d" % status), (b"grpc-message", encode_text(text)))
