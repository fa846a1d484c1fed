"""Sightings of what happens between cores: elections, replication, truncated logs.

A sighting checks nothing. It counts a coverage mark when something happens, so that a campaign can
say what its silence is worth. Most are read off the core's notes; the others compare the core
before and after it takes in a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from node.raft.message import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    Heartbeat,
    InstallSnapshot,
    PreVote,
    PreVoteReply,
    Vote,
    VoteReply,
)
from node.raft.progress import ProgressState
from node.raft.ready import Note, NoteKind, Ready, Role
from tests.simulator.invariants.tap import Check, Subject

MANY = 10
"""Entries that make a jump a long one, or a batch a large one."""

NOTES: dict[NoteKind, tuple[tuple[str, str], ...]] = {
    NoteKind.ROLE_CHANGED: (("leader at", "leader_elected"),),
    NoteKind.CAMPAIGN_REFUSED: (
        ("a committed configuration", "campaign_blocked_by_conf"),
        ("a snapshot is being", "campaign_blocked_by_snapshot"),
        ("not a voter", "campaign_blocked_no_voter"),
    ),
    NoteKind.QUORUM_LOST: (("", "check_quorum_stepdown"),),
    NoteKind.DISK_STALLED: (
        ("own writes", "disk_stalled_handover"),
        ("steps down", "disk_stalled_stepdown"),
    ),
    NoteKind.READS_DROPPED: (("", "reads_dropped"),),
    NoteKind.APPEND_REFUSED: (("", "append_refused"),),
    NoteKind.TRANSFER: (
        ("begins", "transfer_begun"),
        ("declined", "transfer_declined"),
        ("timed out", "transfer_timed_out"),
    ),
    NoteKind.SNAPSHOT: (
        ("sending", "snapshot_sent"),
        ("too old", "snapshot_too_old"),
        ("not ahead", "snapshot_ignored_old"),
        ("has it all", "snapshot_fast_forward"),
    ),
    NoteKind.PROPOSAL_DROPPED: (
        ("being transferred", "transfer_dropped_proposal"),
        ("uncommitted bytes", "uncommitted_limit"),
        ("an earlier change", "change_busy"),
        ("", "change_refused"),
    ),
    NoteKind.MESSAGE_IGNORED: (
        ("of a stranger", "stranger_answered"),
        ("Propose", "forwarded_to_former_leader"),
        ("has been here", "forwarded_twice"),
    ),
}
"""What a note says → the mark that it is; the first that fits."""


class NoteSightings(Check):
    """Whatever the core remarks itself."""

    def ready(self, subject: Subject, ready: Ready) -> None:
        for note in ready.notes:
            for part, mark in NOTES.get(note.kind, ()):
                if part in note.detail:
                    self.hit(mark)
                    break
            if note.kind is NoteKind.TRANSFER:
                self._transfer(subject, note)

    def _transfer(self, subject: Subject, note: Note) -> None:
        target = self.cluster.nodes.get(note.member)
        if note.detail == "timed out" and target is not None and not target.up:
            self.hit("transfer_target_died")


class ElectionSightings(Check):
    """Who is refused, outvoted or deposed, and why."""

    arriving: ClassVar = {
        PreVote: "pre_vote_arrives",
        Vote: "vote_arrives",
        Append: "leader_arrives",
        Heartbeat: "leader_arrives",
        InstallSnapshot: "leader_arrives",
        VoteReply: "answer_arrives",
        PreVoteReply: "answer_arrives",
    }
    taken: ClassVar = {VoteReply: "answer_taken", PreVoteReply: "answer_taken"}
    sent: ClassVar = {Vote: "vote_asked", VoteReply: "vote_answered"}

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._asked: dict[int, int] = {}
        self._targets: dict[int, int] = {}
        """Term → whom its leader wanted to follow it."""

    def began(self, subject: Subject) -> None:
        subject.facts.update(role=Role.FOLLOWER, role_term=subject.raft.term, stuck=False)
        head = subject.platter.head
        if subject.node._lives > 1:
            self.hit("vote_survived_restart" if head.vote else "term_without_vote_restart")

    def ready(self, subject: Subject, ready: Ready) -> None:
        raft, facts = subject.raft, subject.facts
        role, term = facts["role"], facts["role_term"]
        if raft.transferee:
            self._targets[raft.term] = raft.transferee
        if raft.role is role and raft.term == term:
            return
        if role is Role.LEADER and raft.term > term:
            self.hit("leader_deposed")
        if role is Role.CANDIDATE and raft.role in (Role.PRE_CANDIDATE, Role.CANDIDATE):
            self.hit("candidate_timed_out")
        if raft.role is Role.LEADER and self._targets.get(raft.term - 1) == subject.id:
            self.hit("transfer_done")
        facts["role"], facts["role_term"] = raft.role, raft.term

    def pre_vote_arrives(self, subject: Subject, message: PreVote) -> None:
        raft = subject.raft
        if message.term < raft.term:
            self.hit("pre_vote_of_lower_term")
        elif message.term > raft.term and raft.hears_leader():
            self.hit("pre_vote_ignored_sticky")
        elif not raft.log.up_to_date(message.last_index, message.last_term):
            self.hit("pre_vote_refused")

    def vote_arrives(self, subject: Subject, message: Vote) -> None:
        raft = subject.raft
        if message.term < raft.term:
            return
        if message.term > raft.term and raft.hears_leader():
            if not message.force:
                self.hit("vote_ignored_sticky")
                return
            self.hit("forced_vote")
        if not raft.log.up_to_date(message.last_index, message.last_term):
            self.hit("vote_refused_old_log")
        elif message.term == raft.term and raft.vote:
            again = raft.vote == message.sender
            self.hit("vote_asked_twice" if again else "vote_refused_given")

    def vote_asked(self, subject: Subject, message: Vote) -> None:
        if self._asked.setdefault(message.term, subject.id) != subject.id:
            self._asked[message.term] = subject.id
            self.hit("split_vote")

    def vote_answered(self, subject: Subject, message: VoteReply) -> None:
        if message.granted and subject.id not in subject.conf.voters:
            self.hit("learner_voted")

    def leader_arrives(self, subject: Subject, message: Append) -> None:
        raft, facts = subject.raft, subject.facts
        if message.term < raft.term:
            self.hit("higher_term_refused")
            facts["stuck"] = True
            return
        if facts["stuck"]:
            facts["stuck"] = False
            self.hit("higher_term_freed")
        if raft.role in (Role.CANDIDATE, Role.PRE_CANDIDATE):
            self.hit("candidate_heard_leader")

    def answer_arrives(self, subject: Subject, message: VoteReply) -> None:
        subject.facts["campaigns"] = subject.raft.role in (Role.CANDIDATE, Role.PRE_CANDIDATE)

    def answer_taken(self, subject: Subject, message: VoteReply) -> None:
        if not subject.facts["campaigns"]:
            return
        if subject.raft.role is Role.FOLLOWER:
            self.hit("candidate_lost")
        elif (
            subject.raft.role is Role.LEADER and max(self.ledger.leaders, default=0) > message.term
        ):
            self.hit("late_leader")


class ReplicationSightings(Check):
    """How the leader finds out what a peer holds, and what gets in its way."""

    arriving: ClassVar = {AppendReply: "reply_arrives"}
    taken: ClassVar = {AppendReply: "reply_taken"}
    sent: ClassVar = {
        Append: "append_sent",
        AppendReply: "reply_sent",
        Heartbeat: "heartbeat_sent",
    }

    def began(self, subject: Subject) -> None:
        subject.facts["windows"] = set()

    def ready(self, subject: Subject, ready: Ready) -> None:
        log, raft = subject.log, subject.raft
        if log.commit > subject.commit and raft.role is Role.LEADER:
            first = max(subject.commit + 1, log.first_index())
            if log.term(first) < raft.term:
                self.hit("old_term_committed")
        waits = log.applying < min(log.commit, log.stable_index)
        if waits and log.applying_bytes >= raft.config.apply_bytes_max:
            self.hit("apply_limit")

    def append_sent(self, subject: Subject, message: Append) -> None:
        if len(message.entries) >= MANY:
            self.hit("batch_of_entries")
        progress = subject.raft.roster.progress.get(message.to)
        if progress is not None and progress.inflight.full():
            self.hit("window_full")
            if not message.entries:
                subject.facts["windows"].add((message.term, message.to))

    def heartbeat_sent(self, subject: Subject, message: Heartbeat) -> None:
        if message.commit < subject.log.commit:
            self.hit("commit_bounded_by_match")

    def reply_sent(self, subject: Subject, message: AppendReply) -> None:
        if message.reject and message.index - message.hint_index > MANY and message.hint_index:
            self.hit("hint_skip_follower")

    def reply_arrives(self, subject: Subject, message: AppendReply) -> None:
        progress = subject.raft.roster.progress.get(message.sender)
        if progress is not None:
            subject.facts["reply"] = (progress.match, progress.next, progress.state)

    def reply_taken(self, subject: Subject, message: AppendReply) -> None:
        raft = subject.raft
        progress = raft.roster.progress.get(message.sender)
        if progress is None or raft.role is not Role.LEADER or message.term != raft.term:
            return
        match, following, state = subject.facts["reply"]
        if not message.reject:
            if message.index < match:
                self.hit("stale_ack")
            if (message.term, message.sender) in subject.facts["windows"]:
                subject.facts["windows"].discard((message.term, message.sender))
                self.hit("window_recovered")
        elif (progress.next, progress.state) == (following, state):
            self.hit("stale_refusal")
        elif state is ProgressState.PROBE and message.hint_index - progress.next + 1 > MANY:
            self.hit("hint_skip_leader")

    def unreachable(self, subject: Subject, peer: int) -> None:
        progress = subject.raft.roster.progress.get(peer)
        if subject.raft.role is not Role.LEADER or progress is None:
            return
        if progress.state is ProgressState.REPLICATE:
            self.hit("unreachable_probe")


class TruncationSightings(Check):
    """What appends do to a log besides making it longer."""

    arriving: ClassVar = {Append: "append_arrives"}
    taken: ClassVar = {Append: "append_taken"}

    def append_arrives(self, subject: Subject, message: Append) -> None:
        log = subject.log
        subject.facts["tail"] = (log.last_index, log.last_term(), log.commit, subject.raft.term)

    def append_taken(self, subject: Subject, message: Append) -> None:
        last, term, commit, own_term = subject.facts["tail"]
        log = subject.log
        if message.term < own_term:
            return
        if message.prev_index < commit:
            self.hit("old_append")
        elif not log.matches(last, term):
            self._truncated(subject, last, term)
        elif not message.entries or log.last_index != last:
            return
        elif log.matches(message.entries[-1].index, message.entries[-1].term):
            self.hit("repeated_append")

    def _truncated(self, subject: Subject, last: int, term: int) -> None:
        gone = list(self._gone(subject, last, term))
        self.hit("truncated")
        if len({entry.term for entry in gone}) > 1:
            self.hit("truncated_terms")
        if any(entry.kind != EntryKind.NORMAL for entry in gone):
            self.hit("change_overwritten")

    def _gone(self, subject: Subject, index: int, term: int) -> Iterator[Entry]:
        """The entries of the former tail that the log has no more, the last one first."""
        while not subject.log.matches(index, term):
            found = self.ledger.entries.get((index, term))
            if found is None:
                return  # it had not been handed to the disk
            yield found[0]
            index, term = index - 1, found[1]
