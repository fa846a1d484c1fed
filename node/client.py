"""A small blocking client of the etcd v3 API, for the command line and the supervisor's probes.

Plain sockets, no threads, one call at a time; requests and responses are the protobuf messages of
`node.proto.rpc`. Endpoints are tried in order until one takes the connection, and that one is kept.
A call that was sent and then lost its connection is tried again elsewhere only if it reads: a write
may have been committed, and the caller alone knows what that means to him. A watch goes on at
another endpoint from the revision after the last one seen, as etcd's own client does.

No TLS, no users, no background keep-alives: other clients exist for that.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from node.proto import rpc
from transport.errors import ConnectionLost
from transport.grpc import (
    CallEnded,
    ClientEvent,
    ConnectionClosed,
    Draining,
    GrpcClient,
    MessageReceived,
    ResponseStarted,
    Status,
    UnaryReply,
)

_RECEIVE_BYTES: Final = 256 * 1024
_PAUSE_S: Final = 0.02
"""Between two attempts, so that a server that hangs up at once is not hammered."""


class ClientError(Exception):
    """Root of what a call of this client can end with."""


class Unreachable(ClientError):
    """No endpoint took the connection, or it was lost before the answer came.

    Of a write that was lost on its way back nobody here knows whether it was committed.
    """


class CallFailed(ClientError):
    """The server, or the deadline, ended the call with a status other than OK."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        """A `transport.grpc.Status`."""
        self.text = text
        """etcd's own words, "etcdserver: …"."""


