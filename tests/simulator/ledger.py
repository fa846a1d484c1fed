"""The persisted log as truth: each entry that a member was given to apply, replayed by the model.

Each request that a client sends ends in a field that no release of etcd knows, with the number of
the operation in it. Bytes travel as they came, so the field is found again in the log, and each
entry tells whose it is. Held against what clients were told:

    every acknowledged request is in the log, once
    nothing is in the log that nobody asked for (but what members say of themselves, and the ends
    of leases, which the leader asks for)
    what certainly failed is not in the log, or is refused by the model too
    every answer is the one that the model gives at that place of the log
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple, Protocol

from node.machine.envelope import RequestKind, unpack
from node.proto import rpc
from node.raft.message import Entry, EntryKind
from tests.support.member_cluster import Node
from tools.check.history import (
    Baseline,
    Compact,
    CompactResponse,
    DeleteRange,
    LeaseGrant,
    LeaseResponse,
    LeaseRevoke,
    Outcome,
    Put,
    Range,
    Request,
    Response,
    Txn,
    TxnOperation,
    TxnResponse,
)
from tools.check.keyspace import Change, Keyspace
from tools.check.model import Draft, Refused, evaluate, holds, strip
from tools.check.text import describe_response

LOGGED: Final = (Put, DeleteRange, Txn, Compact, LeaseGrant, LeaseRevoke)
"""Requests that go through the log; of transactions only those that may write."""
_OURS: Final = frozenset(
    {
        RequestKind.PUT,
        RequestKind.DELETE_RANGE,
        RequestKind.TXN,
        RequestKind.COMPACT,
        RequestKind.LEASE_GRANT,
        RequestKind.LEASE_REVOKE,
    }
)
_MARK: Final = b"\xfd\x7c"
"""Field 1999 as four bytes: its tag on the wire."""
_NUMBER: Final = Struct("<I")
_TTL_SECONDS_MIN: Final = 2


def mark(message: bytes, operation: int) -> bytes:
    """Give a request with the number of its operation in a field of its own."""
    return message + _MARK + _NUMBER.pack(operation)


def marked(message: bytes) -> int | None:
    """Give the number in a request, None if it has none."""
    if message[-6:-4] != _MARK:
        return None
    number: int = _NUMBER.unpack(message[-4:])[0]
    return number


class Asked(Protocol):
    """What the replay needs to know of a request: see `history.Asked`."""

    @property
    def id(self) -> int: ...
    @property
    def request(self) -> Request: ...
    @property
    def outcome(self) -> Outcome: ...
    @property
    def response(self) -> Response | None: ...
    @property
    def error(self) -> str: ...


class Logged(NamedTuple):
    """One request in the log. `at_ns` is when a member was first given it to apply."""

    kind: int
    proposal: tuple[int, int]
    request: bytes
    at_ns: int


class Recorded(NamedTuple):
    """What became of an operation that is in the log."""

    at_ns: int
    refused: bool
    revision: int
    """The one that it took; 0 = it changed nothing."""
    succeeded: bool | None
    """Of a transaction: by which of its branches."""


class Foreign(NamedTuple):
    """A request of the world itself, which no client recorded."""

    start_ns: int
    at_ns: int
    request: Put
    revision: int


class Ledger:
    """Every committed entry by its index, from whoever is given it first."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """`clock` is that of the history."""
        self._clock = clock
        self._calm_ns: int | None = None
        self._entries: dict[int, Logged | None] = {}
        self.recorded: dict[int, Recorded] = {}
        """By operation; filled by the replay."""
        self.foreign: list[Foreign] = []
        """What the world itself has put; filled by the replay."""

    def follow(self, node: Node) -> None:
        """Look at what a life is given to apply; to be called before it runs."""
        applier = node.parts.applier
        add = applier.add

        def noted(committed: Sequence[Entry]) -> None:
            self.note(committed)
            add(committed)

        applier.add = noted  # type: ignore[method-assign]

    def calming(self) -> None:
        """From now on the world may put something of its own."""
        self._calm_ns = self._clock()

    def note(self, committed: Iterable[Entry]) -> None:
        """Keep those that nobody was given before."""
        entries = self._entries
        for entry in committed:
            if entry.index not in entries:
                entries[entry.index] = self._logged(entry)

    def _logged(self, entry: Entry) -> Logged | None:
        if entry.kind != EntryKind.NORMAL or not entry.data:
            return None
        envelope = unpack(entry.data)
        if envelope.kind not in _OURS:
            return None
        proposal = (envelope.origin, envelope.sequence)
        return Logged(envelope.kind, proposal, envelope.request, self._clock())

    def replay(self, asked: Sequence[Asked]) -> Replay:
        """Apply the whole log to the model, and compare."""
        replay = Replay(asked, self._calm_ns)
        first = min(self._entries, default=0)
        for index in range(first, first + len(self._entries)):
            if index not in self._entries:
                replay.object(f"entry {index} was applied by nobody")
                break
            logged = self._entries[index]
            if logged is not None:
                replay.apply(index, logged)
        replay.look_for_lost()
        self.recorded = replay.recorded
        self.foreign = replay.foreign
        return replay


class Replay:
    """The model, fed with the log entry by entry."""

    def __init__(self, asked: Sequence[Asked], calm_ns: int | None) -> None:
        """`calm_ns` is since when the world itself may put something."""
        self.objections: list[str] = []
        self.recorded: dict[int, Recorded] = {}
        self.space = Keyspace(Baseline())
        self.compacted = 0
        self.leases: dict[int, int] = {}
        """Seconds that were granted, by id."""
        self.foreign: list[Foreign] = []
        self._asked = asked
        self._calm_ns = calm_ns
        self._proposals: set[tuple[int, int]] = set()

    def object(self, text: str) -> None:
        """Something does not hold."""
        self.objections.append(text)

    def apply(self, index: int, logged: Logged) -> None:
        """Apply one request. Members see to it themselves that none is in the log twice."""
        if logged.proposal in self._proposals:
            self.object(f"entry {index} repeats a proposal: {logged.request!r}")
            return
        self._proposals.add(logged.proposal)
        number = marked(logged.request)
        if number is None:
            self._apply_unasked(index, logged)
            return
        asked = self._asked[number]
        if number in self.recorded:
            self.object(f"{_describe(asked)} is in the log again, at {index}")
            return
        before = self.space.revision
        response = self._serve(asked.request, logged.request)
        took = self.space.revision if self.space.revision > before else 0
        succeeded = response.succeeded if isinstance(response, TxnResponse) else None
        self.recorded[number] = Recorded(logged.at_ns, response is None, took, succeeded)
        self._compare(index, asked, response)

    def look_for_lost(self) -> None:
        """Every acknowledged request must have been in the log."""
        for asked in self._asked:
            if asked.outcome == "ok" and asked.id not in self.recorded and _writes(asked.request):
                self.object(f"{_describe(asked)} was acknowledged and is in no log")

    def _apply_unasked(self, index: int, logged: Logged) -> None:
        if logged.kind == RequestKind.LEASE_REVOKE:
            self._revoke(rpc.LeaseRevokeRequest.FromString(logged.request).ID)
        elif self._calm_ns is not None and self._calm_ns < logged.at_ns:
            put = rpc.PutRequest.FromString(logged.request)
            request = Put(put.key, put.value)
            self._write(request)
            self.foreign.append(Foreign(self._calm_ns, logged.at_ns, request, self.space.revision))
        else:
            self.object(f"entry {index} was asked for by nobody: {logged.request!r}")

    def _compare(self, index: int, asked: Asked, response: Response | None) -> None:
        if asked.outcome == "unknown":
            return
        told = None
        if asked.response is not None:
            told = strip(asked.response, asked.request), asked.response.revision
        right = None
        if response is not None:
            right = strip(response, asked.request), self.space.revision
        if told != right:
            text = "a refusal" if response is None else describe_response(response) or "no prev_kv"
            self.object(
                f"at entry {index}, revision {self.space.revision}, the right answer to "
                f"{_describe(asked)} was {text}"
            )

    def _serve(self, request: Request, message: bytes) -> Response | None:
        """Give the answer without its revision; None = refused."""
        match request:
            case Put() | DeleteRange() | Txn():
                return self._write(request)
            case Compact(revision=revision):
                if not self.compacted < revision <= self.space.revision:
                    return None
                self.compacted = revision
                return CompactResponse(self.space.revision)
            case LeaseGrant():
                granted = rpc.LeaseGrantRequest.FromString(message)
                if granted.ID in self.leases:
                    return None
                self.leases[granted.ID] = max(granted.TTL, _TTL_SECONDS_MIN)
                ttl = self.leases[granted.ID]
                return LeaseResponse(self.space.revision, granted.ID, ttl)
            case LeaseRevoke(lease=lease):
                if not self._revoke(lease):
                    return None
                return LeaseResponse(self.space.revision, lease)
            case _:
                raise AssertionError(f"{request} has no place in a log")

    def _write(self, request: TxnOperation) -> Response | None:
        draft = Draft(self.space, self.space.revision + 1)
        try:
            response = evaluate(request, draft)
        except Refused:
            return None
        before = Draft(self.space, self.space.revision + 1)
        if any(put.lease and put.lease not in self.leases for put in _puts(request, before)):
            return None
        self._record(draft.changes())
        return response

    def _revoke(self, lease: int) -> bool:
        if self.leases.pop(lease, None) is None:
            return False
        kvs = self.space.scan(b"", b"\0", self.space.revision)
        self._record(tuple((kv.key, None) for kv in kvs if kv.lease == lease))
        return True

    def _record(self, changes: Sequence[Change]) -> None:
        if changes:
            self.space.record(self.space.revision + 1, changes)


def _puts(request: TxnOperation, draft: Draft) -> Iterator[Put]:
    """Yield the puts that happen; compares see the state before the whole."""
    if isinstance(request, Put):
        yield request
    elif isinstance(request, Txn):
        held = all(holds(compare, draft) for compare in request.compare)
        for step in request.success if held else request.failure:
            yield from _puts(step, draft)


def _writes(request: Request) -> bool:
    if not isinstance(request, Txn):
        return isinstance(request, LOGGED)
    return not all(isinstance(each, Range) for each in (*request.success, *request.failure))


def _describe(asked: Asked) -> str:
    error = f" ({asked.error})" if asked.error else ""
    return f"operation {asked.id}, {asked.request}, {asked.outcome} {asked.response}{error}"


def differences(space: Keyspace, shown: Mapping[bytes, object]) -> list[bytes]:
    """Give the keys that are not as the replay has them."""
    kvs = {kv.key: kv for kv in space.scan(b"", b"\0", space.revision)}
    return sorted(key for key in {*kvs, *shown} if kvs.get(key) != shown.get(key))
