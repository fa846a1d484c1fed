"""How the state is laid out in records. The first byte of a key is its table.

    a  alarms            member u64be │ type i32be               → ""
    c  current           user key                                → version record (of a live key)
    d  dead              user key                                → version record (its tombstone)
    k  keys of leases    lease i64be │ user key                  → ""
    l  leases            lease i64be                             → granted ttl i64be [│ left i64be]
    m  numbers           see below                               → i64be and others
    n  members           member u64be                            → etcdserverpb.Member
    o  removed members   member u64be                            → ""
    p  users and roles   e                                       → whether they count, 0 or 1
                         r │ name                                → authpb.Role
                         u │ name                                → authpb.User
                         v                                       → auth revision i64be
    r  revisions         position                                → version record

A position is `main u64be │ sub u32be`: it sorts as revisions do. A version record is

    length u8 │ flags u8 │ depth u32 │ position │ previous │ create i64 │ version i64 │ lease i64
    [│ near │ far] │ KeyValue as protobuf field 2

`length` is that of everything before the KeyValue. `previous` is the position of the key's version
before this one, tombstones included; zeros = none. So all versions of a key form a chain from the
newest, in `c` or `d`, down through `r`. There is no index by key and revision: a read at an old
revision walks that chain. `near` and `far`, in records deeper than 64, point to the last ancestor
whose depth is a multiple of 64 and of 4096, so that a million versions are some 370 steps.

The records in `c` and `r` are the same bytes; only values above INLINE_BYTES_MAX are left out of
`c` and found in `r`. No record has a checksum of its own: every read verifies the checksum of the
block that it comes from, which covers the same bytes, and the log entry has one of its own.
See docs/adr/0005-record-layout.md for what else was measured.
"""

from __future__ import annotations

from struct import Struct

INLINE_BYTES_MAX = 4096
"""Values above are kept once, in the revision's record; smaller ones also beside the key."""

ALARM, CURRENT, DEAD, LEASE_KEY, LEASE = b"a", b"c", b"d", b"k", b"l"
MEMBER, REMOVED, REVISION = b"n", b"o", b"r"
AUTH_ENABLED, ROLE, USER, AUTH_REVISION = b"pe", b"pr", b"pu", b"pv"
COMPACT_REVISION = b"mc"
COMPACT_PROGRESS = b"mp"
DOWNGRADE_TARGET = b"md"
"""Text; absent = no downgrade is announced."""
TOMBSTONE_REVISION = b"mt"

TOMBSTONE = 1
REFERENCE = 2
"""Flags of a version record: a deletion; the KeyValue is in the record of the revision."""

HEADER = Struct(">BBI12s12sqqq")
ANCHORS = Struct(">12s12s")
PLAIN_LENGTH = HEADER.size
ANCHORED_LENGTH = HEADER.size + ANCHORS.size
NOWHERE = bytes(12)

NEAR_STEP = 64
FAR_STEP = 4096

_POSITION = Struct(">QI")
_NUMBER = Struct(">q")
_SUB_MAX = 0xFFFF_FFFF


def position(main: int, sub: int) -> bytes:
    """Where in history: sorts like (main, sub)."""
    return _POSITION.pack(main, sub)


def last_position(main: int) -> bytes:
    """Not before any position of this revision."""
    return _POSITION.pack(main, _SUB_MAX)


def unpack_position(packed: bytes) -> tuple[int, int]:
    """(main, sub)."""
    main, sub = _POSITION.unpack(packed)
    return main, sub


def number(value: int) -> bytes:
    """An int64 that sorts if it is not negative."""
    return _NUMBER.pack(value)


def unpack_number(packed: bytes) -> int:
    """The inverse of `number`."""
    (value,) = _NUMBER.unpack(packed)
    return int(value)


def table_end(table: bytes) -> bytes:
    """The first key after a table."""
    return table[:-1] + bytes((table[-1] + 1,))


def bounds(table: bytes, lo: bytes, hi: bytes | None) -> tuple[bytes, bytes]:
    """An interval of user keys as an interval of record keys."""
    return table + lo, table_end(table) if hi is None else table + hi


def position_of(record: bytes) -> bytes:
    """The version's own position."""
    return record[6:18]


def main_of(record: bytes) -> int:
    """The version's mod revision."""
    return int.from_bytes(record[6:14], "big")


def previous_of(record: bytes) -> bytes:
    """The position of the version before, NOWHERE if there was none."""
    return record[18:30]


def create_of(record: bytes) -> int:
    """The key's create revision; 0 of a tombstone."""
    return int.from_bytes(record[30:38], "big")


def version_of(record: bytes) -> int:
    """The key's version; 0 of a tombstone."""
    return int.from_bytes(record[38:46], "big")


def lease_of(record: bytes) -> int:
    """The lease that the key hangs on; 0 = none."""
    return int.from_bytes(record[46:54], "big", signed=True)


def is_tombstone(record: bytes) -> bool:
    """Whether the version is a deletion."""
    return bool(record[1] & TOMBSTONE)


def lease_moved(key: bytes, former: int, lease: int) -> list[tuple[bytes, bytes | None]]:
    """What takes a key from one lease to another; 0 = none."""
    moved: list[tuple[bytes, bytes | None]] = []
    if former:
        moved.append((LEASE_KEY + number(former) + key, None))
    if lease:
        moved.append((LEASE_KEY + number(lease) + key, b""))
    return moved


def build(
    flags: int,
    place: bytes,
    parent: bytes | None,
    create: int,
    version: int,
    lease: int,
    key_value: bytes,
) -> bytes:
    """The record of a new version at `place` whose predecessor's record is `parent`."""
    if parent is None:
        return (
            HEADER.pack(PLAIN_LENGTH, flags, 1, place, NOWHERE, create, version, lease) + key_value
        )
    depth = int.from_bytes(parent[2:6], "big")
    previous = parent[6:18]
    if depth < NEAR_STEP:
        return (
            HEADER.pack(PLAIN_LENGTH, flags, depth + 1, place, previous, create, version, lease)
            + key_value
        )
    near = previous if depth % NEAR_STEP == 0 else parent[54:66]
    far = previous if depth % FAR_STEP == 0 else parent[66:78] if depth > NEAR_STEP else NOWHERE
    return (
        HEADER.pack(ANCHORED_LENGTH, flags, depth + 1, place, previous, create, version, lease)
        + ANCHORS.pack(near, far)
        + key_value
    )


def as_reference(record: bytes) -> bytes:
    """The same version without its KeyValue, which readers find in the revision's record."""
    return record[:1] + bytes((record[1] | REFERENCE,)) + record[2 : record[0]]


def step_down(record: bytes, limit: bytes) -> bytes:
    """The farthest ancestor known to this record that is still after the position `limit`.

    If none is, the direct predecessor, which then is the answer to "what was there at `limit`".
    """
    if record[0] == ANCHORED_LENGTH:
        far = record[66:78]
        if far > limit:
            return far
        near = record[54:66]
        if near > limit:
            return near
    return record[18:30]
