"""A mirror at work: copy what is there at one revision, then follow what happens after it.

    checkpoint ──none──► copy pages at R ──► follow from R+1 ──events──► …
        │ copy: go on behind its key  ▲                │
        └─follow: go on at R+1        └──compacted, and a restart is allowed──┘

Whoever loses an answer asks again: each transaction is fenced by the checkpoint (`plan`), reads
change nothing, and a watch goes on after the last revision that is in the destination. Ends that
cannot be reached, or have no leader, are waited for as long as `patience_s` allows.

Leases are not copied: a lease of the source means nothing in the destination. When it ends there,
its keys are deleted, and that is followed like any other deletion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from node.client import CallFailed, ClientError, EtcdClient, Unreachable
from node.proto import kv_pb2, rpc
from tools.mirror.errors import CheckpointConflict, Compacted, SameKeys, WatchEnded
from tools.mirror.plan import (
    Checkpoint,
    Names,
    Step,
    copy_steps,
    difference,
    follow_steps,
    prefix_end,
    transaction,
)
from transport.grpc import Status

PAGE_KEYS = 64
PAGE_KEYS_MAX = 4_096
PAGE_BYTES = 1 << 20
"""What a page should come to; its number of keys follows the size of the ones before."""
PAUSE_S = 0.05
COMPACTED = "required revision has been compacted"
PASSING = (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED)
"""What may be over at the next attempt; so is "too many requests"."""
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to mirror."""

    operations_max: int = 128
    """In one transaction, the checkpoint's included (etcd --max-txn-ops of the destination)."""
    revision: int = 0
    """Follow from this one on without a copy; 0 = where the checkpoint is, or with a copy."""
    delete_extras: bool = False
    """A copy deletes what the destination has and the source has not."""
    on_compaction: Literal["error", "restart"] = "error"
    patience_s: float = 60.0


@dataclass(slots=True)
class Progress:
    """Where a mirror is; told after every page and every batch of events."""

    phase: str
    revision: int
    """Of the source: all up to it is in the destination (follow), or will be (copy)."""
    puts: int = 0
    """Keys written since the start."""
    deletes: int = 0
    transactions: int = 0
    extras: int = 0
    """Keys that the copy found in the destination only."""


