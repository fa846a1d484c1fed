"""Joins Raft and the machine: committed entries go in, their consequences go everywhere they must.

    entry ──unpack──► machine.apply ──► effects  → state view (and with the next batch to disk)
                                   ├──► events   → watch hub
                                   ├──► leases   → the leader's expiry clock
                   ├──► tokens   → those by which clients are known here
                                   ├──► all of it → the chain of digests
                                   └──► outcome  → whoever proposed it, if it was proposed here
    change ──► machine.change_members ──► the same, and the configuration unless it was refused

Entries are applied one by one, in order, exactly once: the applied index moves with the effects in
one batch. There is no clock and no local configuration in what an entry does. An entry of a kind
that this release does not know ends the process: skipping it would part the members for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import msgspec

from node.chain import Chain
from node.machine.answer import Answer, Applied, Event, LeaseChange, Operation, TokenChange
from node.machine.envelope import Credential, RequestKind, unpack
from node.machine.errors import Refusal
from node.raft.message import ConfChange, ConfState, Entry, EntryKind

_decode_conf_change = msgspec.msgpack.Decoder(ConfChange).decode


class Machine(Protocol):
    """The replicated state machine."""

    def apply(self, index: int, kind: int, request: bytes, by: Credential | None) -> Applied:
        """Apply one request."""

    def change_members(
        self,
        index: int,
        kind: int,
        request: bytes,
        voters: Collection[int],
        learners: Collection[int],
    ) -> Applied:
        """Apply the members' part of a change of the configuration, or refuse it."""

    def compaction_slice(self, records_max: int) -> Sequence[Operation]:
        """Effects that remove some of what a compaction has made unreadable."""


class State(Protocol):
    """Where effects become visible."""

    def stage(self, operations: Sequence[Operation]) -> None:
        """Show them to the next read."""


class Watchers(Protocol):
    """Who hears of events."""

    def publish(self, events: Sequence[Event]) -> None:
        """All events of one revision."""


class Applier:
    """Committed entries that wait to be applied, and how one is."""

    def __init__(
        self,
        machine: Machine,
        state: State,
        watchers: Watchers,
        chain: Chain,
        *,
        complete: Callable[[int, int, Answer | Refusal], None],
        leases: Callable[[Sequence[LeaseChange]], None],
        tokens: Callable[[Sequence[TokenChange]], None],
        conf: Callable[[], ConfState],
        change_conf: Callable[[ConfChange | None, int], ConfState],
        changed: Callable[[int, int, Answer | Refusal], None],
        checked: Callable[[int], None],
        term_applied: Callable[[int], None],
    ) -> None:
        """`complete` is given (origin, sequence, outcome) of every request, `changed` the same of
        every change of the members, `term_applied` each new term before its first entry is applied.
        `change_conf` makes a change at an index effective, None one that is refused."""
        self._machine = machine
        self._state = state
        self._watchers = watchers
        self._chain = chain
        self._complete = complete
        self._leases = leases
        self._tokens = tokens
        self._conf = conf
        self._change_conf = change_conf
        self._changed = changed
        self._checked = checked
        self._term_applied = term_applied
        self._term = 0
        self._committed: deque[Entry] = deque()

    @property
    def waiting(self) -> int:
        """Committed entries that are not applied."""
        return len(self._committed)

    def add(self, committed: Sequence[Entry]) -> None:
        """Take entries that are committed and on this disk, in order."""
        self._committed.extend(committed)

    def drop(self) -> None:
        """Forget what waits: a snapshot has taken its place."""
        self._committed.clear()

    def replace_machine(self, machine: Machine, digest: bytes, index: int) -> None:
        """Go on with the machine of an installed snapshot, from its position and digest."""
        self._machine = machine
        self._chain.resume(digest, index)

    def apply(self, entries_max: int) -> Entry | None:
        """Apply up to `entries_max` entries; returns the last one, None if none waited."""
        committed = self._committed
        entry = None
        for _ in range(min(entries_max, len(committed))):
            entry = committed.popleft()
            if entry.term != self._term:
                self._term = entry.term
                self._term_applied(entry.term)
            if entry.kind == EntryKind.NORMAL:
                if entry.data:
                    self._apply_request(entry)
                else:
                    self._chain.absorb(entry.index, entry.term, b"")
            else:
                self._apply_change(entry)
        return entry

    def compact(self, records_max: int) -> bool:
        """Take away a slice of compacted history between two entries; False = nothing to do."""
        effects = self._machine.compaction_slice(records_max)
        if effects:
            self._state.stage(effects)
        return bool(effects)

    def _apply_change(self, entry: Entry) -> None:
        """First the members, who may refuse it, then the configuration, then the answer."""
        change = _decode_conf_change(entry.data)
        if not change.context:
            self._change_conf(change, entry.index)
            self._chain.absorb(entry.index, entry.term, entry.data)
            return
        kind, origin, number, request, _ = unpack(change.context)
        conf = self._conf()
        applied = self._machine.change_members(
            entry.index, kind, request, conf.voters, conf.learners
        )
        if applied.effects:
            self._state.stage(applied.effects)
        refused = isinstance(applied.outcome, Refusal)
        self._change_conf(None if refused else change, entry.index)
        self._absorb(entry, applied)
        self._changed(origin, number, applied.outcome)

    def _apply_request(self, entry: Entry) -> None:
        kind, origin, sequence, request, by = unpack(entry.data)
        applied = self._machine.apply(entry.index, kind, request, by)
        if applied.effects:
            self._state.stage(applied.effects)
        if applied.events:
            self._watchers.publish(applied.events)
        if applied.leases:
            self._leases(applied.leases)
        if applied.tokens:
            self._tokens(applied.tokens)
        self._absorb(entry, applied)
        if kind == RequestKind.STATE_CHECK:
            self._checked(entry.index)
        self._complete(origin, sequence, applied.outcome)

    def _absorb(self, entry: Entry, applied: Applied) -> None:
        self._chain.absorb(entry.index, entry.term, entry.data, applied.outcome, applied.effects)
