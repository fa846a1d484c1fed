"""Random episodes: sequences of requests over few keys, so that they meet.

An episode is a function of its seed and length alone. Revisions are drawn around those that the
episode has probably reached, on both sides of every limit.

Left out is what a real etcd answers by the clock (leases that expire), and what the etcd that can
be had for tests (3.5.1) answers differently from the one that is the model (3.6): sort options
that nobody knows, which it takes for others, and watches from revisions below 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from google.protobuf.message import Message

from node.proto import rpc
from tests.differential.step import CHOSEN, Ask, Step, Watch

KEYS = (b"a", b"aa", b"ab", b"b", b"ba", b"c", b"d\xff", b"\xff")
KEYS_MAX = 5
"""Keys of one episode. With the one that it begins with six: etcd sorts by what does not tell two
keys apart (a version) in an order that depends on the release of Go if there are more."""
ENDS = (b"\0", b"a\0", b"aa\0", b"b", b"bb", b"c", b"d\xff\xff", b"\xff\xff", b"a", b"A")
LEASES = (1, 1, 2, 2, CHOSEN, CHOSEN, CHOSEN + 1, 77)
STREAMS = 2
MANY = 129
"""Operations of a txn that are one too many."""
HUGE = 1 << 62
SORT_ORDERS = (rpc.RangeRequest.NONE, rpc.RangeRequest.ASCEND, rpc.RangeRequest.DESCEND)
SORT_TARGETS = (
    rpc.RangeRequest.KEY,
    rpc.RangeRequest.VERSION,
    rpc.RangeRequest.CREATE,
    rpc.RangeRequest.MOD,
    rpc.RangeRequest.VALUE,
)
RESULTS = (rpc.Compare.EQUAL, rpc.Compare.GREATER, rpc.Compare.LESS, rpc.Compare.NOT_EQUAL)
UNIONS = {
    rpc.Compare.VERSION: "version",
    rpc.Compare.CREATE: "create_revision",
    rpc.Compare.MOD: "mod_revision",
    rpc.Compare.VALUE: "value",
    rpc.Compare.LEASE: "lease",
}
FILTERS = (rpc.WatchCreateRequest.NOPUT, rpc.WatchCreateRequest.NODELETE)


class Generator:
    """Draws the steps of one episode."""

    def __init__(self, seed: int) -> None:
        """The same seed draws the same steps."""
        self._random = Random(seed)
        self._keys = self._random.sample(KEYS, KEYS_MAX)
        self._revision = 1
        """At least what the store has reached."""
        self._kinds: dict[Callable[[], Step], int] = {
            lambda: self._ask(self._range()): 26,
            lambda: self._ask(self._put()): 22,
            lambda: self._ask(harmless(self._txn(2))): 22,
            lambda: self._ask(self._delete()): 8,
            lambda: self._ask(self._compaction()): 2,
            lambda: self._ask(self._grant()): 3,
            lambda: self._ask(rpc.LeaseRevokeRequest(ID=self._lease())): 2,
            lambda: self._ask(
                rpc.LeaseTimeToLiveRequest(ID=self._lease(), keys=self._one_in(2))
            ): 2,
            lambda: self._ask(rpc.LeaseKeepAliveRequest(ID=self._lease())): 1,
            lambda: self._ask(rpc.LeaseLeasesRequest()): 1,
            self._watch: 6,
        }

    def steps(self, length: int) -> list[Step]:
        """So many steps."""
        kinds, weights = list(self._kinds), list(self._kinds.values())
        return [self._random.choices(kinds, weights)[0]() for _ in range(length)]

    def _ask(self, request: Message) -> Ask:
        step = Ask(request)
        if not step.reads:
            self._revision += 1
        return step

    # Values.

    def _one_in(self, count: int) -> bool:
        return self._random.randrange(count) == 0

    def _key(self) -> bytes:
        return b"" if self._one_in(150) else self._random.choice(self._keys)

    def _end(self) -> bytes:
        return b"" if self._one_in(2) else self._random.choice(ENDS)

    def _value(self) -> bytes:
        drawn = self._random.randrange(40)
        if drawn == 0:
            return self._random.randbytes(8).hex().encode() * 300
        return b"" if drawn < 4 else b"v%d" % self._random.randrange(6)

    def _lease(self) -> int:
        return self._random.choice(LEASES)

    def _some_revision(self) -> int:
        """Mostly a revision that there is; sometimes one before, behind, or beyond all."""
        if self._one_in(60):
            return self._random.choice((-1, -HUGE, HUGE))
        oldest = max(1, self._revision - 30)
        return self._random.randint(oldest, self._revision + 1)

    # Requests.

    def _put(self) -> rpc.PutRequest:
        request = rpc.PutRequest(key=self._key(), value=self._value(), prev_kv=self._one_in(3))
        if self._one_in(4):
            request.lease = self._lease()
        if self._one_in(10):
            request.ignore_value = True
            if not self._one_in(4):
                request.value = b""
        if self._one_in(10):
            request.ignore_lease = True
            if not self._one_in(4):
                request.lease = 0
        return request

    def _delete(self) -> rpc.DeleteRangeRequest:
        return rpc.DeleteRangeRequest(
            key=self._key(), range_end=self._end(), prev_kv=self._one_in(2)
        )

    def _range(self) -> rpc.RangeRequest:
        request = rpc.RangeRequest(key=self._key(), range_end=self._end())
        request.serializable = self._one_in(5)
        if self._one_in(2):
            request.limit = self._random.choice((1, 1, 2, 3, 5, 8, -1, HUGE))
        if self._one_in(3):
            request.revision = self._some_revision()
        if self._one_in(2):
            request.sort_order = self._random.choice(SORT_ORDERS)
            request.sort_target = self._random.choice(SORT_TARGETS)
        request.keys_only = self._one_in(6)
        request.count_only = self._one_in(8)
        for bound in ("min_mod", "max_mod", "min_create", "max_create"):
            if self._one_in(7):
                setattr(request, f"{bound}_revision", self._some_revision())
        return request

    def _compaction(self) -> rpc.CompactionRequest:
        return rpc.CompactionRequest(
            revision=0 if self._one_in(12) else self._some_revision(), physical=self._one_in(3)
        )

    def _grant(self) -> rpc.LeaseGrantRequest:
        ttl = 9_000_000_001 if self._one_in(15) else self._random.choice((1000, 5000, 90_000))
        return rpc.LeaseGrantRequest(ID=self._random.choice((0, 0, 1, 2)), TTL=ttl)

    # Txns.

    def _txn(self, depth: int) -> rpc.TxnRequest:
        if self._one_in(150):
            return self._crowded()
        reads_only = self._one_in(6)
        return rpc.TxnRequest(
            compare=[self._compare() for _ in range(self._random.choice((0, 1, 1, 2, 3)))],
            success=self._branch(depth, reads_only),
            failure=self._branch(depth, reads_only),
        )

    def _branch(self, depth: int, reads_only: bool) -> list[rpc.RequestOp]:
        count = self._random.choice((0, 1, 1, 2, 2, 3, 4))
        if reads_only:
            return [self._read_operation() for _ in range(count)]
        branch = [self._operation(depth) for _ in range(count)]
        puts = [op.request_put for op in branch if op.HasField("request_put")]
        if puts and not self._one_in(4):
            # Most txns should not stumble over a key that changes twice.
            for put, key in zip(puts, self._random.sample(self._keys, len(puts)), strict=True):
                put.key = key
        return branch

    def _operation(self, depth: int) -> rpc.RequestOp:
        drawn = self._random.randrange(100)
        if drawn < 45:
            put = self._put()
            if not self._one_in(3):
                put.ignore_value = put.ignore_lease = False
                put.lease = 0
            return rpc.RequestOp(request_put=put)
        if drawn < 70:
            return self._read_operation()
        if drawn < 85:
            return rpc.RequestOp(request_delete_range=self._delete())
        if drawn < 99 and depth:
            return rpc.RequestOp(request_txn=self._txn(depth - 1))
        return rpc.RequestOp() if self._one_in(5) else self._read_operation()

    def _read_operation(self) -> rpc.RequestOp:
        request = self._range()
        if not self._one_in(4):
            request.revision = 0
        return rpc.RequestOp(request_range=request)

    def _crowded(self) -> rpc.TxnRequest:
        """As many operations as are allowed, or one too many, here or one level down."""
        operations = [self._read_operation() for _ in range(MANY - self._random.randrange(3))]
        if self._one_in(2):
            return rpc.TxnRequest(failure=operations)
        compare = [self._compare() for _ in range(self._random.randrange(3))]
        nested = rpc.RequestOp(request_txn=rpc.TxnRequest(success=operations))
        return rpc.TxnRequest(compare=compare, success=[nested])

    def _compare(self) -> rpc.Compare:
        compare = rpc.Compare(
            result=self._random.choice(RESULTS),
            target=self._random.choice(tuple(UNIONS)),
            key=self._key(),
            range_end=self._end() if self._one_in(3) else b"",
        )
        union = "value" if self._one_in(40) else UNIONS[compare.target]
        match union:
            case "value":
                compare.value = self._value()
            case "version":
                compare.version = self._random.randrange(4)
            case "lease":
                compare.lease = self._random.choice((0, 0, self._lease()))
                if compare.lease >= CHOSEN:  # which of two chosen ids is greater is chance
                    compare.result = (
                        rpc.Compare.NOT_EQUAL if compare.result % 2 else rpc.Compare.EQUAL
                    )
            case _:
                setattr(compare, union, self._random.choice((0, 0, self._some_revision())))
        if self._one_in(60):
            compare.ClearField(union)
        return compare

    # Watches.

    def _watch(self) -> Watch:
        stream, drawn = self._random.randrange(STREAMS), self._random.randrange(10)
        if drawn == 0:
            return Watch(stream, rpc.WatchRequest(progress_request=rpc.WatchProgressRequest()))
        if drawn < 3:
            cancel = rpc.WatchCancelRequest(watch_id=self._random.randrange(5))
            return Watch(stream, rpc.WatchRequest(cancel_request=cancel))
        create = rpc.WatchCreateRequest(
            key=self._key(),
            range_end=self._end(),
            prev_kv=self._one_in(2),
            fragment=self._one_in(4),
            progress_notify=self._one_in(4),
        )
        if self._one_in(2):
            create.start_revision = self._random.randint(
                max(1, self._revision - 30), self._revision + 5
            )
        if self._one_in(4):
            create.filters.append(self._random.choice(FILTERS))
        if self._one_in(5):
            create.watch_id = self._random.randrange(1, 5)
        return Watch(stream, rpc.WatchRequest(create_request=create))


def harmless(request: rpc.TxnRequest) -> rpc.TxnRequest:
    """A txn that no etcd dies of; changes it.

    A delete of every key from one on may come before a put that keeps the value of such a key: etcd
    takes that into its log, and all its members end when they apply it, now and at every start.
    """
    if any(op.HasField("request_delete_range") for op in operations(request)):
        for operation in operations(request):
            if operation.HasField("request_put"):
                operation.request_put.ignore_value = operation.request_put.ignore_lease = False
    return request


def operations(request: rpc.TxnRequest) -> Iterator[rpc.RequestOp]:
    """All operations of a txn, those of nested ones included."""
    for operation in (*request.success, *request.failure):
        yield operation
        if operation.HasField("request_txn"):
            yield from operations(operation.request_txn)
