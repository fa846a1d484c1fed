"""One member's consensus state, the changes of role, and the outbox.

    follower ──timeout──► pre-candidate ──quorum would vote──► candidate ──quorum votes──► leader
        ▲                      │                                  │                         │
        └──────── leader heard, lost, higher term ────────────────┴──── quorum lost, higher ┘

This module holds what every role shares and the transitions. What a role does with a message stands
in `follower`, `election` and `leader`; which of them is asked is decided by `step`; the owner
talks to `core` only. Nothing here sends, writes or waits: effects queue up until a `Ready` takes
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from node.errors import check
from node.raft.config import RaftConfig
from node.raft.log import RaftLog
from node.raft.message import (
    NO_MEMBER,
    AppendReply,
    ConfChange,
    ConfChangeKind,
    Entry,
    EntryKind,
    HardState,
    Message,
    PreVoteReply,
    Vote,
    VoteReply,
    entries_bytes,
)
from node.raft.read_round import ReadRounds
from node.raft.ready import Note, NoteKind, ReadState, Role, SoftState
from node.raft.roster import Roster

AFTER_APPEND = frozenset({AppendReply, Vote, VoteReply, PreVoteReply})
"""Kinds that rest on something durable. Refusals are among them: that they could leave earlier
has not been proved.

The request for a vote waits too. If it left at once, others could elect a candidate that then
crashes before its own term is on disk. Restarted in the term before, and perhaps without the tail
that won it the election, it could be elected to the *same* term again, by answers still under way
or by whoever has not heard of its first reign, and write other entries to the same positions."""

LIVES = 1 << 62
"""Two lives of a member that draw the same number would take each other's forwards for repeats."""


class Random(Protocol):
    """The chance that the core is given; a seeded `random.Random` will do."""

    def randrange(self, start: int, stop: int, /) -> int:
        """A number of [start, stop)."""


