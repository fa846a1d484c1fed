"""ZeroMQ as this project uses it, and the only module that imports it.

Two kinds of socket on unix sockets or TCP ports: a `Listener` (ROUTER, only receives) and a
`Dialer` (DEALER, only sends), so every ordered pair of members has one connection per direction and
channel. An address is a path, or "tcp://host:port". The settings are the whole point of this file;
each stands beside the accident that it prevents. One exchange goes both ways: whoever is about to
become a member may `ask` who the members are, and a listener can `reply`.

A ZeroMQ socket works only while its owner calls it: even that a connection has come about is a
note in its mailbox, and its descriptor tells, once, that there are new notes. So all sockets of a
process share one epoll set, whose own descriptor its loop waits for; `Sockets.notice` then visits
exactly the sockets that have news.

Never make a `Sockets` before a fork: ZeroMQ's I/O thread does not survive one. Everything here
belongs to one thread.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import Final, Protocol

import zmq

from transport.errors import TransportError

PATH_BYTES_MAX: Final = 107
"""What `sockaddr_un` holds besides its final zero."""

REPLIES_MAX: Final = 16
"""Answers that wait for one that has asked; further ones are dropped."""
RECONNECT_MS: Final = 10
RECONNECT_MS_MAX: Final = 200

# Plain integers: on the way through an enumeration each call would cost 0.3 µs more.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_EVENTS: Final = int(zmq.EVENTS)
_RCVMORE: Final = int(zmq.RCVMORE)
_POLLOUT: Final = int(zmq.POLLOUT)


class PathTooLong(TransportError):
    """An ipc path that a unix socket address cannot hold."""

    def __init__(self, path: str) -> None:
        """Name the path and the bound."""
        super().__init__(f"{path!r} is longer than {PATH_BYTES_MAX} bytes")
        self.path = path


class CannotListen(TransportError):
    """An address that cannot be bound."""

    def __init__(self, address: str, reason: str) -> None:
        """Name the address, and what the system says of it."""
        super().__init__(f"cannot listen at {address}: {reason}")
        self.address = address
        self.reason = reason


class _Watched(Protocol):
    def notice(self) -> None:
        """Read the mailbox of a socket whose descriptor has become readable."""


class Listener:
    """Receives whole messages from whoever dials its path."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        """Own a bound socket."""
        self._socket = socket
        self._news = True

    def notice(self) -> None:
        """Something may have arrived."""
        self._news = True

    def receive(self) -> tuple[bytes, bytes] | None:
        """Return (routing id, message), or None when nothing has come since the last None.

        A new connection shows as an empty message. Parts beyond the first are no protocol of ours:
        such a message is returned as an empty part with an empty routing id, which nobody accepts.
        """
        if not self._news:
            return None
        socket = self._socket
        try:
            identity = socket.recv(_NOBLOCK)
        except zmq.Again:
            self._news = False
            return None
        message = socket.recv(_NOBLOCK)
        if not socket.get(_RCVMORE):
            return identity, message
        while socket.get(_RCVMORE):
            socket.recv(_NOBLOCK)
        return b"", b""

    def reply(self, identity: bytes, message: bytes) -> None:
        """Answer whoever sent something, on the same connection, if it is there and reads."""
        with suppress(zmq.ZMQError):
            self._socket.send_multipart([identity, message], _NOBLOCK)


class Dialer:
    """Sends whole messages to one path, while somebody is connected there, and never waits."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        """Own a connecting socket."""
        self._socket = socket

    def notice(self) -> None:
        """A connection has come about or ended, or a full queue has room again."""
        self.connected()

    def connected(self) -> bool:
        """Return whether a message would be taken right now."""
        return bool(self._socket.get(_EVENTS) & _POLLOUT)  # type: ignore[operator]

    def send(self, message: bytes) -> bool:
        """Hand a message over; False when there is no connection or its queue is full."""
        try:
            self._socket.send(message, _NOBLOCK)
        except zmq.Again:
            return False
        return True


class Nobody(Dialer):
    """Whom nobody knows how to reach: never connected, and everything sent is refused."""

    def __init__(self) -> None:
        """Own nothing."""

    def connected(self) -> bool:
        """Return False."""
        return False

    def send(self, message: bytes) -> bool:
        """Refuse."""
        return False


class Sockets:
    """One ZeroMQ context with one I/O thread, and the sockets that were made from it."""

    def __init__(self, *, message_bytes_max: int) -> None:
        """Start the I/O thread: only ever in the process that will use it."""
        self._context = zmq.Context(io_threads=1)
        # An ordinary I/O thread preempts whoever has just sent, on the spot, and a turn that sends
        # four messages is interrupted four times. As a batch thread it runs when the sender waits,
        # or at once on an idle processor: a send costs 20 µs instead of 60 on two busy ones.
        self._context.set(zmq.THREAD_PRIORITY, 0)
        self._context.set(zmq.THREAD_SCHED_POLICY, os.SCHED_BATCH)
        self._message_bytes_max = message_bytes_max
        self._epoll = select.epoll()
        self._watched: dict[int, _Watched] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable while some socket has news; call `notice` then."""
        return self._epoll.fileno()

    def notice(self) -> None:
        """Let every socket that has news read them."""
        for descriptor, _ in self._epoll.poll(0):
            self._watched[descriptor].notice()

    def listen(self, address: str, *, queue_messages_max: int) -> Listener:
        """Bind `address`. A socket file that a dead process left there is replaced.

        ZeroMQ would also replace the file of a living one and take its traffic without a word, so
        the caller makes sure that a path is its own (see `transport.claim`).

        Raises:
            PathTooLong: a path does not fit into a socket address.
            CannotListen: the address is taken, or not ours.
        """
        socket = self._socket(zmq.ROUTER)
        socket.set(zmq.RCVHWM, queue_messages_max)
        # Before this size is allocated the connection is closed, and with it the sender's mistake.
        socket.set(zmq.MAXMSGSIZE, self._message_bytes_max)
        # A dialer that lost its connection connects again while we may not have noticed the loss:
        # the new one counts. By default ZeroMQ ignores it for as long as the old one stays.
        socket.set(zmq.ROUTER_HANDOVER, 1)
        socket.set(zmq.SNDHWM, REPLIES_MAX)
        try:
            socket.bind(_endpoint(address))
        except zmq.ZMQError as error:
            raise CannotListen(address, os.strerror(error.errno or 0)) from error
        listener = Listener(socket)
        self._watch(socket, listener)
        return listener

    def dial(self, address: str, identity: bytes, *, queue_messages_max: int) -> Dialer:
        """Connect to `address`, now or whenever somebody binds it; announce `identity` on
        connection. No address ("") is one at which nobody ever will be.

        No two dialers of a context have had the same identity (see `transport.frame.Identity`).

        Raises:
            PathTooLong: a path does not fit into a socket address.
        """
        if not address:
            return Nobody()
        socket = self._socket(zmq.DEALER)
        socket.set(zmq.SNDHWM, queue_messages_max)
        socket.set(zmq.ROUTING_ID, identity)
        # Without it messages queue up while nobody is there and reach whoever binds next.
        socket.set(zmq.IMMEDIATE, 1)
        # An empty message at each connection: how the other side learns who lives here now.
        socket.set(zmq.PROBE_ROUTER, 1)
        socket.set(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
        socket.connect(_endpoint(address))
        dialer = Dialer(socket)
        self._watch(socket, dialer)
        return dialer

    def hang_up(self, dialer: Dialer) -> None:
        """Close one dialer at once; what it has queued is dropped."""
        if isinstance(dialer, Nobody):
            return
        socket = dialer._socket  # the two classes are one mechanism
        descriptor = socket.fileno()
        # Before the socket closes: a closed descriptor number may be another socket's next.
        self._epoll.unregister(descriptor)
        del self._watched[descriptor]
        socket.close(0)

    def close(self) -> None:
        """Close every socket at once and end the I/O thread; queued messages are dropped."""
        self._epoll.close()
        self._watched.clear()
        self._context.destroy(0)

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        # A closed socket that still wants to deliver would keep the process from ending.
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.IPV6, 1)  # [::1] is loopback too; off by default, for names as well
        return socket

    def _watch(self, socket: zmq.Socket[bytes], watched: _Watched) -> None:
        descriptor = socket.fileno()
        self._watched[descriptor] = watched
        self._epoll.register(descriptor, select.EPOLLIN)
        # What the mailbox took in before it was watched is not announced again.
        watched.notice()


def ask(address: str, question: bytes, timeout_seconds: float) -> bytes | None:
    """Put a question to the listener at `address` and wait; None = no answer came in time."""
    with zmq.Context(io_threads=1) as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.IPV6, 1)
        socket.connect(_endpoint(address))
        socket.send(question)
        if not socket.poll(int(timeout_seconds * 1000)):
            return None
        return b"".join(socket.recv_multipart())


def _endpoint(address: str) -> str:
    if address.startswith("tcp://"):
        return address
    if len(os.fsencode(address)) > PATH_BYTES_MAX:
        raise PathTooLong(address)
    return f"ipc://{address}"
