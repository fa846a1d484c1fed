"""The face of the core: what it refuses, what it hands out when, and what it reports."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from node.errors import InvariantViolated
from node.raft import (
    ConfState,
    Core,
    Entry,
    EntryKind,
    HardState,
    MemoryStorage,
    Message,
    NoteKind,
    PersistToken,
    Proposed,
    RaftConfig,
    Role,
)
from node.raft.message import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    PreVoteReply,
    Propose,
    ProposeDropped,
    ReadIndexReply,
    TimeoutNow,
    VoteReply,
)
from tests.node.raft.member import FixedRandom, Member

ONE = ConfState((1,))
TWO = ConfState((1, 2))


def make(conf: ConfState = TWO, **limits: int) -> Member:
    config = RaftConfig(id=1, election_ticks=10, heartbeat_ticks=2, **limits)
    return Member(config, conf, FixedRandom(0))


def settle(member: Member) -> None:
    while member.core.has_ready() or member.writes:
        if member.core.has_ready():
            member.take_ready()
        if member.writes:
            member.sync()


def lead(conf: ConfState = ONE, **limits: int) -> Member:
    member = make(conf, **limits)
    member.core.campaign()
    settle(member)
    assert member.core.status().role is Role.LEADER
    return member


@pytest.mark.parametrize(
    "message",
    [
        Heartbeat(2, 3, 5, 0),
        Heartbeat(1, 1, 5, 0),
        Heartbeat(0, 1, 5, 0),
        Heartbeat(2, 1, 0, 0),
    ],
    ids=["for another", "from myself", "from nobody", "without a term"],
)
def test_step_misdirected_is_ignored_with_a_note(message: Message) -> None:
    member = make()

    member.core.step(message)

    ready = member.core.ready()
    assert [note.kind for note in ready.notes] == [NoteKind.MESSAGE_IGNORED]
    assert member.core.status().term == 1


def test_step_answer_of_a_stranger_is_ignored() -> None:
    member = lead()

    member.core.step(AppendReply(9, 1, 2, 2))
    member.core.step(HeartbeatReply(9, 1, 2, 1))

    assert [note.detail for note in member.core.ready().notes] == ["answer of a stranger"] * 2


def test_step_append_with_a_hole_is_ignored() -> None:
    member = make()

    member.core.step(Append(2, 1, 2, 1, 1, 1, [Entry(2, 3, 0, b"")]))

    ready = member.core.ready()
    assert ready.entries == []
    assert any(note.detail == "append with a hole" for note in ready.notes)


def test_step_acknowledgement_of_what_was_never_sent_is_ignored() -> None:
    member = make(TWO)
    member.core.campaign()
    member.core.step(PreVoteReply(2, 1, 2, granted=True))
    settle(member)
    member.core.step(VoteReply(2, 1, 2, granted=True))
    settle(member)

    member.core.step(AppendReply(2, 1, 2, 99))

    notes = [note.detail for note in member.core.ready().notes]
    assert notes == ["acknowledges what was never sent"]
    assert member.core.status().progress[2].match == 0


def test_apply_conf_change_refused_by_the_application_changes_nothing() -> None:
    member = lead()

    assert member.core.apply_conf_change(None) == ONE
    assert member.core.status().conf == ONE


def test_step_read_answer_not_from_the_leader_is_ignored() -> None:
    member = make(ConfState((1, 2, 3)))
    member.core.step(Heartbeat(2, 1, 2, 1))

    member.core.step(ReadIndexReply(3, 1, 2, 7, 1))
    member.core.step(ReadIndexReply(2, 1, 2, 8, 1))

    assert [read.context for read in member.core.ready().read_states] == [8]


def test_ready_hands_everything_out_once() -> None:
    member = lead()
    member.core.propose([b"x"])

    first = member.take_ready()
    again = member.core.has_ready()

    assert [entry.data for entry in first.entries] == [b"x"]
    assert not again


def test_ready_without_anything_to_write_has_no_token() -> None:
    member = make()
    member.core.step(Heartbeat(2, 1, 2, 1))
    settle(member)

    member.core.step(Heartbeat(2, 1, 2, 1))
    ready = member.core.ready()

    assert ready.token is None
    assert ready.messages == [HeartbeatReply(1, 2, 2, 0)]


def test_ready_refusal_waits_behind_writes_under_way() -> None:
    """A refused append rests on the log as it is in memory, so it waits like an acceptance."""
    member = make()
    member.core.step(Append(2, 1, 2, 1, 1, 1, [Entry(2, 2, 0, b"")]))
    member.take_ready()

    member.core.step(Append(2, 1, 2, 9, 2, 1, []))
    ready = member.take_ready()

    assert ready.messages == []
    assert ready.token is not None
    assert [type(message) for message in ready.messages_after_append] == [AppendReply]


def test_persisted_of_a_later_token_completes_all_before_it() -> None:
    """Group commit: several hand-outs, one sync."""
    member = lead()
    tokens = []
    for data in (b"a", b"b"):
        member.core.propose([data])
        ready = member.core.ready()
        member.storage.write(ready.hard_state, ready.entries)
        tokens.append(ready.token)
    assert tokens[1] is not None

    member.core.persisted(tokens[1])

    assert member.core.status().stable == 4
    assert member.core.status().commit == 4


def test_persisted_twice_is_fatal() -> None:
    member = lead()
    member.core.propose([b"a"])
    ready = member.core.ready()
    member.storage.write(ready.hard_state, ready.entries)
    assert ready.token is not None
    member.core.persisted(ready.token)

    with pytest.raises(InvariantViolated, match="twice"):
        member.core.persisted(ready.token)


def test_persisted_of_what_was_never_handed_out_is_fatal() -> None:
    member = lead()

    with pytest.raises(InvariantViolated, match="never handed out"):
        member.core.persisted(PersistToken(99, 2, 2, 2))


def test_applied_beyond_the_hand_out_is_fatal() -> None:
    member = lead()

    with pytest.raises(InvariantViolated, match="handed out"):
        member.core.applied_to(99)


def test_committed_is_bounded_over_all_hand_offs() -> None:
    member = lead(apply_bytes_max=100)
    member.core.propose([b"x" * 60] * 3)
    ready = member.core.ready()
    member.storage.write(ready.hard_state, ready.entries)
    assert ready.token is not None
    member.core.persisted(ready.token)

    handed = []
    while member.core.has_ready():
        handed.append([entry.index for entry in member.core.ready().committed])
    member.core.applied_to(3)
    after = [entry.index for entry in member.core.ready().committed]

    assert handed == [[3], [4]], "84 bytes leave room, 168 do not"
    assert after == [5]


def forwarded(data: bytes, *, term: int = 2, life: int = 7, number: int = 1) -> Propose:
    return Propose(2, 1, term, EntryKind.NORMAL, [data], life, number)


def entries_after(member: Member, *messages: Message) -> list[bytes]:
    """What the member appends when these arrive."""
    for message in messages:
        member.core.step(message)
    return [entry.data for entry in member.core.ready().entries]


def test_forward_that_arrives_again_is_taken_once() -> None:
    member = lead()
    first, second = forwarded(b"a"), forwarded(b"b", number=2)

    assert entries_after(member, first, first, second, first) == [b"a", b"b"]
    assert entries_after(member, second) == []


def test_forward_of_another_life_is_another_one() -> None:
    member = lead()

    taken = entries_after(member, forwarded(b"a"), forwarded(b"b", life=8), forwarded(b"a"))

    assert taken == [b"a", b"b"]


@pytest.mark.parametrize("term", [1, 3])
def test_forward_of_another_term_is_not_taken(term: int) -> None:
    """Who forwarded it may know by then that it is lost, and have proposed it again."""
    member = lead()

    assert entries_after(member, forwarded(b"a", term=term)) == []


def test_forward_that_was_dropped_is_not_taken_later() -> None:
    member = lead(uncommitted_bytes_max=100)
    member.core.propose([b"x" * 90])

    before = entries_after(member, forwarded(b"y" * 90))
    settle(member)

    assert before == [b"x" * 90]
    assert entries_after(member, forwarded(b"y" * 90)) == []


def test_forward_that_was_dropped_is_told_to_its_sender() -> None:
    member = lead(uncommitted_bytes_max=100)
    member.core.propose([b"x" * 90])

    member.core.step(forwarded(b"y" * 90, life=7, number=3))

    told = [each for each in member.core.ready().messages if isinstance(each, ProposeDropped)]
    assert told == [ProposeDropped(1, 2, 2, 7, 3)]


def test_forward_that_was_taken_and_comes_again_is_not_called_dropped() -> None:
    member = lead()

    member.core.step(forwarded(b"a"))
    member.core.step(forwarded(b"a"))

    messages = member.core.ready().messages
    assert not any(isinstance(message, ProposeDropped) for message in messages)


def test_dropped_forward_is_handed_out_by_its_number() -> None:
    member = make()
    member.core.step(Heartbeat(2, 1, 5, 1))
    member.core.propose([b"a"])
    [sent] = [each for each in member.core.ready().messages if isinstance(each, Propose)]

    member.core.step(ProposeDropped(2, 1, 4, sent.life, sent.number))
    member.core.step(ProposeDropped(2, 1, 5, sent.life + 1, sent.number))
    others = member.core.ready().dropped
    member.core.step(ProposeDropped(2, 1, 5, sent.life, sent.number))

    assert others == []
    assert member.core.ready().dropped == [member.core.forwards] == [sent.number]
    assert not member.core.has_ready()


def test_forwards_are_numbered_and_stamped_with_their_term() -> None:
    member = make()
    member.core.step(Heartbeat(2, 1, 5, 1))
    settle(member)

    member.core.propose([b"a"])
    member.core.propose([b"b"])
    member.core.step(Heartbeat(2, 1, 6, 1))
    member.core.propose([b"c"])

    sent = [message for message in member.core.ready().messages if isinstance(message, Propose)]
    assert [(message.term, message.number) for message in sent] == [(5, 1), (5, 2), (6, 3)]
    assert len({message.life for message in sent}) == 1


def test_propose_batch_is_all_or_none() -> None:
    member = make(ConfState((1,)), uncommitted_bytes_max=100)
    member.core.campaign()
    settle(member)
    member.core.propose([b"x" * 90])

    dropped = member.core.propose([b"y", b"z" * 90])
    empty = member.core.propose([b""])

    assert (dropped, empty) == (Proposed.DROPPED, Proposed.ACCEPTED)
    assert [entry.data for entry in member.core.ready().entries] == [b"x" * 90, b""]


def test_read_index_is_bounded() -> None:
    member = lead(pending_reads_max=2)

    granted = [member.core.read_index(context) for context in (1, 2, 3)]

    assert granted == [True, True, False]


def test_read_index_without_a_leader_cannot_be_asked() -> None:
    assert not make().core.read_index(1)


def test_read_index_of_a_lone_voter_needs_nobody() -> None:
    member = lead()
    member.core.read_index(7)

    [read] = member.core.ready().read_states

    assert (read.context, read.index) == (7, 2)
    assert member.core.status().pending_reads == 0


def test_acknowledgements_of_one_turn_collapse_to_the_newest() -> None:
    member = make()
    for index in (2, 3, 4):
        member.core.step(Append(2, 1, 2, index - 1, 1 + (index > 2), 1, [Entry(2, index, 0, b"")]))

    ready = member.core.ready()

    assert ready.messages_after_append == [AppendReply(1, 2, 2, 4)]


def test_campaign_with_an_unapplied_change_is_refused_on_every_path() -> None:
    """etcd #12133: the transfer path had been forgotten."""
    data = msgspec.msgpack.encode((0, 3))
    for way in ("timer", "transfer"):
        member = make(ConfState((1, 2, 3)))
        member.core.step(Append(2, 1, 2, 1, 1, 2, [Entry(2, 2, 1, data)]))
        member.core.ready()
        if way == "timer":
            member.core.campaign()
        else:
            member.core.step(TimeoutNow(2, 1, 2))

        notes = member.core.ready().notes
        assert [note.kind for note in notes] == [NoteKind.CAMPAIGN_REFUSED], way
        assert member.core.status().role is Role.FOLLOWER


