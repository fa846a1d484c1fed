"""Open outcomes that a harness has settled from the members' logs."""

from __future__ import annotations

from msgspec import structs

from tools.check import History, Operation, Result, check_history, result_of
from tools.check.history import (
    Compare,
    KeyValue,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    Request,
    Response,
    Txn,
)
from tools.check.linearizability import check_linearizability
from tools.check.revision import check_revisions


def _operation(
    id_: int, start_ns: int, request: Request, response: Response | None = None
) -> Operation:
    end_ns = None if response is None else start_ns + 5
    outcome = "unknown" if response is None else "ok"
    return Operation(
        id_,
        f"c{id_}",
        "n1",
        start_ns,
        start_ns,
        end_ns,
        outcome,  # type: ignore[arg-type]
        request,
        response,
    )


def _nothing(id_: int, start_ns: int, revision: int) -> Operation:
    return _operation(id_, start_ns, Range(b"k"), RangeResponse(revision))


def _taken(operation: Operation, at_ns: int, revision: int) -> Operation:
    return structs.replace(operation, taken_ns=at_ns, taken_revision=revision)


def test_write_that_was_taken_must_be_seen_by_whoever_reads_later() -> None:
    put = _operation(1, 0, Put(b"k", b"1"))
    read = _nothing(2, 100, 1)

    assert result_of(check_history(History((put, read)))) == Result.OK
    settled = History((_taken(put, 50, 2), read))
    assert check_linearizability(settled).result == Result.VIOLATED


def test_write_that_was_taken_need_not_be_seen_before() -> None:
    put = _taken(_operation(1, 0, Put(b"k", b"1")), 150, 2)
    before = _nothing(2, 10, 1)
    kv = KeyValue(b"k", b"1", 2, 2, 1)
    after = _operation(3, 200, Range(b"k"), RangeResponse(2, (kv,), False, 1))

    assert result_of(check_history(History((put, before, after)))) == Result.OK


def test_revision_that_was_taken_can_be_nobody_elses() -> None:
    put = _taken(_operation(1, 0, Put(b"k", b"1")), 50, 2)
    other = _operation(2, 0, Put(b"l", b"2"), PutResponse(2))

    report = check_revisions(History((put, other)))

    assert "unique revision" in {each.rule for each in report.verdict.findings}


def test_write_at_a_revision_that_showed_something_else_is_found() -> None:
    put = _taken(_operation(1, 0, Put(b"k", b"1")), 50, 2)
    kv = KeyValue(b"k", b"other", 2, 2, 1)
    read = _operation(2, 100, Range(b"k"), RangeResponse(2, (kv,), False, 1))

    report = check_revisions(History((put, read)))

    assert "explained revision" in {each.rule for each in report.verdict.findings}


def test_transaction_that_was_taken_by_its_other_branch_is_no_write_of_the_key() -> None:
    swap = Txn((Compare(b"k", "mod", "=", 9),), (Put(b"k", b"1"),), ())
    taken = _taken(_operation(1, 0, swap), 50, 0)
    read = _nothing(2, 100, 1)

    assert result_of(check_history(History((taken, read)))) == Result.OK


def test_branch_that_a_transaction_took_is_no_choice() -> None:
    """What it compared is another key's matter, so that this key alone allows either branch."""
    compare = Compare(b"other", "version", ">", 0)
    swap = Txn((compare,), (Put(b"k", b"yes"),), (Put(b"k", b"no"),))
    taken = _taken(_operation(1, 0, swap), 50, 2)
    kv = KeyValue(b"k", b"no", 2, 2, 1)
    read = _operation(2, 100, Range(b"k"), RangeResponse(2, (kv,), False, 1))

    verdicts = [
        check_linearizability(History((structs.replace(taken, taken_branch=branch), read)))
        for branch in (None, False, True)
    ]

    assert [each.result for each in verdicts] == [Result.OK, Result.OK, Result.VIOLATED]


def test_many_blind_writes_are_no_search() -> None:
    """Six have 720 orders; the read at the end only says that the first one came last."""
    puts = [_operation(number, 0, Put(b"k", b"%d" % number)) for number in range(6)]
    kv = KeyValue(b"k", b"0", 2, 7, 6)
    read = _operation(9, 100, Range(b"k"), RangeResponse(7, (kv,), False, 1))
    taken = [_taken(put, 90, 7 - number) for number, put in enumerate(puts)]

    blind = check_revisions(History((*puts, read)), steps_max=20)
    settled = check_revisions(History((*taken, read)), steps_max=0)

    assert blind.verdict.result == Result.UNKNOWN
    assert settled.verdict.result == Result.OK
