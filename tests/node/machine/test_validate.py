"""What the shape of a request shows. Texts of single refusals: see testdata/validation.txt."""

from __future__ import annotations

import pytest

from node.machine.errors import EmptyKey, InvalidSortOption, Refusal, TooManyOperations
from node.machine.validate import check_range, check_txn, is_read_only, is_serializable
from node.proto import rpc

GET = rpc.RequestOp(request_range=rpc.RangeRequest(key=b"a"))
LOCAL_GET = rpc.RequestOp(request_range=rpc.RangeRequest(key=b"a", serializable=True))
COMPARE = rpc.Compare(key=b"a")


def nested(*operations: rpc.RequestOp) -> rpc.RequestOp:
    return rpc.RequestOp(request_txn=rpc.TxnRequest(success=operations))


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        (rpc.TxnRequest(success=[GET] * 4), None),
        (rpc.TxnRequest(success=[GET] * 5), TooManyOperations()),
        (rpc.TxnRequest(failure=[GET] * 5), TooManyOperations()),
        (rpc.TxnRequest(compare=[COMPARE] * 5), TooManyOperations()),
        (rpc.TxnRequest(compare=[COMPARE] * 4, success=[GET] * 4, failure=[GET] * 4), None),
        (rpc.TxnRequest(compare=[rpc.Compare()]), EmptyKey()),
        (rpc.TxnRequest(success=[nested(GET, GET, GET)]), None),
        (rpc.TxnRequest(success=[nested(GET, GET, GET, GET)]), TooManyOperations()),
        (rpc.TxnRequest(success=[nested(nested(GET, GET, GET))]), TooManyOperations()),
        (rpc.TxnRequest(success=[nested(nested(GET, GET))]), None),
    ],
)
def test_txn_budget_is_shared_with_nested_txns(
    request_: rpc.TxnRequest, refusal: Refusal | None
) -> None:
    assert check_txn(request_, 4) == refusal


@pytest.mark.parametrize("field", ["sort_order", "sort_target"])
def test_range_with_unknown_sort_option_is_refused(field: str) -> None:
    request = rpc.RangeRequest(key=b"a")
    setattr(request, field, 9)

    assert check_range(request) == InvalidSortOption()


@pytest.mark.parametrize(
    ("operations", "read_only", "serializable"),
    [
        ([], True, True),
        ([GET], True, False),
        ([LOCAL_GET], True, True),
        ([GET, LOCAL_GET], True, False),
        ([nested(LOCAL_GET)], False, False),
        ([rpc.RequestOp(request_put=rpc.PutRequest(key=b"a"))], False, False),
    ],
)
def test_txn_of_reads_needs_no_log_entry(
    operations: list[rpc.RequestOp], read_only: bool, serializable: bool
) -> None:
    for request in (rpc.TxnRequest(success=operations), rpc.TxnRequest(failure=operations)):
        assert is_read_only(request) == read_only
        assert is_serializable(request) == serializable
