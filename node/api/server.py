"""The client port: one TCP port on which gRPC and plain HTTP clients are told apart and served.

    accept ──►[TlsConnection]──► SniffProtocol ──"PRI "──► GrpcConnection
                                       └────anything else──► HttpConnection

With certificates every client has to speak TLS (`transport.tls`), and without them none may: as in
etcd, who comes with the other finds the connection closed.

The loop calls `flush` once at the end of a turn; if nobody does, a callback of the event loop does
it right after the events at hand. So a wakeup that answers a hundred calls of one client costs one
write. Deadlines of clients are swept ten times a second: precise enough for a deadline that the
client watches itself, and free for calls that have none.

It binds with SO_REUSEPORT, because the supervisor holds the port (bound, never listening) while a
member is down, so that nobody else can take it. Who has no supervisor brings sockets that listen.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from node.api.call import Call, StreamCall
from node.api.connection import GrpcConnection
from node.api.errors import DEADLINE_EXCEEDED, NO_LEADER, STOPPED
from node.api.gateway import Gateway
from node.api.handshake import Handshakes, Log, Papers, Refusals, silent
from node.api.http import HttpEndpoints
from node.api.line import Line
from node.api.member import Member
from node.api.metrics import Metrics
from node.api.probe import Probes
from node.api.service import Services
from transport.http1 import Http1Protocol, Limits, Request, Responder
from transport.sniff import protocol_of
from transport.tls.connection import TlsConnection
from transport.tls.context import common_name_of

BACKLOG = 512
"""Clients that may wait to be accepted."""
SWEEP_SECONDS = 0.1
KEEP_ALIVE_SECONDS = 1.0
"""How often silent clients are looked for."""
READ_SECONDS = 0.005
"""What reads may take of one pass of the event loop. Hundreds of long ranges that arrive together
once took half a second of a leader, who lost its leadership by it."""
WORK_SECONDS = 0.005
"""The same for what is done in steps: streams of keys, counts, checksums, backups."""
SNIFF_SECONDS = 10.0
"""How long a client may take for its first bytes; for those inside of TLS, if it is to speak it."""
TLS_IN_PLAIN = "tls in plain text"
HTTP_IDLE_SECONDS = 120.0
"""How long an HTTP/1.1 connection may say nothing while it waits for nothing."""
BASE64_GROWTH = 2
"""JSON is larger than the message that it stands for: by a third in values, by more in names."""
OWN_DESCRIPTORS = 256
"""Descriptors that clients do not get: the store needs some for new files, and the peers theirs. A
member that has none left cannot write, and ends."""
LEADERLESS_ELECTIONS = 3
"""Election timeouts without a leader that end a stream which requires one (as in etcd)."""


def client_descriptors() -> int:
    """How many of this process's descriptors clients may have: all but a few, at least half."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(most - OWN_DESCRIPTORS, most // 2)


