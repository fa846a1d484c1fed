"""The state that an etcd snapshot stands for: `export` read backwards.

Every version of every key is built again in the order of revisions, as its request would have built
it; the reader shows what was built before. What etcd keeps only in memory (which version of a key
is the newest, which keys hang on a lease) follows from that. Users and roles are taken as they are.
Members, alarms and the position in the log are not taken over: the cluster that begins has its own.

Source: etcd server/storage/mvcc/kvstore.go (restore), server/storage/schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from google.protobuf.message import DecodeError

from node.machine.answer import Operation
from node.machine.auth import FIRST_REVISION, OFF, ON
from node.machine.lease import TTL_SECONDS_MIN, Lease, encoded
from node.machine.record import (
    AUTH_ENABLED,
    AUTH_REVISION,
    COMPACT_REVISION,
    CURRENT,
    DEAD,
    INLINE_BYTES_MAX,
    LEASE,
    REVISION,
    ROLE,
    TOMBSTONE,
    TOMBSTONE_REVISION,
    USER,
    as_reference,
    build,
    lease_moved,
    lease_of,
    main_of,
    number,
    position,
)
from node.machine.wire import field, tombstone_field, varint
from node.proto import auth, kv, rpc

BATCH = 500
"""Versions that are built before the reader must show them."""

Items = Callable[[bytes], Iterable[tuple[bytes, bytes]]]
"""Keys and values of a bucket, in order."""
Get = Callable[[bytes], bytes | None]

_SORT_KEY_BYTES = 17
_ID_BYTES = 8


class SnapshotUnusable(Exception):
    """What is in the file is not a state that a member can begin with."""


def records(items: Items, get: Get) -> Iterator[list[Operation]]:
    """The state's records in batches; each must be readable by `get` before the next is asked for.

    Raises:
        SnapshotUnusable: the buckets hold what etcd does not write.
    """
    compacted = _compact_revision(items)
    yield from _versions(items(b"key"), get, compacted or 0)
    yield [_lease(key, stored) for key, stored in items(b"lease")]
    yield [_user(key, stored) for key, stored in items(b"authUsers")]
    yield [_role(key, stored) for key, stored in items(b"authRoles")]
    yield _auth(dict(items(b"auth")))
    if compacted is not None:
        yield [(COMPACT_REVISION, number(compacted))]


def _compact_revision(items: Items) -> int | None:
    """The revision of the last compaction, finished or not; None = there was none."""
    meta = dict(items(b"meta"))
    names = (b"scheduledCompactRev", b"finishedCompactRev")
    found = [int.from_bytes(meta[name][:8], "big") for name in names if name in meta]
    return max(found, default=None)


def _versions(
    items: Iterable[tuple[bytes, bytes]], get: Get, compacted: int
) -> Iterator[list[Operation]]:
    recent: dict[bytes, bytes | None] = {}

    def newest(key: bytes) -> bytes | None:
        return recent[key] if key in recent else get(key)

    for count, (sort_key, stored) in enumerate(items, 1):
        main, sub, dead = _place(sort_key)
        key_value = _decoded(stored)
        if dead:
            recent.update(_deletion(key_value.key, main, sub, newest))
        else:
            recent.update(_put(key_value, stored, main, sub, newest, compacted))
        if count % BATCH == 0:
            yield list(recent.items())
            recent.clear()
    yield list(recent.items())


def _put(
    key_value: kv.KeyValue, stored: bytes, main: int, sub: int, newest: Get, compacted: int
) -> Iterator[Operation]:
    key, lease = key_value.key, key_value.lease
    if key_value.mod_revision != main:
        raise SnapshotUnusable(f"revision {main} holds a key of {key_value.mod_revision}")
    old = newest(CURRENT + key)
    parent = old
    if old is None:
        corpse = newest(DEAD + key)
        if corpse is not None:
            yield DEAD + key, None
            parent = corpse if main_of(corpse) >= compacted else None
    record = build(
        0,
        position(main, sub),
        parent,
        key_value.create_revision,
        key_value.version,
        lease,
        field(2, stored),
    )
    inline = len(key_value.value) <= INLINE_BYTES_MAX
    yield REVISION + position(main, sub), record
    yield CURRENT + key, record if inline else as_reference(record)
    yield from _moved(key, old, lease)


def _deletion(key: bytes, main: int, sub: int, newest: Get) -> Iterator[Operation]:
    old = newest(CURRENT + key)
    place = position(main, sub)
    record = build(TOMBSTONE, place, old, 0, 0, 0, tombstone_field(key, varint(main)))
    yield REVISION + place, record
    yield CURRENT + key, None
    yield DEAD + key, record
    yield TOMBSTONE_REVISION, number(main)
    yield from _moved(key, old, 0)


def _moved(key: bytes, old: bytes | None, lease: int) -> list[Operation]:
    """From the lease of the version before to the one of this."""
    former = lease_of(old) if old is not None else 0
    return lease_moved(key, former, lease) if former != lease else []


def _place(sort_key: bytes) -> tuple[int, int, bool]:
    """Main and sub revision, and whether a deletion is meant."""
    marks = sort_key[8:9], sort_key[_SORT_KEY_BYTES:]
    main, sub = int.from_bytes(sort_key[:8], "big"), int.from_bytes(sort_key[9:17], "big")
    if marks not in ((b"_", b""), (b"_", b"t")) or not 0 < main < 1 << 63 or sub >= 1 << 32:
        raise SnapshotUnusable(f"{sort_key.hex()} is no revision")
    return main, sub, marks[1] == b"t"


def _decoded(stored: bytes) -> kv.KeyValue:
    try:
        key_value = kv.KeyValue.FromString(stored)
    except DecodeError as error:
        raise SnapshotUnusable(f"a version does not decode: {error}") from error
    if not key_value.key:
        raise SnapshotUnusable("a version has no key")
    return key_value


def _lease(key: bytes, stored: bytes) -> Operation:
    """etcd stores leasepb.Lease: ID = 1, TTL = 2, what remained of it = 3. The ID is the key too,
    and the answer to a grant happens to have int64s as fields 2 and 3."""
    try:
        lease = rpc.LeaseGrantResponse.FromString(stored)
    except DecodeError as error:
        raise SnapshotUnusable(f"a lease does not decode: {error}") from error
    if len(key) != _ID_BYTES:
        raise SnapshotUnusable(f"{key.hex()} is no lease")
    ttl = max(lease.ID, TTL_SECONDS_MIN)
    return LEASE + key, encoded(Lease(0, ttl, max(0, lease.TTL)))


def _user(name: bytes, stored: bytes) -> Operation:
    user = auth.User()
    _named(user, name, stored)
    return USER + name, user.SerializeToString()


def _role(name: bytes, stored: bytes) -> Operation:
    role = auth.Role()
    _named(role, name, stored)
    return ROLE + name, role.SerializeToString()


def _named(into: auth.User | auth.Role, name: bytes, stored: bytes) -> None:
    try:
        into.MergeFromString(stored)
        name.decode()
    except (DecodeError, UnicodeDecodeError) as error:
        raise SnapshotUnusable(f"a user or role does not decode: {error}") from error
    if not name or into.name != name:
        raise SnapshotUnusable(f"{name!r} is called {into.name!r}")


def _auth(stored: dict[bytes, bytes]) -> list[Operation]:
    """A store that never had a user has no records of it here."""
    operations: list[Operation] = []
    if b"authEnabled" in stored:
        operations.append((AUTH_ENABLED, ON if stored[b"authEnabled"] == ON else OFF))
    revision = int.from_bytes(stored.get(b"authRevision", b""), "big")
    if not 0 <= revision < 1 << 63:
        raise SnapshotUnusable(f"{revision} is no auth revision")
    if revision > FIRST_REVISION:
        operations.append((AUTH_REVISION, number(revision)))
    return operations
