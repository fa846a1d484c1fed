"""What the core wants done, and the order in which it may be done.

One `Ready` is taken per turn of the owner's loop. Its duties, in order:

1. `messages` may be sent at once, also while the write below is still under way.
2. With a `token`, queue `hard_state`, `snapshot` and `entries` as ONE atomic write behind all
   earlier ones (an entry at index i replaces every stored entry at or after i; a snapshot comes
   without entries and replaces them all). An empty write with a token still takes its place in
   the queue. When it is synced, send
   `messages_after_append` and call `Core.persisted(token)`.
   Without a token, a `hard_state` moves the commit index only: keep it for the next write.
3. Apply `committed` in order and call `Core.applied_to`. These entries are committed and on the
   own disk. A CONF_CHANGE goes through `Core.apply_conf_change` before `applied_to`.
4. Answer `read_states`: a read may run as soon as its `index` is applied.

Several Readys may be in flight; they complete in the order in which they were taken. Nothing in
`messages_after_append` may ever leave before its write is synced: that split *is* the durability
contract (Raft thesis §3.8, §10.2.1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from node.raft.message import NO_MEMBER, ConfState, Entry, HardState, Message, SnapshotMeta


class Role(IntEnum):
    """What a member is in its current term. A learner is a follower that may not campaign."""

    FOLLOWER = 0
    PRE_CANDIDATE = 1
    CANDIDATE = 2
    LEADER = 3


class Proposed(IntEnum):
    """What became of a proposal. Only ACCEPTED says that it has a place in a log."""

    ACCEPTED = 0
    FORWARDED = 1
    """Sent to the leader; it may be lost on the way or dropped there without a word."""
    NO_LEADER = 2
    DROPPED = 3
    """The leader refuses for now: uncommitted limit, transfer under way, change pending."""
    REFUSED = 4
    """A configuration change that would endanger the quorum; the note says why."""


class NoteKind(IntEnum):
    """What a note is about: worth a log line or an event, never needed for correctness."""

    ROLE_CHANGED = 0
    CAMPAIGN = 1
    CAMPAIGN_REFUSED = 2
    VOTE_GRANTED = 3
    VOTE_REFUSED = 4
    VOTE_IGNORED = 5
    MESSAGE_IGNORED = 6
    APPEND_REFUSED = 7
    PROBE_MOVED = 8
    PROPOSAL_DROPPED = 9
    READS_DROPPED = 10
    TRANSFER = 11
    SNAPSHOT = 12
    CONF_CHANGED = 13
    QUORUM_LOST = 14
    DISK_STALLED = 15


@dataclass(frozen=True, slots=True)
class Note:
    """A remark on what just happened; `detail` is for people."""

    kind: NoteKind
    member: int
    """The other member concerned, or 0."""
    detail: str


@dataclass(frozen=True, slots=True)
class SoftState:
    """What is known but never stored."""

    role: Role = Role.FOLLOWER
    leader: int = NO_MEMBER
    term: int = 0
    """When it changes, reads that were forwarded to an earlier leader will never be answered."""


@dataclass(frozen=True, slots=True)
class ReadState:
    """The read that was asked for with `context` may run once `index` is applied."""

    context: int
    index: int


@dataclass(frozen=True, slots=True)
class PersistToken:
    """Names one write. `sequence` grows by one per token; the rest guards against ABA (see
    `node.raft.unstable`)."""

    sequence: int
    term: int
    last_index: int
    last_term: int
    snapshot_index: int = 0


@dataclass(slots=True)
class Ready:
    """See the module's docstring for the order of duties. The lists belong to the receiver."""

    soft_state: SoftState | None = None
    hard_state: HardState | None = None
    entries: list[Entry] = field(default_factory=list)
    snapshot: SnapshotMeta | None = None
    messages: list[Message] = field(default_factory=list)
    messages_after_append: list[Message] = field(default_factory=list)
    committed: list[Entry] = field(default_factory=list)
    read_states: list[ReadState] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    """Numbers of forwarded proposals that are in no log and will not be, so that they may be made
    again. One may be told more than once."""
    notes: list[Note] = field(default_factory=list)
    token: PersistToken | None = None


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """What the leader knows of one member."""

    match: int
    next: int
    state: str
    """probe, replicate or snapshot"""
    paused: bool
    inflight: int
    recent_active: bool
    learner: bool


@dataclass(frozen=True, slots=True)
class Status:
    """One instant of the core, for people and metrics."""

    id: int
    role: Role
    term: int
    vote: int
    leader: int
    commit: int
    applied: int
    stable: int
    """Last index known to be on the own disk."""
    last_index: int
    first_index: int
    conf: ConfState
    transferee: int
    pending_reads: int
    uncommitted_bytes: int
    progress: dict[int, PeerStatus]
    """Empty unless this member leads."""