class EtcdClient:
    """Calls to whichever endpoint is reachable. Use as a context manager, or `close` it.

    Args:
        endpoints: "host:port" or "http://host:port", in the order of preference.
        timeout_s: patience with each call, connecting included; a watch has it until it stands.

    Every call raises Unreachable or CallFailed.
    """

    def __init__(self, endpoints: Sequence[str], *, timeout_s: float = 5.0) -> None:
        """Connect to nothing yet.

        Raises:
            ClientError: an endpoint is no endpoint.
        """
        self._addresses = [_address(endpoint) for endpoint in endpoints]
        if not self._addresses:
            raise ClientError("no endpoints")
        self._timeout = timeout_s
        self._preferred = 0
        self._link: _Link | None = None

    def __enter__(self) -> Self:
        """Give the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; the next call would open another one."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse:
        """Read keys."""
        return rpc.RangeResponse.FromString(self._read("KV/Range", request.SerializeToString()))

    def put(self, request: rpc.PutRequest) -> rpc.PutResponse:
        """Write a key."""
        return rpc.PutResponse.FromString(self._write("KV/Put", request.SerializeToString()))

    def delete_range(self, request: rpc.DeleteRangeRequest) -> rpc.DeleteRangeResponse:
        """Delete keys."""
        answer = self._write("KV/DeleteRange", request.SerializeToString())
        return rpc.DeleteRangeResponse.FromString(answer)

    def txn(self, request: rpc.TxnRequest) -> rpc.TxnResponse:
        """Compare and then write or read, all at one revision."""
        return rpc.TxnResponse.FromString(self._write("KV/Txn", request.SerializeToString()))

    def compact(self, revision: int, *, physical: bool = False) -> rpc.CompactionResponse:
        """Forget the history before a revision."""
        request = rpc.CompactionRequest(revision=revision, physical=physical)
        answer = self._write("KV/Compact", request.SerializeToString())
        return rpc.CompactionResponse.FromString(answer)

    def lease_grant(self, ttl_s: int, lease_id: int = 0) -> int:
        """Grant a lease and give its id; 0 lets the server choose one."""
        request = rpc.LeaseGrantRequest(TTL=ttl_s, ID=lease_id)
        answer = self._write("Lease/LeaseGrant", request.SerializeToString())
        return int(rpc.LeaseGrantResponse.FromString(answer).ID)

    def lease_revoke(self, lease_id: int) -> None:
        """Revoke a lease; its keys go with it."""
        request = rpc.LeaseRevokeRequest(ID=lease_id)
        self._write("Lease/LeaseRevoke", request.SerializeToString())

    def lease_keep_alive(self, lease_id: int) -> int:
        """Renew a lease once and give its time to live in seconds; 0 = there is no such lease."""
        request = rpc.LeaseKeepAliveRequest(ID=lease_id)
        answer = self._read("Lease/LeaseKeepAlive", request.SerializeToString())
        return int(rpc.LeaseKeepAliveResponse.FromString(answer).TTL)

    def lease_time_to_live(
        self, lease_id: int, *, keys: bool = False
    ) -> rpc.LeaseTimeToLiveResponse:
        """Ask what is left of a lease; TTL -1 = there is no such lease."""
        request = rpc.LeaseTimeToLiveRequest(ID=lease_id, keys=keys)
        answer = self._read("Lease/LeaseTimeToLive", request.SerializeToString())
        return rpc.LeaseTimeToLiveResponse.FromString(answer)

    def leases(self) -> list[int]:
        """List the ids of all leases."""
        answer = self._read("Lease/LeaseLeases", rpc.LeaseLeasesRequest().SerializeToString())
        return [lease.ID for lease in rpc.LeaseLeasesResponse.FromString(answer).leases]

    def status(self) -> rpc.StatusResponse:
        """Ask the connected member about itself."""
        answer = self._read("Maintenance/Status", rpc.StatusRequest().SerializeToString())
        return rpc.StatusResponse.FromString(answer)

    def alarms(self) -> list[rpc.AlarmMember]:
        """List the alarms that are raised."""
        answer = self._read("Maintenance/Alarm", rpc.AlarmRequest().SerializeToString())
        return list(rpc.AlarmResponse.FromString(answer).alarms)

    def members(self) -> list[rpc.Member]:
        """List the members of the cluster."""
        request = rpc.MemberListRequest(linearizable=True)
        answer = self._read("Cluster/MemberList", request.SerializeToString())
        return list(rpc.MemberListResponse.FromString(answer).members)

    def member_add(self, peer_urls: Sequence[str], *, learner: bool = False) -> int:
        """Make room for a member; returns its id."""
        request = rpc.MemberAddRequest(peerURLs=peer_urls, isLearner=learner)
        answer = self._write("Cluster/MemberAdd", request.SerializeToString())
        return rpc.MemberAddResponse.FromString(answer).member.ID

    def member_promote(self, member_id: int) -> None:
        """Give a learner a vote."""
        request = rpc.MemberPromoteRequest(ID=member_id)
        self._write("Cluster/MemberPromote", request.SerializeToString())

    def member_remove(self, member_id: int) -> None:
        """Take a member out for ever."""
        request = rpc.MemberRemoveRequest(ID=member_id)
        self._write("Cluster/MemberRemove", request.SerializeToString())

    def move_leader(self, member_id: int) -> None:
        """Hand leadership over; only the leading member does that."""
        request = rpc.MoveLeaderRequest(targetID=member_id)
        self._write("Maintenance/MoveLeader", request.SerializeToString())

    def watch(self, request: rpc.WatchCreateRequest) -> Iterator[rpc.WatchResponse]:
        """Follow changes, on a connection of its own, until the iterator is closed.

        The first response has `created` set. The watch ends by itself only after a response with
        `canceled`; a connection that is lost is replaced within the timeout.
        """
        position = rpc.WatchCreateRequest()
        position.CopyFrom(request)
        standing = False
        deadline = time.monotonic() + self._timeout
        while True:
            link = self._reconnect(deadline) if standing else self._connect(deadline)
            try:
                for response in _follow(link, position, deadline):
                    if not (response.created and standing):
                        yield response
                    if response.canceled:
                        return
                    standing, deadline = True, 0.0
                    position.start_revision = _next_revision(position, response)
            except ConnectionLost:
                self._preferred += 1
                deadline = deadline or time.monotonic() + self._timeout
                time.sleep(_PAUSE_S)
            finally:
                link.close()

    def _read(self, method: str, request: bytes) -> bytes:
        """Make a call that may be repeated."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return self._call(method, request, deadline)
            except ConnectionLost:
                time.sleep(_PAUSE_S)

    def _write(self, method: str, request: bytes) -> bytes:
        """Make a call that may have had its effect although its answer was lost."""
        try:
            return self._call(method, request, time.monotonic() + self._timeout)
        except ConnectionLost as lost:
            raise Unreachable("the connection was lost before the answer came") from lost

    def _call(self, method: str, request: bytes, deadline: float) -> bytes:
        """Make a call. Raises ConnectionLost once its connection is of no more use."""
        if self._link is None or not self._link.fresh():
            self.close()
            self._link = self._connect(deadline)
        try:
            return self._link.call(f"/etcdserverpb.{method}", request, deadline)
        except ConnectionLost:
            self._preferred += 1
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    def _connect(self, deadline: float) -> _Link:
        """Open a connection to the first endpoint that takes it."""
        reasons = []
        for _ in self._addresses:
            host, port = self._addresses[self._preferred % len(self._addresses)]
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                return _Link(socket.create_connection((host, port), left), f"{host}:{port}")
            except OSError as error:
                reasons.append(f"{host}:{port}: {error.strerror or error}")
                self._preferred += 1
        raise Unreachable("; ".join(reasons) or "no endpoint answered in time")

    def _reconnect(self, deadline: float) -> _Link:
        """Keep trying to connect: endpoints may come back."""
        while True:
            try:
                return self._connect(deadline)
            except Unreachable:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_PAUSE_S)