def test_commit_of_a_configuration_change_is_written_at_once() -> None:
    """Any other commit may wait for the next write."""
    for kind, data in ((0, b"x"), (1, msgspec.msgpack.encode((0, 2)))):
        member = make(TWO)
        member.core.step(Append(2, 1, 2, 1, 1, 1, [Entry(2, 2, kind, data)]))
        settle(member)
        member.core.step(Heartbeat(2, 1, 2, 2))

        ready = member.core.ready()

        assert ready.hard_state == HardState(2, 0, 2)
        assert (ready.token is not None) == (kind == 1)


def test_start_with_a_commit_beyond_the_log_is_fatal() -> None:
    storage = MemoryStorage(TWO)
    storage.write(HardState(3, 0, 9))

    with pytest.raises(InvariantViolated, match="commit 9"):
        Core(RaftConfig(id=1), storage, Random(1), applied=1)


def test_start_with_a_log_ahead_of_the_term_is_fatal() -> None:
    storage = MemoryStorage(TWO)
    storage.write(HardState(1, 0, 1), [Entry(4, 2, 0, b"")])

    with pytest.raises(InvariantViolated, match="ahead of the stored term"):
        Core(RaftConfig(id=1), storage, Random(1), applied=1)


def test_status_of_a_leader_shows_its_peers() -> None:
    member = lead()
    member.core.propose([b"x"])

    status = member.core.status()

    assert (status.last_index, status.stable, status.commit) == (3, 2, 2)
    assert status.progress[1].match == 2
    assert status.uncommitted_bytes > 0
    assert status.conf == ONE


@pytest.mark.parametrize(
    "limits",
    [
        {"id": 0},
        {"id": 1, "heartbeat_ticks": 25},
        {"id": 1, "heartbeat_ticks": 0},
        {"id": 1, "append_bytes_max": 1 << 30},
    ],
)
def test_config_with_contradicting_limits_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(InvariantViolated):
        RaftConfig(**limits)
