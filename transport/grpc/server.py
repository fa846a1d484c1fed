"""The server side of gRPC over one HTTP/2 connection, without I/O."""

from __future__ import annotations

from transport.grpc.event import ServerEvent
from transport.grpc.status import Status
from transport.http2.limits import Limits


class GrpcServer:
    """One client's connection: bytes in, call events out; answers in, bytes out.

    Args:
        unary: paths ("/package.Service/Method") whose calls are given as one UnaryCall.
            Calls of every other path, known or not, are given as CallStarted and so on.
        message_bytes_max: larger requests end with RESOURCE_EXHAUSTED by themselves.
    """

    def __init__(
        self, *, unary: frozenset[str], message_bytes_max: int, limits: Limits | None = None
    ) -> None:
        raise NotImplementedError

    def receive(self, data: bytes, now: float) -> list[ServerEvent]:
        """Take bytes from the socket. `now` is monotonic seconds (polices pings and floods)."""
        raise NotImplementedError

    def data_to_send(self) -> bytes:
        """Take all bytes that may leave now; call once after a turn, b"" = nothing."""
        raise NotImplementedError

    def reply(self, call_id: int, message: bytes) -> None:
        """Answer with one message and status OK. A call that is gone is ignored (all verbs)."""
        raise NotImplementedError

    def send(self, call_id: int, message: bytes) -> None:
        """Send one message of a streamed answer."""
        raise NotImplementedError

    def finish(self, call_id: int, status: int = Status.OK, text: str = "") -> None:
        """End the call, after the messages sent before."""
        raise NotImplementedError

    def goaway(self, reason: str = "") -> None:
        """Take no more calls; those open may end. Close the socket once `open_calls` is 0."""
        raise NotImplementedError

    @property
    def open_calls(self) -> int:
        """Calls that are not yet over."""
        raise NotImplementedError

    def buffered(self, call_id: int) -> int:
        """Bytes of this call that wait for the peer's flow control; Drained tells when it is 0."""
        raise NotImplementedError

    @property
    def buffered_total(self) -> int:
        """Bytes of all calls that wait for the peer's flow control."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """True after ConnectionClosed."""
        raise NotImplementedError
