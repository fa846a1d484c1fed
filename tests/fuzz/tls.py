"""Target of TLS: a client that mixes truth, tampered records and nonsense, in any order.

An input is a list of steps. Each begins with an octet that says what happens next; what is told
truthfully goes through a real client's end, so that mutations reach what lies behind the handshake.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.fuzz.target import Tape, Target, block
from tests.support.certificates import Papers
from tests.support.tls_client import Socket, TlsClient
from transport.tls.connection import TlsConnection
from transport.tls.context import client_context, server_context

RECORD_BYTES_MAX = 16_384 + 256 + 5
HANDSHAKE_BYTES_MAX = 16 * 1024
STEPS_MAX = 64
STEP, SAY, TAMPER, RAW, ANSWER, FAREWELL, FULL, HELD, LATER, EOF, CLOSE, ABORT, EXPIRE = range(13)


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's; their files are read, and gone again."""
    with tempfile.TemporaryDirectory() as directory:
        papers = Papers(Path(directory, "papers"))
        server = server_context(papers.server_files(client_cert_auth=True))
        return server, client_context(papers.client_files())


class Above(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended = 0

    def data_received(self, data: bytes) -> None:
        """Keep."""
        assert data
        self.heard += data

    def eof_received(self) -> bool:
        """Stay, as an answer may be due."""
        self.ended += 1
        return True


class Pace:
    """Counts, and puts off every other step of a handshake."""

    def __init__(self) -> None:
        self.line: list[Callable[[], None]] = []
        self.over = 0
        self._turn = 0

    def admit(self, go_on: Callable[[], None], *, begun: bool) -> None:
        """Now or later."""
        self._turn += 1
        if self._turn % 2:
            go_on()
        else:
            self.line.append(go_on)

    def agreed(self) -> None:
        """Count."""
        self.over += 1

    def failed(self, connection: TlsConnection, cause: str, detail: str) -> None:
        """Count."""
        assert cause
        self.over += 1


class Scene:
    """One connection, what its client has said, and what may be kept for it."""

    def __init__(self) -> None:
        server, client = contexts()
        self.above, self.pace, self.socket = Above(), Pace(), Socket()
        self.connection = TlsConnection(server, self.above, self.pace)
        self.connection.connection_made(self.socket)
        self.client = TlsClient(client, self.connection, self.socket)
        self.said = b""
        self.answered = self.given = 0

    def give(self, sealed: bytes) -> None:
        """Deliver, as a kernel does: only to who reads."""
        if sealed and self.socket.reading and not self.socket.closed:
            self.given += len(sealed)
            self.connection.data_received(sealed)

    def shake(self) -> None:
        """One step of the client's, and what the server has said meanwhile."""
        self.client.incoming.write(self.socket.take())
        with suppress(ssl.SSLError):
            self.client.tls.do_handshake()
        self.give(self.client.outgoing.read())

    def seal(self, text: bytes) -> bytes:
        """Nothing, while the client cannot speak yet."""
        with suppress(ssl.SSLError):
            self.client.tls.write(text)
            self.said += text
        return self.client.outgoing.read()

    def tamper(self, text: bytes, at: int) -> None:
        """A record with one bit that is not the client's."""
        said, sealed = self.said, bytearray(self.seal(text))
        if sealed:
            self.said = said
            sealed[at % len(sealed)] ^= 1 << at % 8
            self.give(bytes(sealed))

    def answer(self, text: bytes) -> None:
        """Something for the client."""
        self.answered += len(text)
        self.connection.write(text)

    def farewell(self) -> None:
        """The client's."""
        with suppress(ssl.SSLError):
            self.client.tls.unwrap()
        self.give(self.client.outgoing.read())

    def later(self) -> None:
        """What was put off."""
        line, self.pace.line = self.pace.line, []
        for go_on in line:
            go_on()

    def judge(self) -> None:
        """What must hold after every step."""
        connection, socket = self.connection, self.socket
        assert self.said.startswith(self.above.heard), "it heard what nobody said"
        assert self.pace.over <= 1
        assert self.above.ended <= 1
        assert not self.above.heard or connection.established
        if connection.established and not socket.closed:
            assert connection._incoming.pending <= RECORD_BYTES_MAX
        assert connection._outgoing.pending == 0
        overhead = 64 * (self.answered // 16_384 + STEPS_MAX)
        assert len(socket.sent) <= HANDSHAKE_BYTES_MAX + self.answered + overhead + self.given


def fuzz_tls(data: bytes) -> None:
    """Nothing raises, nothing is heard that was not said, nothing piles up."""
    tape, scene = Tape(data), Scene()
    full = held = False
    for _ in range(STEPS_MAX):
        if not tape.left:
            break
        match tape.octet() % 13:
            case 1:
                scene.give(scene.seal(tape.block()))
            case 2:
                scene.tamper(tape.block(), tape.number(2))
            case 3:
                scene.give(tape.block())
            case 4:
                scene.answer(tape.block() * (1 + tape.octet()))
            case 5:
                scene.farewell()
            case 6:
                full = not full
                (scene.connection.pause_writing if full else scene.connection.resume_writing)()
            case 7:
                held = not held
                (scene.connection.pause_reading if held else scene.connection.resume_reading)()
            case 8:
                scene.later()
            case 9 if scene.socket.reading and not scene.connection.eof_received():
                scene.connection.close()
            case 10:
                scene.connection.close()
            case 11:
                scene.connection.abort()
            case 12:
                scene.connection.expire()
            case _:
                scene.shake()
        scene.judge()
    scene.connection.connection_lost(None)
    scene.later()
    scene.judge()
    assert scene.pace.over <= 1


def tls_seeds() -> Iterator[bytes]:
    """Lives that clients lead."""
    hello = bytes((STEP, LATER, STEP, LATER, STEP, LATER))
    for more in (
        bytes((SAY,)) + block(b"request") + bytes((ANSWER,)) + block(b"answer") + b"\x03",
        bytes((SAY,)) + block(bytes(40_000)) + bytes((FULL,)) + bytes((SAY,)) + block(b"x"),
        bytes((TAMPER,)) + block(b"request") + b"\x09\x00",
        bytes((RAW,)) + block(b"\x17\x03\x03\x40\x00" + bytes(300)),
        bytes((FAREWELL, ANSWER)) + block(b"late") + b"\x00" + bytes((EOF, CLOSE)),
        bytes((HELD, HELD, EOF)),
        bytes((ABORT,)),
        bytes((EXPIRE,)),
    ):
        yield hello + more
    yield bytes((RAW,)) + block(b"GET / HTTP/1.1\r\n\r\n")
    yield bytes((RAW,)) + block(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00") + hello


TARGETS = (Target("tls", fuzz_tls, tls_seeds, 150),)
