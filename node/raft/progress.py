"""The leader's view of one member's log, and how fast it may be sent to.

    probe ──ack──► replicate ──refusal, unreachable──► probe
      │                │
      └── entries compacted ──► snapshot ──ack, delivered or failed──► probe or replicate

In *probe* the position is a guess: one append at a time, the next after an answer or a heartbeat.
In *replicate* appends are pipelined and `next` runs ahead of `match`. In *snapshot* nothing is sent
until the snapshot's fate is known. Invariant throughout: match < next.
Source: etcd-io/raft's design notes on progress; Raft paper §5.3, §7.

A commit is told at once to a member that waits for it: one that is *eager* (somebody watches there,
which its answers say) or that proposed the entry or asked for a read at its index (*awaits*).
Others learn it from the next append, or within a tick. Telling everyone would cost each put four
messages and four turns of members that gain nothing by it.
"""

from __future__ import annotations

from enum import Enum

from node.raft.config import RaftConfig
from node.raft.inflight import Inflight


class ProgressState(Enum):
    """How appends flow to the member."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """`match`: last index known to be on the member's disk, as our log has it. It only grows."""

    __slots__ = (
        "awaits",
        "beat_due",
        "eager",
        "inflight",
        "learner",
        "match",
        "next",
        "owed",
        "paused",
        "pending_snapshot",
        "recent_active",
        "sent_commit",
        "state",
        "was_active",
    )

    def __init__(self, config: RaftConfig, next_index: int, *, learner: bool, active: bool) -> None:
        self.match = 0
        self.next = next_index
        self.state = ProgressState.PROBE
        self.learner = learner
        self.inflight = Inflight(config.inflight_messages_max, config.inflight_bytes_max)
        self.paused = False
        """A probe or snapshot is on its way: send nothing more until it is answered."""
        self.owed = False
        """An append is due even if it has no entries."""
        self.beat_due = False
        """The next heartbeat answer may trigger a repeat; one per heartbeat period, however many
        extra heartbeats the reads cause."""
        self.pending_snapshot = 0
        self.recent_active = active
        """Heard from since the last check of the quorum."""
        self.was_active = active
        """Heard from in the period before that."""
        self.sent_commit = 0
        """Highest commit index that the member was told."""
        self.eager = True
        self.awaits = 0
        """Highest index whose commit the member is known to wait for."""

    @property
    def active(self) -> bool:
        """Heard from within the last one or two election timeouts."""
        return self.recent_active or self.was_active

    def become_probe(self) -> None:
        """Guess again: after the snapshot if one was sent, else after what is certain."""
        after = self.pending_snapshot if self.state is ProgressState.SNAPSHOT else 0
        self._reset(ProgressState.PROBE)
        self.next = max(self.match, after) + 1
        self.sent_commit = min(self.sent_commit, self.next - 1)

    def become_replicate(self) -> None:
        """The position is certain: pipeline from there."""
        self._reset(ProgressState.REPLICATE)
        self.next = self.match + 1

    def become_snapshot(self, index: int) -> None:
        """Everything up to `index` travels as a snapshot; wait for its fate."""
        self._reset(ProgressState.SNAPSHOT)
        self.paused = True
        self.pending_snapshot = index
        self.next = index + 1
        self.sent_commit = index

    def maybe_update(self, index: int) -> bool:
        """The member holds everything up to `index`. False: an old answer that says nothing new."""
        if index <= self.match:
            return False
        self.match = index
        self.next = max(self.next, index + 1)
        # An append sent before the snapshot may be acknowledged while that is under way.
        self.paused = self.state is ProgressState.SNAPSHOT
        return True

    def maybe_retreat(self, rejected: int, hint: int) -> bool:
        """The member refused an append after `rejected`; it can match at `hint` at the latest.

        False: the refusal is stale, an answer to an append that later answers have overtaken.
        """
        if self.state is ProgressState.REPLICATE:
            if rejected <= self.match:
                return False
            self.become_probe()
            return True
        if self.state is ProgressState.SNAPSHOT or self.next - 1 != rejected:
            return False
        self.next = max(min(rejected, hint + 1), self.match + 1)
        self.sent_commit = min(self.sent_commit, self.next - 1)
        self.paused = False
        return True

    def can_bump_commit(self, commit: int) -> bool:
        """Whether telling `commit` may let the member commit more than it was told so far."""
        return commit > self.sent_commit and self.sent_commit < self.next - 1

    def waits_for_commit(self) -> bool:
        """Whether the member wants to hear of a commit that it was not told."""
        return self.eager or self.sent_commit < self.awaits

    def sent(self, count: int, size: int, commit: int) -> None:
        """An append of `count` entries and `size` bytes left, carrying `commit`."""
        self.owed = False
        self.sent_commit = commit
        if self.state is ProgressState.PROBE:
            self.paused = True
        elif count:
            self.next += count
            self.inflight.add(self.next - 1, size)

    def close_period(self) -> None:
        """A check of the quorum was made: what was recent is now the past."""
        self.was_active = self.recent_active
        self.recent_active = False

    def _reset(self, state: ProgressState) -> None:
        self.state = state
        self.paused = False
        self.pending_snapshot = 0
        self.inflight.clear()
