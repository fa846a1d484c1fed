"""Watches that are followed in the background, by our client and by the real etcdctl.

A watcher collects changes until it sees the key that ends it. Both clients resume by themselves on
another endpoint, from the revision after the last one that they have seen.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from node.client import ClientError, EtcdClient
from node.proto import kv, rpc
from tests.support.live_cluster import DEADLINE_S

PATIENCE_S = 30.0


@dataclass(frozen=True, order=True)
class Change:
    """One event of a watch."""

    revision: int
    key: bytes
    value: bytes
    deleted: bool


class Watcher:
    """Follows a prefix from a revision on, in a thread, until `last` is seen."""

    def __init__(
        self, endpoints: Sequence[str], prefix: bytes, last: bytes, start_revision: int = 0
    ) -> None:
        """Stand before this returns: what is written from now on will be seen."""
        self.changes: list[Change] = []
        self.failure: Exception | None = None
        self.last = last
        self._endpoints = endpoints
        self._request = rpc.WatchCreateRequest(
            key=prefix, range_end=prefix_end(prefix), start_revision=start_revision
        )
        self._standing = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        assert self._standing.wait(DEADLINE_S)

    def finish(self) -> list[Change]:
        """All changes up to the last one, in the order in which they came."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), f"no end after {self.changes[-3:]}"
        assert self.failure is None, self.failure
        return self.changes

    def ended(self) -> bool:
        """Whether the last change has been seen."""
        return any(change.key == self.last for change in self.changes)

    def _follow(self) -> None:
        try:
            with EtcdClient(self._endpoints, timeout_s=PATIENCE_S) as client:
                for response in client.watch(self._request):
                    self._standing.set()
                    self.changes += [change_of(event) for event in response.events]
                    if self.ended():
                        return
        except ClientError as error:
            self.failure = error


def change_of(event: kv.Event) -> Change:
    """An event as a value."""
    deleted = event.type == kv.Event.DELETE
    return Change(event.kv.mod_revision, event.kv.key, event.kv.value, deleted)


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
