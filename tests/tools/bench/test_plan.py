"""Plans and the requests that they stand for."""

from __future__ import annotations

from typing import Any

import pytest

from node.proto import rpc
from tools.bench.plan import Plan, Requests, Workload


def plan(**fields: Any) -> Plan:
    return Plan(endpoints=("127.0.0.1:2379",), **fields)


def test_sequential_keys_are_new() -> None:
    requests = Requests(plan(key_bytes=2, value_bytes=3, prefix=b"p/"))

    puts = [rpc.PutRequest.FromString(requests.encode_next()) for _ in range(257)]

    assert [puts[0].key, puts[1].key, puts[256].key] == [b"p/\0\0", b"p/\0\1", b"p/\1\0"]
    assert {put.value for put in puts} == {bytes(3)}


def test_drawn_keys_stay_in_their_space_and_repeat_with_the_seed() -> None:
    drawing = plan(key_bytes=4, key_space=10, workload="range")

    first, second = Requests(drawing), Requests(drawing)
    keys = [rpc.RangeRequest.FromString(first.encode_next()).key for _ in range(200)]

    assert {int.from_bytes(key, "big") for key in keys} == set(range(10))
    assert keys[:20] == [rpc.RangeRequest.FromString(second.encode_next()).key for _ in range(20)]


def test_key_given_is_the_only_one() -> None:
    requests = Requests(plan(prefix=b"p/"), b"12345678")

    assert rpc.PutRequest.FromString(requests.encode_next()).key == b"p/12345678"


@pytest.mark.parametrize(
    ("workload", "serializable"), [("range", False), ("range-serializable", True)]
)
def test_range_says_how_fresh(workload: Workload, serializable: bool) -> None:
    encoded = Requests(plan(workload=workload)).encode_next()

    assert rpc.RangeRequest.FromString(encoded).serializable is serializable


def test_txn_puts_one_key() -> None:
    encoded = Requests(plan(workload="txn-put", key_bytes=1)).encode_next()

    request = rpc.TxnRequest.FromString(encoded)
    assert [operation.request_put.key for operation in request.success] == [b"\0"]


@pytest.mark.parametrize(
    ("clients", "connections", "shares"),
    [(1, 0, [1]), (5, 2, [3, 2]), (3, 9, [1, 1, 1]), (250, 0, [3] * 50 + [2] * 50)],
)
def test_clients_are_spread_evenly(clients: int, connections: int, shares: list[int]) -> None:
    assert plan(clients=clients, connections=connections).shares == shares


@pytest.mark.parametrize(
    "fields",
    [
        {"clients": 0},
        {"total": 0},
        {"key_bytes": 0},
        {"key_bytes": 1, "key_space": 257},
        {"value_bytes": -1},
        {"workload": "delete"},
    ],
)
def test_plan_that_contradicts_itself(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        plan(**fields)
