"""etcdserverpb.Lease: grants and revocations through the log, time from the leader's clock.

An id that the server is to choose is drawn here, before the request enters the log, so that
applying it is the same everywhere. The list of leases and their keys are applied state and are
read at this member.
Source: etcd server/etcdserver/api/v3rpc/lease.go.
"""

from __future__ import annotations

import random

from node.api.call import Call, StreamCall
from node.api.identity import identify
from node.api.member import Member
from node.machine.envelope import Credential, RequestKind
from node.machine.errors import Refusal
from node.proto import rpc

_ID_BITS = 63
"""Ids are int64 on the wire and positive."""


class Lease:
    """LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive, LeaseLeases."""

    def __init__(self, member: Member, chance: random.Random) -> None:
        """Serve `member`; `chance` draws lease ids."""
        self._member = member
        self._chance = chance

    def grant(self, call: Call, message: bytes) -> None:
        """Make a lease; the machine judges ttl and id."""
        request = rpc.LeaseGrantRequest.FromString(message)
        if not request.ID:
            request.ID = self._chance.getrandbits(_ID_BITS) or 1
            message = request.SerializeToString()
        self._member.propose(RequestKind.LEASE_GRANT, message, call.done, call)

    def revoke(self, call: Call, message: bytes) -> None:
        """End a lease and delete its keys."""
        rpc.LeaseRevokeRequest.FromString(message)
        self._member.propose(RequestKind.LEASE_REVOKE, message, call.done, call)

    def keep_alive(self, call: StreamCall) -> KeepAlive:
        """Renew leases, one answer for each request."""
        return KeepAlive(self._member, call)

    def time_to_live(self, call: Call, message: bytes) -> None:
        """Tell what is left of a lease, and its keys if asked; a missing one has ttl -1."""
        request = rpc.LeaseTimeToLiveRequest.FromString(message)

        def told(times: tuple[int, int] | Refusal) -> None:
            if not isinstance(times, tuple):
                call.refuse(times)
                return
            remaining, granted = times
            machine = self._member.machine
            if request.keys:
                refusal = machine.access.read_lease(call.credential, request.ID)
                if refusal is not None:
                    call.refuse(refusal)
                    return
            response = rpc.LeaseTimeToLiveResponse(ID=request.ID, TTL=remaining, grantedTTL=granted)
            if request.keys and granted:
                response.keys.extend(machine.lease_keys(request.ID))
            call.respond(response)

        self._member.time_to_live(request.ID, told)

    def leases(self, call: Call, message: bytes) -> None:
        """List the ids of all leases."""
        rpc.LeaseLeasesRequest.FromString(message)
        machine = self._member.machine
        leases = machine.leases()
        refusal = machine.auth.check_user(call.credential)
        for lease in leases:
            refusal = refusal or machine.access.read_lease(call.credential, lease.id)
        if refusal is not None:
            call.refuse(refusal)
            return
        call.respond(
            rpc.LeaseLeasesResponse(leases=[rpc.LeaseStatus(ID=lease.id) for lease in leases])
        )


class KeepAlive:
    """One stream of renewals. It ends well once the client has half-closed and all are answered."""

    def __init__(self, member: Member, call: StreamCall) -> None:
        """Wait for requests."""
        self._member = member
        self._call = call
        self._open = 0
        self._half_closed = False

    def received(self, message: bytes) -> None:
        """Renew one lease at the leader; ttl 0 tells the client that it is gone."""
        lease_id = rpc.LeaseKeepAliveRequest.FromString(message).ID
        # Taken before the renewal, as etcd does: a revision that may lag is safe to resume from.
        revision = self._member.machine.revision
        self._open += 1

        def renewed(ttl: int | Refusal) -> None:
            self._open -= 1
            if isinstance(ttl, int):
                response = rpc.LeaseKeepAliveResponse(ID=lease_id, TTL=ttl)
                self._call.send(self._member.header(revision) + response.SerializeToString())
                self._finish_if_over()
            else:
                self._call.refuse(ttl)

        def known(by: Credential | None) -> None:
            machine = self._member.machine
            refusal = machine.auth.check_user(by) or machine.access.write_lease(by, lease_id)
            if refusal is None:
                self._member.keep_alive(lease_id, renewed)
            else:
                self._call.refuse(refusal)

        if self._member.machine.auth.enabled:
            identify(self._call, known)
        else:
            self._member.keep_alive(lease_id, renewed)

    def half_closed(self) -> None:
        """Answer what is under way, then end."""
        self._half_closed = True
        self._finish_if_over()

    def pause(self) -> None:
        """Nothing to hold back: there is at most one answer for each request."""

    def resume(self) -> None:
        """See `pause`."""

    def closed(self) -> None:
        """Nothing to let go; answers that still come find the call over."""

    def _finish_if_over(self) -> None:
        if self._half_closed and not self._open:
            self._call.finish()
