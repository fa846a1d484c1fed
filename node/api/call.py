"""One call in progress, from its request to its end; and the method that it calls.

    unary    Call: open ──reply | refuse | fail──► over
    stream   StreamCall: open ──send*──► open ──finish──► over; `Stream` is the handler's half

Whoever ends a call first wins: an answer after the deadline, after a cancellation or after the
connection is gone falls to the ground here, so that no handler has to ask. A call is therefore its
own callback for `Member.propose` (`done`), which keeps the hot path at one object per request.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from google.protobuf.message import Message

from node.api.errors import CORRUPT, NO_LEADER, NOT_SUPPORTED_FOR_LEARNER, Fault, fault_of
from node.api.member import Member, Outcome
from node.machine.answer import Answer
from node.machine.envelope import Credential
from node.machine.errors import Refusal
from node.tally import Histogram
from transport.grpc import Metadata

DURATION_BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Those of etcd's metric."""


class Kind(Enum):
    """How messages flow; the value is what grpc metrics call it."""

    UNARY = "unary"
    SERVER_STREAM = "server_stream"
    BIDI_STREAM = "bidi_stream"


class Right(Enum):
    """What a method asks of its client while authentication is enabled."""

    NONE = "none"
    """Nothing; its token is not even looked at."""
    JUDGED = "judged"
    """A token must be good if there is one; what it allows is judged by the request."""
    USER = "user"
    """A client that is known."""
    ROOT = "root"
    """One that has the role root."""


class Method:
    """One method of one service, with the counts that metrics show.

    The counts are plain numbers because a prometheus counter costs as much as a whole put does
    here; a collector reads them when somebody scrapes.
    """

    __slots__ = (
        "accused",
        "bytes_received",
        "bytes_sent",
        "durations",
        "handled",
        "kind",
        "learner",
        "name",
        "received",
        "right",
        "sent",
        "service",
        "started",
    )

    def __init__(
        self,
        service: str,
        name: str,
        kind: Kind,
        right: Right = Right.JUDGED,
        *,
        learner: bool = False,
        accused: bool = False,
    ) -> None:
        """Describe a method; `learner`: a member without a vote may answer it; `accused`: so may
        one whose state is corrupt, because the answer does not depend on the keyspace."""
        self.service = service
        self.name = name
        self.kind = kind
        self.right = right
        self.learner = learner
        self.accused = accused
        self.started = 0
        self.received = 0
        """Messages of streams; a unary call's one message is counted by `started`."""
        self.sent = 0
        """Messages of streams; a unary call's one answer is counted by `handled[0]`."""
        self.bytes_received = 0
        """Of messages, as they are encoded."""
        self.bytes_sent = 0
        self.handled = [0] * 17
        """Calls that are over, by gRPC status."""
        self.durations = Histogram(DURATION_BOUNDS_SECONDS)
        """How long they took, if that is measured; see `node.api.timed_call`."""

    @property
    def messages_received(self) -> int:
        """Messages of clients, whatever the kind of method."""
        return self.started if self.kind is Kind.UNARY else self.received

    @property
    def messages_sent(self) -> int:
        """Messages to clients, whatever the kind of method."""
        return self.handled[0] if self.kind is Kind.UNARY else self.sent

    @property
    def path(self) -> str:
        """The HTTP/2 path that names it."""
        return f"/{self.service}/{self.name}"


class Answers(Protocol):
    """Where the answers of calls go; for gRPC a `GrpcServer`."""

    def reply(self, call_id: int, message: bytes) -> None:
        """End a unary call well."""

    def send(self, call_id: int, message: bytes) -> None:
        """Send one message of a stream."""

    def finish(self, call_id: int, status: int = ..., text: str = ...) -> None:
        """End a call, well or not."""


class Link(Protocol):
    """What a call needs of the connection that it came by."""

    @property
    def grpc(self) -> Answers:
        """The way back."""

    @property
    def member(self) -> Member:
        """Who answers."""

    common_name: str
    """Of the client's certificate, which its connection has verified; "" = it has shown none, or
    none was asked for, or the call came through the JSON gateway. Where client certificates are
    required it names the user of a call that brings no token.
    Source: etcd server/auth/store.go (AuthInfoFromTLS)."""
    unwritten: int
    """Bytes of answers that no flush has written yet."""

    def when_writable(self, call: Call, go_on: Callable[[], None]) -> None:
        """Go on now, or once the client has read most of what it already asked for.

        For answers that may be large: who asks and does not read must not make us hold them all.
        """

    def awaits(self, call: Call) -> bool:
        """Whether the client still waits for a unary call's answer."""

    def later(self, seconds: float, go_on: Callable[[], None]) -> None:
        """Call again after a while, whatever has become of the connection by then."""

    def in_turn(self, go_on: Callable[[], None]) -> None:
        """Go on with long work in a later pass of the event loop, in turn with all others who have
        some: together they have a share of each pass."""

    def touch(self) -> None:
        """Something waits to be written: see to it at the end of this turn."""

    def sent(self, call: StreamCall) -> None:
        """A message went out on a stream: look whether the client still reads."""

    def ended(self, call: StreamCall) -> None:
        """The server ended a stream."""


