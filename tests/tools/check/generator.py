"""Good histories by the seed: concurrent clients, watchers and leases over a naive store.

Virtual time. Every request takes effect somewhere between its start and its end; one with an
unknown outcome may take effect long after its client left, or never. Watchers lag, break off,
resume elsewhere, and are canceled by compaction; members hash their state.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable
from random import Random

from tests.tools.check.naive_store import NaiveStore, Rejected
from tests.tools.check.watcher import Watcher
from tools.check.history import (
    Baseline,
    Compact,
    Compare,
    DeleteRange,
    HashReport,
    History,
    KeyValue,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseRevoke,
    LeaseTimeToLive,
    Operation,
    Outcome,
    Put,
    Range,
    Request,
    Response,
    Txn,
    WatchRecord,
)

MS = 1_000_000
GRACE_NS = 500 * MS
"""How late a lease may end here."""
KEYS = tuple(f"k{number}".encode() for number in range(6))
EVERY = b"\0"


class Generator:
    """One run; `history()` after `run()`."""

    def __init__(self, seed: int, operations: int = 90, clients: int = 5) -> None:
        self.random = Random(seed)
        self._left = operations
        self._clients = clients
        self._queue: list[tuple[int, int, Callable[[int], None]]] = []
        self._sequence = 0
        self._values = 0
        self._lease = 0
        self._operations: list[Operation] = []
        self._watches: list[WatchRecord] = []
        self._hashes: list[HashReport] = []
        self._baseline = self._make_baseline()
        self.store = self._make_store(self._baseline)
        self.expired: list[tuple[int, int]] = []
        """Leases that ran out, with the revision that took their keys."""

    def run(self) -> History:
        """Run to the end: all requests settled, all watchers caught up."""
        for number in range(self._clients):
            self._at(self.random.randrange(50 * MS), self._client(f"c{number}"))
        watchers = [Watcher(f"w{number}", self.random, self.store) for number in range(3)]
        for watcher in watchers:
            self._at(self.random.randrange(50 * MS), self._turn_of(watcher))
        now_ns = 0
        while self._queue:
            now_ns, _, action = heapq.heappop(self._queue)
            action(now_ns)
        self._hash(now_ns)
        for watcher in watchers:
            watcher.finish(now_ns + MS)
            self._watches += watcher.records
        return History(
            tuple(self._operations), tuple(self._watches), tuple(self._hashes), self._baseline
        )

    def _at(self, at_ns: int, action: Callable[[int], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (at_ns, self._sequence, action))

    def _make_store(self, baseline: Baseline) -> NaiveStore:
        return NaiveStore(baseline)

    def _make_baseline(self) -> Baseline:
        if self.random.random() < 0.7:
            return Baseline()
        kvs = (
            KeyValue(KEYS[0], b"old0", 5, 6, 2),
            KeyValue(KEYS[1], b"old1", 4, 4, 1),
        )
        return Baseline(7, kvs)

    def _turn_of(self, watcher: Watcher) -> Callable[[int], None]:
        def turn(now_ns: int) -> None:
            watcher.turn(now_ns)
            if self._left > 0:
                self._at(now_ns + self.random.randrange(10, 300) * MS, turn)

        return turn

    def _client(self, name: str) -> Callable[[int], None]:
        def start(now_ns: int) -> None:
            if self._left <= 0:
                return
            self._left -= 1
            if self.random.random() < 0.1:
                self._hash(now_ns)
            end_ns = self._start(name, now_ns)
            self._at(end_ns + self.random.randrange(1, 200) * MS, start)

        return start

    def _start(self, client: str, start_ns: int) -> int:
        """Start one operation; give when its client is done with it."""
        request = self._draw_request()
        endpoint = f"n{self.random.randint(1, 3)}"
        applied_ns = start_ns + self.random.randrange(1, 150) * MS
        end_ns = applied_ns + self.random.randrange(1, 100) * MS
        id_ = len(self._operations)
        chance = self.random.random()

        def record(outcome: Outcome, response: Response | None = None, error: str = "") -> None:
            self._operations[id_] = Operation(
                id_, client, endpoint, start_ns, start_ns, end_ns, outcome, request, response, error
            )

        def apply(now_ns: int) -> None:
            try:
                response = self._serve(request, now_ns)
            except Rejected as refusal:
                record("failed", error=str(refusal))
                return
            if chance >= 0.12:
                record("ok", response)

        self._operations.append(
            Operation(id_, client, endpoint, start_ns, start_ns, end_ns, "unknown", request)
        )
        if chance < 0.05:
            record("failed", error="etcdserver: no leader")
        elif chance < 0.12:
            if chance < 0.10:
                self._at(start_ns + self.random.randrange(1, 600) * MS, self._silently(request))
        else:
            self._at(applied_ns, apply)
        return end_ns

    def _silently(self, request: Request) -> Callable[[int], None]:
        def apply(now_ns: int) -> None:
            try:
                self._serve(request, now_ns)
            except Rejected:
                return

        return apply

    def _serve(self, request: Request, now_ns: int) -> Response:
        if isinstance(request, Range) and request.serializable:
            oldest = max(self.store.first, self.store.revision - 4)
            return self.store.read_at(request, self.random.randint(oldest, self.store.revision))
        response = self.store.serve(request, now_ns)
        if isinstance(request, LeaseGrant | LeaseKeepAlive) and request.lease in self.store.leases:
            self._at(self._due(request.lease), self._expire(request.lease))
        return response

    def _due(self, lease: int) -> int:
        return self.store.leases[lease][1] + self.random.randrange(GRACE_NS)

    def _expire(self, lease: int) -> Callable[[int], None]:
        def expire(now_ns: int) -> None:
            if lease in self.store.leases and self._is_due(lease, now_ns):
                before = self.store.revision
                self.store.end_lease(lease)
                if self.store.revision > before:
                    self.expired.append((lease, self.store.revision))

        return expire

    def _is_due(self, lease: int, now_ns: int) -> bool:
        return self.store.leases[lease][1] <= now_ns

    def _hash(self, now_ns: int) -> None:
        store = self.store
        state = repr(sorted(store.states[store.revision].items())).encode()
        for endpoint in ("n1", "n2", "n3"):
            place = (store.revision, zlib.crc32(state), store.compacted)
            self._hashes.append(HashReport(endpoint, now_ns, *place))

    def _draw_request(self) -> Request:
        kinds: dict[Callable[[], Request], int] = {
            self._draw_put: 30,
            self._draw_get: 14,
            self._draw_list: 10,
            self._draw_old: 8,
            lambda: self._draw_get(serializable=True): 8,
            self._draw_txn: 10,
            self._draw_swap: 8,
            self._draw_delete: 6,
            self._draw_lease: 10,
            self._draw_compact: 3,
        }
        return self.random.choices(list(kinds), list(kinds.values()))[0]()

    def _value(self) -> bytes:
        self._values += 1
        return f"v{self._values}".encode()

    def _key(self) -> bytes:
        return self.random.choice(KEYS)

    def _draw_put(self) -> Request:
        lease = self.random.choice([0, 0, self._lease])
        if self.random.random() < 0.05:
            return Put(self._key(), lease=lease, ignore_value=True)
        return Put(self._key(), self._value(), lease, prev_kv=self.random.random() < 0.3)

    def _draw_get(self, *, serializable: bool = False) -> Request:
        return Range(self._key(), serializable=serializable)

    def _draw_list(self) -> Request:
        limit, count_only = self.random.choice([0, 0, 2]), self.random.random() < 0.2
        return Range(KEYS[0], EVERY, limit=limit, count_only=count_only)

    def _draw_old(self) -> Request:
        return Range(b"k", b"l", self.random.randint(self.store.first, self.store.revision))

    def _draw_txn(self) -> Request:
        first, second = sorted(self.random.sample(KEYS, 2))
        compare = Compare(first, "version", self.random.choice(["=", "!="]), 0)
        puts = (Put(first, self._value()), Put(second, self._value()), Range(first))
        return Txn((compare,), puts, (Range(first), Txn((), (Put(second, self._value()),))))

    def _draw_swap(self) -> Request:
        key = self._key()
        kv = self.store.states[self.store.revision].get(key)
        compare = Compare(key, "mod", "=", kv.mod_revision if kv else 0)
        return Txn((compare,), (Put(key, self._value()),), (Range(key),))

    def _draw_delete(self) -> Request:
        if self.random.random() < 0.3:
            return DeleteRange(KEYS[2], KEYS[4])
        return DeleteRange(self._key(), prev_kv=self.random.random() < 0.5)

    def _draw_lease(self) -> Request:
        if not self._lease or self.random.random() < 0.3:
            self._lease += 1
            return LeaseGrant(self._lease, self.random.randint(1, 3))
        kinds: list[Callable[[int], Request]] = [
            LeaseKeepAlive,
            LeaseKeepAlive,
            LeaseTimeToLive,
            LeaseRevoke,
        ]
        return self.random.choice(kinds)(self.random.randint(1, self._lease))

    def _draw_compact(self) -> Request:
        return Compact(self.random.randint(self.store.first, self.store.revision))
