"""One gRPC connection of one client: bytes to calls, answers to bytes.

Everything costly happens once per wakeup, not once per call: a read may hold many calls, and all
answers of a turn leave in one write (`flush`, called for every touched connection by the port).

Two things show that a client does not read, and each has its own brake:

    its HTTP/2 window is shut    that stream's messages wait in the codec → that stream is paused
    its socket buffer is full    the kernel takes no more → all its streams are paused and nothing
                                 more is read, so it cannot ask for what it does not fetch

A paused watch produces nothing; its watchers catch up from history once the client reads again.
Reads whose answers may be large wait for either brake to come off before they are made; they also
wait when those before them have taken the time that all reads of one pass have together.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Protocol

from google.protobuf.message import DecodeError

from node.api.call import (
    Call,
    StreamCall,
    UnaryHandler,
    refusal_of,
    requires_leader,
)
from node.api.errors import (
    CORRUPT,
    Fault,
    malformed_message,
)
from node.api.identity import admit
from node.api.member import Member
from node.api.service import Services
from transport.grpc import (
    CallCancelled,
    CallStarted,
    ConnectionClosed,
    Drained,
    GrpcServer,
    HalfClosed,
    MessageReceived,
    ServerEvent,
    Status,
    UnaryCall,
)
from transport.http2.limits import Limits as Http2Limits

STREAM_BACKLOG_SHARE = 8
"""One stream may hold this part of a connection's backlog before it is paused."""

DEFERRED_PER_FLUSH = 256
"""Reads that go on in one flush, so that no client holds up a turn with its queue."""


class Port(Protocol):
    """What a connection needs of the port that accepted it."""

    member: Member
    services: Services
    timed: set[Call | StreamCall]
    """Calls whose client gave a deadline."""
    writes: int

    def touched(self, connection: GrpcConnection) -> None:
        """The connection has bytes to write at the end of the turn."""

    def may_read(self) -> bool:
        """Whether another read may be made before other work gets its turn."""

    def later(self, seconds: float, go_on: Callable[[], None]) -> None:
        """Call again after a while."""

    def in_turn(self, go_on: Callable[[], None]) -> None:
        """Go on with long work, in turn with all others who have some."""

    def gone(self, transport: asyncio.Transport, connection: GrpcConnection | None) -> None:
        """A connection is closed."""


