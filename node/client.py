"""A small blocking client of the etcd v3 API, for the command line and the supervisor's probes.

Plain sockets, no threads, one call at a time; requests and responses are the protobuf messages of
`node.proto.rpc`. Endpoints are tried in order until one takes the connection, and that one is kept.
A call that was sent and then lost its connection is tried again elsewhere only if it reads: a write
may have been committed, and the caller alone knows what that means to him. A watch goes on at
another endpoint from the revision after the last one seen, as etcd's own client does.

An endpoint that begins with https:// is dialled over TLS; what it shows must be for the host that
was dialled, and vouched for by who is trusted. No background keep-alives: other clients exist for
that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from node.client_link import (
    Address,
    CallFailed,
    ClientError,
    Link,
    Unreachable,
    tls_context,
    why,
)
from node.proto import rpc
from transport.errors import ConnectionLost
from transport.grpc import CallEnded, MessageReceived, ResponseStarted, Status
from transport.http2.event import Headers
from transport.tls.files import ClientFiles

__all__ = ["Address", "CallFailed", "ClientError", "EtcdClient", "Unreachable"]

_PAUSE_S: Final = 0.02
"""Between two attempts, so that a server that hangs up at once is not hammered."""


class EtcdClient:
    """Calls to whichever endpoint is reachable. Use as a context manager, or `close` it.

    Args:
        endpoints: "host:port", with http:// or https:// before it, in the order of preference.
        timeout_s: patience with each call, connecting included; a watch has it until it stands.
        token: sent with every call; "" = none.
        tls: who is trusted and what is shown at https:// endpoints; None = the system's trust.

    Every call raises Unreachable or CallFailed.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        timeout_s: float = 5.0,
        token: str = "",
        tls: ClientFiles | None = None,
    ) -> None:
        """Connect to nothing yet.

        Raises:
            ClientError: an endpoint is no endpoint, or a file of `tls` is no use.
        """
        self._addresses = [Address.parse(endpoint) for endpoint in endpoints]
        if not self._addresses:
            raise ClientError("no endpoints")
        secure = any(address.secure for address in self._addresses)
        self._context = tls_context(tls) if secure else None
        self._timeout = timeout_s
        self._metadata = _metadata(token)
        self._login: tuple[str, str] | None = None
        self._preferred = 0
        self._link: Link | None = None
        self._loss = ""
        """Why the last connection was lost, if anybody said so."""

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

    def log_in(self, name: str, password: str) -> None:
        """Be a user from now on."""
        request = rpc.AuthenticateRequest(name=name, password=password)
        self._metadata = ()
        self.close()
        answer = self._write("Auth/Authenticate", request.SerializeToString())
        self._metadata = _metadata(rpc.AuthenticateResponse.FromString(answer).token)
        self._login = name, password
        self.close()  # what is connected would go on as before

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
            if standing and self._login is not None:
                self._log_in_again()
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

    def _log_in_again(self) -> None:
        """A watch that goes on after long silence would come with a token that has expired. If it
        cannot be had, the server says what it thinks of the old one."""
        if self._login is not None:
            with suppress(ClientError):
                self.log_in(*self._login)

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
            text = "the connection was lost before the answer came"
            raise Unreachable(f"{text}: {lost}" if str(lost) else text) from lost

    def _call(self, method: str, request: bytes, deadline: float) -> bytes:
        """Make a call. Raises ConnectionLost once its connection is of no more use."""
        if self._link is None or not self._link.fresh():
            self.close()
            self._link = self._connect(deadline)
        try:
            return self._link.call(f"/etcdserverpb.{method}", request, deadline)
        except ConnectionLost as lost:
            self._preferred += 1
            self._loss = str(lost)
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    def _connect(self, deadline: float) -> Link:
        """Open a connection to the first endpoint that takes it."""
        reasons = []
        for _ in self._addresses:
            address = self._addresses[self._preferred % len(self._addresses)]
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                return Link(address, left, self._context, self._metadata)
            except OSError as error:
                reasons.append(f"{address}: {why(error)}")
                self._preferred += 1
        raise Unreachable("; ".join(reasons) or self._loss or "no endpoint answered in time")

    def _reconnect(self, deadline: float) -> Link:
        """Keep trying to connect: endpoints may come back."""
        while True:
            try:
                return self._connect(deadline)
            except Unreachable:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_PAUSE_S)


def _follow(
    link: Link, request: rpc.WatchCreateRequest, deadline: float
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


def _metadata(token: str) -> Headers:
    return ((b"token", token.encode()),) if token else ()
