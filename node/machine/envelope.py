"""What one log entry carries: who proposed which kind of request, and the request as it came.

    kind u8 │ form u8 │ origin u64 │ sequence u64 │ [credential │] protobuf bytes of the client

    form 1   nobody in particular asks: there is no credential
    form 2   a user asks:   auth revision u64 │ length u32 │ name
    form 3   the member asks in its own right: there is no credential either

Numbers are little-endian: they are never sorted. Origin and sequence let the proposing member find
whom to answer; the machine never looks at them. The credential is what the proposing member found
out about the client; what it allows is judged when the entry is applied, on every member alike.
Without authentication every client is nobody in particular, and the envelope the shortest.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from node.errors import InvariantViolated, check

_HEADER = Struct("<BBQQ")
_CREDENTIAL = Struct("<QI")
_BY_NOBODY, _BY_USER, _BY_MEMBER = 1, 2, 3

OVERHEAD_BYTES = _HEADER.size
"""What an envelope adds to its request, and a credential."""


class Credential(NamedTuple):
    """Whom a request is made for, found out at which revision of users, roles and permissions."""

    name: str
    revision: int


MEMBER = Credential("", 0)
"""A member's own business: what a lease's end or the supervisor wants is nobody's to permit. Known
by identity; no user has an empty name."""


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
    LEASE_CHECKPOINT = 14
    """`etcdserverpb.LeaseCheckpointRequest`: what the leader's clock has left of some leases."""
    DOWNGRADE = 15
    """`etcdserverpb.DowngradeRequest`: ENABLE with a target as major.minor.0, or CANCEL."""
    AUTH_ENABLE = 32
    AUTH_DISABLE = 33
    AUTHENTICATE = 34
    """`etcdserverpb.InternalAuthenticateRequest`: the password was right."""
    USER_ADD = 35
    USER_DELETE = 36
    USER_CHANGE_PASSWORD = 37
    USER_GRANT_ROLE = 38
    USER_REVOKE_ROLE = 39
    ROLE_ADD = 40
    ROLE_DELETE = 41
    ROLE_GRANT_PERMISSION = 42
    ROLE_REVOKE_PERMISSION = 43


class Envelope(NamedTuple):
    """One entry's data, taken apart. `kind` may be one that this release does not know."""

    kind: int
    origin: int
    sequence: int
    request: bytes
    credential: Credential | None = None
    """None = nobody in particular."""


def pack(
    kind: int, origin: int, sequence: int, request: bytes, credential: Credential | None = None
) -> bytes:
    """Entry data for a request; origin and sequence are uint64."""
    if credential is None:
        return _HEADER.pack(kind, _BY_NOBODY, origin, sequence) + request
    if credential is MEMBER:
        return _HEADER.pack(kind, _BY_MEMBER, origin, sequence) + request
    name = credential.name.encode()
    head = _HEADER.pack(kind, _BY_USER, origin, sequence)
    return head + _CREDENTIAL.pack(credential.revision, len(name)) + name + request


def unpack(data: bytes) -> Envelope:
    """Take entry data apart.

    Raises:
        InvariantViolated: no envelope, or one of a later release; this member must not guess.
    """
    check(len(data) >= OVERHEAD_BYTES, "an entry is too short for its envelope")
    kind, form, origin, sequence = _HEADER.unpack_from(data)
    if form == _BY_NOBODY:
        return Envelope(kind, origin, sequence, data[OVERHEAD_BYTES:], None)
    if form == _BY_MEMBER:
        return Envelope(kind, origin, sequence, data[OVERHEAD_BYTES:], MEMBER)
    check(form == _BY_USER, f"an envelope of unknown form {form}")
    start = OVERHEAD_BYTES + _CREDENTIAL.size
    check(len(data) >= start, "an entry is too short for its credential")
    revision, length = _CREDENTIAL.unpack_from(data, OVERHEAD_BYTES)
    check(len(data) >= start + length, "an entry is too short for its user's name")
    try:
        name = data[start : start + length].decode()
    except UnicodeDecodeError as error:
        raise InvariantViolated(f"an entry's user has no name: {error}") from error
    return Envelope(kind, origin, sequence, data[start + length :], Credential(name, revision))
