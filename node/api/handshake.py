"""TLS on the client port: how many handshakes a pass of the event loop has time for, and why some
failed.

A handshake costs a private key's signature, tenths of a millisecond with elliptic curves and some
milliseconds with a long RSA key. Thousands of clients that come back at once must not hold up
heartbeats, so handshakes share `HANDSHAKE_SECONDS` of each pass; whoever is over that waits in
line, with its socket unread. The line is as long as there may be connections, and no longer: who
stands in it is one of them. Its deadline is that of the first bytes (`server.SNIFF_SECONDS`), and
so that many who come at once do not all miss it, those who have begun are before those who have
not: what there is time for is brought to its end.

Failures are counted by cause. They are logged too, but a client that tries again and again must not
fill a disk: one line a second, which says how many there were since the one before.
Source: etcd client/pkg/transport/listener_tls.go, server/embed/etcd.go ("rejected connection").
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from transport.tls.context import BadCertificate, server_context
from transport.tls.files import ServerFiles

HANDSHAKE_SECONDS = 0.005
LOG_SECONDS = 1.0
LOOK_SECONDS = 1.0
"""How often the files of certificates are looked at, if clients come."""


class Log(Protocol):
    """Where a node writes what it has to say."""

    def __call__(self, event: str, **facts: object) -> None:
        """Write one line."""


def silent(event: str, **facts: object) -> None:
    """A log that nobody keeps."""


class Papers:
    """The certificates of one port, read again when their files have changed, as etcd does it.

    Connections that are open keep what they were made with. Files that cannot be used (somebody is
    about to replace them) change nothing but the log.
    """

    def __init__(self, files: ServerFiles, now: Callable[[], float], log: Log) -> None:
        """Read them.

        Raises:
            BadCertificate: one of them cannot be used.
        """
        self.name_users = files.client_cert_auth
        """Whether a client's common name says which user it is."""
        self._files = files
        self._now = now
        self._log = log
        self._looked_at = now()
        self._stamp = self._stamps()
        self._context = server_context(files)

    def context(self) -> ssl.SSLContext:
        """For one more connection."""
        now = self._now()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            stamp = self._stamps()
            if stamp != self._stamp:
                self._stamp = stamp
                self._renew()
        return self._context

    def _renew(self) -> None:
        try:
            self._context = server_context(self._files)
        except BadCertificate as error:
            self._log("tls.unchanged", reason=repr(str(error)))
        else:
            self._log("tls.renewed", cert=self._files.cert_file)

    def _stamps(self) -> list[tuple[int, int, int]]:
        files = self._files
        return [_stamp(path) for path in (files.cert_file, files.key_file, files.trusted_ca_file)]


class Refusals:
    """Clients that were sent away before they could ask anything."""

    def __init__(self, log: Log, now: Callable[[], float]) -> None:
        """Count from nothing."""
        self.causes: Counter[str] = Counter()
        self._log = log
        self._now = now
        self._silent_until = 0.0
        self._untold = 0

    def note(self, transport: asyncio.BaseTransport, cause: str, detail: str) -> None:
        """Count one, and perhaps say so."""
        self.causes[cause] += 1
        self._untold += 1
        now = self._now()
        if now < self._silent_until:
            return
        self._silent_until = now + LOG_SECONDS
        self._log(
            "client.refused",
            peer=address_of(transport),
            cause=repr(cause),
            detail=repr(detail),
            count=self._untold,
        )
        self._untold = 0


class Handshakes:
    """The pace of all handshakes of one port. Satisfies `transport.tls.connection.Pace`."""

    def __init__(
        self,
        refusals: Refusals,
        now: Callable[[], float],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        """`soon` has the event loop call something in its next pass."""
        self.done = 0
        """Handshakes that ended well."""
        self._refusals = refusals
        self._now = now
        self._soon = soon
        self._begun: deque[Callable[[], None]] = deque()
        self._new: deque[Callable[[], None]] = deque()
        self._until = 0.0
        """When this pass has no more time for handshakes; 0.0 = it had none yet."""

    @property
    def waiting(self) -> int:
        """Handshakes that are put off."""
        return len(self._begun) + len(self._new)

    def admit(self, go_on: Callable[[], None], *, begun: bool) -> None:
        """Go on with a handshake now, or in its turn."""
        if not self._until:
            self._until = self._now() + HANDSHAKE_SECONDS
            self._soon(self._next_pass)
        if self.waiting or self._now() >= self._until:
            (self._begun if begun else self._new).append(go_on)
        else:
            go_on()

    def agreed(self) -> None:
        """A handshake is over."""
        self.done += 1

    def failed(self, connection: asyncio.BaseTransport, cause: str, detail: str) -> None:
        """A handshake has failed."""
        self._refusals.note(connection, cause, detail)

    def _next_pass(self) -> None:
        """The first in line always goes on, however slow a handshake is."""
        self._until = 0.0
        if not self.waiting:
            return
        self._until = self._now() + HANDSHAKE_SECONDS
        self._soon(self._next_pass)
        self._next()
        while self.waiting and self._now() < self._until:
            self._next()

    def _next(self) -> None:
        (self._begun or self._new).popleft()()


def _stamp(path: str) -> tuple[int, int, int]:
    """What changes when a file does; zeroes for one that is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_ino, found.st_size)


def address_of(transport: asyncio.BaseTransport) -> str:
    """host:port of a client."""
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "unknown"
