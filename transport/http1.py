"""HTTP/1.1 for one connection, as an asyncio Protocol over h11."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

Headers = Sequence[tuple[str, str]]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one connection; sizes are bytes."""

    body_bytes_max: int = 1 << 20
    head_bytes_max: int = 16 * 1024


class Request(msgspec.Struct, frozen=True):
    """One request with its whole body."""

    method: str
    target: str
    path: str
    """The target without its query, percent-decoded."""
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """By lower-case name; repeated ones joined by a comma."""
    body: bytes


class Responder:
    """The way back for one request: `respond` once, or `start`, `write` …, `end`."""

    on_disconnect: Callable[[], None] | None
    """Called once if the client goes away before the answer has ended."""
    on_drain: Callable[[], None] | None
    """Called when the client has read enough after `write` returned False."""

    def respond(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        """Send a whole answer; content-length is added. After a disconnect: ignored (all verbs)."""
        raise NotImplementedError

    def start(self, status: int, headers: Headers = ()) -> None:
        """Begin a streamed (chunked) answer."""
        raise NotImplementedError

    def write(self, chunk: bytes) -> bool:
        """Send a piece; False = the client reads too slowly, wait for `on_drain`."""
        raise NotImplementedError

    def end(self) -> None:
        """End a streamed answer."""
        raise NotImplementedError


Handle = Callable[[Request, Responder], None]


class Http1Protocol(asyncio.Protocol):
    """One connection. Errors of the client are answered here (400, 413, 431, 501)."""

    def __init__(self, handle: Handle, limits: Limits | None = None) -> None:
        raise NotImplementedError

    def feed_initial(self, data: bytes) -> None:
        """Take bytes that were read before this protocol was chosen (after `connection_made`)."""
        raise NotImplementedError
