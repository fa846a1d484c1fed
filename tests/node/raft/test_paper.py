"""One test per rule of the Raft paper and thesis; the section stands in the docstring.

A single member is driven by hand: `Hand` feeds it messages and plays its disk and its peers.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from node.errors import InvariantViolated
from node.raft import (
    ConfState,
    Core,
    Entry,
    HardState,
    MemoryStorage,
    Message,
    RaftConfig,
    Ready,
    Role,
)
from node.raft.log import RaftLog
from node.raft.message import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    PreVote,
    PreVoteReply,
    SnapshotMeta,
    TimeoutNow,
    Vote,
    VoteReply,
)

ELECTION_TICKS = 10
THREE = ConfState((1, 2, 3))
FIVE = ConfState((1, 2, 3, 4, 5))


class Hand:
    """Member 1 of `conf` with a log of entries of `terms` from index 2 on."""

    def __init__(
        self,
        conf: ConfState = THREE,
        term: int = 1,
        terms: Sequence[int] = (),
        vote: int = 0,
        seed: int = 0,
    ) -> None:
        self.storage = MemoryStorage(conf)
        self.storage.write(HardState(term, vote, 1), entries_of(terms))
        config = RaftConfig(id=1, election_ticks=ELECTION_TICKS, heartbeat_ticks=2)
        self.core = Core(config, self.storage, Random(seed), applied=1)
        self.applied: list[Entry] = []

    @property
    def role(self) -> Role:
        return self.core.status().role

    def tick(self, ticks: int) -> list[Message]:
        for _ in range(ticks):
            self.core.tick()
        return self.settle()

    def step(self, *messages: Message) -> list[Message]:
        """Take the messages in; everything that is sent in the end, the disk included."""
        for message in messages:
            self.core.step(message)
        return self.settle()

    def settle(self) -> list[Message]:
        sent: list[Message] = []
        while self.core.has_ready():
            ready = self.core.ready()
            sent += ready.messages
            sent += self.write(ready)
        return sent

    def write(self, ready: Ready) -> list[Message]:
        """Sync what `ready` wants written and apply what it hands out."""
        self.storage.write(ready.hard_state, ready.entries, ready.snapshot)
        if ready.token is not None:
            self.core.persisted(ready.token)
        for entry in ready.committed:
            self.applied.append(entry)
            self.core.applied_to(entry.index)
        return ready.messages_after_append

    def campaign(self) -> list[Message]:
        """Win the pre-vote; what is sent is the request for votes."""
        self.core.campaign()
        self.settle()
        term = self.core.status().term
        others = self.core.status().conf.voters[1:]
        return self.step(*[PreVoteReply(voter, 1, term + 1, granted=True) for voter in others])

    def lead(self) -> list[Message]:
        """Win the election too; what is sent is the first append."""
        self.campaign()
        term = self.core.status().term
        others = self.core.status().conf.voters[1:]
        return self.step(*[VoteReply(voter, 1, term, granted=True) for voter in others])

    def terms(self) -> list[int]:
        """Terms of the stored entries, from index 2 on."""
        last = self.storage.last_index()
        return [self.storage.term(index) for index in range(2, last + 1)]


def entries_of(terms: Sequence[int], first: int = 2) -> list[Entry]:
    return [Entry(term, first + at, 0, b"") for at, term in enumerate(terms)]


def of_kind(messages: Sequence[Message], kind: type[Message]) -> list[Message]:
    return [message for message in messages if isinstance(message, kind)]


# §5.1 Terms


@pytest.mark.parametrize("role", ["follower", "candidate", "leader"])
def test_higher_term_makes_a_follower(role: str) -> None:
    """§5.1: whoever meets a larger term adopts it and becomes a follower."""
    hand = Hand()
    if role == "candidate":
        hand.campaign()
    elif role == "leader":
        hand.lead()

    hand.step(Append(2, 1, 7, 1, 1, 1, []))

    status = hand.core.status()
    assert (status.role, status.term, status.leader) == (Role.FOLLOWER, 7, 2)


def test_stale_append_is_refused_with_the_current_term() -> None:
    """§5.1: a request with a stale term is rejected, and the sender learns the current one."""
    hand = Hand(term=5)

    sent = hand.step(Append(2, 1, 4, 1, 1, 1, entries_of([4])))

    assert sent == [AppendReply(1, 2, 5, 0, reject=True)]
    assert hand.terms() == []


# §5.2 Leader election


def test_silence_leads_to_an_election() -> None:
    """§5.2: a follower that hears nothing over an election timeout begins an election."""
    hand = Hand()

    sent = hand.tick(2 * ELECTION_TICKS)

    assert [message.to for message in of_kind(sent, PreVote)][:2] == [2, 3]
    assert hand.core.status().term == 1, "the first round does not raise the term"


def test_heartbeats_keep_a_follower() -> None:
    """§5.2: a follower remains one as long as it hears a leader."""
    hand = Hand()
    for _ in range(10):
        hand.step(Heartbeat(2, 1, 2, 1))
        hand.tick(ELECTION_TICKS - 1)

    assert hand.role is Role.FOLLOWER


def test_candidate_votes_for_itself_and_asks_all() -> None:
    """§5.2: it increments its term, votes for itself and asks the others in parallel."""
    hand = Hand()

    sent = hand.campaign()

    status = hand.core.status()
    assert (status.role, status.term, status.vote) == (Role.CANDIDATE, 2, 1)
    assert sent == [Vote(1, 2, 2, 1, 1), Vote(1, 3, 2, 1, 1)]


@pytest.mark.parametrize(
    ("granted", "refused", "role"),
    [
        ([], [], Role.CANDIDATE),
        ([2], [], Role.CANDIDATE),
        ([2, 3], [], Role.LEADER),
        ([2], [3, 4], Role.CANDIDATE),
        ([2, 3], [4, 5], Role.LEADER),
        ([], [2, 3], Role.CANDIDATE),
        ([], [2, 3, 4], Role.FOLLOWER),
        ([2, 2, 2], [], Role.CANDIDATE),
    ],
)
def test_majority_of_the_whole_cluster_elects(
    granted: list[int], refused: list[int], role: Role
) -> None:
    """§5.2: a candidate wins with the votes of a majority of the full cluster."""
    hand = Hand(FIVE)
    hand.campaign()

    hand.step(*[VoteReply(voter, 1, 2, granted=True) for voter in granted])
    hand.step(*[VoteReply(voter, 1, 2, granted=False) for voter in refused])

    assert hand.role is role


def test_one_vote_per_term() -> None:
    """§5.2: at most one candidate per term gets the vote, first come first served."""
    hand = Hand()

    first = hand.step(Vote(2, 1, 2, 1, 1))
    second = hand.step(Vote(3, 1, 2, 9, 1))
    again = hand.step(Vote(2, 1, 2, 1, 1))

    assert first == again == [VoteReply(1, 2, 2, granted=True)]
    assert second == [VoteReply(1, 3, 2, granted=False)]


def test_vote_survives_a_restart() -> None:
    """§5.2, figure 2: the vote is persistent state."""
    hand = Hand(term=2, vote=2)

    sent = hand.step(Vote(3, 1, 2, 9, 1))

    assert sent == [VoteReply(1, 3, 2, granted=False)]


def test_candidate_yields_to_a_leader_of_its_term() -> None:
    """§5.2: hearing from a leader of the same term, a candidate returns to being a follower."""
    hand = Hand()
    hand.campaign()

    hand.step(Append(3, 1, 2, 1, 1, 1, []))

    status = hand.core.status()
    assert (status.role, status.term, status.leader) == (Role.FOLLOWER, 2, 3)


def test_split_vote_starts_over_after_a_timeout() -> None:
    """§5.2: when no one wins, each candidate times out and begins anew."""
    hand = Hand()
    hand.campaign()

    sent = hand.tick(2 * ELECTION_TICKS)

    assert of_kind(sent, PreVote)[0].term == 3


def test_election_timeouts_are_spread() -> None:
    """§5.2: timeouts are drawn from [T, 2T), and anew for every attempt."""
    drawn = set()
    for seed in range(200):
        hand = Hand(seed=seed)
        ticks = 0
        while hand.role is Role.FOLLOWER:
            hand.tick(1)
            ticks += 1
        drawn.add(ticks)

    assert drawn == set(range(ELECTION_TICKS, 2 * ELECTION_TICKS))


def test_leader_sends_heartbeats() -> None:
    """§5.2: leaders send periodic heartbeats to keep their authority."""
    hand = Hand()
    hand.lead()

    sent = hand.tick(2)

    assert [message.to for message in of_kind(sent, Heartbeat)] == [2, 3]


# §5.3 Log replication


def test_proposal_goes_to_all_in_parallel() -> None:
    """§5.3: the leader appends a command and sends it to each of the others."""
    hand = Hand()
    hand.lead()
    hand.step(AppendReply(2, 1, 2, 2), AppendReply(3, 1, 2, 2))

    hand.core.propose([b"x"])
    sent = hand.settle()

    entry = Entry(2, 3, 0, b"x")
    assert sent == [Append(1, to, 2, 2, 2, 2, [entry]) for to in (2, 3)]


def test_entry_on_a_majority_commits_and_applies() -> None:
    """§5.3: an entry is committed once a majority has it; the leader then applies it."""
    hand = Hand(FIVE)
    hand.lead()

    hand.step(AppendReply(2, 1, 2, 2))
    one = hand.core.status().commit
    hand.step(AppendReply(3, 1, 2, 2))

    assert (one, hand.core.status().commit) == (1, 2)
    assert [entry.index for entry in hand.applied] == [2]


def test_commit_takes_all_before_with_it() -> None:
    """§5.3: committing an entry commits all preceding ones, also of earlier leaders, in order."""
    hand = Hand(term=3, terms=[2, 3, 3])
    hand.lead()

    hand.step(AppendReply(2, 1, 4, 5))

    assert [entry.index for entry in hand.applied] == [2, 3, 4, 5]


def test_follower_applies_what_the_leader_calls_committed() -> None:
    """§5.3: a follower learns of commits from the leader and applies in log order."""
    hand = Hand()

    hand.step(Append(2, 1, 2, 1, 1, 3, entries_of([2, 2, 2])))

    assert [entry.index for entry in hand.applied] == [2, 3]


@pytest.mark.parametrize(
    ("previous", "terms", "accepted", "after"),
    [
        ((1, 1), [2], 2, [2]),
        ((3, 2), [], 3, [2, 2]),
        ((3, 3), [3], None, [2, 2]),
        ((4, 2), [2], None, [2, 2]),
        ((3, 2), [3, 3], 5, [2, 2, 3, 3]),
        ((2, 2), [3], 3, [2, 3]),
    ],
)
def test_consistency_check(
    previous: tuple[int, int], terms: list[int], accepted: int | None, after: list[int]
) -> None:
    """§5.3: entries are taken only after a matching (index, term); conflicting ones and all that
    follow are replaced; matching ones stay."""
    hand = Hand(term=2, terms=[2, 2])

    [reply] = hand.step(Append(2, 1, 3, *previous, 1, [*entries_of(terms, first=previous[0] + 1)]))

    assert isinstance(reply, AppendReply)
    assert reply.reject == (accepted is None)
    if accepted is not None:
        assert reply.index == accepted
    expected = after if terms != [2] or previous != (1, 1) else [2, 2]
    assert hand.terms() == expected


def test_repeated_append_changes_nothing() -> None:
    """§5.3, §5.5: requests are idempotent; an old one must not truncate what came later."""
    hand = Hand(term=2, terms=[2, 2, 2])

    [reply] = hand.step(Append(2, 1, 2, 1, 1, 1, entries_of([2])))

    assert reply == AppendReply(1, 2, 2, 2)
    assert hand.terms() == [2, 2, 2]


# The logs of figure 7, whose index 1 is our founding index (terms from index 2 on).
LEADER_OF_FIGURE_7 = [1, 1, 4, 4, 5, 5, 6, 6, 6]
FIGURE_7 = {
    "a": [1, 1, 4, 4, 5, 5, 6, 6],
    "b": [1, 1],
    "c": [1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    "d": [1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    "e": [1, 1, 4, 4, 4, 4],
    "f": [1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
}


@pytest.mark.parametrize("case", FIGURE_7)
def test_leader_brings_every_log_into_agreement(case: str) -> None:
    """§5.3, figure 7: whatever a follower's log looks like, it ends up equal to the leader's, and
    with hints from both sides it takes at most one probe per term."""
    leader, follower = Hand(term=7, terms=LEADER_OF_FIGURE_7), Hand(term=7, terms=FIGURE_7[case])
    wire = [message for message in leader.lead() if message.to == 2]
    refusals = 0
    while wire:
        sent = follower.step(*[as_member_1(message) for message in wire])
        refusals += sum(isinstance(reply, AppendReply) and reply.reject for reply in sent)
        wire = leader.step(*[as_member_2(message) for message in sent])
        wire = [message for message in wire if message.to == 2]

    assert follower.terms() == leader.terms() == [*LEADER_OF_FIGURE_7, 8]
    assert refusals <= 3


def as_member_1(message: Message) -> Message:
    """The follower under test calls itself 1 too, and its leader 3."""
    assert isinstance(message, Append)
    fields = (message.prev_index, message.prev_term, message.commit, message.entries)
    return Append(3, 1, message.term, *fields)


def as_member_2(message: Message) -> Message:
    assert isinstance(message, AppendReply)
    fields = (message.index, message.reject, message.hint_index, message.hint_term)
    return AppendReply(2, 1, message.term, *fields)


# §5.4 Safety


@pytest.mark.parametrize(
    ("last_term", "last_index", "granted"),
    [(1, 9, False), (2, 2, False), (2, 3, True), (2, 4, True), (3, 2, True)],
)
def test_vote_only_for_logs_at_least_as_complete(
    last_term: int, last_index: int, granted: bool
) -> None:
    """§5.4.1: the log with the later last term is more complete; with equal terms, the longer."""
    hand = Hand(term=2, terms=[2, 2])

    sent = hand.step(Vote(2, 1, 3, last_index, last_term))

    assert sent == [VoteReply(1, 2, 3, granted=granted)]


def test_entries_of_earlier_terms_do_not_commit_by_counting() -> None:
    """§5.4.2, figure 8: only entries of the leader's own term commit by counting replicas."""
    hand = Hand(term=3, terms=[2])
    hand.lead()

    hand.step(AppendReply(2, 1, 4, 2), AppendReply(3, 1, 4, 2))
    counted = hand.core.status().commit
    hand.step(AppendReply(2, 1, 4, 3))

    assert (counted, hand.core.status().commit) == (1, 3)