class Raft:
    """The state of one member. Fields change only through the modules of this package."""

    __slots__ = (
        "config",
        "dropped",
        "eager",
        "election_elapsed",
        "election_timeout",
        "exit_index",
        "first_of_term",
        "forwarded",
        "forwards",
        "heartbeat_elapsed",
        "id",
        "leader",
        "life",
        "log",
        "messages",
        "messages_after_append",
        "notes",
        "pending_conf_index",
        "push_due",
        "random",
        "read_states",
        "reads",
        "replicate_due",
        "role",
        "roster",
        "stalled_ticks",
        "term",
        "transferee",
        "uncommitted_bytes",
        "vote",
    )

    def __init__(
        self, config: RaftConfig, log: RaftLog, roster: Roster, random: Random, state: HardState
    ) -> None:
        self.config, self.log, self.roster, self.random = config, log, roster, random
        self.id = config.id
        self.term = state.term
        self.vote = state.vote
        """Whom this member votes for in `term`; once given it stays for the term."""
        self.role = Role.FOLLOWER
        self.leader = NO_MEMBER
        self.election_elapsed = 0
        """Ticks since the leader was heard; at the leader, since the quorum was checked."""
        self.election_timeout = 0
        self.heartbeat_elapsed = 0
        self.eager = True
        """Whether this member wants to hear of commits at once; the owner says so."""
        self.life = random.randrange(1, LIVES)
        """Which life of this member forwards proposals: drawn at every start."""
        self.forwards = 0
        """How many messages of proposals this life has forwarded."""
        self.messages: list[Message] = []
        self.messages_after_append: list[Message] = []
        self.read_states: list[ReadState] = []
        self.notes: list[Note] = []
        self.dropped: list[int] = []
        """Numbers of forwards that the leader has not taken."""
        # The rest is the leader's.
        self.reads = ReadRounds(config.pending_reads_max)
        self.first_of_term = 0
        """Index of the no-op that opened the leader's term."""
        self.pending_conf_index = 0
        """No change of the configuration is proposed before this index is applied."""
        self.transferee = NO_MEMBER
        self.forwarded: dict[tuple[int, int], int] = {}
        """By (member, life): the number of its last forward that arrived in this term."""
        self.exit_index = 0
        """Where the entry stands that takes the leader itself out of the voters; 0 if none does."""
        self.uncommitted_bytes = 0
        self.stalled_ticks = 0
        """Ticks for which an own write has been under way without any completing."""
        self.replicate_due = False
        """Something happened after which a peer may be sent to."""
        self.push_due = False
        """Commits that peers were not told are told now, whoever waits for them or not."""
        self._draw_timeout()

    # What others ask

    @property
    def hard_state(self) -> HardState:
        return HardState(self.term, self.vote, self.log.commit)

    @property
    def soft_state(self) -> SoftState:
        return SoftState(self.role, self.leader, self.term)

    def committed_in_term(self) -> bool:
        """Whether an entry of the leader's own term is committed. Until then the leader does not
        know how far the commit really is. Source: Raft paper §8."""
        return self.role is Role.LEADER and self.log.commit >= self.first_of_term

    def hears_leader(self) -> bool:
        """Whether a leader was heard within the election timeout. Source: Raft thesis §4.2.3."""
        return self.leader != NO_MEMBER and self.election_elapsed < self.config.election_ticks

    # Effects

    def send(self, message: Message) -> None:
        """Queue a message in the list that its kind belongs to: the only door out."""
        if type(message) not in AFTER_APPEND:
            self.messages.append(message)
            return
        queue = self.messages_after_append
        if queue and _supersedes(message, queue[-1]):
            queue[-1] = message
        else:
            queue.append(message)

    def note(self, kind: NoteKind, detail: str, member: int = NO_MEMBER) -> None:
        self.notes.append(Note(kind, member, detail))

    def append_own(self, kind: int, data: Sequence[bytes]) -> None:
        """Put new entries of the own term into the leader's log."""
        term, index = self.term, self.log.last_index + 1
        entries = [Entry(term, index + offset, kind, item) for offset, item in enumerate(data)]
        self.log.append(entries)
        self.uncommitted_bytes += entries_bytes(entries)
        self.replicate_due = True

    # Changes of role

    def become_follower(self, term: int, leader: int) -> None:
        """Of `leader`, or of nobody that is known yet."""
        check(term >= self.term, "the term must not go back")
        if self.role is not Role.FOLLOWER or term != self.term or leader != self.leader:
            self.note(NoteKind.ROLE_CHANGED, f"follower at term {term}", leader)
        self._reset(term)
        self.role = Role.FOLLOWER
        self.leader = leader

    def become_pre_candidate(self) -> None:
        """Ask who would vote; neither term nor vote change. Source: Raft thesis §9.6."""
        check(self.role is not Role.LEADER, "a leader does not ask for pre-votes")
        self.role = Role.PRE_CANDIDATE
        self.leader = NO_MEMBER
        self.roster.votes = {}
        self.election_elapsed = 0
        self._draw_timeout()
        self.note(NoteKind.ROLE_CHANGED, f"pre-candidate at term {self.term}")

    def become_candidate(self) -> None:
        """Raise the term and vote for oneself. Source: Raft paper §5.2."""
        check(self.role is not Role.LEADER, "a leader does not campaign")
        self._reset(self.term + 1)
        self.role = Role.CANDIDATE
        self.grant(self.id)
        self.note(NoteKind.ROLE_CHANGED, f"candidate at term {self.term}")

    def become_leader(self) -> None:
        """Open the term with an empty entry, so that what earlier leaders left can commit.

        Source: Raft paper §5.4.2 and §8.
        """
        check(self.role is Role.CANDIDATE, "only a candidate becomes leader")
        self._reset(self.term)
        self.role = Role.LEADER
        self.leader = self.id
        own = self.roster.progress[self.id]
        own.match = self.log.stable_index
        own.become_replicate()
        self.first_of_term = self.log.last_index + 1
        # A change may hide among the entries that are not committed yet, so wait for all of them.
        self.pending_conf_index = self.log.last_index
        self.find_exit()
        self.append_own(EntryKind.NORMAL, [b""])
        self.note(NoteKind.ROLE_CHANGED, f"leader at term {self.term}")

    def find_exit(self) -> None:
        """Look for the leader's own removal among the changes that are not committed."""
        for index in self.log.conf_indexes:
            if index > self.log.commit:
                [entry] = self.log.entries(index, index + 1, 1)
                change = msgspec.msgpack.decode(entry.data, type=ConfChange)
                if change.member == self.id and change.kind != ConfChangeKind.ADD_VOTER:
                    self.exit_index = index

    def grant(self, member: int) -> None:
        """Give the vote of this term."""
        check(self.vote in (NO_MEMBER, member), "two votes in one term")
        self.vote = member

    def _reset(self, term: int) -> None:
        if term != self.term:
            self.term, self.vote = term, NO_MEMBER
        if self.reads.pending:
            self.note(NoteKind.READS_DROPPED, f"{self.reads.pending} reads")
        self.leader = self.transferee = NO_MEMBER
        self.election_elapsed = self.heartbeat_elapsed = 0
        self.roster.reset(self.log.last_index + 1)
        self.reads = ReadRounds(self.config.pending_reads_max)
        self.first_of_term = self.pending_conf_index = self.exit_index = 0
        self.uncommitted_bytes = self.stalled_ticks = 0
        self.replicate_due = self.push_due = False
        self.forwarded = {}
        self._draw_timeout()

    def _draw_timeout(self) -> None:
        """Spread the candidates. Source: Raft paper §5.2."""
        ticks = self.config.election_ticks
        self.election_timeout = self.random.randrange(ticks, 2 * ticks)


def _supersedes(new: Message, old: Message) -> bool:
    """Whether `old`, not sent yet, need not be: an acknowledgement includes all earlier ones."""
    return (
        isinstance(new, AppendReply)
        and isinstance(old, AppendReply)
        and (new.to, new.term) == (old.to, old.term)
        and not new.reject
        and not old.reject
        and new.index >= old.index
    )
