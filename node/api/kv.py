"""etcdserverpb.KV: decode, judge the shape, then through the log or, to read, past a fresh moment.

What a request looks like is judged here, before it costs the cluster anything; what it meets in
the store is judged by the machine when it is applied. Messages go into the log as they came.

A txn of nothing but reads changes nothing, so it takes the way of a read.
Source: etcd server/etcdserver/api/v3rpc/key.go, server/etcdserver/v3_server.go.
"""

from __future__ import annotations

from node.api.call import Call
from node.api.errors import NOT_SUPPORTED_FOR_LEARNER
from node.api.member import Member, Outcome
from node.api.steps import in_steps
from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.errors import Refusal
from node.machine.validate import (
    check_delete_range,
    check_put,
    check_range,
    check_txn,
    is_read_only,
    is_serializable,
)
from node.proto import rpc


class Kv:
    """Range, Put, DeleteRange, Txn, Compact."""

    def __init__(self, member: Member) -> None:
        """Serve `member`."""
        self._member = member
        # Physical compactions whose callers wait: (compacted revision, call, answer).
        self._compacting: list[tuple[int, Call, Answer]] = []

    def range(self, call: Call, message: bytes) -> None:
        """Read keys; linearizable unless the request says `serializable`."""
        request = rpc.RangeRequest.FromString(message)
        refusal = check_range(request)
        if refusal is not None:
            call.refuse(refusal)
        elif request.serializable:
            self._fresh(call, request, None)
        elif self._member.is_learner:
            call.fail(NOT_SUPPORTED_FOR_LEARNER)
        else:
            self._member.read(lambda stale: self._fresh(call, request, stale))

    def put(self, call: Call, message: bytes) -> None:
        """Write one key."""
        refusal = check_put(rpc.PutRequest.FromString(message))
        if refusal is None:
            self._member.propose(RequestKind.PUT, message, call.done, call)
        else:
            call.refuse(refusal)

    def delete_range(self, call: Call, message: bytes) -> None:
        """Delete keys."""
        refusal = check_delete_range(rpc.DeleteRangeRequest.FromString(message))
        if refusal is None:
            self._member.propose(RequestKind.DELETE_RANGE, message, call.done, call)
        else:
            call.refuse(refusal)

    def txn(self, call: Call, message: bytes) -> None:
        """Compare, then do one of two lists of operations, all at one revision."""
        request = rpc.TxnRequest.FromString(message)
        refusal = check_txn(request, self._member.limits.txn_operations_max)
        if refusal is not None:
            call.refuse(refusal)
        elif not is_read_only(request):
            self._member.propose(RequestKind.TXN, message, call.done, call)
        elif is_serializable(request):
            self._fresh(call, request, None)
        else:
            self._member.read(lambda stale: self._fresh(call, request, stale))

    def compact(self, call: Call, message: bytes) -> None:
        """Forget what is older than a revision; `physical` waits until it is gone from disk."""
        request = rpc.CompactionRequest.FromString(message)

        def done(outcome: Outcome) -> None:
            if request.physical and isinstance(outcome, Answer):
                self._compacting.append((request.revision, call, outcome))
            else:
                call.done(outcome)

        self._member.propose(RequestKind.COMPACT, message, done, call)

    def poll(self) -> None:
        """Answer physical compactions that have come to their end."""
        waiting, self._compacting = self._compacting, []
        for revision, call, answer in waiting:
            if self._member.machine.physically_compacted(revision):
                call.done(answer)
            elif not call.over:
                self._compacting.append((revision, call, answer))

    def _fresh(
        self, call: Call, request: rpc.RangeRequest | rpc.TxnRequest, stale: Refusal | None
    ) -> None:
        """The state is fresh enough to read from, or will not become so."""
        if stale is not None:
            call.refuse(stale)
        else:
            call.link.when_writable(call, lambda: self._read(call, request))

    def _read(self, call: Call, request: rpc.RangeRequest | rpc.TxnRequest) -> None:
        if call.over:
            return  # nobody waits for it any more
        machine = self._member.machine
        if isinstance(request, rpc.TxnRequest):
            refused = machine.access.txn(call.credential, request)
            call.done(refused or machine.read_txn(request))
            return
        refused = machine.access.range(call.credential, request)
        if refused is None and request.range_end and (request.limit or request.count_only):
            self._read_and_count(call, request)
        else:
            call.done(refused or machine.range(request))

    def _read_and_count(self, call: Call, request: rpc.RangeRequest) -> None:
        """Read now what is told, and count what is not in steps: a count knows no limit.

        Pages of a long list were once counted at one go. With a million keys a leader that did so
        was silent for longer than an election takes.
        """
        member = self._member
        reading = member.machine.begin_range(request)
        if isinstance(reading, Refusal):
            call.refuse(reading)
            return
        revision = member.machine.revision

        def count(keys: int) -> bool:
            refusal = member.machine.check_range(request.revision)
            if refusal is not None:
                call.refuse(refusal)
            return call.over or reading.count(keys)

        def gone() -> bool:
            return call.over or not call.link.awaits(call)

        def done() -> None:
            if not call.over:
                call.done(Answer(revision, reading.body()))

        in_steps(call.link, member.now, gone, count, done, hurry=True)
