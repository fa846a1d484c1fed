"""The history: what clients asked and were told, as one flat list of records.

A harness writes one record per operation, per watch response and per hash that it read from a
member. Requests and responses are those of the etcd v3 API, cut down to the fields that a check can
judge: no sorting, no revision filters, no fragments (a recorder joins the parts before it writes).

Times are nanoseconds of one clock that all clients share (CLOCK_MONOTONIC of the host, or virtual
time), read before the first byte is sent and after the last one has come. What a client does not
know is written as such:

    ok       the response came; it is kept whole
    failed   the request certainly had no effect: it was refused, or never left the client
    unknown  it may have taken effect, at any time after its start, also after `end_ns`, or never

When in doubt a recorder writes `unknown`. A wrong `failed` turns into a false alarm, a needless
`unknown` only makes the checks weaker. A harness that can read the members' logs may settle what is
open: what is in no log has failed, and of the rest it knows by when and at which revision.

Two rules for workloads make the checks strong: every value is written at most once, and no lease id
is granted twice.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

Outcome: TypeAlias = Literal["ok", "failed", "unknown"]
Target: TypeAlias = Literal["version", "create", "mod", "value", "lease"]
Relation: TypeAlias = Literal["=", "!=", ">", "<"]

LEASE_NOT_FOUND = "etcdserver: requested lease not found"
COMPACTED = "etcdserver: mvcc: required revision has been compacted"


class KeyValue(Struct, frozen=True, omit_defaults=True):
    """A key as a response shows it; revision 1 is the empty store, so 0 means "not told"."""

    key: bytes
    value: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    version: int = 0
    lease: int = 0


class Put(Struct, frozen=True, omit_defaults=True, tag="put"):
    """Write one key."""

    key: bytes
    value: bytes = b""
    lease: int = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


class Range(Struct, frozen=True, omit_defaults=True, tag="range"):
    """Read `[key, range_end)`; an empty `range_end` means the one key, revision 0 the latest."""

    key: bytes
    range_end: bytes = b""
    revision: int = 0
    limit: int = 0
    serializable: bool = False
    keys_only: bool = False
    count_only: bool = False


class DeleteRange(Struct, frozen=True, omit_defaults=True, tag="delete"):
    """Delete `[key, range_end)`."""

    key: bytes
    range_end: bytes = b""
    prev_kv: bool = False


class Compare(Struct, frozen=True, omit_defaults=True):
    """One condition of a transaction: what is stored `relation` what is `given`."""

    key: bytes
    target: Target
    relation: Relation
    given: int | bytes
    range_end: bytes = b""


class Txn(Struct, frozen=True, omit_defaults=True, tag="txn"):
    """If all compares hold the one branch, else the other."""

    compare: tuple[Compare, ...] = ()
    success: tuple[Put | Range | DeleteRange | Txn, ...] = ()
    failure: tuple[Put | Range | DeleteRange | Txn, ...] = ()


class Compact(Struct, frozen=True, tag="compact"):
    """Forget what was before `revision`."""

    revision: int


class LeaseGrant(Struct, frozen=True, tag="grant"):
    """Ask for a lease of at least `ttl` seconds; 0 as id lets the server choose one."""

    lease: int
    ttl: int


class LeaseRevoke(Struct, frozen=True, tag="revoke"):
    """End a lease and delete its keys."""

    lease: int


class LeaseKeepAlive(Struct, frozen=True, tag="keep-alive"):
    """Give a lease its whole time again."""

    lease: int


class LeaseTimeToLive(Struct, frozen=True, tag="time-to-live"):
    """Ask what is left of a lease."""

    lease: int


TxnOperation: TypeAlias = Put | Range | DeleteRange | Txn
Request: TypeAlias = (
    TxnOperation | Compact | LeaseGrant | LeaseRevoke | LeaseKeepAlive | LeaseTimeToLive
)


class PutResponse(Struct, frozen=True, omit_defaults=True, tag="put"):
    """`revision` is the header's in every response; inside a transaction it is left 0."""

    revision: int = 0
    prev_kv: KeyValue | None = None


class RangeResponse(Struct, frozen=True, omit_defaults=True, tag="range"):
    """Keys in byte order; `count` is of all keys in the range, limit or not."""

    revision: int = 0
    kvs: tuple[KeyValue, ...] = ()
    more: bool = False
    count: int = 0


class DeleteRangeResponse(Struct, frozen=True, omit_defaults=True, tag="delete"):
    """How many keys went, and which where that was asked."""

    revision: int = 0
    deleted: int = 0
    prev_kvs: tuple[KeyValue, ...] = ()


