"""Every request has one answer: its outcome, a refusal, or that its outcome is not known."""

from __future__ import annotations

from node.machine.answer import Answer
from node.machine.envelope import OVERHEAD_BYTES, RequestKind, unpack
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
        request_bytes_max=100,
        waiting_bytes_max=1_000,
        timeout_seconds=5.0,
    )


def add(proposals: Proposals, now: float = 0.0, request: bytes = b"request") -> Outcome:
    call: Outcome = Call()
    proposals.add(RequestKind.PUT, request, call, now)
    return call


def propose(proposals: Proposals, term: int) -> list[int]:
    """Hand everything that waits to Raft; the sequences."""
    envelopes = proposals.take(ALL)
    proposals.proposed(envelopes, term)
    return [unpack(envelope).sequence for envelope in envelopes]


def test_request_travelsInItsEnvelope() -> None:
    proposals = make()
    add(proposals)

    [envelope] = proposals.take(ALL)

    assert unpack(envelope) == (RequestKind.PUT, ME, 1_001, b"request")
    assert not proposals.waiting()


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


def test_waitingBytes_areBounded_whatIsUnderWayIsNot() -> None:
    proposals = make()
    waiting = [add(proposals, request=bytes(100)) for _ in range(9)]
    refused = [call.answer for call in waiting if call.done]

    propose(proposals, 1)
    after = add(proposals, request=bytes(100))
    proposals.put_back(proposals.take(ALL))
    again = [add(proposals, request=bytes(100)) for _ in range(8)]
    proposals.expire(5.0)
    late = add(proposals, 5.0, request=bytes(100))

    assert refused == [TooManyRequests()]
    assert after.answer == Timeout()
    assert again[-1].answer == TooManyRequests()
    assert not late.done


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

    assert [unpack(envelope).request for envelope in proposals.take(ALL)] == [b"a", b"b"]


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

    assert [unpack(envelope).request for envelope in proposals.take(ALL)] == [b"new"]


def test_termApplied_answersWhatOlderLeadersWereGiven() -> None:
    proposals = make()
    old = [add(proposals), add(proposals)]
    propose(proposals, 5)
    new = add(proposals)
    [sequence] = propose(proposals, 6)
    waiting = add(proposals)

    proposals.term_applied(6)
    proposals.complete(ME, sequence, OK)

    assert [call.answer for call in old] == [LeaderFailed()] * 2
    assert new.answer == OK
    assert not waiting.done


def test_termApplied_ofItsOwnTerm_answersNobody() -> None:
    proposals = make()
    call = add(proposals)
    propose(proposals, 5)

    proposals.term_applied(5)
    proposals.term_applied(4)

    assert not call.done


def test_termApplied_leavesWhatWaits() -> None:
    proposals = make()
    proposed = add(proposals)
    propose(proposals, 5)
    waiting = add(proposals)
    proposals.put_back(proposals.take(ALL))

    proposals.term_applied(7)

    assert proposed.answer == LeaderFailed()
    assert not waiting.done
    assert proposals.pending == 1


def test_termApplied_twice_answersOnce() -> None:
    proposals = make()
    call = add(proposals)
    propose(proposals, 5)

    proposals.term_applied(6)
    proposals.term_applied(7)
    proposals.expire(99.0)

    assert call.answer == LeaderFailed()


def test_answer_mayAskAgain() -> None:
    proposals = make()
    again: list[Outcome] = []

    def retry(outcome: Answer | Refusal) -> None:
        again.append(add(proposals))

    for _ in range(3):
        proposals.add(RequestKind.PUT, b"", retry, 0.0)
    propose(proposals, 5)

    proposals.term_applied(6)

    assert len(again) == 3
    assert not any(call.done for call in again)
    assert len(proposals.take(ALL)) == 3
