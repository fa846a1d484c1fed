"""A history indexed by revision: what is known about each, before anything is concluded from it.

written   the acknowledged write whose response tells this revision, or one without an answer of
          which the harness knows it
read      operations that changed nothing and show the state after this revision
shown     states of keys that somebody saw with this mod_revision
pending   writes that may have happened, at a revision that nobody was told
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tools.check.history import (
    DeleteRange,
    DeleteRangeResponse,
    History,
    KeyValue,
    LeaseRevoke,
    Operation,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    Response,
    Txn,
    TxnResponse,
    WatchResponse,
)
from tools.check.keyspace import Change
from tools.check.lease_life import lease_lives
from tools.check.model import changes_anything
from tools.check.sighting import Sightings
from tools.check.text import describe_bytes, describe_kv, describe_operation
from tools.check.verdict import Finding
from tools.check.watch_span import watch_spans


class Evidence:
    """Everything that a search for the order of writes asks about one revision."""

    def __init__(self, history: History) -> None:
        self.baseline = history.baseline
        self.sightings = Sightings(history)
        self.highest = max(self.sightings.highest(), history.baseline.revision)
        self.lives = lease_lives(history)
        self.written: dict[int, Operation] = {}
        self.read: dict[int, list[Operation]] = defaultdict(list)
        self.pending: list[Operation] = []
        self.clashes: list[Finding] = []
        self.shown_by_reads: dict[int, list[Change]] = defaultdict(list)
        self.shown_by_watches: dict[int, list[Change]] = defaultdict(list)
        self._touched: dict[int, set[bytes]] = defaultdict(set)
        self._spans = watch_spans(history.watches)
        for operation in history.operations:
            self._sort(operation)
        self._collect_shown(history)
        self.pending.sort(key=lambda each: each.start_ns)

    def may_have_revision(self, operation: Operation, revision: int) -> bool:
        """Tell whether a pending write may have taken a revision: nobody saw it before its start.

        An acknowledged revoke is pending too, because its response shows the revision at the time
        of the answer; it took that one or an older one, or none at all.
        """
        if operation.response is not None and operation.response.revision < revision:
            return False
        first = self.sightings.earliest_of(revision)
        return first is None or first.at_ns >= operation.start_ns

    def fits(self, revision: int, changes: tuple[Change, ...], *, watched: bool) -> bool:
        """Tell whether changes agree with all that was seen of a revision.

        `watched` takes the word of watches too: what they showed happened, and what they cover and
        did not show did not happen.
        """
        changed = dict(changes)
        shown = self.shown_by_reads.get(revision, ())
        if not all(key in changed and changed[key] == state for key, state in shown):
            return False
        if not self._touched.get(revision, set()) <= changed.keys():
            return False
        return not watched or self._agrees_with_watches(revision, changes)

    def shown_at(self, revision: int) -> list[str]:
        """Describe what was seen of a revision, by reads and watches."""
        shown = self.shown_by_reads.get(revision, []) + self.shown_by_watches.get(revision, [])
        return sorted(
            {describe_kv(kv) if kv else f"{describe_bytes(key)} gone" for key, kv in shown}
        )

    def _agrees_with_watches(self, revision: int, changes: tuple[Change, ...]) -> bool:
        shown = dict(self.shown_by_watches.get(revision, ()))
        changed = dict(changes)
        if not all(key in changed and changed[key] == state for key, state in shown.items()):
            return False
        return all(
            key in shown or not span.covers(revision, key, state)
            for key, state in changes
            for span in self._spans
        )

    def _sort(self, operation: Operation) -> None:
        request, response = operation.request, operation.response
        if operation.taken_ns is not None:
            if operation.taken_revision:
                self._sort_write(operation, operation.taken_revision)
        elif operation.outcome == "unknown" and isinstance(
            request, Put | DeleteRange | Txn | LeaseRevoke
        ):
            self.pending.append(operation)
        if response is None:
            return
        if isinstance(request, LeaseRevoke):
            self.pending.append(operation)
            self.read[response.revision].append(operation)
        elif isinstance(response, PutResponse | DeleteRangeResponse | TxnResponse | RangeResponse):
            if changes_anything(response):
                self._sort_write(operation, response.revision)
            else:
                self.read[_revision_read(operation, response.revision)].append(operation)

    def _sort_write(self, operation: Operation, revision: int) -> None:
        other = self.written.setdefault(revision, operation)
        if other is not operation:
            text = (
                f"two writes took revision {revision}: "
                f"{describe_operation(other)}; {describe_operation(operation)}"
            )
            self.clashes.append(Finding("unique revision", text, (other.id, operation.id)))

    def _collect_shown(self, history: History) -> None:
        for operation in history.operations:
            if operation.response is None:
                continue
            for kv, whole in _shown(operation.request, operation.response):
                if whole:
                    self.shown_by_reads[kv.mod_revision].append((kv.key, kv))
                self._touched[kv.mod_revision].add(kv.key)
                self._touched[kv.create_revision].add(kv.key)
        for record in history.watches:
            if isinstance(record, WatchResponse):
                for event in record.events:
                    state = event.kv if event.kind == "put" else None
                    self.shown_by_watches[event.kv.mod_revision].append((event.kv.key, state))


def _revision_read(operation: Operation, revision: int) -> int:
    asked = operation.request.revision if isinstance(operation.request, Range) else 0
    return asked if 0 < asked <= revision else revision


def _shown(request: object, response: Response) -> Iterator[tuple[KeyValue, bool]]:
    """Yield the keys in a response, and whether they are told with their values."""
    match response:
        case PutResponse() if response.prev_kv is not None:
            yield response.prev_kv, True
        case RangeResponse():
            whole = not (isinstance(request, Range) and request.keys_only)
            yield from ((kv, whole) for kv in response.kvs)
        case DeleteRangeResponse():
            yield from ((kv, True) for kv in response.prev_kvs)
        case TxnResponse() if isinstance(request, Txn):
            branch = request.success if response.succeeded else request.failure
            for asked, answer in zip(branch, response.responses, strict=False):
                yield from _shown(asked, answer)
        case _:
            return
