"""What one log entry carries: who proposed which kind of request, and the request as it came.

    kind u8 │ version u8 │ origin u64 │ sequence u64 │ protobuf bytes of the client, untouched

Numbers are little-endian: they are never sorted. Origin and sequence let the proposing member find
whom to answer; the machine never looks at them.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from node.errors import check

_HEADER = Struct("<BBQQ")
_VERSION = 1

OVERHEAD_BYTES = _HEADER.size
"""What an envelope adds to its request."""


class RequestKind(IntEnum):
    """What the bytes of an entry are. Numbers are in logs on disk: never reuse one.

    From 32 on: requests of the Auth service.
    """

    PUT = 1
    DELETE_RANGE = 2
    TXN = 3
    COMPACT = 4
    LEASE_GRANT = 5
    LEASE_REVOKE = 6
    ALARM = 7
    MEMBER_PUBLISH = 8
    """`etcdserverpb.Member`: a member tells its name and URLs."""
    MEMBER_ADD = 9
    MEMBER_REMOVE = 10
    MEMBER_PROMOTE = 11
    """`etcdserverpb.Member`, in the context of a change of the configuration."""
    MEMBER_UPDATE = 12
    """`etcdserverpb.Member`: an operator gives a member other peer URLs."""
    STATE_CHECK = 13
    """Empty: every member takes the checksum of its state at this index. Changes nothing."""


class Envelope(NamedTuple):
    """One entry's data, taken apart. `kind` may be one that this release does not know."""

    kind: int
    origin: int
    sequence: int
    request: bytes


def pack(kind: int, origin: int, sequence: int, request: bytes) -> bytes:
    """Entry data for a request; origin and sequence are uint64."""
    return _HEADER.pack(kind, _VERSION, origin, sequence) + request


def unpack(data: bytes) -> Envelope:
    """Take entry data apart.

    Raises:
        InvariantViolated: no envelope, or one of a later release; this member must not guess.
    """
    check(len(data) >= OVERHEAD_BYTES, "an entry is too short for its envelope")
    kind, version, origin, sequence = _HEADER.unpack_from(data)
    check(version == _VERSION, f"an envelope of unknown version {version}")
    return Envelope(kind, origin, sequence, data[OVERHEAD_BYTES:])
