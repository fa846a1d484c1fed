"""Many readers, one question; a late answer to an old question releases nobody."""

from __future__ import annotations

from node.machine.errors import Refusal, Timeout, TooManyRequests
from node.reads import RETRY_SECONDS, Reads
from tests.support.member_cluster import Call

Fresh = Call[Refusal | None]


def reader(reads: Reads, now: float = 0.0) -> Fresh:
    call: Fresh = Call()
    reads.add(call, now)
    return call


def make(pending_max: int = 100) -> Reads:
    return Reads(1_000, pending_max, timeout_seconds=5.0)


def test_waitingReaders_shareOneRound() -> None:
    reads = make()
    readers = [reader(reads) for _ in range(3)]

    context = reads.start(0.0)
    wants_another = reads.wants_round(0.0)
    reads.confirmed(context, 7)
    before = [call.done for call in readers]
    reads.release(7)

    assert not wants_another
    assert before == [False] * 3
    assert [call.answer for call in readers] == [None] * 3
    assert reads.pending == 0


def test_released_onlyWhenTheIndexIsApplied() -> None:
    reads = make()
    call = reader(reads)
    reads.confirmed(reads.start(0.0), 7)

    reads.release(6)
    before = call.done
    reads.release(8)

    assert not before
    assert call.answer is None


def test_lateArrivals_waitForTheNextRound() -> None:
    reads = make()
    first = reader(reads)
    context = reads.start(0.0)
    second = reader(reads)
    reads.confirmed(context, 7)
    reads.release(7)
    after_first = (first.done, second.done)
    wants = reads.wants_round(0.0)

    reads.confirmed(reads.start(0.0), 8)
    reads.release(8)

    assert after_first == (True, False)
    assert wants
    assert second.answer is None


def test_roundsWaitForApply_inOrder() -> None:
    reads = make()
    calls = []
    for index in (5, 7, 9):
        calls.append(reader(reads))
        reads.confirmed(reads.start(0.0), index)

    reads.release(7)

    assert [call.done for call in calls] == [True, True, False]


def test_noAnswer_isAskedAgain_withAnotherContext() -> None:
    reads = make()
    first = reader(reads)
    old = reads.start(0.0)
    second = reader(reads)
    early = reads.wants_round(RETRY_SECONDS - 0.01)

    wants = reads.wants_round(RETRY_SECONDS)
    new = reads.start(RETRY_SECONDS)
    reads.confirmed(old, 7)
    reads.release(7)
    after_old = (first.done, second.done)
    reads.confirmed(new, 7)
    reads.release(7)

    assert not early
    assert wants
    assert new != old
    assert after_old == (False, False)
    assert first.answer is None
    assert second.answer is None


def test_answerTwice_isOne() -> None:
    reads = make()
    call = reader(reads)
    context = reads.start(0.0)

    reads.confirmed(context, 7)
    reads.confirmed(context, 7)
    reads.release(7)

    assert call.answer is None


def test_leaderChange_asksTheRoundUnderWayAgain() -> None:
    reads = make()
    confirmed = reader(reads)
    reads.confirmed(reads.start(0.0), 7)
    asking = reader(reads)
    context = reads.start(0.0)
    gathering = reader(reads)

    reads.leader_changed()
    reads.confirmed(context, 7)
    reads.release(7)
    before = [call.done for call in (confirmed, asking, gathering)]
    wanted = reads.wants_round(0.0)
    reads.confirmed(reads.start(0.0), 8)
    reads.release(8)

    assert before == [True, False, False]
    assert wanted
    assert [call.answer for call in (confirmed, asking, gathering)] == [None] * 3
    assert reads.pending == 0


def test_leaderChange_givesNobodyMoreTime() -> None:
    reads = make()
    early, late = reader(reads, 0.0), reader(reads, 1.0)
    reads.start(1.0)
    later = reader(reads, 2.0)

    reads.leader_changed()
    reads.expire(6.0)

    assert [early.answer, late.answer] == [Timeout()] * 2
    assert not later.done


def test_full_refusesAtOnce() -> None:
    reads = make(pending_max=2)
    calls = [reader(reads) for _ in range(3)]

    assert [call.done for call in calls] == [False, False, True]
    assert calls[2].answer == TooManyRequests()


def test_full_hasRoomAgainAfterAnswers() -> None:
    reads = make(pending_max=1)
    reader(reads)
    reads.confirmed(reads.start(0.0), 7)
    reads.release(7)

    assert not reader(reads).done


def test_expired_inEveryState_isRefused_oneTime() -> None:
    reads = make()
    confirmed = reader(reads)
    reads.confirmed(reads.start(0.0), 7)
    asking = reader(reads, 1.0)
    context = reads.start(1.0)
    gathering = reader(reads, 2.0)
    answers = []
    for now in (5.0, 6.0, 7.0):
        reads.expire(now)
        answers.append([call.done for call in (confirmed, asking, gathering)])

    reads.confirmed(context, 7)
    reads.release(7)

    assert answers == [[True, False, False], [True, True, False], [True, True, True]]
    assert [call.answer for call in (confirmed, asking, gathering)] == [Timeout()] * 3
    assert reads.pending == 0


def test_expiredRound_makesWayForTheNext() -> None:
    reads = make()
    reader(reads)
    reads.start(0.0)
    reads.expire(5.0)
    late = reader(reads, 5.0)

    assert reads.wants_round(5.0)
    reads.confirmed(reads.start(5.0), 1)
    reads.release(1)
    assert late.answer is None


def test_readerThatAsksAgain_inItsAnswer_waitsForANewRound() -> None:
    reads = make()
    calls: list[Fresh] = []

    def again(refusal: Refusal | None) -> None:
        calls.append(reader(reads))

    reads.add(again, 0.0)
    reads.confirmed(reads.start(0.0), 7)
    reads.release(7)

    assert not calls[0].done
    assert reads.wants_round(0.0)
