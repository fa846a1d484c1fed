"""The whole state as etcd's backend would hold it: its buckets, their keys and values, in order.

    alarm            AlarmMember                        → ""
    auth             authEnabled, authRevision          → 0 or 1, u64be
    authRoles        name                               → Role
    authUsers        name                               → User, with the hash of its password
    cluster          clusterVersion                     → "3.6.0"
                     downgrade                          → JSON
    key              main u64be _ sub u64be [t]         → KeyValue
    lease            id u64be                           → Lease {ID, TTL, RemainingTTL}
    members          id as hex                          → JSON
    members_removed  id as hex                          → "removed"
    meta             see `_meta`

An etcd that is restored from it has the same keys, revisions, leases and users. Its members are
those that the restoring operator names, as from a snapshot of etcd's own.

Source: etcd server/storage/schema (bucket.go, alarm.go, membership.go, cindex.go, confstate.go),
server/storage/mvcc (revision.go, store.go: the two revisions of a compaction).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from node.machine.auth import FIRST_REVISION
from node.machine.lease import ttl_of
from node.machine.record import (
    ALARM,
    AUTH_ENABLED,
    AUTH_REVISION,
    COMPACT_REVISION,
    DOWNGRADE_TARGET,
    LEASE,
    MEMBER,
    REMOVED,
    REVISION,
    ROLE,
    USER,
    is_tombstone,
    number,
    table_end,
    unpack_number,
)
from node.machine.view import View
from node.machine.wire import varint
from node.proto import rpc

Bucket = tuple[bytes, Iterator[tuple[bytes, bytes]]]

_ID = slice(1, 9)


@dataclass(frozen=True, slots=True)
class Origin:
    """What the state itself does not say: where in the log it stands, and who votes there."""

    index: int
    term: int
    voters: Sequence[int]
    learners: Sequence[int]
    version: str
    """Of the cluster and of the layout, as major.minor.0."""


def buckets(view: View, origin: Origin) -> Iterator[Bucket]:
    """All buckets in the order of their names; `view` must not change meanwhile."""
    yield b"alarm", _alarms(view)
    yield b"auth", _auth(view)
    yield b"authRoles", _named(view, ROLE)
    yield b"authUsers", _named(view, USER)
    yield b"cluster", _cluster(view, origin)
    yield b"key", _keys(view)
    yield b"lease", _leases(view)
    yield b"members", _members(view, origin)
    yield b"members_removed", _removed(view)
    yield b"meta", _meta(view, origin)


def _alarms(view: View) -> Iterator[tuple[bytes, bytes]]:
    found = []
    for key, _ in view.scan(ALARM, table_end(ALARM)):
        member, kind = int.from_bytes(key[_ID], "big"), int.from_bytes(key[9:13], "big")
        found.append(b"\x08" + varint(member) + b"\x10" + varint(kind))
    yield from ((encoded, b"") for encoded in sorted(found))


def _auth(view: View) -> Iterator[tuple[bytes, bytes]]:
    enabled = view.get(AUTH_ENABLED)
    if enabled is not None:
        yield b"authEnabled", enabled
    yield b"authRevision", view.get(AUTH_REVISION) or number(FIRST_REVISION)


def _named(view: View, table: bytes) -> Iterator[tuple[bytes, bytes]]:
    for key, stored in view.scan(table, table_end(table)):
        yield key[len(table) :], stored


def _cluster(view: View, origin: Origin) -> Iterator[tuple[bytes, bytes]]:
    yield b"clusterVersion", origin.version.encode()
    target = view.get(DOWNGRADE_TARGET)
    if target is not None:
        yield b"downgrade", _json({"target-version": target.decode(), "enabled": True})


def _keys(view: View) -> Iterator[tuple[bytes, bytes]]:
    """Every version of every key that history still has."""
    for key, record in view.scan(REVISION, table_end(REVISION)):
        sort = key[_ID] + b"_\0\0\0\0" + key[9:13]
        yield sort + b"t" if is_tombstone(record) else sort, _key_value(record)


def _key_value(record: bytes) -> bytes:
    """The KeyValue of a version: field 2 of an Event, whose tag and length come before it."""
    start = record[0] + 1
    while record[start] & 0x80:
        start += 1
    return record[start + 1 :]


def _leases(view: View) -> Iterator[tuple[bytes, bytes]]:
    for key, stored in view.scan(LEASE, table_end(LEASE)):
        lease_id, (ttl, remaining) = unpack_number(key[_ID]), ttl_of(stored)
        encoded = b"\x08" + varint(lease_id) + b"\x10" + varint(ttl)
        yield key[_ID], encoded + b"\x18" + varint(remaining) if remaining else encoded


def _members(view: View, origin: Origin) -> Iterator[tuple[bytes, bytes]]:
    entered = {}
    for _, stored in view.scan(MEMBER, table_end(MEMBER)):
        member = rpc.Member.FromString(stored)
        entered[member.ID] = member
    ids = {*origin.voters, *origin.learners}
    yield from sorted(
        _member(entered.get(member_id, rpc.Member(ID=member_id)), member_id in origin.learners)
        for member_id in ids
    )


def _member(member: rpc.Member, learner: bool) -> tuple[bytes, bytes]:
    document: dict[str, object] = {"id": member.ID, "peerURLs": [*member.peerURLs]}
    if learner:
        document["isLearner"] = True
    if member.name:
        document["name"] = member.name
    if member.clientURLs:
        document["clientURLs"] = [*member.clientURLs]
    return b"%x" % member.ID, _json(document)


def _removed(view: View) -> Iterator[tuple[bytes, bytes]]:
    ids = [key[_ID] for key, _ in view.scan(REMOVED, table_end(REMOVED))]
    yield from sorted((b"%x" % int.from_bytes(member, "big"), b"removed") for member in ids)


def _meta(view: View, origin: Origin) -> Iterator[tuple[bytes, bytes]]:
    """A compaction shows as scheduled and never as finished: whoever opens the file goes over it
    again, which does no harm to what has been compacted already."""
    conf: dict[str, object] = {"voters": sorted(origin.voters)}
    if origin.learners:
        conf["learners"] = sorted(origin.learners)
    conf["auto_leave"] = False
    yield b"confState", _json(conf)
    yield b"consistent_index", origin.index.to_bytes(8, "big")
    compacted = view.get(COMPACT_REVISION)
    if compacted is not None:
        yield b"scheduledCompactRev", compacted + b"_" + bytes(8)
    yield b"storageVersion", origin.version.encode()
    yield b"term", origin.term.to_bytes(8, "big")


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
