"""The client's end of TLS without a socket, and a socket's transport without a network.

    client = TlsClient(context)
    client.meet(connection)      # TlsConnection, over a Socket

What either side says is moved by hand, in pieces of any size, so that each step of a handshake can
be looked at, cut, or followed by nonsense.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

from transport.tls.connection import TlsConnection


class Socket(asyncio.Transport):
    """What the kernel would do: keeps what is written, knows whether it is read from."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40_000)})
        self.sent = b""
        self.reading = True
        self.closed = False
        self.aborted = False
        self.limits: tuple[int | None, int | None] = (None, None)

    def write(self, data: Any) -> None:
        """Keep."""
        assert not self.closed
        self.sent += data

    def take(self) -> bytes:
        """What was written since the last look."""
        sent, self.sent = self.sent, b""
        return sent

    def close(self) -> None:
        """Close after what was written."""
        self.closed = True

    def abort(self) -> None:
        """Close at once."""
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def pause_reading(self) -> None:
        """As a socket: an error when it is closed."""
        assert self.reading
        assert not self.closed
        self.reading = False

    def resume_reading(self) -> None:
        """As a socket."""
        assert not self.reading
        assert not self.closed
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Keep."""
        self.limits = (high, low)


class TlsClient:
    """One client of a `TlsConnection`."""

    def __init__(self, context: ssl.SSLContext, connection: TlsConnection, socket: Socket) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1")
        self.connection = connection
        self.socket = socket
        self.reasons: list[str] = []
        """Why it gave up."""
        self.farewell = False
        """The server has said its own."""

    def shake_hands(self, pieces: int = 1 << 16) -> bool:
        """Go on with the handshake until nothing moves; whether it is over on this side.

        `pieces` is how many bytes the server gets at once.
        """
        done = False
        while True:
            done = done or self._step()
            hello = self.outgoing.read()
            if self.reasons or not (hello or self.socket.sent):
                return done
            self.give(hello, pieces)
            self.incoming.write(self.socket.take())

    def say(self, text: bytes, pieces: int = 1 << 16) -> None:
        """Send something sealed."""
        self.tls.write(text)
        self.give(self.outgoing.read(), pieces)

    def give(self, sealed: bytes, pieces: int = 1 << 16) -> None:
        """Have the server receive bytes as they are, while it reads."""
        for piece in cut(sealed, pieces):
            assert self.socket.reading
            self.connection.data_received(piece)

    def hear(self) -> bytes:
        """What the server has said since the last time, opened."""
        self.incoming.write(self.socket.take())
        heard = b""
        while True:
            try:
                piece = self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                return heard
            if not piece:
                self.farewell = True
                return heard
            heard += piece

    def _step(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            self.reasons.append(error.reason or "")
            self.connection.data_received(self.outgoing.read())
            return False
        return True


def cut(content: bytes, size: int) -> Iterator[bytes]:
    """Pieces of at most `size` bytes."""
    return (content[start : start + size] for start in range(0, len(content), size))