class TxnResponse(Struct, frozen=True, omit_defaults=True, tag="txn"):
    """The branch taken, and one response per operation in it."""

    revision: int = 0
    succeeded: bool = False
    responses: tuple[PutResponse | RangeResponse | DeleteRangeResponse | TxnResponse, ...] = ()


class CompactResponse(Struct, frozen=True, omit_defaults=True, tag="compact"):
    """Done; the revision is the store's current one."""

    revision: int = 0


class LeaseResponse(Struct, frozen=True, omit_defaults=True, tag="lease"):
    """Answer to any call on a lease.

    `ttl` in seconds: granted by a grant or keep-alive (0 there: the lease is gone), left by
    time-to-live (-1 there: the lease is gone). A revoke leaves it 0.
    """

    revision: int = 0
    lease: int = 0
    ttl: int = 0


TxnOperationResponse: TypeAlias = PutResponse | RangeResponse | DeleteRangeResponse | TxnResponse
Response: TypeAlias = TxnOperationResponse | CompactResponse | LeaseResponse


class Operation(Struct, frozen=True, omit_defaults=True, tag="operation"):
    """One request and what its client knows of it; one attempt, never a client's own retry.

    `intended_ns` is when an open-loop workload meant to start it (latency is counted from there),
    `start_ns` when it was sent. `end_ns` is None where the client had to leave without an answer.
    `response` stands exactly with outcome `ok`, `error` (the server's text) with the others.
    `taken_ns` belongs to outcome `unknown`: not told to the client, but known to the harness, it
    had taken effect by then, at `taken_revision` (0: it changed nothing), a transaction by the
    branch that `taken_branch` names. None: it may have done so at any time, or never.
    """

    id: int
    client: str
    endpoint: str
    intended_ns: int
    start_ns: int
    end_ns: int | None
    outcome: Outcome
    request: Request
    response: Response | None = None
    error: str = ""
    taken_ns: int | None = None
    taken_revision: int = 0
    taken_branch: bool | None = None


class Event(Struct, frozen=True, omit_defaults=True):
    """One change; a deletion's `kv` holds only key and mod_revision."""

    kind: Literal["put", "delete"]
    kv: KeyValue
    prev_kv: KeyValue | None = None


class WatchCreated(Struct, frozen=True, omit_defaults=True, tag="watch-created"):
    """A watch began: the server's created response, with what had been asked.

    `position` counts the records of one stream in the order in which they came. `revision` is the
    created response's. `start_revision` 0 asks for what follows `revision`. A subscription is what
    a client resumes: several watches, one after the other, on whatever streams and members.
    """

    stream: str
    position: int
    watch: int
    at_ns: int
    subscription: str
    endpoint: str
    revision: int
    key: bytes
    range_end: bytes = b""
    start_revision: int = 0
    prev_kv: bool = False
    no_put: bool = False
    no_delete: bool = False


class WatchResponse(Struct, frozen=True, omit_defaults=True, tag="watch-response"):
    """Events, or none of them: a progress mark; watch -1 marks every watch of the stream."""

    stream: str
    position: int
    watch: int
    at_ns: int
    revision: int
    events: tuple[Event, ...] = ()


class WatchCanceled(Struct, frozen=True, omit_defaults=True, tag="watch-canceled"):
    """The server ended a watch; `compact_revision` > 0 where compaction was the reason."""

    stream: str
    position: int
    watch: int
    at_ns: int
    compact_revision: int = 0


class WatchEnded(Struct, frozen=True, omit_defaults=True, tag="watch-ended"):
    """The client (or a broken stream) ended a watch.

    `due_revision` > 0 says that the harness had waited long enough for everything up to there: what
    is missing then is lost, not late.
    """

    stream: str
    position: int
    watch: int
    at_ns: int
    due_revision: int = 0


class HashReport(Struct, frozen=True, omit_defaults=True, tag="hash"):
    """A member's hash of its state; equal revision and compact revision must mean equal hash.

    `subject` keeps apart what may not be compared, say the keyspace and a chain over entries.
    """

    endpoint: str
    at_ns: int
    revision: int
    hash: int
    compact_revision: int = 0
    subject: str = "keyspace"


class Baseline(Struct, frozen=True, omit_defaults=True, tag="baseline"):
    """The store as the harness found it, before the first operation; at most one in a history."""

    revision: int = 1
    kvs: tuple[KeyValue, ...] = ()


WatchRecord: TypeAlias = WatchCreated | WatchResponse | WatchCanceled | WatchEnded
Record: TypeAlias = Operation | WatchRecord | HashReport | Baseline


class History(Struct, frozen=True):
    """A whole run, records of each kind in any order."""

    operations: tuple[Operation, ...] = ()
    watches: tuple[WatchRecord, ...] = ()
    hashes: tuple[HashReport, ...] = ()
    baseline: Baseline = Baseline()
