"""The order of all writes, found again from a history: which change made which revision.

Acknowledged writes name their revision, and of others the harness may know it from the members'
logs. The revisions between them belong to writes whose outcome nobody learned, and to leases that
ran out. The search goes up the revisions one by one:

    revision 2        3              4        5
    told to  put #1   nobody         put #4   nobody
    may be   #1       #2 or #3       #4       #3 or lease 7
                      tries #2, and takes it back if what was read from 3 on disagrees

At each revision the change is applied to the keyspace, then every read at that revision must agree
with the whole of it. A revision for which nothing fits sends the search back to the last choice.
Without unknown outcomes there is no choice, and the search is one pass.

A `watched` search takes the word of watches for what happened at an unexplained revision, and a
`timely` one lets no lease die before its promised time. A search without them leaves the one or the
other to the checks of watches and leases, so that they can say what exactly is wrong.

The search is bounded in steps. It gives a `Timeline`, or a `Contradiction` (no order of writes
explains the history; told is the furthest point that any attempt reached), or `Exhausted`.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from tools.check.errors import InvariantViolated
from tools.check.evidence import Evidence
from tools.check.history import (
    DeleteRange,
    LeaseRevoke,
    Operation,
    Put,
    Range,
    Response,
    Txn,
)
from tools.check.keyspace import Change, Keyspace
from tools.check.model import Draft, Refused, evaluate, strip
from tools.check.text import describe_kv, describe_operation, describe_response
from tools.check.verdict import Finding

STEPS_MAX = 200_000
_PENDING_SHOWN_MAX = 4


class Moment(Struct, frozen=True):
    """One revision: its changes in order, and the operation or the dead lease that made them."""

    revision: int
    changes: tuple[Change, ...]
    operation: Operation | None = None
    lease: int = 0


class Timeline(Struct, frozen=True):
    """Every revision explained; `moments` by revision."""

    space: Keyspace
    moments: dict[int, Moment]


class Contradiction(Struct, frozen=True):
    """No order of writes explains the history."""

    finding: Finding
    revision: int


class Exhausted(Struct, frozen=True):
    """The bound was reached first."""

    steps: int


def reconstruct(
    evidence: Evidence, *, timely: bool, watched: bool, steps_max: int = STEPS_MAX
) -> Timeline | Contradiction | Exhausted:
    """Search for an order of writes that explains the history."""
    return _Search(evidence, timely, watched, steps_max).run()


class _Search:
    def __init__(self, evidence: Evidence, timely: bool, watched: bool, steps_max: int) -> None:
        self._evidence = evidence
        self._timely = timely
        self._watched = watched
        self._steps_left = steps_max + evidence.highest - evidence.baseline.revision
        self._steps_max = steps_max
        self._space = Keyspace(evidence.baseline)
        self._path: list[Moment] = []
        self._used: set[int] = set()
        self._furthest: Contradiction | None = None

    def run(self) -> Timeline | Contradiction | Exhausted:
        if not self._reads_agree():
            return self._contradiction()
        choices = [self._choices()]
        while choices and self._space.revision < self._evidence.highest:
            moment = next(choices[-1], None)
            if moment is None:
                choices.pop()
                if choices:
                    self._take_back()
                continue
            self._steps_left -= 1
            if self._steps_left < 0:
                return Exhausted(self._steps_max)
            self._take(moment)
            if self._reads_agree():
                choices.append(self._choices())
            else:
                self._take_back()
        if not choices:
            return self._contradiction()
        return Timeline(self._space, {moment.revision: moment for moment in self._path})

    def _take(self, moment: Moment) -> None:
        self._space.record(moment.revision, moment.changes)
        self._path.append(moment)
        if moment.operation is not None:
            self._used.add(moment.operation.id)

    def _take_back(self) -> None:
        self._space.undo()
        moment = self._path.pop()
        if moment.operation is not None:
            self._used.discard(moment.operation.id)

    def _choices(self) -> Iterator[Moment]:
        """Yield what can have made the next revision, the likeliest first.

        Each is computed when it is asked for; by then the keyspace is again what it was here.
        """
        revision = self._space.revision + 1
        write = self._evidence.written.get(revision)
        if write is not None:
            yield from self._known(write, revision)
            return
        found = False
        for moment in self._unknown(revision):
            if self._evidence.fits(revision, moment.changes, watched=self._watched):
                found = True
                yield moment
        if not found:
            self._note_unexplained(revision)

    def _known(self, write: Operation, revision: int) -> Iterator[Moment]:
        if write.response is None:
            changes = self._changes_of(write, revision)
            if changes and self._evidence.fits(revision, changes, watched=self._watched):
                yield Moment(revision, changes, write)
            else:
                self._note_unexplained(revision)
            return
        draft = Draft(self._space, revision)
        expected = _expect(write, draft)
        told = _told(write)
        if expected == told:
            yield Moment(revision, draft.changes(), write)
        else:
            self._note_mismatch(write, expected, revision)

    def _unknown(self, revision: int) -> Iterator[Moment]:
        for operation in self._evidence.pending:
            if operation.id in self._used:
                continue
            if self._evidence.may_have_revision(operation, revision):
                changes = self._changes_of(operation, revision)
                if changes:
                    yield Moment(revision, changes, operation)
        for lease in self._attached_leases():
            if not self._timely or not self._dies_early(lease, revision):
                yield Moment(revision, self._end_lease(lease), lease=lease)

    def _changes_of(self, operation: Operation, revision: int) -> tuple[Change, ...]:
        match operation.request:
            case LeaseRevoke(lease=lease):
                return self._end_lease(lease)
            case Put() | Range() | DeleteRange() | Txn() as request:
                draft = Draft(self._space, revision)
                try:
                    evaluate(request, draft)
                except Refused:
                    return ()
                return draft.changes()
            case _:
                return ()

    def _attached_leases(self) -> list[int]:
        revision = self._space.revision
        return sorted({kv.lease for kv in self._space.scan(b"", b"\0", revision) if kv.lease})

    def _end_lease(self, lease: int) -> tuple[Change, ...]:
        revision = self._space.revision
        kvs = self._space.scan(b"", b"\0", revision)
        return tuple((kv.key, None) for kv in kvs if kv.lease == lease)

    def _dies_early(self, lease: int, revision: int) -> bool:
        life = self._evidence.lives.get(lease)
        first = self._evidence.sightings.earliest_of(revision)
        return life is not None and first is not None and first.at_ns < life.promised_ns

    def _reads_agree(self) -> bool:
        revision = self._space.revision
        return all(self._read_agrees(read, revision) for read in self._reads(revision))

    def _reads(self, revision: int) -> list[Operation]:
        return self._evidence.read.get(revision, [])

    def _read_agrees(self, read: Operation, revision: int) -> bool:
        if isinstance(read.request, LeaseRevoke):
            left = self._end_lease(read.request.lease)
            if left:
                self._note_left(read, left[0][0], revision)
            return not left
        expected = _expect(read, Draft(self._space, revision + 1))
        if expected == _told(read):
            return True
        self._note_mismatch(read, expected, revision)
        return False

    def _contradiction(self) -> Contradiction:
        if self._furthest is None:
            raise InvariantViolated("a search that ends has met something")
        return self._furthest

    def _note(self, revision: int, finding: Finding) -> None:
        if self._furthest is None or revision > self._furthest.revision:
            self._furthest = Contradiction(finding, revision)

    def _note_mismatch(self, told: Operation, expected: Response | None, revision: int) -> None:
        right = "a refusal" if expected is None else describe_response(expected) or "no prev_kv"
        text = f"at revision {revision} the right answer was {right}; {describe_operation(told)}"
        maker = self._maker_of(told)
        if maker is not None:
            text += f"; the last change there: {describe_operation(maker)}"
        ids = (told.id,) if maker is None else (told.id, maker.id)
        self._note(revision, Finding("state at revision", text, ids))

    def _maker_of(self, told: Operation) -> Operation | None:
        """Give the write that the answer should have shown and did not."""
        for moment in reversed(self._path):
            keys = {key for key, _ in moment.changes}
            if keys & _keys_asked(told, self._space):
                return moment.operation
        return None

    def _note_left(self, revoke: Operation, key: bytes, revision: int) -> None:
        kv = describe_kv(self._space.at(key, revision))
        text = f"after {describe_operation(revoke)} its key was still there: {kv}"
        self._note(revision, Finding("revoke removes keys", text, (revoke.id,)))

    def _note_unexplained(self, revision: int) -> None:
        first = self._evidence.sightings.earliest_of(revision)
        unused = [each for each in self._evidence.pending if each.id not in self._used]
        shown = self._evidence.shown_at(revision)
        text = f"revision {revision} was told to no writer"
        if shown:
            text += f" and showed {', '.join(shown)}"
        text += f"; none of the {len(unused)} writes with an open outcome explains it"
        ids = tuple(each.id for each in unused[:_PENDING_SHOWN_MAX])
        if first is not None and isinstance(first.source, Operation):
            ids = (first.source.id, *ids)
        self._note(revision, Finding("explained revision", text, ids))


def _keys_asked(operation: Operation, space: Keyspace) -> set[bytes]:
    match operation.request:
        case Put(key=key):
            return {key}
        case Range(key=key, range_end=end) | DeleteRange(key=key, range_end=end):
            return set(space.known(key, end))
        case _:
            return set()


def _expect(operation: Operation, draft: Draft) -> Response | None:
    match operation.request:
        case Put() | Range() | DeleteRange() | Txn() as request:
            try:
                return evaluate(request, draft)
            except Refused:
                return None
        case _:
            return None


def _told(operation: Operation) -> Response:
    response = operation.response
    if response is None:
        raise InvariantViolated("only answered operations are compared with the model")
    return strip(response, operation.request)
