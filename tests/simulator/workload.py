"""What clients ask for: requests of all kinds, drawn by the seed.

Few keys, so that clients meet each other; every value once, so that a value tells who wrote it.
Keys of leases are the same as all others: a put without a lease takes a key from its lease, and a
lease that runs out takes what it has left.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from tools.check.history import (
    Compact,
    Compare,
    DeleteRange,
    KeyValue,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseResponse,
    LeaseRevoke,
    LeaseTimeToLive,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    Relation,
    Request,
    Response,
    Target,
    Txn,
    TxnOperation,
    TxnResponse,
)

KEYS: Final = tuple(b"k%d" % number for number in range(8))
EVERY: Final = b"\0"
TTL_SECONDS: Final = (1, 2, 4, 8)
"""What is asked for; members grant two seconds at least."""
LEASES_KEPT: Final = 4
"""How many of the latest leases are kept alive and attached to."""


class Workload:
    """Draws requests, and remembers what drawing good ones needs."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._values = 0
        self._lease = 0
        self.leases: list[int] = []
        self._seen: dict[bytes, KeyValue] = {}
        self.revision = 1
        """The highest that was seen."""
        self._drawn: dict[str, Callable[[], Request]] = {
            "put": self._put,
            "read": self._read,
            "txn": self._txn,
            "delete": self._delete,
            "compact": self._compact,
            "lease": self._lease_call,
        }

    def draw(self, kind: str) -> Request:
        """Draw a request of a kind of CLIENT_ACTIONS."""
        return self._drawn[kind]()

    def learn(self, request: Request, response: Response) -> None:
        """Look at an answer: conditions on what is really there are met now and then."""
        self.revision = max(self.revision, response.revision)
        match request, response:
            case LeaseGrant(), LeaseResponse(lease=lease):
                self.leases.append(lease)
            case Put(key=key), PutResponse(revision=revision):
                self._seen[key] = KeyValue(key, request.value, 0, revision)
            case Range(revision=0, keys_only=False), RangeResponse(kvs=kvs):
                for kv in kvs:
                    self._seen[kv.key] = kv
            case Txn(), TxnResponse(succeeded=False):
                self._seen.clear()
            case _:
                pass

    def _value(self) -> bytes:
        self._values += 1
        return b"%d" % self._values + b"." * self._chance.choice((0, 0, 10, 100))

    def _key(self) -> bytes:
        return self._chance.choice(KEYS)

    def _lease_id(self) -> int:
        return self._chance.choice(self.leases[-LEASES_KEPT:]) if self.leases else 0

    def _put(self) -> Request:
        chance = self._chance.random()
        lease = self._lease_id() if self._chance.random() < 0.3 else 0
        if chance < 0.04:
            return Put(self._key(), lease=lease, ignore_value=True, prev_kv=True)
        if chance < 0.08:
            return Put(self._key(), self._value(), ignore_lease=True)
        return Put(self._key(), self._value(), lease, prev_kv=chance < 0.4)

    def _read(self) -> Request:
        chance = self._chance
        serializable = chance.random() < 0.3
        kind = chance.random()
        if kind < 0.5:
            return Range(self._key(), serializable=serializable)
        if kind < 0.6:
            return Range(self._key(), keys_only=True, serializable=serializable)
        if kind < 0.7:
            revision = max(1, self.revision - chance.randrange(-1, 25))
            return Range(KEYS[0], EVERY, revision, serializable=serializable)
        lo, end = self._interval()
        return Range(
            lo,
            end,
            limit=chance.choice((0, 0, 2)),
            serializable=serializable,
            keys_only=chance.random() < 0.1,
            count_only=chance.random() < 0.15,
        )

    def _interval(self) -> tuple[bytes, bytes]:
        """A few keys, all that begin with k, or everything there is."""
        lo, hi = sorted(self._chance.sample(KEYS, 2))
        return self._chance.choice(((lo, hi), (b"k", b"l"), (EVERY, EVERY)))

    def _delete(self) -> Request:
        prev_kv = self._chance.random() < 0.5
        if self._chance.random() < 0.25:
            at = self._chance.randrange(len(KEYS) - 2)
            return DeleteRange(KEYS[at], KEYS[at + 2], prev_kv)
        return DeleteRange(self._key(), prev_kv=prev_kv)

    def _txn(self) -> Request:
        kind = self._chance.random()
        if kind < 0.5:
            return self._swap()
        if kind < 0.65:
            return self._reads()
        return self._many()

    def _swap(self) -> Txn:
        """Compare and swap on what the client has last seen."""
        key = self._key()
        seen = self._seen.get(key)
        targets: tuple[Target, ...] = ("mod", "mod", "version", "value", "create")
        compare = Compare(key, "mod", "=", 0)
        if seen is not None:
            compare = self._same(seen, self._chance.choice(targets))
        put = Put(key, self._value(), prev_kv=self._chance.random() < 0.3)
        return Txn((compare,), (put, Range(key)), (Range(key),))

    def _same(self, seen: KeyValue, target: Target) -> Compare:
        given: dict[str, int | bytes] = {
            "version": seen.version,
            "create": seen.create_revision,
            "value": seen.value,
        }
        stored = given.get(target)
        if not stored:
            return Compare(seen.key, "mod", "=", seen.mod_revision)
        return Compare(seen.key, target, "=", stored)

    def _reads(self) -> Txn:
        lo, end = self._interval()
        serializable = self._chance.random() < 0.3
        reads = (
            Range(lo, end, serializable=serializable),
            Range(self._key(), serializable=serializable),
        )
        return Txn((Compare(self._key(), "version", ">", 0),), reads, reads[:1])

    def _many(self) -> Txn:
        """Several keys at once, in one of two ways, one of them with a transaction inside."""
        first, second, third = self._chance.sample(KEYS, 3)
        relations: tuple[Relation, ...] = ("=", "!=", ">", "<")
        compare = Compare(
            first, "version", self._chance.choice(relations), self._chance.randrange(3)
        )
        lease = self._lease_id() if self._chance.random() < 0.3 else 0
        success: tuple[TxnOperation, ...] = (
            Put(first, self._value(), lease),
            Range(KEYS[0], EVERY),
            Put(second, self._value(), prev_kv=True),
            DeleteRange(third, prev_kv=True),
        )
        inner = Txn(
            (Compare(second, "create", "!=", 0),),
            (DeleteRange(second),),
            (Put(second, self._value()), Range(second)),
        )
        return Txn((compare,), success, (Put(first, self._value()), inner, Range(KEYS[0], EVERY)))

    def _compact(self) -> Request:
        return Compact(max(1, self.revision - self._chance.randrange(-1, 20)))

    def _lease_call(self) -> Request:
        kind = self._chance.random()
        lease = self._lease_id()
        if not lease or kind < 0.2:
            return self._grant()
        if kind < 0.75:
            return LeaseKeepAlive(lease)
        if kind < 0.9:
            return LeaseTimeToLive(self._chance.choice(self.leases))
        return LeaseRevoke(lease)

    def _grant(self) -> LeaseGrant:
        """Now and then the member chooses the id."""
        self._lease += 1
        chosen = 0 if self._chance.random() < 0.2 else self._lease
        return LeaseGrant(chosen, self._chance.choice(TTL_SECONDS))