def test_leader_never_overwrites_its_own_log() -> None:
    """§5.4, figure 3 "leader append-only": a new leader keeps what it has and appends."""
    hand = Hand(term=3, terms=[2, 3])

    hand.lead()

    assert hand.terms() == [2, 3, 4]


def test_append_before_the_commit_changes_nothing() -> None:
    """§5.4.3: whatever an old message says about committed entries, they stay."""
    hand = Hand(term=2, terms=[2, 2])
    hand.step(Heartbeat(2, 1, 2, 3))

    [reply] = hand.step(Append(3, 1, 4, 1, 1, 1, entries_of([4])))

    assert reply == AppendReply(1, 3, 4, 3)
    assert hand.terms() == [2, 2]


def test_truncating_committed_entries_is_fatal() -> None:
    """§5.4.3: a committed entry is never replaced; code that tries to has a bug."""
    log = RaftLog(Hand(term=2, terms=[2, 2]).storage, commit=3, applied=1)

    with pytest.raises(InvariantViolated, match="conflicts with committed"):
        log.maybe_append(1, 1, entries_of([4]))


def test_two_leaders_in_one_term_are_fatal() -> None:
    """§5.2, figure 3 "election safety"."""
    hand = Hand()
    hand.step(Heartbeat(2, 1, 2, 1))

    with pytest.raises(InvariantViolated, match="two leaders"):
        hand.step(Heartbeat(3, 1, 2, 1))


