"""The port between the api and the member that it serves: all that a handler may ask for.

The loop implements it (structurally: it may not import the api), tests implement it over one
machine without consensus. Every call is made in the loop's thread and returns at once; whatever
takes a round through Raft answers later by a callback, in the same thread, exactly once. The member
owns patience: a callback comes within the request timeout, if need be with a refusal. The api
owns the client: its deadline, its cancelled call, its slow socket.

    propose   entry in the log → applied → `done(Answer | Refusal)`
    read      read index → applied far enough → `done(None)`, then read `machine` in that callback
    watch     responses come to `sink` in order; `pause_watch` makes its watchers catch up later
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from node.config import Limits
from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.errors import Refusal
from node.machine.machine import Machine
from node.passwords import Passwords
from node.proposals import Asker
from node.proto import rpc_pb2
from node.status import Identity, MemberRecord, MemberStatus
from node.tokens import Keeper

Outcome = Answer | Refusal
OnOutcome = Callable[[Outcome], None]
OnFresh = Callable[[Refusal | None], None]
OnLife = Callable[[int | Refusal], None]
OnTimeToLive = Callable[[tuple[int, int] | Refusal], None]
Sink = Callable[[bytes], None]


class Backup(Protocol):
    """A snapshot file in the making; see `node.backup`."""

    @property
    def remaining(self) -> int:
        """Bytes that `read` has yet to give; known once the work is done."""

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was read."""

    def work(self, records_max: int) -> bool:
        """Convert some records; True = done."""

    def read(self, bytes_max: int) -> bytes:
        """The next bytes."""

    def close(self) -> None:
        """Let go of it."""


class Member(Protocol):
    """One member as its own client port sees it."""

    @property
    def identity(self) -> Identity:
        """Who answers; never changes while the process lives."""

    @property
    def limits(self) -> Limits:
        """The bounds that requests are held against."""

    @property
    def machine(self) -> Machine:
        """The applied state. Only reads; only the loop applies."""

    @property
    def tokens(self) -> Keeper:
        """By which it knows its clients while authentication is enabled."""

    @property
    def passwords(self) -> Passwords:
        """Hashes them and compares them, beside the loop."""

    @property
    def is_learner(self) -> bool:
        """True while this member has no vote; asked once per request, so cheap."""

    @property
    def accused(self) -> bool:
        """True while the CORRUPT alarm is raised for this member, or for nobody; as cheap."""

    @property
    def leader(self) -> int:
        """Member id of the known leader, 0 = none; asked per request, so cheap."""

    def leaderless_seconds(self) -> float:
        """How long no leader has been known; 0.0 while one is."""

    def election_timeout_seconds(self) -> float:
        """The shortest election timeout; three of them end streams that require a leader."""

    def status(self) -> MemberStatus:
        """A copy of this moment's figures; made on demand, not on the hot path."""

    def members(self) -> Sequence[MemberRecord]:
        """The members of the applied configuration, ascending by id."""

    def now(self) -> float:
        """Monotonic seconds."""

    def header(self, revision: int) -> bytes:
        """The response's header as an encoded protobuf field: tag 1, length, ResponseHeader.

        The revision is written as given (0 = left out); the term is the current one.
        """

    def propose(
        self, kind: RequestKind, request: bytes, done: OnOutcome, asker: Asker | None = None
    ) -> None:
        """Put a request (protobuf bytes as received) through the log, here or at the leader.

        If its leader dies it is proposed again, unless `asker` has stopped to wait by then. It is
        judged as a request of whom `asker` stands for; without one as the member's own.
        """

    def change_members(self, kind: RequestKind, member: rpc_pb2.Member, done: OnOutcome) -> None:
        """MEMBER_ADD, MEMBER_REMOVE or MEMBER_PROMOTE, as the leader judges; done when applied."""

    def read(self, done: OnFresh) -> None:
        """Ask for a linearizable moment: None = the applied state is fresh enough, read it now."""

    def keep_alive(self, lease_id: int, done: OnLife) -> None:
        """Renew a lease at the leader; the answer is its ttl in seconds, 0 = no such lease."""

    def time_to_live(self, lease_id: int, done: OnTimeToLive) -> None:
        """Ask the leader for (remaining, granted) seconds; (-1, 0) = no such lease."""

    def transfer_leader(self, member_id: int, done: OnFresh) -> None:
        """Hand leadership over; None = done."""

    def defragment(self, done: OnFresh) -> None:
        """Give back the disk space of everything dead; None = done."""

    @property
    def applied(self) -> int:
        """Index of the last applied entry."""

    def open_backup(self, index: int) -> Backup | Refusal | None:
        """Begin a snapshot of a state in which `index` is applied; None = it is not on disk yet,
        ask again soon."""

    def open_watch(self, sink: Sink) -> int:
        """Open a watch stream; `sink` gets each encoded WatchResponse. Returns the stream's id."""

    def watch_request(self, stream_id: int, request: rpc_pb2.WatchRequest) -> None:
        """Hand one request of the client to its stream."""

    def reject_watch(self, stream_id: int, reason: str) -> None:
        """Answer a request for a watcher that may not be made; the stream goes on."""

    def pause_watch(self, stream_id: int) -> None:
        """Send the stream nothing more until `resume_watch`; no event is lost by it."""

    def resume_watch(self, stream_id: int) -> None:
        """Let a paused stream catch up from history and go on."""

    def close_watch(self, stream_id: int) -> None:
        """End the stream and its watchers; nothing reaches its sink any more."""
