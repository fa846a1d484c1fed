"""A snapshot for the outside: the applied state as a file that etcd's own tools read and restore.

It is made in steps, because a large state takes seconds: each step converts a few hundred records
from one engine snapshot, so that the file shows one instant whatever is written meanwhile. It is
spooled to a file without a name, since a bbolt file begins with what is known last.

Source: etcd server/etcdserver/api/v3rpc/maintenance.go (Snapshot).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import islice
from typing import BinaryIO

from node.disk import decode_conf
from node.machine.export import Bucket, Origin, buckets
from node.machine.view import View
from store.bolt import BoltWriter
from store.overlay import StateSnapshot


class Backup:
    """One file in the making: `work` until it says that it is done, then `read` to the end."""

    def __init__(
        self, state: View, origin: Origin, file: BinaryIO, release: Callable[[], None]
    ) -> None:
        """Convert `state`, which must not change until `release` is called, and spool to `file`,
        which is empty and can seek."""
        self._release = release
        self._file = file
        self._writer = BoltWriter(file)
        self._buckets: Iterator[Bucket] = buckets(state, origin)
        self._items: Iterator[tuple[bytes, bytes]] | None = iter(())
        self._digest = sha256()
        self.closed = False
        self.remaining = 0
        """Bytes that `read` has yet to give; known once the work is done."""

    def work(self, records_max: int) -> bool:
        """Convert some records; True = everything is written, and nothing is left to do."""
        if self._items is None:
            return True
        found = 0
        for key, value in islice(self._items, records_max):
            self._writer.add(key, value)
            found += 1
        if found < records_max:
            self._next_bucket()
        return self._items is None

    def _next_bucket(self) -> None:
        bucket = next(self._buckets, None)
        if bucket is not None:
            name, self._items = bucket
            self._writer.begin(name)
            return
        self._items = None
        self._release()
        self.remaining = self._writer.close()
        self._file.seek(0)

    def read(self, bytes_max: int) -> bytes:
        """The next bytes of the file, at least one while any remain."""
        blob = self._file.read(min(bytes_max, self.remaining))
        self._digest.update(blob)
        self.remaining -= len(blob)
        return blob

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was read: what follows the file, so that who restores it can check it."""
        return self._digest.digest()

    def close(self) -> None:
        """Let go of the state and the file. Idempotent."""
        self.closed = True
        self._release()
        self._file.close()


def backup_of(state: StateSnapshot, file: BinaryIO, version: str) -> Backup:
    """A snapshot of what is durably applied; `state` is closed by it, `version` is of
    the cluster."""
    position, conf = state.position, decode_conf(state.conf)
    origin = Origin(position.index, position.term, conf.voters, conf.learners, version)
    return Backup(state, origin, file, state.close)
