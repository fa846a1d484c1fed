"""Errors cross the management socket as documents."""

from __future__ import annotations

import pytest

from cluster.errors import ClusterError, Held, NoSuchNode, PartlyDone, error_from

EXIT_CODES = {
    "failed": 1,
    "start-failed": 1,
    "forbidden": 1,
    "bad-request": 2,
    "not-running": 3,
    "no-such-node": 3,
    "timeout": 4,
    "partly-done": 5,
    "degraded": 6,
    "conflict": 7,
    "held": 7,
    "port-held": 7,
}


@pytest.mark.parametrize("code", EXIT_CODES)
def test_error_code_has_its_exit_code(code: str) -> None:
    assert error_from({"code": code}).exit_code == EXIT_CODES[code]


@pytest.mark.parametrize(
    "error",
    [
        Held("in use", hint="another name", data={"pid": 7}),
        NoSuchNode("no n9", data={"selector": "n9"}),
        PartlyDone("n2: no", data={"failed": {"n2": "no"}}),
    ],
    ids=lambda error: error.code,
)
def test_error_round_trip_keeps_class_and_facts(error: ClusterError) -> None:
    again = error_from(error.document())

    assert type(again) is type(error)
    assert again.document() == error.document()


def test_error_unknown_code_keeps_its_text() -> None:
    error = error_from({"code": "from-the-future", "message": "so it was", "data": None})

    assert type(error) is ClusterError
    assert str(error) == "so it was"
