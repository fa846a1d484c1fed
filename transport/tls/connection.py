"""The server's end of TLS on one connection: between a socket's transport and a plain protocol.

    socket ──sealed──► TlsConnection ──plain──► protocol above
           ◄──sealed──               ◄──plain──   (which takes it for its transport)

To what is below it is a protocol, to what is above it is a transport, and it keeps no bytes of its
own: what is written is sealed at once and waits in the socket's buffer, whose limits so hold for it
as they do without TLS; what arrives is opened at once and handed up in one piece, but for a record
that is not complete (16 KiB at most). While the socket's buffer is full nothing is read: a client
could otherwise make us answer on the level of TLS (key updates) for ever without reading.

    handshake ──agreed──► open ──either side's farewell──► closing ──► lost
        └──refused, nonsense, silence──► lost, and `Pace.failed` hears why

`connection_made` of the protocol above comes with the socket's, before the handshake: it counts
clients and sends silent ones away, whatever they are silent about. Bytes come to it afterwards.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from transport.tls.context import reason_of

_SLICE_BYTES: Final = 64 * 1024
"""Bytes given to OpenSSL's buffers in one go: they never shrink, and every connection has two."""

NOT_TLS: Final = "not tls"
NO_CERTIFICATE: Final = "no client certificate"
BAD_CERTIFICATE: Final = "client certificate refused"
SERVER_REFUSED: Final = "refused by the client"
NO_AGREEMENT: Final = "no version or cipher in common"
CUT_OFF: Final = "ended in the handshake"
TIMED_OUT: Final = "timed out"
OTHER: Final = "other"

_CAUSES: Final = {
    "HTTP_REQUEST": NOT_TLS,
    "HTTPS_PROXY_REQUEST": NOT_TLS,
    "WRONG_VERSION_NUMBER": NOT_TLS,
    "BAD_RECORD_TYPE": NOT_TLS,
    "UNEXPECTED_MESSAGE": NOT_TLS,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": NO_CERTIFICATE,
    "CERTIFICATE_VERIFY_FAILED": BAD_CERTIFICATE,
    "UNSUPPORTED_PROTOCOL": NO_AGREEMENT,
    "VERSION_TOO_LOW": NO_AGREEMENT,
    "NO_SHARED_CIPHER": NO_AGREEMENT,
}


class Pace(Protocol):
    """Who decides when a handshake goes on, and hears how it ends."""

    def admit(self, go_on: Callable[[], None], *, begun: bool) -> None:
        """Go on with a handshake, now or in a later pass of the event loop.

        `begun` tells that work has gone into it already.
        """

    def agreed(self) -> None:
        """A handshake is over."""

    def failed(self, connection: TlsConnection, cause: str, detail: str) -> None:
        """A handshake has failed: one of the causes above, and what was the matter in detail."""


