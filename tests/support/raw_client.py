"""A gRPC client under full control: our codec on a blocking socket that is read only when asked."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from transport.grpc import ClientEvent
from transport.grpc.client import GrpcClient
from transport.http2.limits import Limits

DEADLINE_SECONDS = 10.0


class RawClient:
    """One connection. Calls are written by `flush`; answers come by `wait`."""

    def __init__(
        self,
        port: int,
        limits: Limits | None = None,
        receive_buffer: int = 0,
        tls: ssl.SSLContext | None = None,
        over: socket.socket | None = None,
    ) -> None:
        """Connect, or go on with a connection that is `over` there; `receive_buffer` > 0 makes the
        kernel hold little for us."""
        self.socket = over or socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE_SECONDS)
        if over is None:
            self.socket.connect(("127.0.0.1", port))
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self.grpc = GrpcClient(f"127.0.0.1:{port}", limits=limits)
        self.events: list[ClientEvent] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def flush(self) -> None:
        """Write what the codec has to say."""
        self.socket.sendall(self.grpc.data_to_send())

    def unary(self, path: str, message: bytes, timeout: float | None = None) -> int:
        """Send a unary call; returns its id."""
        call_id = self.grpc.unary(path, message, timeout=timeout)
        self.flush()
        return call_id

    def read(self) -> bool:
        """Take one piece from the socket; False = the server closed it."""
        data = self.socket.recv(1 << 20)
        self.events += self.grpc.receive(data, time.monotonic())
        self.flush()
        return bool(data)

    def wait(self, condition: Callable[[list[ClientEvent]], bool]) -> list[ClientEvent]:
        """Read until a condition holds for all events so far, and give them.

        Raises:
            TimeoutError: nothing more comes.
            ConnectionError: the server closed the connection first.
        """
        while not condition(self.events):
            if not self.read():
                raise ConnectionError("the server closed the connection")
        return self.events

    def read_to_end(self) -> list[ClientEvent]:
        """Read until the server closes the connection."""
        while self.read():
            pass
        return self.events
