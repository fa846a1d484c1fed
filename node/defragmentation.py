"""Defragment: answered when this member's database takes no more space than it needs.

    ask ──► waiting ──what was compacted is deleted, on disk──► rewriting ──► answered

A compaction of the keyspace is answered before its records are gone; who asks for space right after
it means theirs, too. Whoever asks while a rewrite runs waits for another one: it may have passed
what was deleted meanwhile. The member serves on beside it; etcd does not.

Source: etcd server/etcdserver/api/v3rpc/maintenance.go, server/storage/backend (Defrag).
"""

from __future__ import annotations

from collections.abc import Callable

from node.disk import Disk
from node.machine.errors import Refusal, TooManyRequests
from node.machine.machine import Machine
from store.rewrite import Rewriter

OnDone = Callable[[Refusal | None], None]

WAITING_MAX = 256
"""Requests at a time; more are refused."""


class Defragmentation:
    """Requests for it, and the rewrite that serves them."""

    def __init__(self, disk: Disk, rewriter: Rewriter, machine: Callable[[], Machine]) -> None:
        """`machine` gives the one that is current."""
        self._disk = disk
        self._rewriter = rewriter
        self._machine = machine
        self._waiting: list[OnDone] = []
        self._served: list[OnDone] = []
        self._write: int | None = None
        """The write that has to be on disk first; None = not known yet."""

    @property
    def busy(self) -> bool:
        """Whether the database is being rewritten."""
        return self._rewriter.busy

    def ask(self, done: OnDone) -> None:
        """Rewrite the database, after what is under way."""
        if len(self._waiting) >= WAITING_MAX:
            done(TooManyRequests())
        else:
            self._waiting.append(done)

    def keep(self) -> None:
        """Do the next step if it is time; to be called ten times a second."""
        if self._rewriter.busy:
            return
        served, self._served = self._served, []
        for done in served:
            done(None)
        if self._waiting and self._settled():
            self._served, self._waiting = self._waiting, []
            self._write = None
            self._rewriter.begin()

    def _settled(self) -> bool:
        """Whether the deletions of the newest compaction are on disk."""
        if self._write is None:
            machine = self._machine()
            if not machine.physically_compacted(machine.compact_revision):
                return False
            self._write = self._disk.newest_write()
        return self._disk.durable_write >= self._write