class _Link:
    """One connection with the codec's client role on it."""

    def __init__(self, opened: socket.socket, authority: str) -> None:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = opened
        self._grpc = GrpcClient(authority)
        self._going_away = False

    def close(self) -> None:
        self._socket.close()

    def fresh(self) -> bool:
        """Say whether a call may still be put on a connection that was idle meanwhile."""
        self._socket.settimeout(0)
        try:
            self._take(self._socket.recv(_RECEIVE_BYTES))
        except BlockingIOError:
            pass
        except (OSError, ConnectionLost):
            return False
        return not self._going_away

    def call(self, path: str, request: bytes, deadline: float) -> bytes:
        """Make one call with one answer.

        Raises:
            ConnectionLost: nobody knows how it ended.
            CallFailed: it ended badly.
        """
        call_id = self._grpc.unary(path, request, timeout=max(deadline - time.monotonic(), 1e-3))
        answer: bytes | None = None
        while True:
            for event in self.turn(deadline):
                match event:
                    case UnaryReply(ended, message) if ended == call_id:
                        return message
                    case MessageReceived(receiver, message) if receiver == call_id:
                        answer = message
                    case CallEnded(ended, status, text) if ended == call_id:
                        return _outcome(answer, status, text)

    def open_watch(self, request: rpc.WatchCreateRequest) -> None:
        """Start the one stream of a connection that is used for a watch."""
        call_id = self._grpc.start("/etcdserverpb.Watch/Watch")
        message = rpc.WatchRequest(create_request=request)
        self._grpc.send(call_id, message.SerializeToString())

    def turn(self, deadline: float | None) -> list[ClientEvent]:
        """Send what waits, then wait for bytes; None = for ever.

        Raises:
            ConnectionLost: the connection ended.
            CallFailed: the deadline passed.
        """
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise CallFailed(Status.DEADLINE_EXCEEDED, "context deadline exceeded")
        self._socket.settimeout(left)
        try:
            self._socket.sendall(self._grpc.data_to_send())
            return self._take(self._socket.recv(_RECEIVE_BYTES))
        except TimeoutError as error:
            text = "context deadline exceeded"
            raise CallFailed(Status.DEADLINE_EXCEEDED, text) from error
        except OSError as error:
            raise ConnectionLost from error

    def _take(self, data: bytes) -> list[ClientEvent]:
        if not data:
            raise ConnectionLost
        events = self._grpc.receive(data, time.monotonic())
        for event in events:
            if isinstance(event, ConnectionClosed):
                raise ConnectionLost(event.reason)
            if isinstance(event, Draining):
                self._going_away = True
        return events


def _follow(
    link: _Link, request: rpc.WatchCreateRequest, deadline: float
) -> Iterator[rpc.WatchResponse]:
    """Give the responses of one watch on one connection, until that is lost."""
    link.open_watch(request)
    waiting: float | None = deadline
    while True:
        for event in link.turn(waiting):
            match event:
                case MessageReceived(_, message):
                    waiting = None
                    yield rpc.WatchResponse.FromString(message)
                case CallEnded(_, Status.UNAVAILABLE):
                    raise ConnectionLost
                case CallEnded(_, status, text):
                    raise CallFailed(status, text)
                case ResponseStarted():
                    pass


def _next_revision(request: rpc.WatchCreateRequest, response: rpc.WatchResponse) -> int:
    """Give the revision from which a lost watch has to go on."""
    seen = int(response.header.revision) + 1
    if response.events:
        return int(response.events[-1].kv.mod_revision) + (0 if response.fragment else 1)
    if response.created and request.start_revision:
        return int(request.start_revision)
    return max(seen, int(request.start_revision))


def _outcome(answer: bytes | None, status: int, text: str) -> bytes:
    if status == Status.OK and answer is not None:
        return answer
    if status == Status.OK:
        raise CallFailed(Status.INTERNAL, "the call ended without an answer")
    raise CallFailed(status, text)


def _address(endpoint: str) -> tuple[str, int]:
    """Split an endpoint.

    Raises:
        ClientError: it is none.
    """
    host, _, port = endpoint.removeprefix("http://").rstrip("/").rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ClientError(f"not an endpoint, host:port is: {endpoint!r}")
    return host.strip("[]"), int(port)
