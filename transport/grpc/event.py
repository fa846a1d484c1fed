"""What the gRPC codec tells its owner.

Plain values, made once and never changed. `call_id` is unique within one connection and never
reused; it is the HTTP/2 stream id, which no owner needs to know.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

Metadata = Mapping[bytes, bytes]
"""Custom metadata by lower-case name. A name sent twice has its values joined by a comma."""


class UnaryCall(msgspec.Struct, frozen=True, gc=False):
    """A whole call of a method known to be unary: answer it with `reply` or `finish`."""

    call_id: int
    path: str
    metadata: Metadata
    timeout: float | None
    """Seconds the client is willing to wait, counted from now; None = for ever."""
    message: bytes


class CallStarted(msgspec.Struct, frozen=True, gc=False):
    """A call of any other method; its messages follow."""

    call_id: int
    path: str
    metadata: Metadata
    timeout: float | None


class MessageReceived(msgspec.Struct, frozen=True, gc=False):
    """One message of a started call; at the client, one message of the answer."""

    call_id: int
    message: bytes


class HalfClosed(msgspec.Struct, frozen=True, gc=False):
    """The client will send no further message on this call, which still waits for its end."""

    call_id: int


class CallCancelled(msgspec.Struct, frozen=True, gc=False):
    """The call is over before the server finished it; whatever is still sent on it is dropped."""

    call_id: int


class Drained(msgspec.Struct, frozen=True, gc=False):
    """A call whose bytes had to wait for the peer's flow control has none left waiting."""

    call_id: int


class ConnectionClosed(msgspec.Struct, frozen=True, gc=False):
    """The codec takes no more bytes: write `data_to_send()`, then close the socket.

    All open calls end with this event; no CallCancelled or CallEnded is sent for each.
    """

    reason: str


class ResponseStarted(msgspec.Struct, frozen=True, gc=False):
    """Client: the initial metadata of an answer."""

    call_id: int
    metadata: Metadata


class CallEnded(msgspec.Struct, frozen=True, gc=False):
    """Client: a call is over, in whatever way; `status` is a `Status` or an unknown number."""

    call_id: int
    status: int
    text: str
    metadata: Metadata


class UnaryReply(msgspec.Struct, frozen=True, gc=False):
    """Client: a whole successful answer of one message (status OK) that arrived in one piece."""

    call_id: int
    message: bytes


class Draining(msgspec.Struct, frozen=True, gc=False):
    """Client: the server goes away; open calls may still end, new ones need another connection."""

    reason: str


ServerEvent = (
    UnaryCall
    | CallStarted
    | MessageReceived
    | HalfClosed
    | CallCancelled
    | Drained
    | ConnectionClosed
)
ClientEvent = (
    UnaryReply
    | ResponseStarted
    | MessageReceived
    | CallEnded
    | Drained
    | Draining
    | ConnectionClosed
)