# §5.5 Lost messages, figure 2 persistence


def test_nothing_is_promised_before_it_is_on_disk() -> None:
    """Figure 2: persistent state is updated on stable storage before responding."""
    hand = Hand()
    hand.core.step(Vote(2, 1, 2, 1, 1))
    vote = hand.core.ready()
    hand.core.step(Append(2, 1, 2, 1, 1, 1, entries_of([2])))
    append = hand.core.ready()

    assert not of_kind(vote.messages, VoteReply)
    assert vote.messages_after_append == [VoteReply(1, 2, 2, granted=True)]
    assert vote.hard_state == HardState(2, 2, 1)
    assert not of_kind(append.messages, AppendReply)
    assert append.messages_after_append == [AppendReply(1, 2, 2, 2)]
    assert append.entries == entries_of([2])


def test_lone_voter_waits_for_its_own_disk() -> None:
    """Figure 2: no shortcut for a cluster of one; its own vote and entries count when synced."""
    hand = Hand(ConfState((1,)))
    hand.core.campaign()
    ready = hand.core.ready()
    before = hand.role
    hand.write(ready)
    elected = hand.core.ready()

    assert (before, hand.role) == (Role.CANDIDATE, Role.LEADER)
    assert elected.entries == entries_of([2])
    assert hand.core.status().commit == 1
    hand.write(elected)
    assert hand.core.status().commit == 2


