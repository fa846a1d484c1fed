"""A whole member without consensus, for tests of the client port.

Everything that clients can see is the product's own: machine, watch hub, proposals, reads, lease
clock, client port. Only Raft is missing: a log of one member, where what is proposed is committed
at once, in the next turn of the event loop. Faults are set by attributes: without a `leader`
nothing is committed or confirmed, a `learner` has no vote, `hold` keeps turns from happening.

`ServedMember` runs it on an event loop in a thread of its own, so that blocking clients (grpcio,
http.client, etcdctl) can be used from a test as they are used in life.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from types import TracebackType
from typing import Self, TypeVar

import uvloop

from node.api.handshake import Papers
from node.api.member import OnFresh, OnLife, OnOutcome, OnTimeToLive, Sink
from node.api.server import ClientPort
from node.backup import Backup
from node.config import ETCD_VERSION, Limits, minor_version
from node.lease_expiry import LeaseExpiry
from node.machine.answer import Answer
from node.machine.envelope import RequestKind, unpack
from node.machine.errors import BadLeaderTransferee, NoLeader
from node.machine.export import Origin
from node.machine.machine import Machine
from node.machine.view import MemoryView
from node.passwords import COST_MIN, Passwords
from node.proposals import Asker, Proposals
from node.proto import rpc
from node.reads import Reads
from node.status import (
    Alarm,
    Durations,
    Identity,
    MemberRecord,
    MemberStatus,
    PeerFigures,
    PeerProgress,
    Role,
)
from node.tokens import Keeper, SimpleTokens, Tokens
from node.watch import WatchHub
from transport.tls import ServerFiles

T = TypeVar("T")

TICK_SECONDS = 0.02
TOKEN_SECONDS = 300.0
OWN_TOKEN = "the-supervisors"


class ApiMember:
    """One member that is its own majority."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        timeout_seconds: float = 5.0,
        tokens: Tokens | None = None,
        passwords: Passwords | None = None,
    ) -> None:
        """Begin with an empty store; requests time out after `timeout_seconds`."""
        self.identity = Identity(0xC1, 0xA1, "n1", ETCD_VERSION)
        self.limits = limits or Limits()
        self.leader = self.identity.member_id
        self.is_learner = False
        self.voters = {self.identity.member_id}
        self.learners: set[int] = set()
        self.hold = False
        self.alarms: tuple[Alarm, ...] = ()
        self.peers: tuple[PeerFigures, ...] = ()
        self.leaderless_since = 0.0
        self.index = 0
        self.port: ClientPort | None = None
        self.paused: set[int] = set()
        """Watch streams whose clients do not read."""
        self._view = MemoryView()
        self.machine = Machine(self._view, member_id=self.identity.member_id)
        self._hub = WatchHub(self.machine, self.header)
        self.tokens = Keeper(tokens or SimpleTokens(TOKEN_SECONDS, self.now), OWN_TOKEN)
        self.passwords = passwords or Passwords(COST_MIN)
        self._sinks: dict[int, Sink] = {}
        self._expiry = LeaseExpiry(0.0)
        self._expiry.promote((), 0.0)
        self._proposals = Proposals(
            self.identity.member_id,
            1,
            pending_max=self.limits.pending_proposals_max,
            pending_bytes_max=self.limits.pending_bytes_max,
            request_bytes_max=self.limits.request_bytes_max,
            timeout_seconds=timeout_seconds,
        )
        self._reads = Reads(1, self.limits.pending_reads_max, timeout_seconds)
        self._turn_due = False
        self._jumped = 0.0

    # The Member port.

    @property
    def accused(self) -> bool:
        """Whether the CORRUPT alarm was raised for it."""
        return self.machine.accused

    def leaderless_seconds(self) -> float:
        """Seconds since the leader was taken away."""
        return 0.0 if self.leader else self.now() - self.leaderless_since

    def election_timeout_seconds(self) -> float:
        """Short, so that what waits for elections does not wait long."""
        return 0.05

    def status(self) -> MemberStatus:
        """This moment's figures."""
        leads = self.leader == self.identity.member_id
        return MemberStatus(
            role=Role.LEADER if leads else Role.FOLLOWER,
            term=2,
            leader=self.leader,
            commit=self.index,
            applied=self.index,
            last_index=self.index,
            is_learner=self.is_learner,
            revision=self.machine.revision,
            compact_revision=self.machine.compact_revision,
            db_size=4096,
            db_size_in_use=2048,
            alarms=self.alarms or tuple(self.machine.alarms()),
            vote=self.identity.member_id,
            progress=(
                PeerProgress(self.identity.member_id, self.index, self.index + 1, "replicate"),
            ),
            proposals_pending=self._proposals.pending,
            reads_failed=self._reads.failed,
            sync_times=Durations((0.001, 0.01), (3, 1, 0), 0.007),
            tally=replace(self.machine.tally),
            auth_revision=self.machine.auth.revision,
            leases_renewed=self._expiry.renewed,
            leases_expired=self._expiry.expired,
            peers=self.peers,
            watch_streams=self._hub.streams,
            watchers=self._hub.watchers,
            watchers_behind=self._hub.watchers_unsynced,
            events_told=self._hub.events_told,
        )

    def members(self) -> Sequence[MemberRecord]:
        """Itself, and whoever was added."""
        url = "http://127.0.0.1:2379"
        own = MemberRecord(self.identity.member_id, "n1", ("ipc://n1",), (url,))
        known = {record.id: record for record in (own, *self.machine.members())}
        return [
            replace(known[member], is_learner=member in self.learners)
            for member in sorted(self.voters | self.learners)
        ]

    def change_members(self, kind: RequestKind, member: rpc.Member, done: OnOutcome) -> None:
        """Applied at once: there is nobody to agree with."""
        self.index += 1
        request = member.SerializeToString()
        applied = self.machine.change_members(self.index, kind, request, self.voters, self.learners)
        self._view.stage(applied.effects)
        if isinstance(applied.outcome, Answer):
            self.voters.discard(member.ID)
            self.learners.discard(member.ID)
            if kind != RequestKind.MEMBER_REMOVE:
                (self.learners if member.isLearner else self.voters).add(member.ID)
        done(applied.outcome)

    def now(self) -> float:
        """The event loop's clock, and how far it was made to jump."""
        return asyncio.get_running_loop().time() + self._jumped

    def jump(self, seconds: float) -> None:
        """Let time pass without waiting for it."""
        self._jumped += seconds

    def header(self, revision: int) -> bytes:
        """The header field, encoded afresh each time."""
        identity = self.identity
        header = rpc.ResponseHeader(
            cluster_id=identity.cluster_id,
            member_id=identity.member_id,
            revision=revision,
            raft_term=2,
        )
        return rpc.PutResponse(header=header).SerializeToString()

    def propose(
        self, kind: RequestKind, request: bytes, done: OnOutcome, asker: Asker | None = None
    ) -> None:
        """Into the log of one."""
        self._proposals.add(kind, request, done, self.now(), asker)
        self.wake()

    def read(self, done: OnFresh) -> None:
        """Fresh in the next turn, if there is a leader."""
        self._reads.add(done, self.now())
        self.wake()

    def keep_alive(self, lease_id: int, done: OnLife) -> None:
        """Renew at our own clock."""
        done((self._expiry.renew(lease_id, self.now()) or 0) if self.leader else NoLeader())

    def time_to_live(self, lease_id: int, done: OnTimeToLive) -> None:
        """Ask our own clock."""
        done(self._expiry.remaining(lease_id, self.now()) if self.leader else NoLeader())

    def transfer_leader(self, member_id: int, done: OnFresh) -> None:
        """There is nobody else."""
        done(BadLeaderTransferee())

    def defragment(self, done: OnFresh) -> None:
        """Nothing here takes space that it does not need."""
        done(None)

    @property
    def applied(self) -> int:
        """Everything that was proposed is."""
        return self.index

    def open_backup(self, index: int) -> Backup:
        """Nothing is written meanwhile: tests do one thing at a time."""
        version = minor_version(ETCD_VERSION)
        origin = Origin(self.index, 2, sorted(self.voters), sorted(self.learners), version)
        return Backup(self._view, origin, BytesIO(), lambda: None)

    def open_watch(self, sink: Sink) -> int:
        """Open a stream at the hub."""
        stream_id = self._hub.open_stream()
        self._sinks[stream_id] = sink
        return stream_id

    def watch_request(self, stream_id: int, request: rpc.WatchRequest) -> None:
        """Hand a request to the hub."""
        self._hub.handle(stream_id, request)
        self.wake()

    def reject_watch(self, stream_id: int, reason: str) -> None:
        """Let the hub say no."""
        self._hub.reject(stream_id, reason)
        self.wake()

    def pause_watch(self, stream_id: int) -> None:
        """The client does not read."""
        self.paused.add(stream_id)
        self._hub.pause(stream_id)

    def resume_watch(self, stream_id: int) -> None:
        """The client reads again."""
        self.paused.discard(stream_id)
        self._hub.resume(stream_id)
        self.wake()

    def close_watch(self, stream_id: int) -> None:
        """End the stream."""
        self.paused.discard(stream_id)
        self._hub.close_stream(stream_id)
        del self._sinks[stream_id]

    # What the loop does.

    @property
    def open_watches(self) -> int:
        """Streams that are open at the hub."""
        return len(self._sinks)

    def lose_leader(self) -> None:
        """From now on nothing is committed and no read confirmed."""
        self.leader = 0
        self.leaderless_since = self.now()

    def wake(self) -> None:
        """Ask for a turn after the events at hand."""
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def tick(self) -> None:
        """Let time pass for whoever waits."""
        now = self.now()
        self._proposals.expire(now)
        self._reads.expire(now)
        for lease_id in self._expiry.due(now, 100):
            request = rpc.LeaseRevokeRequest(ID=lease_id).SerializeToString()
            self.propose(RequestKind.LEASE_REVOKE, request, lambda _: None)
        self.wake()
        asyncio.get_running_loop().call_later(TICK_SECONDS, self.tick)

    def _turn(self) -> None:
        self._turn_due = False
        if not self.hold and self.leader:
            for proposal in self._proposals.take(1 << 30):
                self._apply(proposal.envelope)
            if self._reads.wants_round(self.now()):
                self._reads.confirmed(self._reads.start(self.now()), self.index)
                self._reads.release(self.index)
            self._view.stage(self.machine.compaction_slice(1000))
        if self._hub.catch_up(1000):
            self.wake()
        for stream_id, response in self._hub.take_output():
            self._sinks[stream_id](response)
        if self.port is not None:
            self.port.flush()

    def _apply(self, data: bytes) -> None:
        envelope = unpack(data)
        self.index += 1
        applied = self.machine.apply(
            self.index, envelope.kind, envelope.request, envelope.credential
        )
        self.tokens.kind.note(applied.tokens)
        self._view.stage(applied.effects)
        self._expiry.note(applied.leases, self.now())
        if applied.events:
            self._hub.publish(applied.events)
        self._proposals.complete(envelope.origin, envelope.sequence, applied.outcome)


