"""A machine over a memory view, with the part of the loop that stages its effects."""

from __future__ import annotations

from google.protobuf.message import Message

from node.machine.answer import Answer, Applied
from node.machine.envelope import Credential, RequestKind
from node.machine.errors import Refusal
from node.machine.machine import Machine
from node.machine.view import MemoryView
from node.proto import rpc


class Replica:
    """Applies at once; a restart loads a new machine from the same records."""

    def __init__(self) -> None:
        self.view = MemoryView()
        self.machine = Machine(self.view)

    def apply(self, kind: RequestKind, request: Message, by: Credential | None = None) -> Applied:
        """Apply the next entry and stage its effects; `by` is whom it is made for."""
        applied = self.machine.apply(
            self.machine.applied_index + 1, kind, request.SerializeToString(), by
        )
        self.view.stage(applied.effects)
        return applied

    def put(self, key: bytes, value: bytes = b"", lease: int = 0) -> Applied:
        """Put a key."""
        return self.apply(RequestKind.PUT, rpc.PutRequest(key=key, value=value, lease=lease))

    def delete(self, key: bytes, range_end: bytes = b"") -> Applied:
        """Delete a key or an interval."""
        request = rpc.DeleteRangeRequest(key=key, range_end=range_end)
        return self.apply(RequestKind.DELETE_RANGE, request)

    def txn(self, request: rpc.TxnRequest) -> Applied:
        """Apply a txn, reads included."""
        return self.apply(RequestKind.TXN, request)

    def compact(self, revision: int) -> Applied:
        """Compact logically."""
        return self.apply(RequestKind.COMPACT, rpc.CompactionRequest(revision=revision))

    def range(self, key: bytes, range_end: bytes = b"", revision: int = 0) -> rpc.RangeResponse:
        """Read; the request must not be refused."""
        request = rpc.RangeRequest(key=key, range_end=range_end, revision=revision)
        return rpc.RangeResponse.FromString(answered(self.machine.range(request)).body)

    def compact_some(self, records_max: int = 2) -> bool:
        """One slice of physical compaction; False = nothing was left to do."""
        effects = self.machine.compaction_slice(records_max)
        self.view.stage(effects)
        return bool(effects)

    def restart(self) -> None:
        """Load a new machine from the records."""
        self.machine = Machine(self.view, self.machine.applied_index)


def answered(outcome: Answer | Refusal) -> Answer:
    """The answer; a refusal is a failure of the test."""
    assert isinstance(outcome, Answer), outcome
    return outcome
