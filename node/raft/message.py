"""What members of a cluster say to each other, and what their logs hold.

Every value is frozen. The same classes travel on the wire (MessagePack arrays; the first element of
a message is its tag) and through the core, so that nothing is translated on the way. `Message` is
the closed union of everything that may arrive from a peer; ticks, campaigns, completed writes and
other events of the own process are methods of `Core` and have no wire form, so that a peer cannot
forge them.

The module does not encode or decode: the owner of the link does, with `list[Message]` at once.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from msgspec import Meta, Struct

NO_MEMBER = 0
"""The member id that nobody has: no leader known, no vote given."""

ENTRY_OVERHEAD_BYTES = 24
"""Estimate of what an entry costs on the wire and in memory besides its data."""

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A term or an index. Decoders refuse what is beyond: one more than the largest number of the wire
cannot be sent, and a member that was told of such a term would die of its next campaign."""


class EntryKind(IntEnum):
    """What an entry's data means to the one who applies it."""

    NORMAL = 0
    """An opaque request; empty data is the no-op with which a new leader opens its term."""
    CONF_CHANGE = 1
    """A MessagePack-encoded `ConfChange`."""


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """One position of the replicated log, identified by (index, term). Source: Raft paper §5.3."""

    term: Number
    index: Number
    kind: int
    data: bytes


class HardState(Struct, frozen=True, array_like=True, gc=False):
    """What must be on disk before it is acted upon: the current term, the vote in it, the commit.

    A commit that is behind after a crash is harmless; a term or vote that is behind is not.
    Source: Raft paper, figure 2, "persistent state".
    """

    term: Number = 0
    vote: int = NO_MEMBER
    commit: Number = 0


class ConfState(Struct, frozen=True, array_like=True):
    """Who takes part. All tuples are sorted.

    `voters_outgoing`, `learners_next` and `auto_leave` are used by joint configurations only; the
    core understands them (quorums have two sides) and never makes one by itself.
    """

    voters: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()
    voters_outgoing: tuple[int, ...] = ()
    learners_next: tuple[int, ...] = ()
    auto_leave: bool = False


class SnapshotMeta(Struct, frozen=True, array_like=True):
    """Which prefix of the log a snapshot stands for; `index` 0 means that there is none."""

    index: Number = 0
    term: Number = 0
    conf: ConfState = ConfState()


class ConfChangeKind(IntEnum):
    """How a configuration changes by one member."""

    ADD_VOTER = 0
    """Also promotes a learner."""
    ADD_LEARNER = 1
    """Also demotes a voter."""
    REMOVE = 2


class ConfChange(Struct, frozen=True, array_like=True):
    """The data of a CONF_CHANGE entry; `context` is the application's and opaque to the core."""

    kind: ConfChangeKind
    member: int
    context: bytes = b""


class Envelope(Struct, frozen=True, array_like=True):
    """Who speaks to whom, at which term of the sender's."""

    sender: int
    to: int
    term: Number


class PreVote(Envelope, frozen=True, array_like=True, tag=1, gc=False):
    """Would you vote for me at `term`? Changes no state anywhere. Source: Raft thesis §9.6."""

    last_index: Number
    last_term: Number


class PreVoteReply(Envelope, frozen=True, array_like=True, tag=2, gc=False):
    """`term` is the one that was asked about when granted, the voter's own when refused."""

    granted: bool


class Vote(Envelope, frozen=True, array_like=True, tag=3, gc=False):
    """RequestVote; leaves only when the candidate's term and log are on disk. `force` marks a
    transfer of leadership: leader stickiness does not apply."""

    last_index: Number
    last_term: Number
    force: bool = False


class VoteReply(Envelope, frozen=True, array_like=True, tag=4, gc=False):
    """The answer to `Vote`; leaves only when term and vote are on disk."""

    granted: bool


class Append(Envelope, frozen=True, array_like=True, tag=5):
    """AppendEntries; without entries it is a probe or carries a newer commit index."""

    prev_index: Number
    prev_term: Number
    commit: Number
    entries: list[Entry]


class AppendReply(Envelope, frozen=True, array_like=True, tag=6, gc=False):
    """The answer to `Append` and `InstallSnapshot`; leaves when what it promises is on disk.

    Accepted: everything up to `index` matches the leader's log. Refused: `index` is the refused
    previous index, and (`hint_index`, `hint_term`) is the last position that can still match.
    """

    index: Number
    reject: bool = False
    hint_index: Number = 0
    hint_term: Number = 0
    eager: bool = True
    """Whether the sender wants to hear of commits at once, see `node.raft.progress`."""


class Heartbeat(Envelope, frozen=True, array_like=True, tag=7, gc=False):
    """I still lead. `commit` never exceeds what the receiver is known to hold; `context` is the
    number of the newest read round."""

    commit: Number
    context: int = 0


class HeartbeatReply(Envelope, frozen=True, array_like=True, tag=8, gc=False):
    """Repeats the heartbeat's `context`. Promises nothing durable, so it may leave at once."""

    context: int = 0
    eager: bool = True


class InstallSnapshot(Envelope, frozen=True, array_like=True, tag=9):
    """The snapshot that `meta` describes has arrived as a whole; its data travels elsewhere."""

    meta: SnapshotMeta


class TimeoutNow(Envelope, frozen=True, array_like=True, tag=10, gc=False):
    """Campaign at once: leadership is handed to you. Source: Raft thesis §3.10."""


class Propose(Envelope, frozen=True, array_like=True, tag=11):
    """Proposals forwarded to the leader of `term`; each element becomes one entry of `kind`.

    `number` grows with every forward of one `life` of the sender, so that a leader takes each at
    most once, however often it arrives.
    """

    kind: int
    data: list[bytes]
    life: Number
    number: Number


class TransferLeader(Envelope, frozen=True, array_like=True, tag=12, gc=False):
    """A request to the leader to hand over to `transferee`."""

    transferee: int


class ReadIndex(Envelope, frozen=True, array_like=True, tag=13, gc=False):
    """Which index must be applied before a read that begins now? `context` is the asker's."""

    context: int


class ReadIndexReply(Envelope, frozen=True, array_like=True, tag=14, gc=False):
    """`index` answers the `ReadIndex` that carried `context`."""

    context: int
    index: Number


class ProposeDropped(Envelope, frozen=True, array_like=True, tag=15, gc=False):
    """The leader has not taken the forward of this life and number, and never will."""

    life: Number
    number: Number


Message = (
    Append
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | PreVote
    | PreVoteReply
    | Vote
    | VoteReply
    | InstallSnapshot
    | TimeoutNow
    | Propose
    | TransferLeader
    | ReadIndex
    | ReadIndexReply
    | ProposeDropped
)


def entry_bytes(entry: Entry) -> int:
    """What one entry counts against the limits on messages, windows and apply hand-offs."""
    return len(entry.data) + ENTRY_OVERHEAD_BYTES


def entries_bytes(entries: list[Entry]) -> int:
    """Sum of `entry_bytes` over `entries`."""
    return sum([len(entry.data) for entry in entries]) + ENTRY_OVERHEAD_BYTES * len(entries)