# §7 Log compaction


def test_snapshot_replaces_the_log() -> None:
    """§7: a snapshot beyond the log discards it all and becomes the applied state."""
    hand = Hand(term=2, terms=[2, 2])

    sent = hand.step(InstallSnapshot(2, 1, 2, SnapshotMeta(9, 2, THREE)))

    status = hand.core.status()
    assert sent == [AppendReply(1, 2, 2, 9)]
    assert (status.first_index, status.last_index, status.commit, status.applied) == (10, 9, 9, 9)


def test_snapshot_of_a_known_prefix_keeps_what_follows() -> None:
    """§7: if the log holds the snapshot's last entry, the entries after it are retained."""
    hand = Hand(term=2, terms=[2, 2, 2])

    hand.step(InstallSnapshot(2, 1, 2, SnapshotMeta(3, 2, THREE)))

    assert hand.terms() == [2, 2, 2]
    assert hand.core.status().commit == 3


def test_append_matches_right_after_a_compaction() -> None:
    """§7: the term of the last compacted entry is kept for the consistency check."""
    hand = Hand(term=2, terms=[2, 2])
    hand.step(Heartbeat(2, 1, 2, 3))
    hand.storage.compact(3, THREE)

    [reply] = hand.step(Append(2, 1, 2, 3, 2, 3, [Entry(2, 4, 0, b"")]))

    assert reply == AppendReply(1, 2, 2, 4)