class GrpcConnection(asyncio.Protocol):
    """A client that speaks HTTP/2."""

    def __init__(self, port: Port, transport: asyncio.Transport, common_name: str = "") -> None:
        """Take over an open transport whose first bytes are an HTTP/2 preface.

        `common_name` is that of the certificate by which the client has proved who it is.
        """
        self.member = port.member
        self.common_name = common_name
        limits = self.member.limits
        self.grpc = GrpcServer(
            unary=port.services.unary_paths,
            message_bytes_max=limits.request_bytes_max + limits.message_overhead_bytes,
            limits=Http2Limits(streams_max=limits.streams_max),
            ping_seconds_min=limits.keepalive_min_ms / 1000,
        )
        self._port = port
        self.transport = transport
        self._services = port.services
        self._unary = port.services.unary
        self._new_call = port.services.new_call
        self._now: Callable[[], float] = self.member.now
        self._backlog_max = limits.watch_backlog_bytes_max
        self.unwritten = 0
        self._deferred: OrderedDict[int, tuple[Call, Callable[[], None]]] = OrderedDict()
        self._dirty = False
        self._socket_full = False
        self._draining = False
        self._streams: dict[int, StreamCall] = {}
        self._heard_at = self._now()
        self._pinged_at = 0.0
        """When it was asked for a sign of life that it owes; 0.0 = it owes none."""
        transport.set_write_buffer_limits(high=self._backlog_max)

    # Bytes in.

    def data_received(self, data: bytes) -> None:
        """Parse what came and start every call in it."""
        now = self._heard_at = self._now()
        for event in self.grpc.receive(data, now):
            if type(event) is UnaryCall:
                self._start_unary(event, now)
            else:
                self._other(event, now)
        # The codec itself may have something to say: settings, window updates, ping answers.
        self.touch()

    def _start_unary(self, event: UnaryCall, now: float) -> None:
        method, handler = self._unary[event.path]
        method.started += 1
        method.bytes_received += len(event.message)
        call = self._new_call(self, event.call_id, method)
        if event.timeout is not None:
            call.deadline = now + event.timeout
            self._port.timed.add(call)
        fault = refusal_of(self.member, method, event.metadata)
        if fault is not None:
            call.fail(fault)
            return
        if self.member.machine.auth.enabled:
            admit(call, event.metadata, partial(_handle, handler, call, event.message))
        else:
            _handle(handler, call, event.message)

    def _other(self, event: ServerEvent, now: float) -> None:
        match event:
            case MessageReceived(call_id, message):
                self._message(call_id, message)
            case CallStarted():
                self._start_stream(event, now)
            case HalfClosed(call_id):
                call = self._streams.get(call_id)
                if call is not None and call.stream is not None:
                    call.stream.half_closed()
            case CallCancelled(call_id):
                call = self._streams.pop(call_id, None)
                if call is not None:
                    call.abandon(Status.CANCELLED)
                elif call_id in self._deferred:
                    self._deferred.pop(call_id)[0].abandon(Status.CANCELLED)
            case Drained(call_id):
                call = self._streams.get(call_id)
                if call is not None:
                    self.sent(call)
            case ConnectionClosed() | UnaryCall():
                pass  # flush() writes the farewell and closes; unary calls never come here

    def _start_stream(self, event: CallStarted, now: float) -> None:
        entry = self._services.streams.get(event.path)
        if entry is None:
            fault = self._services.unserved(event.path)
            self.grpc.finish(event.call_id, fault.status, fault.text)
            return
        method, handler = entry
        method.started += 1
        call = self._services.new_stream(self, event.call_id, method, event.metadata)
        if event.timeout is not None:
            call.deadline = now + event.timeout
            self._port.timed.add(call)
        fault_now = refusal_of(self.member, method, event.metadata)
        if fault_now is not None:
            call.fail(fault_now)
            return
        self._streams[event.call_id] = call
        call.stream = handler(call)

    def _message(self, call_id: int, message: bytes) -> None:
        call = self._streams.get(call_id)
        if call is None or call.stream is None:
            return  # ended by us a moment ago, or never served
        call.method.received += 1
        call.method.bytes_received += len(message)
        try:
            call.stream.received(message)
        except DecodeError as error:
            call.fail(malformed_message(str(error)))

    # Bytes out.

    def touch(self) -> None:
        """Ask for one flush at the end of the turn."""
        if not self._dirty:
            self._dirty = True
            self._port.touched(self)

    def flush(self) -> None:
        """Write everything that may leave, and close what is over."""
        self._dirty = False
        if self._socket_full:
            return  # resume_writing comes back here; after connection_lost nobody does
        data = self.grpc.data_to_send()
        self.unwritten = 0
        if data:
            self._port.writes += 1
            self.transport.write(data)
        self._go_on()
        if self.grpc.closed or (self._draining and not self.grpc.open_calls):
            self.transport.close()

    def _go_on(self) -> None:
        for _ in range(DEFERRED_PER_FLUSH):
            if not self._deferred or self._backlogged:
                return
            if not self._port.may_read():
                break
            _, (_, go_on) = self._deferred.popitem(last=False)
            go_on()
        self.touch()

    @property
    def _backlogged(self) -> bool:
        return self._socket_full or self.unwritten + self.grpc.buffered_total > self._backlog_max

    def when_writable(self, call: Call, go_on: Callable[[], None]) -> None:
        """Go on now, or in a later flush, or not at all once the client has cancelled the call.

        So there is at most one deferral for each open call, and their number has a bound.
        """
        if not self.grpc.awaits(call.call_id):
            call.abandon(Status.CANCELLED)
        elif self._deferred or self._backlogged or not self._port.may_read():
            self._deferred[call.call_id] = (call, go_on)
            self.touch()  # perhaps nobody else does before the next pass
        else:
            go_on()

    def awaits(self, call: Call) -> bool:
        """Whether the client is there and has not cancelled the call."""
        return not self.transport.is_closing() and self.grpc.awaits(call.call_id)

    def later(self, seconds: float, go_on: Callable[[], None]) -> None:
        """Call again after a while."""
        self._port.later(seconds, go_on)

    def in_turn(self, go_on: Callable[[], None]) -> None:
        """Go on with long work, in turn with all others who have some."""
        self._port.in_turn(go_on)

    def sent(self, call: StreamCall) -> None:
        """Pause a stream that its client does not read, or let it go on."""
        grpc = self.grpc
        waiting = grpc.buffered(call.call_id)
        if call.paused:
            full = self._socket_full or waiting > 0
        else:
            full = self._socket_full or (
                waiting > 0
                and (
                    waiting > self._backlog_max // STREAM_BACKLOG_SHARE
                    or grpc.buffered_total > self._backlog_max
                )
            )
        if full is not call.paused and call.stream is not None:
            call.paused = full
            if full:
                call.stream.pause()
            else:
                call.stream.resume()

    def ended(self, call: StreamCall) -> None:
        """Forget a stream that the server ended."""
        self._streams.pop(call.call_id, None)

    def pause_writing(self) -> None:
        """The kernel takes no more: stop reading and pause every stream."""
        self._socket_full = True
        self.transport.pause_reading()
        self._settle()

    def resume_writing(self) -> None:
        """The client fetched what was written: go on."""
        self._socket_full = False
        self.transport.resume_reading()
        self._settle()
        self.touch()

    def _settle(self) -> None:
        for call in list(self._streams.values()):
            self.sent(call)

    # Its end.

    def drain(self, fault: Fault) -> None:
        """End the streams, take no more calls, and close once the open ones are answered."""
        self._draining = True
        for call in list(self._streams.values()):
            call.fail(fault)
        self.grpc.goaway(fault.text)
        self.touch()

    def keep_alive(self, now: float, interval: float, timeout: float) -> None:
        """Ping a client that has said nothing for `interval` seconds, and cut it off if it says
        nothing for `timeout` more: nobody else would notice that it is gone.

        One that does not read (`pause_writing`) is not heard either: what it says waits in its
        socket, and it has until it reads.
        """
        if self._pinged_at > self._heard_at:
            if now - self._pinged_at >= timeout and not self._socket_full:
                self.transport.abort()
        elif now - self._heard_at >= interval:
            self._pinged_at = now
            self.grpc.ping()
            self.touch()

    def expire_accused(self) -> None:
        """End the streams that show a state which is not to be trusted."""
        for call in list(self._streams.values()):
            if not call.method.accused:
                call.fail(CORRUPT)

    def expire_leaderless(self, fault: Fault) -> None:
        """End the streams whose clients want to be told when there is no leader."""
        for call in list(self._streams.values()):
            if requires_leader(call.metadata):
                call.fail(fault)

    def eof_received(self) -> bool:
        """The client will send no more; HTTP/2 has no use for a half-open connection."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Let every stream go; answers that still come find their calls over or ignored."""
        self._socket_full = True
        self._deferred.clear()
        streams, self._streams = self._streams, {}
        for call in streams.values():
            call.abandon(Status.CANCELLED)
        self._port.gone(self.transport, self)


def _handle(handler: UnaryHandler, call: Call, message: bytes) -> None:
    try:
        handler(call, message)
    except DecodeError as error:
        call.fail(malformed_message(str(error)))
