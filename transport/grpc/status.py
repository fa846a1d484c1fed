"""gRPC status codes and the encoding of status texts in trailers.

Source: gRPC over HTTP/2, "Responses": `grpc-message` is percent-encoded UTF-8; and the table that
maps HTTP status codes to gRPC ones for answers that never reached a gRPC server.
"""

from __future__ import annotations

from enum import IntEnum
from urllib.parse import unquote_to_bytes


class Status(IntEnum):
    """The closed set of gRPC status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_HTTP_TO_GRPC = {
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    429: Status.UNAVAILABLE,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
}


def status_of_http(http_status: int) -> Status:
    """Give the gRPC status that stands for a plain HTTP answer."""
    return _HTTP_TO_GRPC.get(http_status, Status.UNKNOWN)


_PLAIN = frozenset(range(0x20, 0x7F)) - {ord("%")}


def encode_text(text: str) -> bytes:
    """Percent-encode a status text; printable ASCII except `%` stays as it is."""
    raw = text.encode("utf-8", "replace")
    if _PLAIN.issuperset(raw):
        return raw
    return b"".join(bytes((octet,)) if octet in _PLAIN else b"%%%02X" % octet for octet in raw)


def decode_text(raw: bytes) -> str:
    """Undo `encode_text`; what is not well-formed is kept as it came, never an error."""
    return unquote_to_bytes(raw).decode("utf-8", "replace")