# §8 and thesis


def test_new_leader_opens_its_term_with_a_no_op() -> None:
    """§8: a leader commits a blank entry at the start of its term to learn what is committed."""
    hand = Hand(term=2, terms=[2])

    sent = hand.lead()

    no_op = Entry(3, 3, 0, b"")
    assert sent == [Append(1, to, 3, 2, 2, 1, [no_op]) for to in (2, 3)]


def test_read_waits_for_a_round_that_began_after_it() -> None:
    """§8, thesis §6.4: before answering a read the leader hears from a majority."""
    hand = Hand()
    hand.lead()
    hand.step(AppendReply(2, 1, 2, 2))
    hand.tick(2)

    hand.core.read_index(7)
    early = hand.step(HeartbeatReply(3, 1, 2, 0))
    pending = hand.core.status().pending_reads
    hand.core.step(HeartbeatReply(2, 1, 2, 1))

    assert of_kind(early, Heartbeat)
    assert pending == 1
    assert [(read.context, read.index) for read in hand.core.ready().read_states] == [(7, 2)]


def test_voter_that_hears_a_leader_ignores_candidates() -> None:
    """Thesis §4.2.3: a request for votes within the minimum election timeout is not answered."""
    hand = Hand()
    hand.step(Heartbeat(2, 1, 2, 1))

    sent = hand.step(Vote(3, 1, 9, 9, 9), PreVote(3, 1, 9, 9, 9))

    assert sent == []
    assert hand.core.status().term == 2


def test_transfer_overrides_stickiness() -> None:
    """Thesis §3.10, §4.2.3: a campaign on the leader's behalf is answered."""
    hand = Hand()
    hand.step(Heartbeat(2, 1, 2, 1))

    sent = hand.step(Vote(3, 1, 3, 9, 2, force=True))

    assert sent == [VoteReply(1, 3, 3, granted=True)]


def test_timeout_now_campaigns_without_pre_vote() -> None:
    """Thesis §3.10: the target starts an election at once."""
    hand = Hand()
    hand.step(Heartbeat(2, 1, 2, 1))

    sent = hand.step(TimeoutNow(2, 1, 2))

    assert sent == [Vote(1, 2, 3, 1, 1, force=True), Vote(1, 3, 3, 1, 1, force=True)]


def test_pre_vote_changes_nothing_at_the_voter() -> None:
    """Thesis §9.6: a granted pre-vote raises no term and uses up no vote."""
    hand = Hand()

    sent = hand.step(PreVote(2, 1, 5, 1, 1), PreVote(3, 1, 5, 1, 1))

    assert sent == [PreVoteReply(1, to, 5, granted=True) for to in (2, 3)]
    assert (hand.core.status().term, hand.core.status().vote) == (1, 0)


def test_leader_without_a_quorum_steps_down() -> None:
    """Thesis §6.2: a leader that hears no majority for an election timeout gives up."""
    hand = Hand()
    hand.lead()

    hand.tick(2 * ELECTION_TICKS)

    status = hand.core.status()
    assert (status.role, status.term, status.leader) == (Role.FOLLOWER, 2, 0)


def test_leader_counts_itself_only_when_synced() -> None:
    """Thesis §10.2.1: writing in parallel, followers alone may commit, the leader may not."""
    hand = Hand()
    hand.lead()
    hand.step(AppendReply(2, 1, 2, 2))
    hand.core.propose([b"x"])
    ready = hand.core.ready()
    hand.core.step(AppendReply(2, 1, 2, 3))

    with_one = hand.core.status().commit
    hand.core.step(AppendReply(3, 1, 2, 3))

    assert ready.entries
    assert (with_one, hand.core.status().commit) == (2, 3)
    assert hand.core.status().stable == 2
    assert hand.core.ready().committed == [], "nothing is applied before the own sync"
