"""How long a lease certainly lives: what its clients were promised, on their own clocks.

A renewal that was sent at s and acknowledged with t seconds took effect at s or later, so the lease
lives until s + t at least, unless somebody revokes it. Only acknowledged renewals count; a new
leader may prolong a lease, never shorten it.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from tools.check.history import (
    History,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseResponse,
    LeaseRevoke,
    Operation,
)

SECOND_NS: Final = 1_000_000_000


class LeaseLife(Struct):
    """Everything that a history says about one lease.

    `promised_ns` is the time up to which it must live, told by `renewal`. `doubtful` are grants and
    renewals with an unknown outcome, `revokes` all that may have taken effect.
    """

    lease: int
    promised_ns: int = 0
    renewal: Operation | None = None
    grants: list[Operation] = []
    renewals: list[Operation] = []
    doubtful: list[Operation] = []
    revokes: list[Operation] = []

    def revoked_by(self, at_ns: int) -> bool:
        """Tell whether a revoke may have taken effect before a time."""
        return any(revoke.start_ns <= at_ns for revoke in self.revokes)

    def promised_ns_of(self, grant: Operation) -> int:
        """Give the time up to which a lease lives by its grant alone."""
        ttl = grant.response.ttl if isinstance(grant.response, LeaseResponse) else 0
        return grant.start_ns + ttl * SECOND_NS

    def doubtful_grants(self) -> bool:
        """Tell whether a grant of this id may have happened that nobody was told."""
        return any(isinstance(each.request, LeaseGrant) for each in self.doubtful)

    def latest_end_ns(self) -> int | None:
        """Give when it is over at the latest by its renewals, None where that cannot be said.

        A renewal takes effect before its answer comes; one without an answer may do so any time.
        """
        told = [*self.grants, *self.renewals]
        if self.doubtful or not self.grants:
            return None
        return max((each.end_ns or 0) + self.promised_ns_of(each) - each.start_ns for each in told)


def lease_lives(history: History) -> dict[int, LeaseLife]:
    """Collect the lives of all leases that were granted, kept alive or revoked."""
    lives: dict[int, LeaseLife] = {}
    for operation in history.operations:
        lease = _lease_of(operation)
        if lease and operation.outcome != "failed":
            _note(lives.setdefault(lease, LeaseLife(lease)), operation)
    return lives


def _lease_of(operation: Operation) -> int:
    request, response = operation.request, operation.response
    if isinstance(request, LeaseGrant) and isinstance(response, LeaseResponse):
        return response.lease  # the server may have chosen it
    if isinstance(request, LeaseGrant | LeaseKeepAlive | LeaseRevoke):
        return request.lease
    return 0


def _note(life: LeaseLife, operation: Operation) -> None:
    if isinstance(operation.request, LeaseRevoke):
        life.revokes.append(operation)
        return
    if operation.response is None:
        life.doubtful.append(operation)
        return
    if not isinstance(operation.response, LeaseResponse) or operation.response.ttl <= 0:
        return
    (life.grants if isinstance(operation.request, LeaseGrant) else life.renewals).append(operation)
    promised = operation.start_ns + operation.response.ttl * SECOND_NS
    if promised > life.promised_ns:
        life.promised_ns, life.renewal = promised, operation
