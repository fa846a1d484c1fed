"""An etcd of plain dictionaries, a whole copy per revision: the truth that histories are made from.

It shares no line with the model under test, so that a good history which the checks call broken
shows a mistake in one of the two. Leases live here too, on a clock that the caller drives.
"""

from __future__ import annotations

from tools.check.history import (
    COMPACTED,
    LEASE_NOT_FOUND,
    Baseline,
    Compact,
    CompactResponse,
    Compare,
    DeleteRange,
    DeleteRangeResponse,
    Event,
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
    Request,
    Response,
    Txn,
    TxnOperation,
    TxnOperationResponse,
    TxnResponse,
)

SECOND_NS = 1_000_000_000
Keys = dict[bytes, KeyValue]


class Rejected(Exception):
    """The request has no effect; the text is the server's."""


class NaiveStore:
    """`states[r]` are the keys after revision r, `events[r]` what changed with it."""

    def __init__(self, baseline: Baseline) -> None:
        self.first = self.revision = baseline.revision
        self.compacted = 0
        self.states: dict[int, Keys] = {self.first: {kv.key: kv for kv in baseline.kvs}}
        self.events: dict[int, list[Event]] = {}
        self.leases: dict[int, tuple[int, int]] = {}

    def serve(self, request: Request, now_ns: int) -> Response:
        """Apply a request at a time; raises `Rejected`."""
        match request:
            case Compact():
                if not self.compacted < request.revision <= self.revision:
                    raise Rejected(COMPACTED)
                self.compacted = request.revision
                return CompactResponse(self.revision)
            case LeaseGrant():
                self.leases[request.lease] = (request.ttl, now_ns + request.ttl * SECOND_NS)
                return LeaseResponse(self.revision, request.lease, request.ttl)
            case LeaseRevoke():
                if request.lease not in self.leases:
                    raise Rejected(LEASE_NOT_FOUND)
                self.end_lease(request.lease)
                return LeaseResponse(self.revision, request.lease)
            case LeaseKeepAlive() | LeaseTimeToLive():
                return self._ask_lease(request, now_ns)
            case Put() | Range() | DeleteRange() | Txn():
                return self._serve_keys(request)

    def read_at(self, request: Range, revision: int) -> RangeResponse:
        """Read as a member that has got no further than a revision."""
        answer = _range(request, self.states[revision])
        return RangeResponse(revision, answer.kvs, answer.more, answer.count)

    def end_lease(self, lease: int) -> None:
        """Forget a lease and delete its keys, all in one revision."""
        self.leases.pop(lease)
        keys = dict(self.states[self.revision])
        for key in self.keys_of(lease):
            del keys[key]
        self._commit(keys)

    def keys_of(self, lease: int) -> list[bytes]:
        """Give the keys that go with a lease."""
        keys = self.states[self.revision].values()
        return sorted(kv.key for kv in keys if kv.lease == lease)

    def _ask_lease(self, request: LeaseKeepAlive | LeaseTimeToLive, now_ns: int) -> LeaseResponse:
        ttl, due_ns = self.leases.get(request.lease, (0, 0))
        if isinstance(request, LeaseTimeToLive):
            left = max(0, (due_ns - now_ns) // SECOND_NS) if ttl else -1
            return LeaseResponse(self.revision, request.lease, left)
        if ttl:
            self.leases[request.lease] = (ttl, now_ns + ttl * SECOND_NS)
        return LeaseResponse(self.revision, request.lease, ttl)

    def _serve_keys(self, request: TxnOperation) -> Response:
        if isinstance(request, Range) and request.revision:
            if request.revision < self.compacted:
                raise Rejected(COMPACTED)
            return self._with_revision(_range(request, self.states[request.revision]))
        before = self.states[self.revision]
        keys = dict(before)
        answer = self._run(request, keys, before)
        if keys != before:
            self._commit(keys)
        return self._with_revision(answer)

    def _with_revision(self, answer: TxnOperationResponse) -> TxnOperationResponse:
        match answer:
            case PutResponse():
                return PutResponse(self.revision, answer.prev_kv)
            case RangeResponse():
                return RangeResponse(self.revision, answer.kvs, answer.more, answer.count)
            case DeleteRangeResponse():
                return DeleteRangeResponse(self.revision, answer.deleted, answer.prev_kvs)
            case TxnResponse():
                return TxnResponse(self.revision, answer.succeeded, answer.responses)

    def _run(self, request: TxnOperation, keys: Keys, before: Keys) -> TxnOperationResponse:
        match request:
            case Put():
                return self._put(request, keys)
            case Range():
                return _range(request, keys)
            case DeleteRange():
                gone = _select(keys, request.key, request.range_end)
                for kv in gone:
                    del keys[kv.key]
                return DeleteRangeResponse(0, len(gone), tuple(gone) if request.prev_kv else ())
            case Txn():
                succeeded = all(_holds(compare, before) for compare in request.compare)
                branch = request.success if succeeded else request.failure
                answers = tuple(self._run(step, keys, before) for step in branch)
                return TxnResponse(0, succeeded, answers)

    def _put(self, request: Put, keys: Keys) -> PutResponse:
        if request.lease and request.lease not in self.leases:
            raise Rejected(LEASE_NOT_FOUND)
        old = keys.get(request.key)
        if old is None and request.ignore_value:
            raise Rejected("etcdserver: key not found")
        mine = self.revision + 1
        value = old.value if old is not None and request.ignore_value else request.value
        created, version = (old.create_revision, old.version + 1) if old else (mine, 1)
        keys[request.key] = KeyValue(request.key, value, created, mine, version, request.lease)
        return PutResponse(0, old if request.prev_kv else None)

    def _commit(self, keys: Keys) -> None:
        before = self.states[self.revision]
        changed = [key for key, kv in keys.items() if before.get(key) != kv]
        gone = [key for key in before if key not in keys]
        if not changed and not gone:
            return
        self.revision += 1
        self.states[self.revision] = keys
        # The generator's transactions put in key order and never put and delete, so this is theirs.
        self.events[self.revision] = [
            Event("put", keys[key], before.get(key)) for key in sorted(changed)
        ] + [
            Event("delete", KeyValue(key, mod_revision=self.revision), before[key])
            for key in sorted(gone)
        ]


def _select(keys: Keys, lo: bytes, end: bytes) -> list[KeyValue]:
    if not end:
        return [keys[lo]] if lo in keys else []
    return [keys[key] for key in sorted(keys) if lo <= key and (end == b"\0" or key < end)]


def _range(request: Range, keys: Keys) -> RangeResponse:
    found = _select(keys, request.key, request.range_end)
    if request.count_only:
        return RangeResponse(0, (), False, len(found))
    shown = found[: request.limit or len(found)]
    return RangeResponse(0, tuple(shown), len(shown) < len(found), len(found))


def _holds(compare: Compare, keys: Keys) -> bool:
    kv = keys.get(compare.key)
    if compare.target == "value":
        return kv is not None and (kv.value == compare.given) == (compare.relation == "=")
    stored = (
        {"version": kv.version, "create": kv.create_revision, "mod": kv.mod_revision}
        if kv
        else {"version": 0, "create": 0, "mod": 0}
    )
    return (stored[compare.target] == compare.given) == (compare.relation == "=")
