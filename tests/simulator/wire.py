"""A client's connection to one life of a member, without the bytes in between.

Handlers, calls and streams are the product's own (`node.api`); what they answer would go into the
HTTP/2 codec, and comes here instead. What a client sends to a process that stands still waits in
front of it, as it would in a socket. A process that is gone answers nobody any more.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import cast

from node.api.call import Call, Stream, StreamCall
from node.api.errors import NOT_SUPPORTED_FOR_LEARNER
from node.api.member import Member
from node.api.service import KV, LEASE, MAINTENANCE, WATCH, Services
from tests.support.member_cluster import Node
from transport.grpc import GrpcServer, Status

OnAnswer = Callable[[bytes | None, str], None]
"""Given the encoded response, or None and the text of the error."""

UNARY = {
    "Put": f"/{KV}/Put",
    "Range": f"/{KV}/Range",
    "DeleteRange": f"/{KV}/DeleteRange",
    "Txn": f"/{KV}/Txn",
    "Compact": f"/{KV}/Compact",
    "LeaseGrant": f"/{LEASE}/LeaseGrant",
    "LeaseRevoke": f"/{LEASE}/LeaseRevoke",
    "LeaseTimeToLive": f"/{LEASE}/LeaseTimeToLive",
    "HashKV": f"/{MAINTENANCE}/HashKV",
}
"""Paths of the calls with one answer, by the name of the history's request."""
KEEP_ALIVE = f"/{LEASE}/LeaseKeepAlive"
WATCHING = f"/{WATCH}/Watch"


class Answers:
    """What calls use of `GrpcServer`: the way of their answers, to whoever expects them."""

    def __init__(self) -> None:
        self.due: dict[int, None] = {}
        """Calls that must still be answered, whether anybody waits for it or not."""
        self._expected: dict[int, OnAnswer] = {}
        self._calls = 0

    def expect(self, answered: OnAnswer, *, stream: bool = False) -> int:
        """Give the id of a new call; a stream may be silent for ever."""
        self._calls += 1
        self._expected[self._calls] = answered
        if not stream:
            self.due[self._calls] = None
        return self._calls

    def forget(self, call_id: int) -> None:
        """Nobody listens any more."""
        self.due.pop(call_id, None)
        self._expected.pop(call_id, None)

    def reply(self, call_id: int, message: bytes) -> None:
        """The one answer of a call."""
        self.due.pop(call_id, None)
        answered = self._expected.pop(call_id, None)
        if answered is not None:
            answered(message, "")

    def send(self, call_id: int, message: bytes) -> None:
        """One of the answers of a stream."""
        answered = self._expected.get(call_id)
        if answered is not None:
            answered(message, "")

    def finish(self, call_id: int, status: int, text: str = "") -> None:
        """The end of a call or stream that the server makes."""
        self.due.pop(call_id, None)
        answered = self._expected.pop(call_id, None)
        if answered is not None:
            answered(None, text)


class Wire:
    """One connection to the process that a member has now."""

    def __init__(self, node: Node, chance: Random) -> None:
        """Connect; `chance` draws the lease ids that the server is to choose."""
        self.node = node
        self.life = node.process
        self.member: Member = self.life.member
        self._answers = Answers()
        self.grpc = cast(GrpcServer, self._answers)
        self.common_name = ""
        self.unwritten = 0
        self._services = Services(self.member, chance)
        self._open: dict[int, Call] = {}
        self._unsent: list[Callable[[], None]] = []

    @property
    def alive(self) -> bool:
        """Whether the process that it leads to still exists."""
        return self.node.life is self.life

    @property
    def waits(self) -> bool:
        """Whether a call has not been answered yet."""
        return bool(self._answers.due)

    def flush(self) -> None:
        """Let a process that goes on read what was sent to it meanwhile; call it now and then."""
        if self._unsent and self.alive and self._reads:
            unsent, self._unsent = self._unsent, []
            for send in unsent:
                send()
        if self.alive and self._reads:
            self._services.poll()

    def ask(self, name: str, message: bytes, answered: OnAnswer) -> Callable[[], None]:
        """Make one call, by the name in UNARY, or "LeaseKeepAlive": a stream of one request.

        What is given back cancels it.
        """
        if name == "LeaseKeepAlive":
            stream = self.open(KEEP_ALIVE, answered)
            self.send(stream, message)
            return lambda: self.cancel(stream)
        call_id = self._answers.expect(answered)
        self._pass(lambda: self._start(call_id, UNARY[name], message))
        return lambda: self._pass(lambda: self._abandon(call_id))

    def open(self, path: str, answered: OnAnswer) -> StreamCall:
        """Open a stream; `answered` gets every message, and None with an error at its end."""
        method, handler = self._services.streams[path]
        call = StreamCall(self, self._answers.expect(answered, stream=True), method, {})

        def begin() -> None:
            if self.member.is_learner and not method.learner:
                call.fail(NOT_SUPPORTED_FOR_LEARNER)
            elif not call.over:
                call.stream = handler(call)

        self._pass(begin)
        return call

    def send(self, call: StreamCall, message: bytes) -> None:
        """Send one message on a stream."""
        self._to_stream(call, lambda stream: stream.received(message))

    def slow(self, call: StreamCall, *, paused: bool) -> None:
        """The client stops reading a stream, or reads again."""
        self._to_stream(call, lambda stream: stream.pause() if paused else stream.resume())

    def cancel(self, call: StreamCall) -> None:
        """The client ends a stream; nothing of it is heard any more."""
        self.forget(call)
        self._pass(lambda: call.abandon(Status.CANCELLED))

    def forget(self, call: StreamCall) -> None:
        """Nobody listens to a stream any more."""
        self._answers.forget(call.call_id)

    # What the calls need of their connection.

    def awaits(self, call: Call) -> bool:
        """Nobody here cancels a unary call."""
        return not call.over

    def later(self, seconds: float, go_on: Callable[[], None]) -> None:
        """With the next flush: there is no finer clock here."""
        self._unsent.append(go_on)

    def in_turn(self, go_on: Callable[[], None]) -> None:
        """See `later`."""
        self.later(0.0, go_on)

    def when_writable(self, call: Call, go_on: Callable[[], None]) -> None:
        """There is always room."""
        go_on()

    def touch(self) -> None:
        """Nothing is written anywhere."""

    def sent(self, call: StreamCall) -> None:
        """There is always room."""

    def ended(self, call: StreamCall) -> None:
        """Nothing is kept of it here."""

    # Inside.

    @property
    def _reads(self) -> bool:
        return self.node.runs and not self.node.frozen

    def _pass(self, send: Callable[[], None]) -> None:
        if self._reads and not self._unsent:
            send()
        else:
            self._unsent.append(send)

    def _start(self, call_id: int, path: str, message: bytes) -> None:
        method, handler = self._services.unary[path]
        call = self._open[call_id] = Call(self, call_id, method)
        if self.member.is_learner and not method.learner:
            call.fail(NOT_SUPPORTED_FOR_LEARNER)
        else:
            handler(call, message)

    def _abandon(self, call_id: int) -> None:
        self._answers.forget(call_id)
        self._open.pop(call_id).abandon(Status.CANCELLED)

    def _to_stream(self, call: StreamCall, do: Callable[[Stream], None]) -> None:
        def act() -> None:
            if call.stream is not None and not call.over:
                do(call.stream)

        self._pass(act)
