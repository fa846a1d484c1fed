"""One member for tests: a core, a disk that syncs when told to, and a process that can crash.

The disk keeps the writer's queue apart from what is durable. A crash loses the queue; a restart
builds a new core from what was durable, with the applied index as of the last synced write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from node.raft import (
    ConfChange,
    ConfState,
    Core,
    Entry,
    EntryKind,
    HardState,
    MemoryStorage,
    Message,
    PersistToken,
    RaftConfig,
    Ready,
    SnapshotMeta,
)
from node.raft.raft import Random


class FixedRandom:
    """Always the same draw: `offset` ticks above the lower bound."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def randrange(self, start: int, stop: int, /) -> int:
        return min(start + self.offset, stop - 1)


@dataclass(frozen=True, slots=True)
class Write:
    """What one Ready put into the writer's queue. `applied` and `conf` are the effects that went
    along: the state as applied before this write was submitted."""

    token: PersistToken
    hard_state: HardState | None
    entries: list[Entry]
    snapshot: SnapshotMeta | None
    messages: list[Message]
    applied: int
    conf: ConfState


class Member:
    """`up` is False between `crash` and `restart`."""

    def __init__(
        self,
        config: RaftConfig,
        founders: ConfState | None,
        random: Random,
        on_apply: Callable[[Member, Entry], None] = lambda member, entry: None,
    ) -> None:
        self.id = config.id
        self.config, self.random, self.on_apply = config, random, on_apply
        self.storage = MemoryStorage(founders)
        self.applied = self.durable_applied = self.storage.first_index() - 1
        self.incarnation = 0
        self.writes: deque[Write] = deque()
        self.lazy_hard_state: HardState | None = None
        self.confs: list[tuple[int, ConfState]] = [(0, founders or ConfState())]
        self.up = True
        self.core = Core(config, self.storage, random)

    @property
    def conf(self) -> ConfState:
        return self.confs[-1][1]

    def take_ready(self) -> Ready:
        """Take a Ready, queue its write, apply what it hands out. The caller sends `messages`."""
        ready = self.core.ready()
        if ready.hard_state is not None:
            self.lazy_hard_state = ready.hard_state
        if ready.token is not None:
            self.writes.append(
                Write(
                    ready.token,
                    self.lazy_hard_state,
                    ready.entries,
                    ready.snapshot,
                    ready.messages_after_append,
                    self.applied,
                    self.conf,
                )
            )
            self.lazy_hard_state = None
        else:
            assert not ready.entries
            assert ready.snapshot is None
            assert not ready.messages_after_append
        for entry in ready.committed:
            self._apply(entry)
        return ready

    def sync(self) -> list[Message]:
        """Complete the oldest write; returns the messages that may leave now."""
        write = self.writes.popleft()
        self.storage.write(write.hard_state, write.entries, write.snapshot)
        if write.snapshot is not None:
            self.applied = self.durable_applied = write.snapshot.index
            self.confs = [(write.snapshot.index, write.snapshot.conf)]
        elif write.applied > self.durable_applied:
            self._store_effects(write.applied, write.conf)
        self.core.persisted(write.token)
        return write.messages

    def flush(self) -> None:
        """Write the effects of what was applied, with nothing else in the queue."""
        if not self.writes and self.applied > self.durable_applied:
            self._store_effects(self.applied, self.conf)

    def crash(self) -> None:
        """The process dies: what was not synced never happened."""
        self.up = False
        self.writes.clear()
        self.lazy_hard_state = None

    def restart(self) -> None:
        """A new process on the same disk."""
        self.up = True
        self.incarnation += 1
        self.applied = self.durable_applied
        self.confs = [(0, self.storage.initial_state()[1])]
        self.core = Core(self.config, self.storage, self.random, self.durable_applied)

    def compact(self, index: int) -> None:
        """Drop the log up to `index`, which must be durably applied."""
        known = [conf for at, conf in self.confs if at <= index]
        self.storage.compact(index, known[-1])

    def log(self) -> dict[int, Entry]:
        """Every entry that is on disk or in the writer's queue, as the core sees it."""
        first, last = self.storage.first_index(), self.storage.last_index()
        durable = self.storage.entries(first, last + 1, 1 << 40) if last >= first else []
        entries = {entry.index: entry for entry in durable}
        for write in self.writes:
            if write.snapshot is not None:
                entries = {}
            if write.entries:
                lo = write.entries[0].index
                entries = {index: entry for index, entry in entries.items() if index < lo}
                entries.update((entry.index, entry) for entry in write.entries)
        return entries

    def durably_holds(self, index: int, term: int) -> bool:
        """Whether the entry would survive a crash now, as an entry or within a snapshot."""
        if index <= self.storage.first_index() - 1:
            return True
        return index <= self.storage.last_index() and self.storage.term(index) == term

    def _store_effects(self, applied: int, conf: ConfState) -> None:
        self.durable_applied = applied
        self.storage.store_conf(conf)
        self.storage.take_snapshot(applied, conf)

    def _apply(self, entry: Entry) -> None:
        assert entry.index == self.applied + 1, "applying must be gapless"
        self.on_apply(self, entry)
        if entry.kind == EntryKind.CONF_CHANGE:
            change = msgspec.msgpack.decode(entry.data, type=ConfChange)
            self.confs.append((entry.index, self.core.apply_conf_change(change)))
        self.applied = entry.index
        self.core.applied_to(entry.index)