class TlsConnection(asyncio.Protocol, asyncio.Transport):
    """One client that is to speak TLS."""

    def __init__(self, context: ssl.SSLContext, above: asyncio.Protocol, pace: Pace) -> None:
        """Wait for the connection; `above` becomes a protocol on it."""
        super().__init__()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._above = above
        self._pace = pace
        self._below: asyncio.Transport | None = None
        self._begun = False
        self._established = False
        self._refused = False
        self._closing = False
        self._half_closed = False
        """The client has said its farewell and still listens."""
        self._waits = False
        """A step of the handshake is put off."""
        self._full = False
        self._held = False
        """Whoever is above wants to read no more for now."""
        self._reading = True

    @property
    def established(self) -> bool:
        """Whether the handshake is over."""
        return self._established

    # A protocol, to the socket below.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._below = cast(asyncio.Transport, transport)  # uvloop's is one without inheriting
        self._above.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Open what came."""
        for start in range(0, len(data), _SLICE_BYTES):
            if self._refused or self._closing or self._half_closed:
                return  # what follows a farewell is of no interest
            self._incoming.write(data[start : start + _SLICE_BYTES])
            if self._established:
                self._read()
            elif not self._waits:
                self._waits = True
                self._pace.admit(self._go_on, begun=self._begun)
        self._regulate()

    def eof_received(self) -> bool:
        """Without a farewell the end may be anybody's doing: the connection is over."""
        return self._half_closed

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        if not self._established:
            self._refuse(CUT_OFF, str(exc or "closed"))
        self._closing = True
        self._above.connection_lost(exc)

    def pause_writing(self) -> None:
        """The kernel takes no more, and we have enough waiting."""
        self._full = True
        self._regulate()
        self._above.pause_writing()

    def resume_writing(self) -> None:
        """The client fetched what was written."""
        self._full = False
        self._regulate()
        self._above.resume_writing()

    # A transport, to the protocol above.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Seal and send; nothing after `close`."""
        if self._closing or not self._established:
            return
        sealed: list[bytes] = []
        left = memoryview(data)
        try:
            while left:
                left = left[self._tls.write(left[:_SLICE_BYTES]) :]
                sealed.append(self._outgoing.read())
        except ssl.SSLError:
            self.abort()  # the client broke off; the reader hears of it
            return
        self._pass_down(b"".join(sealed))

    def close(self) -> None:
        """Say farewell, let what was written go out, and close. Nobody waits for an echo."""
        if self._closing:
            return
        self._closing = True
        if self._established:
            with suppress(ssl.SSLError):  # it says that the client has not said farewell yet
                self._tls.unwrap()
        self._pass_down(self._outgoing.read())
        if self._below is not None:
            self._below.close()

    def abort(self) -> None:
        """Close at once; what was not sent is lost. No failure of a handshake that is under way."""
        self._closing = self._refused = True
        if self._below is not None:
            self._below.abort()

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the socket is closing by itself."""
        return self._closing or self._below is None or self._below.is_closing()

    def pause_reading(self) -> None:
        """Give nothing more to who is above, once it has what has already come."""
        self._held = True
        self._regulate()

    def resume_reading(self) -> None:
        """Go on."""
        self._held = False
        self._regulate()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Whoever is above from now on."""
        self._above = cast(asyncio.Protocol, protocol)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """How many sealed bytes may wait until `pause_writing`."""
        if self._below is not None:
            self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Sealed bytes that the kernel has not taken."""
        return self._below.get_write_buffer_size() if self._below is not None else 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peercert` and `alpn` here, all else from below."""
        if name == "peercert":
            return self._tls.getpeercert() if self._established else default
        if name == "alpn":
            return self._tls.selected_alpn_protocol()
        return self._below.get_extra_info(name, default) if self._below is not None else default

    # The handshake.

    def expire(self) -> None:
        """Close at once, because the client takes too long."""
        if not self._established:
            self._refuse(TIMED_OUT, "no handshake in time")
        self.abort()

    def _go_on(self) -> None:
        self._waits = False
        if self._refused or self._closing:
            return
        self._begun = True
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._pass_down(self._outgoing.read())
        except ssl.SSLError as error:
            self._pass_down(self._outgoing.read())  # the alert that tells the client
            self._refuse(_cause_of(error), reason_of(error))
            self.close()
        else:
            self._established = True
            self._pass_down(self._outgoing.read())
            self._pace.agreed()
            try:
                self._read()
            except BaseException:
                self.abort()  # it may have been put off: then the socket's transport hears nothing
                raise
        self._regulate()

    def _refuse(self, cause: str, detail: str) -> None:
        if not self._refused:
            self._refused = True
            self._pace.failed(self, cause, detail)

    # Bytes.

    def _read(self) -> None:
        opened: list[bytes] = []
        ended = broken = False
        try:
            while self._incoming.pending or self._tls.pending():
                data = self._tls.read(_SLICE_BYTES)
                if not data:
                    ended = True
                    break
                opened.append(data)
        except ssl.SSLWantReadError:
            pass  # the rest of a record is on its way
        except ssl.SSLError:
            broken = True
        self._pass_down(self._outgoing.read())
        if opened:
            self._above.data_received(opened[0] if len(opened) == 1 else b"".join(opened))
        if broken:
            self.close()
        elif ended and not self._closing:
            self._half_closed = bool(self._above.eof_received())
            if not self._half_closed:
                self.close()

    def _pass_down(self, sealed: bytes) -> None:
        if sealed and self._below is not None and not self._below.is_closing():
            self._below.write(sealed)

    def _regulate(self) -> None:
        """Read from the socket unless there is a reason not to."""
        wanted = not (self._waits or self._full or self._held)
        below = self._below
        if wanted is self._reading or below is None or below.is_closing():
            return
        self._reading = wanted
        if wanted:
            below.resume_reading()
        else:
            below.pause_reading()


def _cause_of(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if reason in _CAUSES:
        return _CAUSES[reason]
    return SERVER_REFUSED if "ALERT" in reason else OTHER
