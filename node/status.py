"""What one member says about itself: plain values, made by the loop, shown by the api.

They live below both, because the loop may not know the api and the api must not reach into the
loop's parts. Nothing here computes; a value is a copy of one moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from node.tally import Tally


class Role(Enum):
    """The four roles of Raft with pre-vote, in words.

    Raft's own enum stays with the core: the machine reads this module, and it does not know Raft.
    """

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers. Both ids are non-zero uint64 and appear in every response header."""

    cluster_id: int
    member_id: int
    name: str
    version: str
    """The etcd release whose behaviour is served: dotted integers, parsed by clients."""


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """One member as MemberList reports it; empty name and client_urls = added, never started."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool = False


@dataclass(frozen=True, slots=True)
class Alarm:
    """One raised alarm. `kind` is etcd's AlarmType: 1 = NOSPACE, 2 = CORRUPT."""

    member_id: int
    kind: int


@dataclass(frozen=True, slots=True)
class Durations:
    """How long something took since start, as a histogram.

    `counts[i]` is the number of those that took at most `bounds_seconds[i]` and more than the bound
    before; the last count has no bound, so there is one count more than bounds.
    """

    bounds_seconds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    sum_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PeerProgress:
    """How far the leader knows a member's log to be the same as its own."""

    member_id: int
    match: int
    next: int
    state: str
    """probe, replicate or snapshot"""


@dataclass(frozen=True, slots=True)
class PeerFigures:
    """What has passed between this member and another one since start; sizes are bytes."""

    member_id: int
    connected: bool
    sent_bytes: int
    received_bytes: int
    unsent: int
    """Frames that could not be handed over."""
    round_trips: Durations
    """Of heartbeats."""


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One member at one moment. Sizes are bytes, indexes are of the Raft log, 0 = none."""

    role: Role
    term: int
    leader: int
    """Member id of the known leader; 0 = none known."""
    commit: int
    applied: int
    last_index: int
    is_learner: bool
    revision: int
    """The store's current revision; 1 = nothing written yet."""
    compact_revision: int
    db_size: int
    """What the state takes of the disk, dead records included: what the quota is about."""
    db_size_in_use: int
    """What its living records take, as of the last check of the state; `db_size` before any."""
    disk_size: int = 0
    """All files of the store: the log and what is no longer read as well."""
    alarms: tuple[Alarm, ...] = ()
    quarantined: str = ""
    """Why this member does not trust its state and serves nobody; "" = it does."""
    state_checks: int = 0
    """Checksums of the whole state that were taken since start."""
    state_records: int = 0
    """Records that the newest of them covers."""
    state_mismatches: int = 0
    """Verdicts of this member, as leader, that a state is not what the others have."""
    vote: int = 0
    """Whom this member has given its vote in this term; 0 = nobody."""
    transferee: int = 0
    """Whom leadership is being handed to; 0 = nobody."""
    progress: tuple[PeerProgress, ...] = ()
    """Of all members; empty unless this one leads."""
    leader_changes: int = 0
    proposals_pending: int = 0
    proposals_failed: int = 0
    reads_failed: int = 0
    writer_batches: int = 0
    """Batches waiting for the disk."""
    sync_times: Durations = Durations()
    """Of the log's disk syncs."""
    slow_turns: int = 0
    """Turns of the loop that took longer than their bound."""
    tally: Tally = field(default_factory=Tally)
    """What the state machine has done."""
    auth_revision: int = 0
    leases_renewed: int = 0
    leases_expired: int = 0
    """Revocations that were proposed because a lease's time was over; by a leader only."""
    watch_streams: int = 0
    watchers: int = 0
    watchers_behind: int = 0
    """Those of them that are not in the present."""
    events_told: int = 0
    """Events that watchers were sent."""
    defragmenting: bool = False
    installing: bool = False
    """Whether a snapshot is taking the place of the state."""
    peers: tuple[PeerFigures, ...] = ()
    """The other members, by id."""
