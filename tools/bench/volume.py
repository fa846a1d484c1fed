"""A store of many keys: what it costs in memory, how fast it is read and how soon it is back.

    python -m tools.bench.volume [--keys 1000000] [--value-bytes 100] [--json]

This cluster and a real etcd, one after the other, filled by the same txns. Afterwards a range of a
thousand keys is read again and again at one member, the last member is killed and started, and the
memory of all members is looked at before and after.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from statistics import median
from typing import Final

import msgspec

from node.client import ClientError, EtcdClient
from node.proto import rpc
from tools.bench.compare import Row
from tools.bench.errors import BenchFailed
from tools.bench.report import percentile_ms
from tools.bench.side import ConclaveSide, EtcdSide, Side

SCHEMA: Final = "conclave/volume.v1"
RANGE_KEYS: Final = 1_000
_TXN_KEYS: Final = 128
_WRITERS: Final = 4
_RANGES: Final = 100
_RESTARTS: Final = 3
_PATIENCE_S: Final = 60.0
_MIB: Final = 1 << 20


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one side did."""

    filled_s: float
    memory_bytes: float
    """Of one member, the median of all."""
    range_ms: float
    """Median of a linearizable range of `RANGE_KEYS` keys."""
    limited_ms: float
    """Median of a range of the whole store that is limited to as many."""
    restart_s: float
    """From the start of a killed member to its first answer that names a leader."""
    restarted_bytes: float
    """Memory of the member that was started last."""


def measure_volume(side: Side, keys: int, value_bytes: int) -> Figures:
    """Fill a side, and look at it.

    Raises:
        BenchFailed: a request failed, or a range had the wrong keys.
    """
    filled_s = _fill(side, keys, value_bytes)
    memory = median(side.memory_bytes())
    with EtcdClient([side.endpoints[0]], timeout_s=_PATIENCE_S) as client:
        firsts = range(0, keys - RANGE_KEYS, max(1, (keys - RANGE_KEYS) // _RANGES))
        slices = [_timed(partial(_read, client, first, keys)) for first in firsts]
        wholes = [_timed(partial(_read, client, 0, keys, limited=True)) for _ in range(5)]
    restart_s = median(side.restart_member() for _ in range(_RESTARTS))
    return Figures(
        filled_s=round(filled_s, 2),
        memory_bytes=memory,
        range_ms=percentile_ms(sorted(slices), 0.5),
        limited_ms=percentile_ms(sorted(wholes), 0.5),
        restart_s=restart_s,
        restarted_bytes=side.memory_bytes()[-1],
    )


def key(number: int) -> bytes:
    """Keys in the order in which they are put."""
    return b"volume/%09d" % number


def _fill(side: Side, keys: int, value_bytes: int) -> float:
    began = time.perf_counter()
    shares = [range(writer, keys, _WRITERS) for writer in range(_WRITERS)]
    with ThreadPoolExecutor(_WRITERS) as pool:
        for done in [pool.submit(_put, side, share, value_bytes) for share in shares]:
            done.result()
    return time.perf_counter() - began


def _put(side: Side, numbers: Iterable[int], value_bytes: int) -> None:
    value = bytes(value_bytes)
    with EtcdClient(side.endpoints, timeout_s=_PATIENCE_S) as client:
        rest = iter(numbers)
        while group := list(islice(rest, _TXN_KEYS)):
            puts = (rpc.PutRequest(key=key(number), value=value) for number in group)
            client.txn(rpc.TxnRequest(success=[rpc.RequestOp(request_put=put) for put in puts]))


def _read(client: EtcdClient, first: int, keys: int, *, limited: bool = False) -> None:
    end = key(keys if limited else first + RANGE_KEYS)
    limit = RANGE_KEYS if limited else 0
    answer = client.range(rpc.RangeRequest(key=key(first), range_end=end, limit=limit))
    counted = keys - first if limited else RANGE_KEYS
    if len(answer.kvs) != RANGE_KEYS or answer.count != counted or answer.more != limited:
        raise BenchFailed(f"a range from {first} has {len(answer.kvs)} keys of {answer.count}")


def _timed(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def rows(conclave: Figures, etcd: Figures) -> list[Row]:
    """Both sides' figures, one to a row."""

    def row(title: str, unit: str, name: str, divisor: int = 1) -> Row:
        ours, theirs = (getattr(side, name) / divisor for side in (conclave, etcd))
        return Row(title=title, unit=unit, conclave=round(ours, 3), etcd=round(theirs, 3))

    return [
        row("filled in", "s", "filled_s"),
        row("memory of a member", "MiB", "memory_bytes", _MIB),
        row(f"range of {RANGE_KEYS} keys, p50", "ms", "range_ms"),
        row(f"first {RANGE_KEYS} of all, counted, p50", "ms", "limited_ms"),
        row("killed member restarted to serving", "s", "restart_s"),
        row("memory of the restarted member", "MiB", "restarted_bytes", _MIB),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison from the command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="tools.bench.volume", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value-bytes", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    figures = []
    try:
        for make in (ConclaveSide, EtcdSide):
            with make() as side:
                figures.append(measure_volume(side, options.keys, options.value_bytes))
                print(f"  {side.name}: {figures[-1]}", file=sys.stderr)
    except (BenchFailed, ClientError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    conclave, etcd = figures
    found = rows(conclave, etcd)
    if options.json:
        entries = [{**msgspec.structs.asdict(row), "ratio": round(row.ratio, 3)} for row in found]
        print(json.dumps({"schema": SCHEMA, "keys": options.keys, "rows": entries}))
    else:
        print(f"{'':<34} {'conclave':>11} {'etcd':>11}         ratio")
        print("\n".join(row.line() for row in found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