class ClientPort:
    """Accepts clients and serves the member to them."""

    def __init__(
        self,
        member: Member,
        chance: random.Random | None = None,
        *,
        papers: Papers | None = None,
        log: Log | None = None,
    ) -> None:
        """Build the services of a member; nothing listens yet.

        Args:
            papers: certificates, for TLS; None = plain text.
            log: where it is said who was sent away, and why.
        """
        self.member = member
        self.refusals = Refusals(log or silent, member.now)
        self.handshakes = Handshakes(self.refusals, member.now, self._soon)
        self._papers = papers
        self._work = Line(WORK_SECONDS, member.now, self._soon)
        self.services = Services(member, chance or random.SystemRandom())
        self.timed: set[Call | StreamCall] = set()
        self.writes = 0
        self.refused = 0
        """Clients that were cut off because there are too many."""
        probes = Probes(member)
        self.metrics = Metrics(member, self.services.methods, self, probes)
        gateway = Gateway(member, self.services, self.later, self.in_turn, self.timed)
        self.http = HttpEndpoints(member, self.metrics, probes, gateway)
        self._servers: list[asyncio.Server] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._transports: set[asyncio.Transport] = set()
        self._grpc: set[GrpcConnection] = set()
        self._plain: set[HttpConnection] = set()
        self._sniffing: dict[asyncio.Transport, float] = {}
        self._dirty: list[GrpcConnection] = []
        self._flush_due = False
        self._reads_end = 0.0
        self._keep_alive_at = 0.0
        self._closing = False
        self._empty = asyncio.Event()

    @property
    def connections(self) -> int:
        """Clients that are connected."""
        return len(self._transports)

    @property
    def open_calls(self) -> int:
        """gRPC calls that have not ended, streams among them."""
        return sum(connection.grpc.open_calls for connection in self._grpc)

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    async def start(self, host: str, port: int, listeners: Sequence[socket.socket] = ()) -> int:
        """Take clients: at an address, or from sockets that listen already. Returns the (first)
        port, of use when 0 was asked for.

        Raises:
            OSError: the address is taken or not ours.
        """
        self._loop = asyncio.get_running_loop()
        serve = partial(self._loop.create_server, self._new_client, backlog=BACKLOG)
        if listeners:
            self._servers = [await serve(sock=listener) for listener in listeners]
        else:
            self._servers = [await serve(host, port, reuse_port=True)]
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        bound: int = self._servers[0].sockets[0].getsockname()[1]
        return bound

    def flush(self) -> None:
        """Write the answers of this turn: one write for each connection that has any."""
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()

    async def close(self, grace: float) -> None:
        """Stop: take no more clients or calls, give open calls `grace` seconds, then cut."""
        self._closing = True
        for server in self._servers:
            server.close()
        self.services.stop()
        for connection in list(self._grpc):
            connection.drain(STOPPED)
        for transport in self._transports - {c.transport for c in self._grpc}:
            transport.close()  # HTTP/1.1 clients wait for nothing that outlives a turn
        self.flush()
        if self._transports:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace)
        if self._sweeper is not None:
            self._sweeper.cancel()
        for transport in list(self._transports):
            transport.abort()

    # What connections call.

    def accept(self, transport: asyncio.Transport) -> bool:
        """Count a new client; False = there are too many, it was cut off."""
        most = min(self.member.limits.connections_max, client_descriptors())
        if self._closing or len(self._transports) >= most:
            self.refused += 1
            transport.abort()
            return False
        self._transports.add(transport)
        self._sniffing[transport] = self.member.now() + SNIFF_SECONDS
        return True

    def begin(self, transport: asyncio.Transport, first_bytes: bytes, *, http2: bool) -> None:
        """The protocol is known: hand the transport over to it."""
        self._sniffing.pop(transport, None)
        if http2:
            connection = GrpcConnection(self, transport, self._common_name(transport))
            self._grpc.add(connection)
            transport.set_protocol(connection)
            connection.data_received(first_bytes)
        else:
            plain = HttpConnection(self, transport, self._common_name(transport))
            self._plain.add(plain)
            transport.set_protocol(plain)
            plain.connection_made(transport)
            plain.feed_initial(first_bytes)

    def refuse_tls(self, transport: asyncio.Transport) -> None:
        """A client speaks TLS where there is none, or a second one inside of it."""
        self.refusals.note(transport, TLS_IN_PLAIN, "this port speaks plain text")
        transport.close()

    def touched(self, connection: GrpcConnection) -> None:
        """A connection has bytes to write; see to a flush even if no turn of the loop follows."""
        self._dirty.append(connection)
        if not self._flush_due and self._loop is not None:
            self._flush_due = True
            self._loop.call_soon(self._flush_now)

    def later(self, seconds: float, go_on: Callable[[], None]) -> None:
        """Call again after a while."""
        if self._loop is not None:
            self._loop.call_later(seconds, go_on)

    def in_turn(self, go_on: Callable[[], None]) -> None:
        """Go on with long work, in turn with all others who have some."""
        self._work.queue(go_on)

    def may_read(self) -> bool:
        """Whether the reads of this pass still have time; the first one always has.

        Who is refused calls `touched`, and may ask again when its flush comes.
        """
        now = self.member.now()
        if not self._reads_end:
            self._reads_end = now + READ_SECONDS
        return now < self._reads_end

    def gone(
        self, transport: asyncio.Transport, connection: GrpcConnection | HttpConnection | None
    ) -> None:
        """A client is gone."""
        self._transports.discard(transport)
        self._sniffing.pop(transport, None)
        if isinstance(connection, GrpcConnection):
            self._grpc.discard(connection)
        elif connection is not None:
            self._plain.discard(connection)
        if self._closing and not self._transports:
            self._empty.set()

    def _new_client(self) -> asyncio.Protocol:
        sniffing = SniffProtocol(self)
        if self._papers is None:
            return sniffing
        return TlsConnection(self._papers.context(), sniffing, self.handshakes)

    def _common_name(self, transport: asyncio.Transport) -> str:
        if self._papers is None or not self._papers.name_users:
            return ""
        return common_name_of(transport.get_extra_info("peercert"))

    # Time.

    def _soon(self, go_on: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_soon(go_on)

    def _flush_now(self) -> None:
        """Begin a new pass. Whoever came first in the last one comes last: it may have used up
        the time for reads."""
        self._flush_due = False
        self._reads_end = 0.0
        if len(self._dirty) > 1:
            self._dirty.append(self._dirty.pop(0))
        self.flush()

    def _sweep(self) -> None:
        now = self.member.now()
        self._expire(now)
        self.services.poll()
        self._send_silent_away(now)
        self._keep_alive(now)
        if self.member.accused:
            for connection in list(self._grpc):
                connection.expire_accused()
        patience = LEADERLESS_ELECTIONS * self.member.election_timeout_seconds()
        if self.member.leaderless_seconds() > patience:
            for connection in list(self._grpc):
                connection.expire_leaderless(NO_LEADER)
        if self._loop is not None:
            self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _keep_alive(self, now: float) -> None:
        """Once a second: there may be ten thousand connections, and hours are what is counted."""
        if now < self._keep_alive_at:
            return
        self._keep_alive_at = now + KEEP_ALIVE_SECONDS
        limits = self.member.limits
        interval, timeout = limits.keepalive_interval_ms / 1000, limits.keepalive_timeout_ms / 1000
        for connection in list(self._grpc):
            connection.keep_alive(now, interval, timeout)

    def _expire(self, now: float) -> None:
        over = [call for call in self.timed if call.over or call.deadline <= now]
        self.timed.difference_update(over)
        for call in over:
            call.fail(DEADLINE_EXCEEDED)  # a call that is over already takes no notice

    def _send_silent_away(self, now: float) -> None:
        for transport in [each for each, until in self._sniffing.items() if until <= now]:
            if isinstance(transport, TlsConnection):
                transport.expire()
            else:
                transport.abort()
        for plain in list(self._plain):
            if not plain.busy and plain.idle_since <= now - HTTP_IDLE_SECONDS:
                plain.transport.abort()


class SniffProtocol(asyncio.Protocol):
    """A client that has not said enough yet to know what it speaks."""

    def __init__(self, port: ClientPort) -> None:
        """Wait for the connection."""
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._first = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        client = cast(asyncio.Transport, transport)  # uvloop's is one without inheriting from it
        if self._port.accept(client):
            self._transport = client

    def data_received(self, data: bytes) -> None:
        """Decide by the first bytes, which the chosen protocol is then fed."""
        if self._transport is None:
            return
        self._first += data
        protocol = protocol_of(self._first)
        if protocol == "tls":
            self._port.refuse_tls(self._transport)
        elif protocol != "unknown-yet":
            self._port.begin(self._transport, self._first, http2=protocol == "http2")

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left without a word."""
        if self._transport is not None:
            self._port.gone(self._transport, None)


class HttpConnection(Http1Protocol):
    """A client that speaks HTTP/1.1."""

    def __init__(self, port: ClientPort, transport: asyncio.Transport, common_name: str) -> None:
        """Take over an open transport."""
        limits = port.member.limits
        whole = limits.request_bytes_max + limits.message_overhead_bytes
        super().__init__(self._answer, Limits(body_bytes_max=BASE64_GROWTH * whole))
        self.transport = transport
        self._common_name = common_name
        self.idle_since = port.member.now()
        self._port = port

    def data_received(self, data: bytes) -> None:
        """The client says something; half a request counts, but not for ever."""
        self.idle_since = self._port.member.now()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        super().connection_lost(exc)
        self._port.gone(self.transport, self)

    def _answer(self, request: Request, responder: Responder) -> None:
        self._port.http.handle(request, responder, self._common_name)
