"""What must hold over a whole cluster, whatever happens to it: checked from outside, step by step.

The ledger only looks at what members show (their role, their disk, what they apply and send). It
keeps what was once true for good: who led a term, which entry was committed at an index.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from node.raft import Entry, EntryKind, Role
from node.raft.message import AppendReply, Message, Vote, VoteReply
from node.raft.storage import FOUNDING_INDEX
from tests.node.raft.member import Member


@dataclass(slots=True)
class Ledger:
    """Every method raises AssertionError when its rule is broken."""

    members: dict[int, Member]
    leaders: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By term: (member, incarnation)."""
    committed: dict[int, Entry] = field(default_factory=dict)
    applied: dict[int, Entry] = field(default_factory=dict)
    requests: dict[bytes, int] = field(default_factory=dict)
    """By data of a normal entry: where it was applied."""
    votes: dict[tuple[int, int], int] = field(default_factory=dict)
    """By (member, term): for whom it said it votes."""
    reads: dict[int, int] = field(default_factory=dict)
    """By context: the index that a read must see."""
    commit: int = FOUNDING_INDEX
    """Highest index that any member has called committed."""

    def observe_member(self, member: Member) -> None:
        """After every step of `member`."""
        status = member.core.status()
        if status.role is Role.LEADER:
            self._check_election_safety(member, status.term)
        if status.commit > self.commit:
            self._check_commit(member, status.commit)

    def observe_sent(self, member: Member, messages: Iterable[Message]) -> None:
        """When messages leave: nobody promises what its disk does not hold."""
        for message in messages:
            match message:
                case AppendReply(reject=False):
                    last = member.storage.last_index()
                    assert message.index <= last, f"{message} acknowledged, disk ends at {last}"
                case VoteReply(granted=True) | Vote():
                    hard_state, _ = member.storage.initial_state()
                    voted = message.to if isinstance(message, VoteReply) else member.id
                    assert hard_state.term >= message.term, f"{message} before its term is on disk"
                    if hard_state.term == message.term:
                        assert hard_state.vote == voted, f"{message} before the vote is on disk"
                    given = self.votes.setdefault((member.id, message.term), voted)
                    assert given == voted, f"two votes of {member.id} in term {message.term}"

    def observe_applied(self, member: Member, entry: Entry) -> None:
        """State machine safety: nobody applies another entry at the same index; and whatever is
        applied is on the own disk. Source: Raft paper, figure 3."""
        known = self.applied.setdefault(entry.index, entry)
        assert known == entry, f"{member.id} applies {entry}, others applied {known}"
        if entry.data and entry.kind == EntryKind.NORMAL:
            at = self.requests.setdefault(entry.data, entry.index)
            assert at == entry.index, f"{entry} was proposed once and is applied at {at} as well"
        held = member.durably_holds(entry.index, entry.term)
        assert held, f"{member.id} applies {entry}, which is not on its disk"

    def ask_read(self, context: int) -> None:
        """A read begins: it must see everything that was committed before."""
        self.reads[context] = self.commit

    def observe_read(self, context: int, index: int) -> None:
        """The read of `context` was told to run at `index`."""
        assert index >= self.reads[context], f"stale read at {index}, not {self.reads[context]}"

    def check_logs(self) -> None:
        """Log matching: equal (index, term) means equal entries up to there. Source: figure 3."""
        logs = [member.log() for member in self.members.values()]
        for number, one in enumerate(logs):
            for other in logs[:number]:
                _check_matching(one, other)

    def _check_election_safety(self, member: Member, term: int) -> None:
        me = (member.id, member.incarnation)
        known = self.leaders.get(term)
        if known is None:
            self.leaders[term] = me
            self._check_completeness(member, term)
        assert known in (None, me), f"term {term} has leaders {known} and {me}"

    def _check_completeness(self, leader: Member, term: int) -> None:
        """A leader holds every entry committed before its term."""
        log, first = leader.log(), leader.storage.first_index()
        for index, entry in self.committed.items():
            held = index < first or log.get(index) == entry or entry.term >= term
            assert held, f"leader {leader.id} of term {term} lacks committed {entry}"

    def _check_commit(self, member: Member, commit: int) -> None:
        """What is called committed for the first time is on the disks of a majority."""
        log = member.log()
        for index in range(self.commit + 1, commit + 1):
            self.committed[index] = log[index]
        entry = log[commit]
        voters = member.conf.voters
        holders = [
            voter for voter in voters if self.members[voter].durably_holds(commit, entry.term)
        ]
        assert len(holders) > len(voters) // 2, f"{entry} committed on disks of {holders} only"
        self.commit = commit


def _check_matching(one: dict[int, Entry], other: dict[int, Entry]) -> None:
    shared = sorted(one.keys() & other.keys(), reverse=True)
    same = [index for index in shared if one[index].term == other[index].term]
    for index in [index for index in shared if same and index <= same[0]]:
        assert one[index] == other[index], f"logs differ at {index} below a common entry"
