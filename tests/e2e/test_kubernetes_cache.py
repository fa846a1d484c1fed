"""A cache that is fed as the API server feeds its own, while objects change and the leader dies.

It lists once and follows from there by a watch. Every event must fit what the cache has: what it
says was there before is what is there, and revisions only rise. At the end cache and store are the
same.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress

import grpc  # type: ignore[import-untyped]
import pytest

from node.proto import kv, rpc
from tests.support.judged_server import JudgedServer
from tests.support.kubernetes import KubernetesStore, KubernetesWatch, prefix_end
from tests.support.live_cluster import DEADLINE_S

pytestmark = pytest.mark.e2e

RESOURCE = b"/registry/cached/"
LAST = RESOURCE + b"zzz"
WRITERS = 3
ROUNDS = 30


class Cache:
    """Objects by key, kept by one thread."""

    def __init__(self, endpoint: str) -> None:
        """List, and follow from there."""
        self.failures: list[str] = []
        self._store = KubernetesStore(endpoint)
        end = prefix_end(RESOURCE)
        filled = self._store.range(rpc.RangeRequest(key=RESOURCE, range_end=end, limit=10_000))
        self.objects = {pair.key: pair for pair in filled.kvs}
        self.revision = filled.header.revision
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def finish(self) -> dict[bytes, kv.KeyValue]:
        """Wait for the last object."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), f"no end after revision {self.revision}"
        assert self.failures == []
        return self.objects

    def _follow(self) -> None:
        with self._store:
            while LAST not in self.objects and not self.failures:
                # A stream that needs a leader ends when there is none; the next one resumes.
                with (
                    suppress(grpc.RpcError),
                    self._store.watch(RESOURCE, self.revision + 1) as watch,
                ):
                    self._take_all(watch)

    def _take_all(self, watch: KubernetesWatch) -> None:
        while LAST not in self.objects:
            response = watch.next()
            if response.canceled or response.fragment:
                self.failures.append(f"odd: {response}")
                return
            for event in response.events:
                self._take(event)

    def _take(self, event: kv.Event) -> None:
        known = self.objects.get(event.kv.key, kv.KeyValue())
        if event.kv.mod_revision < self.revision or event.prev_kv != known:
            self.failures.append(f"at {self.revision}, knowing {known}: {event}")
        self.revision = event.kv.mod_revision
        if event.type == kv.Event.DELETE:
            self.objects.pop(event.kv.key, None)
        else:
            self.objects[event.kv.key] = event.kv


class Writer:
    """Creates, updates and deletes objects of its own, whatever becomes of single requests."""

    def __init__(self, endpoint: str, number: int) -> None:
        """Write in a thread."""
        self.rounds = threading.Semaphore(0)
        self._endpoint, self._name = endpoint, RESOURCE + b"%d/" % number
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until all rounds are done."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with KubernetesStore(self._endpoint) as store:
            for number in range(ROUNDS):
                with suppress(AssertionError):  # refused or unknown: the next round asks anew
                    self._round(store, self._name + b"%d" % (number % 4), b"%d" % number)
                self.rounds.release()

    def _round(self, store: KubernetesStore, key: bytes, value: bytes) -> None:
        found = store.get(key).kvs
        if not found:
            revision = store.create(key, value).header.revision
            store.update(key, revision, value + b"!")
        elif len(value) % 2:
            store.delete(key, found[0].mod_revision)
        else:
            store.update(key, found[0].mod_revision, value)


def test_cache_is_the_store_across_the_death_of_a_leader(server: JudgedServer) -> None:
    with ExitStack() as stack:
        stack.callback(server.heal)
        caches = [Cache(endpoint) for endpoint in server.endpoints]
        writers = [Writer(server.endpoints[n % 3], n) for n in range(WRITERS)]
        for writer in writers:
            assert all(writer.rounds.acquire(timeout=DEADLINE_S) for _ in range(ROUNDS // 3))

        survivors = server.kill_leader()
        for writer in writers:
            writer.finish()
        server.heal()

        with KubernetesStore(survivors[0]) as store:
            store.create(LAST, b"")
            listed = store.range(rpc.RangeRequest(key=RESOURCE, range_end=prefix_end(RESOURCE)))
        expected = {pair.key: pair for pair in listed.kvs}
        for cache in caches:
            assert cache.finish() == expected
