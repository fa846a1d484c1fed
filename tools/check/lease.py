"""The lease check: never over too early, over for good, gone with all keys, one holder per id.

    early expiry       nothing shows a lease dead (keys gone, ttl 0 or -1, "not found") before its
                       promised time, unless somebody may have revoked it
    ttl granted        at least what was asked for
    unique lease       an id is not granted twice while its first lease certainly lives
    dead for good      after an acknowledged revoke nothing renews the lease or attaches to it
    late expiry        after the promised time and a grace no key of the lease is left; judged only
                       where the harness names a grace, because only it knows of outages

Clients measure with their own clock and from before they send, so every promise is the shortest.
That a revoke takes all keys in one revision is part of the revision check. Mutual exclusion is no
promise of leases and is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tools.check.history import (
    LEASE_NOT_FOUND,
    History,
    KeyValue,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseResponse,
    LeaseTimeToLive,
    Operation,
    Put,
    Range,
    RangeResponse,
    Request,
    Txn,
    TxnResponse,
)
from tools.check.lease_life import LeaseLife, lease_lives
from tools.check.sighting import Sightings, describe_sighting
from tools.check.text import describe_kv, describe_operation, describe_time
from tools.check.timeline import Timeline
from tools.check.verdict import Finding, Verdict, judge

CHECK = "lease"


def check_leases(
    history: History, timeline: Timeline | None, *, expiry_grace_ns: int | None = None
) -> Verdict:
    """Judge all leases; without a timeline, expired keys cannot be judged."""
    lives = lease_lives(history)
    findings = [*_ttl_granted(history), *_declared_dead(history, lives)]
    for life in lives.values():
        findings += [*_granted_twice(life), *_used_after_revoke(history, life)]
    if expiry_grace_ns is not None:
        findings += _late_expiry(history, lives, expiry_grace_ns)
    if timeline is None:
        return judge(CHECK, findings, "the order of writes is not known" if lives else "")
    findings += _early_expiry(timeline, Sightings(history), lives)
    return judge(CHECK, findings)


def _early_expiry(
    timeline: Timeline, sightings: Sightings, lives: dict[int, LeaseLife]
) -> Iterator[Finding]:
    for moment in timeline.moments.values():
        life = lives.get(moment.lease) if moment.lease else None
        first = sightings.earliest_of(moment.revision)
        if life is None or first is None or first.at_ns >= life.promised_ns:
            continue
        text = (
            f"lease {life.lease} was gone with revision {moment.revision}, seen by "
            f"{describe_sighting(first)}; {_describe_promise(life)}"
        )
        yield Finding("early expiry", text, _renewal_ids(life))


def _declared_dead(history: History, lives: dict[int, LeaseLife]) -> Iterator[Finding]:
    for operation in history.operations:
        life = lives.get(_lease_declared_dead(operation))
        if life is None or operation.end_ns is None:
            continue
        born = any(_ends_before(grant, operation.start_ns) for grant in life.grants)
        early = operation.end_ns < life.promised_ns and not life.revoked_by(operation.end_ns)
        if born and early:
            text = f"{describe_operation(operation)}; {_describe_promise(life)}"
            yield Finding("early expiry", text, (operation.id, *_renewal_ids(life)))


def _lease_declared_dead(operation: Operation) -> int:
    match operation.request, operation.response:
        case LeaseKeepAlive(lease=lease), LeaseResponse(ttl=0):
            return lease
        case LeaseTimeToLive(lease=lease), LeaseResponse(ttl=-1):
            return lease
        case Put(lease=lease), None if operation.error == LEASE_NOT_FOUND:
            return lease
        case LeaseKeepAlive(lease=lease), None if operation.error == LEASE_NOT_FOUND:
            return lease
        case _:
            return 0


def _ttl_granted(history: History) -> Iterator[Finding]:
    for operation in history.operations:
        match operation.request, operation.response:
            case LeaseGrant(lease=lease, ttl=asked), LeaseResponse() as granted:
                if granted.ttl < asked or (lease and granted.lease != lease):
                    text = describe_operation(operation)
                    yield Finding("ttl granted", text, (operation.id,))


def _granted_twice(life: LeaseLife) -> Iterator[Finding]:
    grants = sorted(life.grants, key=lambda each: each.start_ns)
    for first, second in pairwise(grants):
        end_ns = second.end_ns or 0
        alive = end_ns < life.promised_ns_of(first) and not life.revoked_by(end_ns)
        if alive:
            text = f"{describe_operation(first)}; then {describe_operation(second)}"
            yield Finding("unique lease", text, (first.id, second.id))


def _used_after_revoke(history: History, life: LeaseLife) -> Iterator[Finding]:
    ends = [each.end_ns for each in life.revokes if each.response and each.end_ns is not None]
    if not ends or len(life.grants) > 1 or life.doubtful_grants():
        return
    revoked_ns = min(ends)
    for operation in history.operations:
        late = operation.start_ns > revoked_ns and operation.response is not None
        if late and life.lease in _leases_used(operation):
            text = f"the lease had been revoked at {describe_time(revoked_ns)}; then "
            yield Finding("dead for good", text + describe_operation(operation), (operation.id,))


def _leases_used(operation: Operation) -> set[int]:
    match operation.request, operation.response:
        case LeaseKeepAlive(lease=lease), LeaseResponse(ttl=ttl) if ttl > 0:
            return {lease}
        case LeaseTimeToLive(lease=lease), LeaseResponse(ttl=ttl) if ttl >= 0:
            return {lease}
        case (Put() | Txn()) as request, response:
            return _leases_attached(request, response)
        case _:
            return set()


def _leases_attached(request: Request, response: object) -> set[int]:
    match request, response:
        case Put(lease=lease), _ if lease:
            return {lease}
        case Txn(), TxnResponse(succeeded=succeeded):
            branch = request.success if succeeded else request.failure
            pairs = zip(branch, response.responses, strict=False)
            return set().union(*(_leases_attached(step, answer) for step, answer in pairs))
        case _:
            return set()


def _late_expiry(history: History, lives: dict[int, LeaseLife], grace_ns: int) -> Iterator[Finding]:
    for operation in history.operations:
        for kv in _kvs_read_now(operation):
            life = lives.get(kv.lease)
            due_ns = life.latest_end_ns() if life else None
            if life is None or due_ns is None or operation.start_ns <= due_ns + grace_ns:
                continue
            text = (
                f"{describe_kv(kv)} was still there in {describe_operation(operation)}; "
                f"{_describe_promise(life)}"
            )
            yield Finding("late expiry", text, (operation.id, *_renewal_ids(life)))


def _kvs_read_now(operation: Operation) -> tuple[KeyValue, ...]:
    match operation.request, operation.response:
        case Range(revision=0, serializable=False), RangeResponse(kvs=kvs):
            return tuple(kv for kv in kvs if kv.lease)
        case _:
            return ()


def _describe_promise(life: LeaseLife) -> str:
    renewal = "" if life.renewal is None else f", by {describe_operation(life.renewal)}"
    return f"it was promised until {describe_time(life.promised_ns)}{renewal}"


def _renewal_ids(life: LeaseLife) -> tuple[int, ...]:
    return () if life.renewal is None else (life.renewal.id,)


def _ends_before(operation: Operation, at_ns: int) -> bool:
    return operation.end_ns is not None and operation.end_ns < at_ns
