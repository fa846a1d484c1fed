"""A range read in pages: what RangeStream sends, each page a bounded piece of work.

All pages show one revision, that of the beginning. While it is the newest, the current keys are
read, afterwards history, as by a range at an old revision; a compaction above it ends the reading,
as it would refuse that range. Pages follow the keys upwards: what is to be sorted or filtered has
to be seen as a whole first.
Source: etcd (3.7) server/etcdserver/v3_server.go, RangeStream.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from node.machine import history
from node.machine.errors import Refusal
from node.machine.history import Version
from node.machine.interval import interval
from node.machine.keyspace import Keyspace
from node.machine.range import key_value_of
from node.proto import rpc


class Page(msgspec.Struct, frozen=True, gc=False):
    """Some keys of a range, in order."""

    key_values: bytes
    """Field 2 of RangeResponse, once for each key; empty where keys are only counted."""
    keys: int


class Paging:
    """One range on its way: at which revision, and how far it has come.

    It holds no view, so that it may go on after the state was replaced by a snapshot.
    """

    __slots__ = ("_at", "_hi", "_keys_only", "newest", "revision")

    def __init__(self, request: rpc.RangeRequest, newest: int) -> None:
        """Begin at the request's key. `newest` is the store's revision of this moment."""
        lo, self._hi = interval(request.key, request.range_end)
        self._at: bytes | None = lo
        self._keys_only = request.keys_only
        self.newest = newest
        self.revision = request.revision if request.revision > 0 else newest

    @property
    def ended(self) -> bool:
        """Whether no key is left."""
        return self._at is None

    def read(self, keyspace: Keyspace, keys_max: int, bytes_max: int) -> Page | Refusal:
        """The next keys: at most `keys_max`, and none behind the one that makes `bytes_max` full.

        Refuses by FutureRevision, Compacted.
        """
        refusal = keyspace.check_stored(self.revision)
        if refusal is not None:
            return refusal
        told: list[bytes] = []
        size = 0
        at = None
        for key, record in self._versions(keyspace):
            if told and (len(told) == keys_max or size >= bytes_max):
                at = key[1:]
                break
            key_value = key_value_of(keyspace.view, key, record, keys_only=self._keys_only)
            told.append(key_value)
            size += len(key_value)
        self._at = at
        return Page(b"".join(told), len(told))

    def count(self, keyspace: Keyspace, keys_max: int) -> Page | Refusal:
        """Pass over the next keys, at most `keys_max`. Refuses as `read` does."""
        refusal = keyspace.check_stored(self.revision)
        if refusal is not None:
            return refusal
        passed = [key for key, _ in islice(self._versions(keyspace), keys_max + 1)]
        self._at = passed.pop()[1:] if len(passed) > keys_max else None
        return Page(b"", len(passed))

    def _versions(self, keyspace: Keyspace) -> Iterator[Version]:
        if self._at is None:
            return iter(())
        if self.revision == keyspace.revision:
            return history.current(keyspace.view, self._at, self._hi)
        return history.visible(keyspace.view, self._at, self._hi, self.revision)
