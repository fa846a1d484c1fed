"""Lies about leases; where keys must misbehave with them, a faulty server makes the history."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from tests.tools.check.generator import Generator
from tests.tools.check.naive_store import SECOND_NS, NaiveStore
from tests.tools.check.surgery import Mutation, Run, answer, ask, end_of, highest_before
from tools.check.history import (
    LEASE_NOT_FOUND,
    Baseline,
    DeleteRange,
    History,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseResponse,
    LeaseRevoke,
    LeaseTimeToLive,
    Operation,
    Put,
    PutResponse,
    Range,
)
from tools.check.lease_life import LeaseLife, lease_lives
from tools.check.sighting import Sightings


def _fresh(run: Run) -> list[tuple[Operation, LeaseLife]]:
    """Give acknowledged grants, with lives in which nobody revokes."""
    lives = lease_lives(run.history)
    return [(life.grants[0], life) for life in lives.values() if life.grants and not life.revokes]


def _right_after(grant: Operation) -> int:
    return (grant.end_ns or 0) + 1


def _alive(run: Run) -> list[tuple[Operation, LeaseLife]]:
    """Give fresh grants whose leases certainly live on for a while after the grant's answer."""
    return [
        (grant, life) for grant, life in _fresh(run) if _right_after(grant) + 10 < life.promised_ns
    ]


def dead_to_keep_alive(random: Random, run: Run) -> History | None:
    """A keep-alive is told that a lease in its prime is gone."""
    for grant, life in _alive(run):
        gone = LeaseResponse(run.store.first, life.lease, 0)
        return ask(run.history, _right_after(grant), LeaseKeepAlive(life.lease), gone)
    return None


def dead_to_question(random: Random, run: Run) -> History | None:
    """Somebody who asks for the time is told that a lease in its prime is gone."""
    for grant, life in _alive(run):
        gone = LeaseResponse(run.store.first, life.lease, -1)
        return ask(run.history, _right_after(grant), LeaseTimeToLive(life.lease), gone)
    return None


def dead_to_put(random: Random, run: Run) -> History | None:
    """A put is refused because a lease in its prime is said to be gone."""
    for grant, life in _alive(run):
        put = Put(b"k0", b"attached", life.lease)
        return ask(run.history, _right_after(grant), put, None, LEASE_NOT_FOUND)
    return None


def ttl_too_short(random: Random, run: Run) -> History | None:
    """A grant is for less time than was asked."""
    for grant, _ in _fresh(run):
        if isinstance(grant.response, LeaseResponse):
            short = replace(grant.response, ttl=grant.response.ttl - 1)
            return answer(run.history, grant, short)
    return None


def granted_twice(random: Random, run: Run) -> History | None:
    """A second grant gets the id of a lease in its prime."""
    for grant, life in _alive(run):
        if isinstance(grant.response, LeaseResponse):
            request = LeaseGrant(life.lease, grant.response.ttl)
            at_ns = _right_after(grant)
            if at_ns + 1 < life.promised_ns_of(grant):
                told = replace(grant.response, revision=highest_before(run, at_ns))
                return ask(run.history, at_ns, request, told)
    return None


def _revoked(run: Run) -> list[int]:
    lives = lease_lives(run.history).values()
    return [
        life.lease
        for life in lives
        if any(each.response for each in life.revokes)
        and len(life.grants) == 1
        and not life.doubtful_grants()
    ]


def renewed_after_revoke(random: Random, run: Run) -> History | None:
    """A revoked lease is kept alive."""
    for lease in _revoked(run):
        told = LeaseResponse(run.store.revision, lease, 2)
        return ask(run.history, end_of(run.history), LeaseKeepAlive(lease), told)
    return None


def attached_after_revoke(random: Random, run: Run) -> History | None:
    """A key is attached to a revoked lease."""
    for lease in _revoked(run):
        put = Put(b"k0", b"attached late", lease)
        told = PutResponse(run.store.revision + 1)
        return ask(run.history, end_of(run.history), put, told)
    return None


class _HastyServer(Generator):
    """Ends leases in half their time."""

    def _due(self, lease: int) -> int:
        ttl, due_ns = self.store.leases[lease]
        return due_ns - ttl * SECOND_NS // 2

    def _is_due(self, lease: int, now_ns: int) -> bool:
        return self._due(lease) <= now_ns


def keys_gone_early(random: Random, run: Run) -> History | None:
    """A server deletes the keys of a lease in half its time."""
    server = _HastyServer(random.randrange(10**9))
    history = server.run()
    if any(_may_delete(each) for each in history.operations):
        return None
    lives, sightings = lease_lives(history), Sightings(history)
    for lease, revision in server.expired:
        life, first = lives.get(lease), sightings.earliest_of(revision)
        keys = any(kv.lease == lease for kv in server.store.states[revision - 1].values())
        if life and keys and not life.revokes and first and first.at_ns < life.promised_ns:
            return history
    return None


def _may_delete(operation: Operation) -> bool:
    return operation.outcome == "unknown" and isinstance(operation.request, DeleteRange)


class _ForgetfulServer(Generator):
    """Never ends a lease by itself."""

    def _is_due(self, lease: int, now_ns: int) -> bool:
        return False


def keys_stay_for_ever(random: Random, run: Run) -> History | None:
    """A server does not delete the keys of a lease that nobody renews."""
    server = _ForgetfulServer(random.randrange(10**9))
    history = server.run()
    lives = lease_lives(history)
    keys = server.store.states[server.store.revision].values()
    left = [lives.get(kv.lease) for kv in keys if kv.lease]
    if not any(life is not None and life.latest_end_ns() is not None for life in left):
        return None
    request = Range(b"\0", b"\0")
    shown = server.store.read_at(request, server.store.revision)
    return ask(history, end_of(history) + 100 * SECOND_NS, request, shown)


class _SloppyStore(NaiveStore):
    """Leaves one key behind when it ends a lease."""

    def keys_of(self, lease: int) -> list[bytes]:
        return super().keys_of(lease)[1:]


class _SloppyServer(Generator):
    def _make_store(self, baseline: Baseline) -> NaiveStore:
        return _SloppyStore(baseline)


def revoke_leaves_a_key(random: Random, run: Run) -> History | None:
    """After a revoke one of the keys is still there."""
    server = _SloppyServer(random.randrange(10**9))
    history = server.run()
    for each in history.operations:
        if isinstance(each.request, LeaseRevoke) and each.response is not None:
            keys = server.store.states[each.response.revision].values()
            if any(kv.lease == each.request.lease for kv in keys):
                return history
    return None


LEASE_MUTATIONS: tuple[tuple[str, Mutation], ...] = (
    ("early expiry", dead_to_keep_alive),
    ("early expiry", dead_to_question),
    ("early expiry", dead_to_put),
    ("ttl granted", ttl_too_short),
    ("unique lease", granted_twice),
    ("dead for good", renewed_after_revoke),
    ("dead for good", attached_after_revoke),
    ("early expiry", keys_gone_early),
    ("late expiry", keys_stay_for_ever),
)
"""With the rule of the lease check that each breaks."""
REVOKE_MUTATIONS: tuple[tuple[str, Mutation], ...] = (("revoke removes keys", revoke_leaves_a_key),)
"""With the rule of the revision check that each breaks."""