class Call:
    """A unary call; `deadline` is in the member's monotonic seconds."""

    __slots__ = ("call_id", "credential", "deadline", "link", "method", "over")

    def __init__(self, link: Link, call_id: int, method: Method) -> None:
        """Begin a call that waits for its answer."""
        self.link = link
        self.call_id = call_id
        self.method = method
        self.deadline = 0.0
        """When the client stops waiting; 0.0 = never."""
        self.over = False
        self.credential: Credential | None = None
        """Who the client is, if that was asked; see `node.api.identity`."""

    def done(self, outcome: Outcome) -> None:
        """End the call with what the machine made of it."""
        if isinstance(outcome, Answer):
            self.reply(self.link.member.header(outcome.revision) + outcome.body)
        else:
            self.fail(fault_of(outcome))

    def reply(self, message: bytes) -> None:
        """End the call well, with the encoded response."""
        if self.over:
            return
        self.over = True
        method = self.method
        method.handled[0] += 1
        method.bytes_sent += len(message)
        link = self.link
        link.unwritten += len(message)
        link.grpc.reply(self.call_id, message)
        link.touch()

    def respond(self, response: Message, revision: int | None = None) -> None:
        """End the call well, with a response that lacks its header.

        `revision` None = the store's current one; 0 = none in the header.
        """
        member = self.link.member
        if revision is None:
            revision = member.machine.revision
        self.reply(member.header(revision) + response.SerializeToString())

    def refuse(self, refusal: Refusal) -> None:
        """End the call with an etcd error."""
        self.fail(fault_of(refusal))

    def fail(self, fault: Fault) -> None:
        """End the call with any error."""
        if self.over:
            return
        self.over = True
        self.method.handled[fault.status] += 1
        self.link.grpc.finish(self.call_id, fault.status, fault.text)
        self.link.touch()

    def abandon(self, status: int) -> None:
        """The client is gone: count the call; nothing can be sent."""
        if not self.over:
            self.over = True
            self.method.handled[status] += 1


class Stream(Protocol):
    """A handler's half of a streaming call. `closed` comes exactly once and last."""

    def received(self, message: bytes) -> None:
        """The client sent a message. Raises DecodeError if it is no message of this method."""

    def half_closed(self) -> None:
        """The client sends no more messages, but still listens."""

    def pause(self) -> None:
        """The client does not read: produce nothing that can wait."""

    def resume(self) -> None:
        """The client reads again."""

    def closed(self) -> None:
        """The call is over, whoever ended it: let go of everything."""


class StreamCall:
    """A streaming call: messages both ways until `finish`."""

    __slots__ = (
        "call_id",
        "credential",
        "deadline",
        "link",
        "metadata",
        "method",
        "over",
        "paused",
        "stream",
    )

    def __init__(self, link: Link, call_id: int, method: Method, metadata: Metadata) -> None:
        """Begin a stream; `stream` is set by whoever opens the handler."""
        self.link = link
        self.call_id = call_id
        self.method = method
        self.metadata = metadata
        self.deadline = 0.0
        self.over = False
        self.paused = False
        self.credential: Credential | None = None
        self.stream: Stream | None = None

    def send(self, message: bytes) -> None:
        """Send one encoded response."""
        if self.over:
            return
        self.method.sent += 1
        self.method.bytes_sent += len(message)
        link = self.link
        link.grpc.send(self.call_id, message)
        link.touch()
        link.sent(self)

    def refuse(self, refusal: Refusal) -> None:
        """End the stream with an etcd error."""
        self.fail(fault_of(refusal))

    def fail(self, fault: Fault) -> None:
        """End the stream with an error."""
        self._finish(fault.status, fault.text)

    def finish(self) -> None:
        """End the stream well."""
        self._finish(0, "")

    def abandon(self, status: int) -> None:
        """The client is gone: count the call and let its handler go; nothing can be sent."""
        if self.over:
            return
        self.over = True
        self.method.handled[status] += 1
        if self.stream is not None:
            self.stream.closed()

    def _finish(self, status: int, text: str) -> None:
        if self.over:
            return
        link = self.link
        link.grpc.finish(self.call_id, status, text)
        link.touch()
        self.abandon(status)
        link.ended(self)


def refusal_of(member: Member, method: Method, metadata: Metadata) -> Fault | None:
    """Why a call is not even begun."""
    if member.is_learner and not method.learner:
        return NOT_SUPPORTED_FOR_LEARNER
    if member.accused and not method.accused:
        return CORRUPT
    if requires_leader(metadata) and not member.leader:
        return NO_LEADER
    return None


def requires_leader(metadata: Metadata) -> bool:
    """Whether the client would rather be refused than wait for a leader (clientv3 option)."""
    return bool(metadata) and metadata.get(b"hasleader") == b"true"


UnaryHandler = Callable[[Call, bytes], None]
StreamHandler = Callable[[StreamCall], Stream]
