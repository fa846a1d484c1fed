"""One connection of the blocking client: where to, over TLS or not, one call after the other."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from typing import Final

from node.proto import rpc
from transport.errors import ConnectionLost
from transport.grpc import (
    CallEnded,
    ClientEvent,
    ConnectionClosed,
    Draining,
    GrpcClient,
    MessageReceived,
    Status,
    UnaryReply,
)
from transport.http2.event import Headers
from transport.tls.context import BadCertificate, client_context, reason_of
from transport.tls.files import ClientFiles

_RECEIVE_BYTES: Final = 256 * 1024


class ClientError(Exception):
    """Root of what a call of this client can end with."""


class Unreachable(ClientError):
    """No endpoint took the connection, or it was lost before the answer came.

    Of a write that was lost on its way back nobody here knows whether it was committed.
    """


class CallFailed(ClientError):
    """The server, or the deadline, ended the call with a status other than OK."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        """A `transport.grpc.Status`."""
        self.text = text
        """etcd's own words, "etcdserver: …"."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint is."""

    host: str
    port: int
    secure: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, endpoint: str) -> Address:
        """Read "host:port", "http://host:port" or "https://host:port".

        Raises:
            ClientError: it is none of these.
        """
        secure = endpoint.startswith("https://")
        place = endpoint.removeprefix("https://" if secure else "http://").rstrip("/")
        host, _, port = place.rpartition(":")
        if not host or not port.isdigit() or "/" in host:
            raise ClientError(f"not an endpoint, host:port is: {endpoint!r}")
        return cls(host.strip("[]"), int(port), secure)


class Link:
    """One connection with the codec's client role on it."""

    def __init__(
        self,
        address: Address,
        timeout_s: float,
        tls: ssl.SSLContext | None,
        metadata: Headers = (),
    ) -> None:
        """Connect, and shake hands where that is asked for; `metadata` goes with every call.

        Raises:
            OSError: it was not to be; `why` says the reason.
        """
        self._socket = socket.create_connection((address.host, address.port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.secure and tls is not None:
            try:
                self._socket = tls.wrap_socket(self._socket, server_hostname=address.host)
            except OSError:
                self._socket.close()
                raise
        self._grpc = GrpcClient(f"{address.host}:{address.port}", secure=address.secure)
        self._metadata = metadata
        self._address = address
        self._heard = False
        self._going_away = False

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def fresh(self) -> bool:
        """Say whether a call may still be put on a connection that was idle meanwhile."""
        self._socket.settimeout(0)
        try:
            self._take(self._socket.recv(_RECEIVE_BYTES))
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except (OSError, ConnectionLost, Unreachable):
            return False
        return not self._going_away

    def call(self, path: str, request: bytes, deadline: float) -> bytes:
        """Make one call with one answer.

        Raises:
            ConnectionLost: nobody knows how it ended.
            CallFailed: it ended badly.
        """
        left = max(deadline - time.monotonic(), 1e-3)
        call_id = self._grpc.unary(path, request, self._metadata, left)
        answer: bytes | None = None
        while True:
            for event in self.turn(deadline):
                match event:
                    case UnaryReply(ended, message) if ended == call_id:
                        return message
                    case MessageReceived(receiver, message) if receiver == call_id:
                        answer = message
                    case CallEnded(ended, status, text) if ended == call_id:
                        return _outcome(answer, status, text)

    def open_watch(self, request: rpc.WatchCreateRequest) -> None:
        """Start the one stream of a connection that is used for a watch."""
        call_id = self._grpc.start("/etcdserverpb.Watch/Watch", self._metadata)
        message = rpc.WatchRequest(create_request=request)
        self._grpc.send(call_id, message.SerializeToString())

    def turn(self, deadline: float | None) -> list[ClientEvent]:
        """Send what waits, then wait for bytes; None = for ever.

        Raises:
            ConnectionLost: the connection ended.
            CallFailed: the deadline passed.
            Unreachable: the server takes no client like this one.
        """
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise CallFailed(Status.DEADLINE_EXCEEDED, "context deadline exceeded")
        self._socket.settimeout(left)
        try:
            self._socket.sendall(self._grpc.data_to_send())
            return self._take(self._socket.recv(_RECEIVE_BYTES))
        except TimeoutError as error:
            text = "context deadline exceeded"
            raise CallFailed(Status.DEADLINE_EXCEEDED, text) from error
        except ssl.SSLError as error:
            if "ALERT" in (error.reason or ""):
                # With TLS 1.3 a client hears only now what the server thinks of its certificate.
                raise Unreachable(f"{self._address}: {why(error)}") from error
            raise ConnectionLost from error
        except OSError as error:
            raise ConnectionLost from error

    def _take(self, data: bytes) -> list[ClientEvent]:
        if not data and not (self._heard or self._address.secure):
            where = self._address
            raise ConnectionLost(
                f"{where} hangs up without a word; if it speaks TLS: https://{where}"
            )
        if not data:
            raise ConnectionLost
        self._heard = True
        events = self._grpc.receive(data, time.monotonic())
        for event in events:
            if isinstance(event, ConnectionClosed):
                raise ConnectionLost(event.reason)
            if isinstance(event, Draining):
                self._going_away = True
        return events


def _outcome(answer: bytes | None, status: int, text: str) -> bytes:
    if status == Status.OK and answer is not None:
        return answer
    if status == Status.OK:
        raise CallFailed(Status.INTERNAL, "the call ended without an answer")
    raise CallFailed(status, text)


def tls_context(files: ClientFiles | None) -> ssl.SSLContext:
    """What to connect with.

    Raises:
        ClientError: a file is no use.
    """
    try:
        return client_context(files or ClientFiles())
    except BadCertificate as error:
        raise ClientError(str(error)) from error


def why(error: OSError) -> str:
    """The reason for which no connection came about."""
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection: {reason_of(error)}"
    return str(error.strerror or error)
