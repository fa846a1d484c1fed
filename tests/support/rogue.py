"""A client without manners: raw bytes on a client port, and what came back until the end."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from time import monotonic

from hpack import Encoder

from tests.support.http2 import REQUEST, frames_of
from transport.http2 import frame
from transport.http2.frame import END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, SETTINGS

DEADLINE_S = 20.0
HELLO = PREFACE + frame.encode(SETTINGS, 0, 0)


@dataclass(frozen=True)
class Verdict:
    """How the server took it."""

    closed: bool
    goaway: int | None
    """Error code of its GOAWAY."""
    resets: dict[int, int]
    """Error code by stream."""
    received: bytes


class Rogue:
    """One connection to one port."""

    def __init__(self, port: int, *, hello: bool = True) -> None:
        """Connect, and by default greet as HTTP/2 asks for."""
        self._socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self._encoder = Encoder()
        self._received = b""
        if hello:
            self.send(HELLO)

    def close(self) -> None:
        """Leave without a word."""
        self._socket.close()

    def head(
        self, stream: int, *extra: tuple[bytes, bytes], end: bool = False, method: bytes = b"Put"
    ) -> bytes:
        """HEADERS of a request to the KV service."""
        usual = dict(REQUEST) | {b":path": b"/etcdserverpb.KV/" + method}
        block = self._encoder.encode([*usual.items(), *extra])
        flags = END_HEADERS | (END_STREAM if end else 0)
        return frame.encode(HEADERS, flags, stream, bytes(block))

    def send(self, data: bytes) -> None:
        """Write; a server that has hung up is not our problem."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def until_closed(self) -> Verdict:
        """Read to the end of the connection."""
        while self._read():
            pass
        return self._verdict(closed=True)

    def until_reset(self, stream: int) -> Verdict:
        """Read until the server resets a stream; the connection goes on."""
        deadline = monotonic() + DEADLINE_S
        while stream not in (verdict := self._verdict(closed=False)).resets:
            assert monotonic() < deadline
            assert self._read(), verdict
        return verdict

    def _read(self) -> bool:
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionResetError:  # closed while something of ours was unread
            return False
        self._received += data
        return bool(data)

    def _verdict(self, *, closed: bool) -> Verdict:
        frames = frames_of(whole_frames(self._received))
        codes = [int.from_bytes(p[4:8], "big") for kind, _, _, p in frames if kind == GOAWAY]
        resets = {
            stream: int.from_bytes(payload, "big")
            for kind, _, stream, payload in frames
            if kind == frame.RST_STREAM
        }
        return Verdict(closed, codes[-1] if codes else None, resets, self._received)


def whole_frames(data: bytes) -> bytes:
    """As many bytes as make whole frames; none of an answer that is no HTTP/2."""
    if data.startswith(b"HTTP/"):
        return b""
    end = 0
    while end + 9 <= len(data):
        following = end + 9 + int.from_bytes(data[end : end + 3], "big")
        if following > len(data):
            break
        end = following
    return data[:end]
