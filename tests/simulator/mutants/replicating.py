"""Planted bugs of the log, its replication and what counts as committed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from node.disk import Disk
from node.errors import InvariantViolated
from node.raft import raft as raft_module
from node.raft import replication, transfer
from node.raft.log import RaftLog
from node.raft.message import Entry, Heartbeat, HeartbeatReply, PreVoteReply, Vote, VoteReply
from node.raft.progress import Progress, ProgressState
from node.raft.raft import Raft
from node.raft.ready import PersistToken, Ready
from node.raft.unstable import Unstable
from store.installer import Installer
from store.record import Position
from tests.simulator.mutants.mutant import mutant


@mutant(3, "acknowledged before it is synced")
def acknowledge_early(patch: pytest.MonkeyPatch) -> None:
    """Acknowledgements of appends are not held back until the write is synced.

    Caught by: 6, an acknowledgement leaves for an entry that is not on disk.
    """
    votes = frozenset({Vote, VoteReply, PreVoteReply})
    patch.setattr(raft_module, "AFTER_APPEND", votes)


@mutant(4, "entries of earlier terms commit by count")
def commit_by_count(patch: pytest.MonkeyPatch) -> None:
    """The leader commits whatever a quorum holds, of whichever term (Raft paper, figure 8).

    Caught by: 5, a leader commits by count an entry that is not of its own term; 3 in the end.
    """

    def maybe_commit(raft: Raft) -> bool:
        index = raft.roster.committed()
        if 0 < raft.exit_index <= index:
            index = raft.exit_index - 1
            transfer.hand_over(raft)
        if index <= raft.log.commit:
            return False
        raft.replicate_due = True
        return raft.log.commit_to(index)

    patch.setattr(replication, "maybe_commit", maybe_commit)


@mutant(5, "an old append truncates the log")
def old_append_truncates(patch: pytest.MonkeyPatch) -> None:
    """Entries that are there already are taken for a conflict, so that a late append takes away
    what followed it and was acknowledged.

    Caught by: 7, a committed entry is on the disks of a minority only; 6, what was acknowledged
    is gone.
    """

    def first_conflict(self: RaftLog, entries: list[Entry]) -> int:
        return 0

    patch.setattr(RaftLog, "_first_conflict", first_conflict)


@mutant(6, "heartbeats carry the leader's own commit")
def heartbeat_raw_commit(patch: pytest.MonkeyPatch) -> None:
    """The commit in a heartbeat is not cut at what the receiver is known to hold, so that it
    commits what an earlier leader has left in its log.

    Caught by: 4, two commands applied at an index.
    """

    def send_heartbeats(raft: Raft, *, period: bool) -> None:
        commit = raft.log.commit
        for member, progress in raft.roster.progress.items():
            if member == raft.id or not (period or raft.roster.is_voter(member)):
                continue
            progress.beat_due |= period
            progress.sent_commit = max(progress.sent_commit, commit)
            raft.send(Heartbeat(raft.id, member, raft.term, commit, raft.reads.counter))

    patch.setattr(replication, "send_heartbeats", send_heartbeats)


@mutant(7, "the commit may go back")
def commit_regresses(patch: pytest.MonkeyPatch) -> None:
    """A follower takes the commit of whatever message comes last, also of a late one.

    Caught by: 5, a commit goes back.
    """

    def commit_to(self: RaftLog, index: int) -> bool:
        if index == self.commit:
            return False
        if index > self.last_index:
            raise InvariantViolated(f"commit {index} is beyond the last entry")
        self.commit = index
        return True

    patch.setattr(RaftLog, "commit_to", commit_to)


@mutant(8, "the match may go back")
def match_regresses(patch: pytest.MonkeyPatch) -> None:
    """The leader takes the match of whatever answer comes last, also of a late one.

    Caught by: 5, what a leader knows of a member goes back within its term.
    """

    def maybe_update(self: Progress, index: int) -> bool:
        if index == self.match:
            return False
        self.match = index
        self.next = max(self.next, index + 1)
        self.paused = False
        return True

    patch.setattr(Progress, "maybe_update", maybe_update)


@mutant(11, "no empty entry opens a term")
def no_empty_entry(patch: pytest.MonkeyPatch) -> None:
    """A new leader waits for a proposal: what earlier terms left does not commit, and reads wait
    until somebody writes.

    Caught by: 12, the leader of an idle cluster commits nothing of its own term, or answers no
    read.
    """
    append_own = Raft.append_own

    def append(self: Raft, kind: int, data: Sequence[bytes]) -> None:
        if list(data) != [b""]:
            append_own(self, kind, data)

    patch.setattr(Raft, "append_own", append)


@mutant(29, "the term of the log's boundary is forgotten", family="compaction")
def forget_boundary_term(patch: pytest.MonkeyPatch) -> None:
    """After an install only the index of the snapshot is remembered, not its term. The log then
    seems to end in term 0: any other is good enough to vote for, and nothing can be appended to it.

    Caught by: 12, the member does not catch up; 3, who was elected by it lacks committed entries.
    """
    install = Disk._install

    def forgetful_install(self: Disk, ready: Ready, installer: Installer) -> None:
        install(self, ready, installer)
        self._last = self._boundary = Position(self._boundary.index, 0)

    patch.setattr(Disk, "_install", forgetful_install)


@mutant(30, "a full window is never freed after a loss", family="tiny")
def window_stays_full(patch: pytest.MonkeyPatch) -> None:
    """An answer to a heartbeat causes no empty append while the window is full. When the whole
    window was lost, nothing is sent to the member any more.

    Caught by: 12, a member of the calm core does not catch up.
    """

    def handle_heartbeat_reply(raft: Raft, message: HeartbeatReply, progress: Progress) -> None:
        progress.recent_active = True
        progress.eager = message.eager
        if not progress.beat_due:
            return
        progress.beat_due = False
        if progress.state is ProgressState.PROBE:
            progress.paused = False
            progress.owed = True
        elif (
            progress.state is ProgressState.REPLICATE
            and progress.match < raft.log.last_index
            and not progress.inflight.full()
        ):
            progress.owed = True
        raft.replicate_due = True

    patch.setattr(replication, "handle_heartbeat_reply", handle_heartbeat_reply)


@mutant(31, "a completed write vouches for entries that replaced its own", family="revolt")
def completion_by_index(patch: pytest.MonkeyPatch) -> None:
    """A completion is believed by the index that it names. The entries may have been replaced since
    and the write that does so is still to come.

    With (index, term) compared and no more, entries would have to be replaced and put back while
    one write is under way (A, B, A). Whole members cannot come to that: who puts them back has to
    be refused first, and a refusal waits behind the writes, too. The core's own tests have it.

    Caught by: 6, an entry counts as stable that is not on disk as the log has it.
    """

    def complete(self: Unstable, token: PersistToken, term: int) -> None:
        self.acknowledged = token.sequence
        if self.snapshot is not None and self.snapshot.index == token.snapshot_index:
            self.snapshot, self.snapshot_handed = None, False
        count = min(token.last_index - self.offset + 1, len(self.entries))
        if count > 0:
            del self.entries[:count]
            self.offset += count

    patch.setattr(Unstable, "complete", complete)
