"""The error table against what clients of etcd read, and against everything that can be refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.api.errors import DEADLINE_EXCEEDED, ETCD_ERRORS, REFUSALS, Fault, fault_of
from node.machine import errors as refusals
from node.machine.errors import Malformed, Refusal
from transport.grpc import Status

TABLE = Path(__file__).parent / "testdata" / "errors.txt"


def rows() -> list[tuple[str, int, str]]:
    """The table's rows: name, code, text."""
    lines = TABLE.read_text().splitlines()
    cells = [line.split("|") for line in lines if line and not line.startswith("#")]
    return [(name.strip(), int(code), text.strip()) for name, code, text in cells]


@pytest.mark.parametrize(("name", "code", "text"), rows())
def test_error_has_etcds_code_and_text(name: str, code: int, text: str) -> None:
    fault = DEADLINE_EXCEEDED if name == "DeadlineExceeded" else ETCD_ERRORS[name]

    assert (int(fault.status), fault.text) == (code, text)


def test_table_has_no_error_that_etcd_lacks() -> None:
    assert set(ETCD_ERRORS) <= {name for name, _, _ in rows()}


def test_every_refusal_has_a_row() -> None:
    named = {value for value in vars(refusals).values() if isinstance(value, type)}
    refusable = {kind for kind in named if issubclass(kind, Refusal) and kind is not Refusal}

    assert set(REFUSALS) | {Malformed} == refusable


def test_malformed_message_tells_its_reason() -> None:
    fault = fault_of(Malformed("wrong wire type"))

    assert fault == Fault(Status.INTERNAL, "grpc: error unmarshalling request: wrong wire type")


@pytest.mark.parametrize("refusal", list(REFUSALS))
def test_texts_are_apart(refusal: type[Refusal]) -> None:
    """Go clients tell errors apart by text alone, so no two refusals may share one."""
    same = [other for other, fault in REFUSALS.items() if fault.text == REFUSALS[refusal].text]

    assert same == [refusal]
