"""What comes out of the machine: answers, events, lease changes, and the records to write.

Values only. `Applied` is the whole consequence of one log entry; the loop stages its effects,
answers with its outcome and hands its events to the watch hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from node.machine.errors import Refusal

Operation = tuple[bytes, bytes | None]
"""A state record to write; None deletes it."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A response without its header, which only the answering member can fill."""

    revision: int
    """What `header.revision` has to say."""
    body: bytes
    """The response message's encoded fields, header left out."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One change of one key. `mvccpb.Event` on the wire, see `node.watch`."""

    revision: int
    sub: int
    """Order inside the revision, from 0."""
    key: bytes
    deleted: bool
    kv: bytes
    """The KeyValue as an encoded field with tag 2, its place in Event and in RangeResponse."""
    record: bytes
    """The version record, from which the state before is found (`Machine.previous_kv`)."""
    replaced: bytes
    """The version record that it took the place of, if that is at hand; else empty."""


class LeaseChangeKind(IntEnum):
    """What happened to a lease."""

    GRANTED = 0
    REVOKED = 1
    CHECKPOINTED = 2


class LeaseChange(msgspec.Struct, frozen=True, gc=False):
    """One lease began, ended, or had noted what is left of it; the leader's clock follows these."""

    kind: LeaseChangeKind
    id: int
    ttl: int
    """Granted seconds; 0 when revoked. Of a checkpoint the seconds left; 0 = a renewal took it
    away."""


class TokenChangeKind(IntEnum):
    """What happened to the tokens by which users are known."""

    ASSIGNED = 0
    USER_REVOKED = 1
    ALL_REVOKED = 2


class TokenChange(msgspec.Struct, frozen=True, gc=False):
    """Tokens began or ended; each member keeps them in memory only (`node.tokens`)."""

    kind: TokenChangeKind
    name: str = ""
    """The user; empty for ALL_REVOKED."""
    token: str = ""
    """What was assigned."""


class Applied(msgspec.Struct, frozen=True, gc=False):
    """The consequence of one entry. Empty but for the outcome if the entry changed nothing."""

    outcome: Answer | Refusal
    effects: Sequence[Operation] = ()
    """To be staged before the next entry is applied, and written with its applied index."""
    events: Sequence[Event] = ()
    """All of one revision, the one that the machine has now, in sub order."""
    leases: Sequence[LeaseChange] = ()
    tokens: Sequence[TokenChange] = ()
