"""What to measure: a workload, how many clients, which keys, and when to stop."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from random import Random
from typing import Final, Literal, get_args

import msgspec

from node.proto import rpc
from transport.tls import ClientFiles

Workload = Literal["put", "range", "range-serializable", "txn-put", "watch"]
WORKLOADS: Final[tuple[Workload, ...]] = get_args(Workload)

PATHS: Final[dict[Workload, str]] = {
    "put": "/etcdserverpb.KV/Put",
    "range": "/etcdserverpb.KV/Range",
    "range-serializable": "/etcdserverpb.KV/Range",
    "txn-put": "/etcdserverpb.KV/Txn",
    "watch": "/etcdserverpb.Watch/Watch",
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement.

    Raises:
        ValueError: the numbers contradict each other.
    """

    endpoints: tuple[str, ...]
    """host:port, with TLS https://host:port; connections go round them."""
    tls: ClientFiles | None = None
    """Whom to trust and what to show at https:// endpoints."""
    workload: Workload = "put"
    clients: int = 1
    """Requests in flight at any time; for "watch" the watchers of one key."""
    connections: int = 0
    """0 = one per client, at most 100, as many clients share one in practice."""
    total: int = 10_000
    """Requests to make; for "watch" the puts that are watched. 0 = as many as the time allows."""
    duration_s: float = 0.0
    """Start no request after so many seconds; 0 = no such bound."""
    key_bytes: int = 8
    key_space: int = 0
    """Keys are drawn from so many at random; 0 = sequential and new."""
    value_bytes: int = 256
    prefix: bytes = b""
    """Of every key; `key_bytes` does not count it."""
    seed: int = 1
    patience_s: float = 30.0
    """How long to wait for connections, and for the last answers."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        _require(bool(self.endpoints), "no endpoints")
        _require(self.workload in WORKLOADS, f"workloads are {', '.join(WORKLOADS)}")
        _require(self.clients >= 1 and self.connections >= 0, "no clients")
        _require(self.total > 0 or self.duration_s > 0, "neither a total nor a duration")
        _require(1 <= self.key_bytes <= 1024, "keys have 1 to 1024 bytes")
        _require(self.key_space <= 256 ** min(self.key_bytes, 8), "more keys than the size allows")
        _require(self.value_bytes >= 0 and self.key_space >= 0, "sizes are not negative")

    @property
    def connection_count(self) -> int:
        """Connections to open: never more than clients, and one per endpoint if there can be."""
        return min(self.clients, self.connections or 100)

    @property
    def shares(self) -> list[int]:
        """Clients of each connection, as even as can be."""
        count = self.connection_count
        return [self.clients // count + (one < self.clients % count) for one in range(count)]


class Requests:
    """Encoded requests of one plan; only the key differs, so the rest is encoded once.

    Args:
        plan: what to ask for.
        key: without its prefix, the only key to use; None = as the plan says.
    """

    def __init__(self, plan: Plan, key: bytes | None = None) -> None:
        self._keys = _keys(plan) if key is None else repeat(key)
        marker = plan.prefix + b"\xff" * plan.key_bytes
        encoded = _request(plan, marker)
        # The marker stands last: a value never holds it, because values are zeros.
        self._before, _, self._after = encoded.rpartition(marker)
        self._before += plan.prefix

    def encode_next(self) -> bytes:
        """Encode one more request."""
        return self._before + next(self._keys) + self._after


def put_request(key: bytes, value_bytes: int) -> rpc.PutRequest:
    """Build the write that all workloads share."""
    return rpc.PutRequest(key=key, value=bytes(value_bytes))


def _request(plan: Plan, key: bytes) -> bytes:
    match plan.workload:
        case "put" | "watch":
            return put_request(key, plan.value_bytes).SerializeToString()
        case "range":
            return rpc.RangeRequest(key=key).SerializeToString()
        case "range-serializable":
            return rpc.RangeRequest(key=key, serializable=True).SerializeToString()
        case "txn-put":
            operation = rpc.RequestOp(request_put=put_request(key, plan.value_bytes))
            return rpc.TxnRequest(success=[operation]).SerializeToString()


def _keys(plan: Plan) -> Iterator[bytes]:
    """Give keys of a fixed size: big-endian numbers, sequential or drawn."""
    size, random, number = plan.key_bytes, Random(plan.seed), 0  # noqa: S311 -- load, no secret
    bound: int = 256**size
    while True:
        drawn = random.randrange(plan.key_space) if plan.key_space else number % bound
        yield drawn.to_bytes(size, "big")
        number += 1


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)