class ServedMember:
    """A member behind its client port, on an event loop in a thread of its own."""

    def __init__(self, member: ApiMember, port: int = 0, *, tls: ServerFiles | None = None) -> None:
        """Serve `member` from `__enter__` to `__exit__`; `port` 0 = any."""
        self.member = member
        self.port = port
        self.said: list[tuple[str, dict[str, object]]] = []
        """What the port logged."""
        self._tls = tls
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="served-member")
        self._errors: list[dict[str, object]] = []

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def client_port(self) -> ClientPort:
        """The port object, to be touched inside `call` only."""
        assert self.member.port is not None
        return self.member.port

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(0.0)
        self.member.passwords.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        assert not self._errors, self._errors

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in the loop's thread and give its result."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Return once a condition holds in the loop's thread, looked at after every tick.

        Raises:
            TimeoutError: it does not come to hold.
        """

        async def until() -> None:
            while not condition():
                await asyncio.sleep(TICK_SECONDS / 4)

        asyncio.run_coroutine_threadsafe(asyncio.wait_for(until(), 10), self._loop).result(15)

    @property
    def open_calls(self) -> int:
        """Calls that have not ended."""
        return self.client_port.open_calls

    def close(self, grace: float) -> None:
        """Close the client port as a stopping node does."""
        self.begin_close(grace).result(grace + 10)

    def begin_close(self, grace: float) -> concurrent.futures.Future[None]:
        """Begin to close the client port."""
        return asyncio.run_coroutine_threadsafe(self.client_port.close(grace), self._loop)

    async def _start(self) -> int:
        def log(event: str, **facts: object) -> None:
            self.said.append((event, facts))

        papers = Papers(self._tls, time.monotonic, log) if self._tls is not None else None
        self.member.port = ClientPort(self.member, papers=papers, log=log)
        self.member.tick()
        return await self.member.port.start("127.0.0.1", self.port)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda _, context: self._errors.append(context))
        self._loop.run_forever()