class Mirror:
    """One source, one destination, until something ends it."""

    def __init__(
        self,
        source: EtcdClient,
        dest: EtcdClient,
        names: Names,
        options: Options,
        tell: Callable[[Progress], None],
    ) -> None:
        """`tell` is given the progress, which is this mirror's own object."""
        self._source = source
        self._dest = dest
        self._names = names
        self._options = options
        self._tell = tell
        self._progress = Progress("start", 0)
        self._expected: bytes | None = None
        """The checkpoint as it stands in the destination."""
        self._at = Checkpoint(0, names.prefix, "copy", 0)
        self._failing_since = 0.0
        """Since when no attempt has succeeded; 0 = the last one has."""

    def run(self) -> None:
        """Copy and follow; returns never.

        Raises:
            Compacted: what comes next is gone. CheckpointConflict: the destination is not ours.
            SameKeys, WatchEnded. ClientError: an end was out of reach for too long.
        """
        self._at = self._begin()
        while True:
            try:
                if self._at.phase == "copy":
                    self._copy()
                self._follow()
            except Compacted:
                if self._options.on_compaction == "error":
                    raise
                self._at = replace(self._at, phase="copy", revision=0, key=b"", part=0)
            except ClientError as error:
                self._wait(error)

    def _begin(self) -> Checkpoint:
        look = rpc.RangeRequest(key=self._names.checkpoint)
        source = int(self._patiently(lambda: self._source.range(look)).header.cluster_id)
        found = self._patiently(lambda: self._dest.range(look))
        if int(found.header.cluster_id) == source:
            self._refuse_itself()
        if found.kvs:
            self._expected = bytes(found.kvs[0].value)
        prefix, revision = self._names.prefix, self._options.revision
        if revision:
            return Checkpoint(source, prefix, "follow", revision - 1)
        if self._expected is None:
            return Checkpoint(source, prefix, "copy", 0)
        at = Checkpoint.decode(self._expected)
        if (at.source, at.prefix) != (source, prefix):
            raise CheckpointConflict(
                f"the checkpoint is of prefix {at.prefix!r} of cluster {at.source:x}, "
                f"not of prefix {prefix!r} of cluster {source:x}"
            )
        return at

    def _refuse_itself(self) -> None:
        one, other = self._names.prefix, self._names.dest_prefix
        if one.startswith(other) or other.startswith(one):
            raise SameKeys(f"{one!r} and {other!r} of one cluster share keys")

    # -- the copy --------------------------------------------------------------------------------

    def _copy(self) -> None:
        limit = PAGE_KEYS
        while self._at.phase == "copy":
            page = self._page(self._at, limit)
            at = replace(self._at, revision=self._at.revision or int(page.header.revision))
            last = bytes(page.kvs[-1].key) if page.more else b""
            window = self._names.dest_window(at.key, last)
            changes, extras = difference(
                self._names,
                page.kvs,
                self._dest_keys(*window),
                delete_extras=self._options.delete_extras,
            )
            self._progress.extras += extras
            for step in copy_steps(changes, at, last, self._options.operations_max):
                self._make(step)
            self._told()
            limit = next_limit(page)

    def _page(self, at: Checkpoint, limit: int) -> rpc.RangeResponse:
        key, range_end = self._names.source_range(at.key)
        request = rpc.RangeRequest(key=key, range_end=range_end, limit=limit, revision=at.revision)
        try:
            return self._patiently(lambda: self._source.range(request))
        except CallFailed as error:
            if COMPACTED in error.text:
                raise Compacted(at.revision, 0) from error
            raise

    def _dest_keys(self, key: bytes, range_end: bytes) -> Iterator[kv_pb2.KeyValue]:
        """What the destination has in a window. Nobody else writes there, so pages of different
        revisions will do."""
        limit = PAGE_KEYS
        while True:
            request = rpc.RangeRequest(key=key, range_end=range_end, limit=limit)
            page = self._patiently(lambda request=request: self._dest.range(request))  # type: ignore[misc]
            yield from page.kvs
            if not page.more:
                return
            key, limit = page.kvs[-1].key + b"\0", next_limit(page)

    # -- what happens after it -------------------------------------------------------------------

    def _follow(self) -> None:
        key = self._names.prefix or b"\0"
        first = self._at.revision + 1
        request = rpc.WatchCreateRequest(
            key=key,
            range_end=prefix_end(self._names.prefix),
            start_revision=first,
            progress_notify=True,
            fragment=True,
        )
        events: list[kv_pb2.Event] = []
        for answer in self._source.watch(request):
            if answer.canceled:
                if answer.compact_revision:
                    raise Compacted(self._at.revision + 1, int(answer.compact_revision))
                raise WatchEnded(answer.cancel_reason or "the source ended the watch")
            self._failing_since = 0.0
            if answer.created:
                self._told()
                continue
            events += answer.events
            if not answer.fragment:
                self._take(events, int(answer.header.revision))
                events = []

    def _take(self, events: list[kv_pb2.Event], revision: int) -> None:
        """Events of whole revisions. Only an answer without any says that nothing else happened up
        to its revision: one that catches up is told of a part, and where the source is by now."""
        upto = int(events[-1].kv.mod_revision) if events else revision
        steps = follow_steps(self._names, events, self._at, upto, self._options.operations_max)
        for step in steps:
            self._make(step)
        if steps:
            self._told()

    # -- transactions ----------------------------------------------------------------------------

    def _make(self, step: Step) -> None:
        """Make one transaction exactly once, whatever becomes of its answers."""
        request = transaction(self._names, step, self._expected)
        value = step.checkpoint.encode()
        attempts = 0

        def attempt() -> rpc.TxnResponse:
            nonlocal attempts
            attempts += 1
            return self._dest.txn(request)

        answer = self._patiently(attempt)
        if not answer.succeeded:
            kvs = answer.responses[0].response_range.kvs
            found = bytes(kvs[0].value) if kvs else None
            if found != value or attempts == 1:
                raise CheckpointConflict(
                    "somebody else has moved the checkpoint: is there another mirror?"
                )
        self._expected, self._at = value, step.checkpoint
        self._progress.transactions += 1
        gone = sum(change.value is None for change in step.changes)
        self._progress.deletes += gone
        self._progress.puts += len(step.changes) - gone

    def _told(self) -> None:
        self._progress.phase, self._progress.revision = self._at.phase, self._at.revision
        self._tell(self._progress)

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        """Make a call that may be repeated, until it is answered."""
        while True:
            try:
                answer = call()
            except ClientError as error:
                self._wait(error)
            else:
                self._failing_since = 0.0
                return answer

    def _wait(self, error: ClientError) -> None:
        """Pause before another attempt.

        Raises:
            ClientError: it makes no sense, or none has succeeded for too long.
        """
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if not passing(error) or now - self._failing_since > self._options.patience_s:
            raise error
        time.sleep(PAUSE_S)


def passing(error: ClientError) -> bool:
    """Whether the same call may be answered a moment later."""
    if isinstance(error, CallFailed):
        return error.status in PASSING or "too many requests" in error.text
    return isinstance(error, Unreachable)


def next_limit(page: rpc.RangeResponse) -> int:
    """How many keys to ask for, by the size of those that came."""
    size = page.ByteSize() // max(1, len(page.kvs))
    return max(1, min(PAGE_KEYS_MAX, PAGE_BYTES // max(1, size)))
