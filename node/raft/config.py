"""Every figure that the core can be given, with the relations that must hold between them.

Time is counted in ticks; how long one takes is the owner's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from node.errors import check
from node.raft.message import NO_MEMBER

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """The limits of one member. All members of a cluster should agree on the ticks."""

    id: int
    """The own member id; never re-used for another data directory."""
    election_ticks: int = 50
    """T: a follower campaigns after [T, 2T) silent ticks; a leader without a quorum for T ends."""
    heartbeat_ticks: int = 5
    append_bytes_max: int = 256 * KIB
    """Per append message; one entry always fits, however large."""
    inflight_messages_max: int = 256
    """Unacknowledged appends per peer."""
    inflight_bytes_max: int = 8 * MIB
    """Unacknowledged append bytes per peer."""
    uncommitted_bytes_max: int = 16 * MIB
    """Proposed but not committed at the leader; more is dropped. An empty tail takes anything."""
    apply_bytes_max: int = 4 * MIB
    """Handed out for applying and not acknowledged; one entry always fits."""
    pending_reads_max: int = 10_000

    def __post_init__(self) -> None:
        check(self.id != NO_MEMBER, "member id 0 means nobody")
        check(self.heartbeat_ticks > 0, "heartbeats need a positive period")
        check(
            self.heartbeat_ticks * 2 < self.election_ticks,
            "a follower must be able to miss a heartbeat without campaigning",
        )
        check(0 < self.append_bytes_max <= self.inflight_bytes_max, "window below one message")
        check(self.inflight_messages_max > 0, "empty window")
        check(self.uncommitted_bytes_max > 0, "no room for proposals")
        check(self.apply_bytes_max > 0, "no room for applying")
        check(self.pending_reads_max > 0, "no room for reads")
