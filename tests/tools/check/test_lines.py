"""Histories as lines: what is written is read again, what is no history is refused."""

from __future__ import annotations

import io

import pytest

from tests.tools.check.generator import Generator
from tools.check import History, HistoryInvalid, Operation, collect, read_history, write_history
from tools.check.history import Put, PutResponse


def _write(history: History) -> bytes:
    file = io.BytesIO()
    write_history(history, file)
    return file.getvalue()


def _put(**changes: object) -> Operation:
    fields: dict[str, object] = {
        "id": 1,
        "client": "c1",
        "endpoint": "n1",
        "intended_ns": 0,
        "start_ns": 1,
        "end_ns": 2,
        "outcome": "ok",
        "request": Put(b"k", b"v"),
        "response": PutResponse(2),
    }
    return Operation(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_history_round_trip(seed: int) -> None:
    history = Generator(seed).run()

    assert read_history(io.BytesIO(_write(history))) == history


def test_last_line_cut_short_is_left_out() -> None:
    written = _write(History(operations=(_put(), _put(id=2))))

    assert read_history(io.BytesIO(written[:-5])).operations == (_put(),)


@pytest.mark.parametrize(
    ("written", "line"),
    [
        (b"", 1),
        (b'{"schema":"conclave/history.v9"}\n', 1),
        (b'{"schema":"conclave/history.v1"}\n{"type":"put"}\n', 2),
        (b'{"schema":"conclave/history.v1"}\nnonsense\n', 2),
    ],
)
def test_what_is_no_history_is_refused(written: bytes, line: int) -> None:
    with pytest.raises(HistoryInvalid) as caught:
        read_history(io.BytesIO(written))

    assert caught.value.line == line


@pytest.mark.parametrize(
    "operations",
    [
        (_put(), _put()),
        (_put(outcome="unknown"),),
        (_put(response=None),),
        (_put(end_ns=None),),
        (_put(end_ns=0),),
    ],
)
def test_records_that_contradict_the_format_are_refused(operations: tuple[Operation, ...]) -> None:
    with pytest.raises(HistoryInvalid):
        collect(operations)
