"""Leases as the log knows them: granted, attached to keys, revoked. Time is not known here.

A lease lives until its revocation is applied, however much time has passed: the leader's clock
(`node.lease_expiry`) proposes that, so all members see the end at the same entry. It also has what
is left of long leases noted now and then (a checkpoint), for the clock of the next leader.
Source: etcd server/lease/lessor.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from node.machine.answer import LeaseChange, LeaseChangeKind, Operation
from node.machine.change import Change
from node.machine.errors import LeaseExists, LeaseNotFound, LeaseTtlTooLarge, Refusal
from node.machine.record import (
    CURRENT,
    LEASE,
    LEASE_KEY,
    number,
    table_end,
    unpack_number,
)
from node.machine.view import View
from node.proto import rpc

TTL_SECONDS_MAX = 9_000_000_000
TTL_SECONDS_MIN = 2
"""What etcd raises shorter ones to with its default election timeout of one second. A constant: it
decides what is granted, so it must not differ between members."""


class Lease(NamedTuple):
    """A granted lease."""

    id: int
    ttl: int
    """Granted seconds."""
    remaining: int = 0
    """Seconds that were left when a leader last noted it; 0 = nothing was noted since the last
    renewal."""


def find(view: View, lease_id: int) -> Lease | None:
    """The lease with this id."""
    stored = view.get(LEASE + number(lease_id))
    return None if stored is None else _lease(lease_id, stored)


def leases(view: View) -> Iterator[Lease]:
    """All leases, in order of their ids; negative ones come last."""
    for key, stored in view.scan(LEASE, table_end(LEASE)):
        yield _lease(unpack_number(key[1:]), stored)


def keys(view: View, lease_id: int) -> list[bytes]:
    """The keys attached to a lease, in order."""
    lo = LEASE_KEY + number(lease_id)
    # Keys are told apart by the lease's eight bytes in front, so the end is the next such prefix.
    hi = (int.from_bytes(lo, "big") + 1).to_bytes(len(lo), "big")
    return [key[len(lo) :] for key, _ in view.scan(lo, hi)]


def grant(change: Change, request: rpc.LeaseGrantRequest) -> Lease | Refusal:
    """Make a lease under the request's id, which whoever proposed it has chosen.

    Refuses by LeaseNotFound (id 0), LeaseTtlTooLarge, LeaseExists.
    """
    if not request.ID:
        return LeaseNotFound(0)
    if request.TTL > TTL_SECONDS_MAX:
        return LeaseTtlTooLarge(request.TTL)
    if find(change, request.ID) is not None:
        return LeaseExists(request.ID)
    lease = Lease(request.ID, max(request.TTL, TTL_SECONDS_MIN))
    change.effects[LEASE + number(lease.id)] = encoded(lease)
    return lease


def checkpoint(
    view: View, request: rpc.LeaseCheckpointRequest
) -> tuple[list[Operation], list[LeaseChange]]:
    """Note what the request says is left; of a lease that is gone nothing is."""
    effects: list[Operation] = []
    changes: list[LeaseChange] = []
    for note in request.checkpoints:
        lease = find(view, note.ID)
        if lease is not None:
            noted = lease._replace(remaining=max(0, note.remaining_TTL))
            effects.append((LEASE + number(noted.id), encoded(noted)))
            kind = LeaseChangeKind.CHECKPOINTED
            changes.append(LeaseChange(kind, noted.id, noted.remaining))
    return effects, changes


def encoded(lease: Lease) -> bytes:
    """The record of a lease."""
    ttl = number(lease.ttl)
    return ttl + number(lease.remaining) if lease.remaining else ttl


def ttl_of(stored: bytes) -> tuple[int, int]:
    """(granted, remaining) seconds in a record; remaining 0 = not noted."""
    return unpack_number(stored[:8]), unpack_number(stored[8:]) if len(stored) > 8 else 0


def revoke(change: Change, lease_id: int) -> Refusal | None:
    """End a lease and delete its keys, in order and in one revision. Refuses by LeaseNotFound."""
    if find(change, lease_id) is None:
        return LeaseNotFound(lease_id)
    for key in keys(change, lease_id):
        record = change.get(CURRENT + key)
        if record is not None:
            change.delete(key, record)
    change.effects[LEASE + number(lease_id)] = None
    return None


def _lease(lease_id: int, stored: bytes) -> Lease:
    return Lease(lease_id, *ttl_of(stored))
