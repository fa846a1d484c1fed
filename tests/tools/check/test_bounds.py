"""At its bound a search says that it does not know; it never passes what it has not judged."""

from __future__ import annotations

from tests.tools.check.generator import Generator
from tools.check import Bounds, History, Operation, Result, check_history, result_of
from tools.check.history import KeyValue, Put, PutResponse, Range, RangeResponse
from tools.check.linearizability import check_linearizability
from tools.check.revision import check_revisions


def _operation(
    id_: int, start_ns: int, request: Put | Range, response: PutResponse | RangeResponse | None
) -> Operation:
    outcome = "unknown" if response is None else "ok"
    end_ns = start_ns + 10
    fields = (id_, "c1", "n1", start_ns, start_ns, end_ns)
    return Operation(*fields, outcome, request, response)  # type: ignore[arg-type]


def _get(id_: int, start_ns: int, revision: int, kv: KeyValue | None) -> Operation:
    kvs = () if kv is None else (kv,)
    response = RangeResponse(revision, kvs, count=len(kvs))
    return _operation(id_, start_ns, Range(b"k"), response)


def test_black_box_at_its_bound_does_not_know() -> None:
    history = Generator(1).run()

    assert check_linearizability(history, configurations_max=3).result == Result.UNKNOWN


def test_order_of_writes_at_its_bound_is_not_known() -> None:
    kv = KeyValue(b"k", b"never", 9, 9, 1)
    writes = [_operation(n, n, Put(b"other%d" % n, b"v"), None) for n in range(8)]
    told = _operation(20, 100, Put(b"k", b"v"), PutResponse(9))
    history = History((*writes, told, _get(21, 200, 9, kv)))

    assert check_revisions(history, steps_max=1).verdict.result == Result.UNKNOWN


def test_unknown_is_no_pass() -> None:
    history = Generator(1).run()

    assert result_of(check_history(history, Bounds(configurations_max=3))) == Result.UNKNOWN


def test_write_with_unknown_outcome_may_happen_late() -> None:
    written = KeyValue(b"k", b"v", 2, 2, 1)
    put = _operation(1, 0, Put(b"k", b"v"), None)
    history = History((put, _get(2, 100, 1, None), _get(3, 200, 2, written)))

    assert result_of(check_history(history)) == Result.OK


def test_write_with_unknown_outcome_cannot_be_undone() -> None:
    written = KeyValue(b"k", b"v", 2, 2, 1)
    put = _operation(1, 0, Put(b"k", b"v"), None)
    history = History((put, _get(2, 100, 2, written), _get(3, 200, 1, None)))

    verdicts = {each.check: each for each in check_history(history)}
    assert verdicts["revision"].result == Result.VIOLATED
    assert verdicts["linearizability"].result == Result.VIOLATED
    assert verdicts["linearizability"].findings[0].operations == (3,)


def test_write_with_unknown_outcome_happens_once() -> None:
    first, second = KeyValue(b"k", b"v", 2, 2, 1), KeyValue(b"k", b"v", 2, 3, 2)
    put = _operation(1, 0, Put(b"k", b"v"), None)
    history = History((put, _get(2, 100, 2, first), _get(3, 200, 3, second)))

    verdicts = {each.check: each for each in check_history(history)}
    assert verdicts["revision"].findings[0].rule == "explained revision"
    assert verdicts["linearizability"].result == Result.VIOLATED


def test_readers_at_the_same_time_are_no_search() -> None:
    """Twelve that may come in any order have half a billion orders, all of them alike."""
    written = KeyValue(b"k", b"v", 2, 2, 1)
    put = _operation(1, 0, Put(b"k", b"v"), PutResponse(2))
    before = [_get(10 + n, 0, 1, None) for n in range(6)]
    after = [_get(20 + n, 0, 2, written) for n in range(6)]
    history = History((put, *after, *before))

    assert check_linearizability(history, configurations_max=20).result == Result.OK


def test_writers_at_the_same_time_are_tried_in_the_order_of_revisions() -> None:
    puts = [_operation(n, n, Put(b"k", b"%d" % n), PutResponse(22 - n)) for n in range(10)]
    last = _get(50, 100, 22, KeyValue(b"k", b"0", 13, 22, 10))
    history = History((*puts, last))

    assert check_linearizability(history, configurations_max=20).result == Result.OK


def test_revisions_are_no_proof_for_the_black_box() -> None:
    """They agree with what was read, but it was read before it had been written."""
    first = _operation(1, 50, Put(b"k", b"first"), PutResponse(2))
    second = _operation(2, 0, Put(b"k", b"second"), PutResponse(3))
    early = _get(3, 20, 2, KeyValue(b"k", b"first", 2, 2, 1))
    history = History((first, second, early))

    assert check_linearizability(history).result == Result.VIOLATED
