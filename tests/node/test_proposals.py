"""Every request has one answer: its outcome, a refusal, or that its outcome is not known."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from node.machine.answer import Answer
from node.machine.envelope import (
    MEMBER,
    OVERHEAD_BYTES,
    Credential,
    Envelope,
    RequestKind,
    unpack,
)
from node.machine.errors import (
    LeaderFailed,
    Refusal,
    RequestTooLarge,
    Timeout,
    TooManyRequests,
)
from node.proposals import Proposals
from tests.support.member_cluster import Call

ME = 7
ALL = 1 << 30
OK = Answer(5, b"")
Outcome = Call[Answer | Refusal]


def make(pending_max: int = 100) -> Proposals:
    return Proposals(
        ME,
        1_000,
        pending_max=pending_max,
        pending_bytes_max=1_000,
        request_bytes_max=100,
        timeout_seconds=5.0,
    )


@dataclass
class Client:
    """Who asks; `over` once it has stopped to wait."""

    over: bool = False
    credential: Credential | None = None


def add(
    proposals: Proposals,
    now: float = 0.0,
    request: bytes = b"request",
    client: Client | None = None,
) -> Outcome:
    call: Outcome = Call()
    proposals.add(RequestKind.PUT, request, call, now, client)
    return call


def propose(proposals: Proposals, term: int) -> list[int]:
    """Hand everything that waits to Raft; the sequences."""
    batch = proposals.take(ALL)
    proposals.proposed(batch, term)
    return [unpack(proposal.envelope).sequence for proposal in batch]


def requests(proposals: Proposals) -> list[bytes]:
    """Take everything that waits; what it asks for."""
    return [unpack(proposal.envelope).request for proposal in proposals.take(ALL)]


def test_request_travelsInItsEnvelope() -> None:
    proposals = make()
    add(proposals)

    [proposal] = proposals.take(ALL)

    assert unpack(proposal.envelope) == Envelope(RequestKind.PUT, ME, 1_001, b"request", MEMBER)
    assert not proposals.waiting()


@pytest.mark.parametrize("credential", [None, Credential("alice", 7), MEMBER])
def test_request_isMadeForWhomItsClientStandsFor(credential: Credential | None) -> None:
    proposals = make()
    add(proposals, client=Client(credential=credential))

    [proposal] = proposals.take(ALL)

    assert unpack(proposal.envelope).credential == credential


def test_sequences_areNeverUsedTwice() -> None:
    proposals = make()
    add(proposals)
    revocation = proposals.unasked(RequestKind.LEASE_REVOKE, b"")
    add(proposals)

    sequences = propose(proposals, 1)

    assert {*sequences, unpack(revocation).sequence} == {1_001, 1_002, 1_003}


def test_complete_answersTheOneThatAsked() -> None:
    proposals = make()
    first, second = add(proposals), add(proposals)
    sequences = propose(proposals, 1)

    proposals.complete(ME, sequences[1], OK)
    proposals.complete(ME, sequences[1], OK)

    assert not first.done
    assert second.answer == OK
    assert proposals.pending == 1


def test_complete_ofAnotherMember_isNotOurs() -> None:
    proposals = make()
    call = add(proposals)
    [sequence] = propose(proposals, 1)

    proposals.complete(8, sequence, OK)

    assert not call.done


def test_bounds_refuseAtOnce() -> None:
    proposals = make(pending_max=1)
    large = add(proposals, request=bytes(101))
    add(proposals)
    many = add(proposals)

    assert large.answer == RequestTooLarge()
    assert many.answer == TooManyRequests()
    assert len(proposals.take(ALL)) == 1


def test_bytesOfWhatHasNoAnswer_areBounded() -> None:
    proposals = make()
    size = OVERHEAD_BYTES + 100
    calls = [add(proposals, request=bytes(100)) for _ in range(1_000 // size + 1)]
    sequences = propose(proposals, 1)
    still = add(proposals, request=bytes(100))

    proposals.complete(ME, sequences[0], OK)
    after = add(proposals, request=bytes(100))
    proposals.expire(5.0)
    fresh = [add(proposals, 5.0, request=bytes(100)) for _ in calls]

    assert [call.answer for call in (calls[-1], still)] == [TooManyRequests()] * 2
    assert after.answer == Timeout()
    assert [call.done for call in fresh] == [False] * (len(fresh) - 1) + [True]


def test_take_isLimited_butTakesOneAtLeast() -> None:
    proposals = make()
    for _ in range(5):
        add(proposals, request=bytes(10))
    size = OVERHEAD_BYTES + 10

    counts = [len(proposals.take(limit)) for limit in (1, 2 * size, 2 * size - 1, ALL, ALL)]

    assert counts == [1, 2, 1, 1, 0]


def test_putBack_comesFirst() -> None:
    proposals = make()
    add(proposals, request=b"a")
    refused = proposals.take(ALL)
    add(proposals, request=b"b")

    proposals.put_back(refused)

    assert requests(proposals) == [b"a", b"b"]


def with_second_forward_dropped() -> Proposals:
    """ "a" and "b" were forwarded, and the leader has not taken "b"."""
    proposals = make()
    add(proposals, request=b"a")
    add(proposals, request=b"b")
    [first, second] = proposals.take(ALL)
    proposals.proposed([first], 5, forward=1)
    proposals.proposed([second], 5, forward=2)
    proposals.dropped([2])
    return proposals


def test_dropped_waitsAMoment_andWhatCameLaterWithIt() -> None:
    proposals = with_second_forward_dropped()
    add(proposals, request=b"c")

    before = proposals.waiting()
    proposals.expire(1.0)

    assert not before
    assert proposals.waiting()
    assert requests(proposals) == [b"b", b"c"]


def test_dropped_goesToTheNextLeaderAtOnce() -> None:
    proposals = with_second_forward_dropped()

    proposals.term_applied(6)

    assert proposals.waiting()
    assert requests(proposals) == [b"a", b"b"]


def test_dropped_toldTwice_isProposedOnce() -> None:
    """The second time it is under way again, in another message."""
    proposals = make()
    add(proposals)
    proposals.proposed(proposals.take(ALL), 5, forward=1)

    proposals.dropped([1])
    proposals.dropped([1])
    proposals.expire(1.0)
    proposals.proposed(proposals.take(ALL), 5, forward=2)
    proposals.dropped([1])
    proposals.expire(2.0)

    assert not proposals.waiting()


def test_dropped_isNotProposedOnceItsTimeIsOver() -> None:
    proposals = make()
    call = add(proposals, 0.0)
    proposals.proposed(proposals.take(ALL), 5, forward=1)
    proposals.dropped([1])

    proposals.expire(5.0)

    assert call.answer == Timeout()
    assert not proposals.waiting()


def test_expire_answersWhoseTimeIsOver() -> None:
    proposals = make()
    early, late = add(proposals, 0.0), add(proposals, 1.0)
    sequences = propose(proposals, 1)

    proposals.expire(4.9)
    before = early.done
    proposals.expire(5.0)
    proposals.complete(ME, sequences[0], OK)

    assert not before
    assert early.answer == Timeout()
    assert not late.done
    assert proposals.failed == 1


def test_expire_takesBackWhatWasNotProposed() -> None:
    """Who was told of a timeout must not see the write happen afterwards, if it can be helped."""
    proposals = make()
    add(proposals, 0.0, b"old")
    add(proposals, 1.0, b"new")

    proposals.expire(5.0)

    assert requests(proposals) == [b"new"]


def test_expire_takesBackWhatItsClientHasGivenUp() -> None:
    proposals = make()
    gone, stays = Client(), Client()
    add(proposals, request=b"gone", client=gone)
    add(proposals, request=b"stays", client=stays)
    gone.over = True

    proposals.expire(1.0)

    assert requests(proposals) == [b"stays"]
    assert proposals.pending == 1


def test_termApplied_repeatsWhatOlderLeadersTookAlong() -> None:
    proposals = make()
    lost = [add(proposals, request=b"a"), add(proposals, request=b"b")]
    old = propose(proposals, 5)
    new = add(proposals, request=b"c")
    [sequence] = propose(proposals, 6)
    add(proposals, request=b"d")

    proposals.term_applied(6)
    proposals.complete(ME, sequence, OK)

    again = proposals.take(ALL)
    assert [unpack(each.envelope).request for each in again] == [b"a", b"b", b"d"]
    assert [each.sequence for each in again[:2]] == old
    assert new.answer == OK
    assert not any(call.done for call in lost)
    assert proposals.repeated == 2


def test_termApplied_doesNotRepeatWhatWasApplied() -> None:
    """The new leader had it in its log: then it comes before the first entry of the new term."""
    proposals = make()
    survived, lost = add(proposals, request=b"a"), add(proposals, request=b"b")
    sequences = propose(proposals, 5)

    proposals.complete(ME, sequences[0], OK)
    proposals.term_applied(6)

    assert survived.answer == OK
    assert requests(proposals) == [b"b"]
    assert not lost.done


def test_termApplied_ofItsOwnTerm_repeatsNothing() -> None:
    """A new leader is known, but what it found in its log is not applied yet."""
    proposals = make()
    add(proposals)
    propose(proposals, 5)

    proposals.term_applied(5)
    proposals.term_applied(4)

    assert not proposals.waiting()


def test_termApplied_twice_repeatsOnce() -> None:
    proposals = make()
    call = add(proposals)
    propose(proposals, 5)

    proposals.term_applied(6)
    proposals.term_applied(7)

    assert len(propose(proposals, 8)) == 1
    assert not proposals.waiting()
    assert not call.done


def test_termApplied_repeatsAgain_whenTheNextLeaderDiesToo() -> None:
    proposals = make()
    call = add(proposals)
    first = propose(proposals, 5)
    proposals.term_applied(6)
    second = propose(proposals, 6)
    proposals.term_applied(8)
    third = propose(proposals, 8)

    proposals.complete(ME, third[0], OK)

    assert first == second == third
    assert call.answer == OK
    assert proposals.repeated == 2


def test_termApplied_leavesWhatWaits() -> None:
    proposals = make()
    add(proposals, request=b"proposed")
    propose(proposals, 5)
    add(proposals, request=b"waiting")
    proposals.put_back(proposals.take(ALL))

    proposals.term_applied(7)

    assert requests(proposals) == [b"proposed", b"waiting"]
    assert proposals.repeated == 1


def test_termApplied_doesNotRepeatForNobody() -> None:
    proposals = make()
    gone = Client()
    add(proposals, client=gone)
    late = add(proposals)
    propose(proposals, 5)
    gone.over = True
    proposals.expire(5.0)

    proposals.term_applied(6)

    assert not proposals.waiting()
    assert late.answer == Timeout()
    assert proposals.pending == 0


def test_repeated_keepsItsDeadline() -> None:
    proposals = make()
    call = add(proposals, 0.0)
    propose(proposals, 5)
    proposals.term_applied(6)

    proposals.expire(5.0)

    assert call.answer == Timeout()
    assert not proposals.waiting()


def test_snapshot_thatMayContainIt_leavesItUnknown() -> None:
    proposals = make()
    older, same = add(proposals), add(proposals)
    [first, second] = proposals.take(ALL)
    proposals.proposed([first], 5)
    proposals.proposed([second], 6)
    newer = add(proposals)
    propose(proposals, 7)

    proposals.snapshot_installed(6)
    at_once = [call.done for call in (older, same, newer)]
    proposals.term_applied(8)

    assert at_once == [True, False, False]
    assert [older.answer, same.answer] == [LeaderFailed()] * 2
    assert not newer.done
    assert len(proposals.take(ALL)) == 1


def test_snapshot_ofTheSameTerm_mayBeFollowedByTheAnswer() -> None:
    proposals = make()
    call = add(proposals)
    [sequence] = propose(proposals, 6)

    proposals.snapshot_installed(6)
    proposals.complete(ME, sequence, OK)

    assert call.answer == OK


def test_snapshot_doesNotConcernWhatWaits() -> None:
    proposals = make()
    add(proposals)

    proposals.snapshot_installed(6)

    assert len(proposals.take(ALL)) == 1


def test_answer_mayAskAgain() -> None:
    proposals = make()
    again: list[Outcome] = []

    def retry(outcome: Answer | Refusal) -> None:
        again.append(add(proposals))

    for _ in range(3):
        proposals.add(RequestKind.PUT, b"", retry, 0.0)
    propose(proposals, 5)

    proposals.snapshot_installed(6)

    assert len(again) == 3
    assert not any(call.done for call in again)
    assert len(proposals.take(ALL)) == 3
