"""Leases end on time or not at all, whoever leads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from node.client import ClientError, EtcdClient
from node.proto import rpc
from tests.support.live_cluster import DEADLINE_S, LiveCluster
from tests.support.watchers import Change, Watcher

pytestmark = pytest.mark.e2e


def lease_with_keys(client: EtcdClient, ttl_s: int, *keys: bytes) -> int:
    """Grant a lease and attach keys."""
    lease = client.lease_grant(ttl_s)
    for key in keys:
        client.put(rpc.PutRequest(key=key, value=b"leased", lease=lease))
    return lease


def deleted(changes: list[Change]) -> list[bytes]:
    """Keys that went."""
    return [change.key for change in changes if change.deleted]


def gone(client: EtcdClient, lease: int) -> bool:
    """Whether the cluster has forgotten a lease and its keys."""
    return client.lease_time_to_live(lease).TTL == -1


class DeletionWatch(Watcher):
    """Ends with the deletion of a key rather than with its put."""

    def ended(self) -> bool:
        """The last change of the key is a deletion."""
        of_last = [change for change in self.changes if change.key == self.last]
        return bool(of_last) and of_last[-1].deleted


@contextmanager
def kept_alive(endpoints: list[str], lease: int) -> Iterator[None]:
    """Renew a lease without a pause, through whichever endpoint answers."""
    stop = threading.Event()

    def renew() -> None:
        with EtcdClient(endpoints, timeout_s=3.0) as client:
            while not stop.wait(0.1):
                try:
                    client.lease_keep_alive(lease)
                except ClientError:
                    continue

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_expired_lease_takes_its_keys_along(cluster: LiveCluster) -> None:
    with EtcdClient([cluster.endpoint(cluster.followers[0])]) as client:
        start = client.put(rpc.PutRequest(key=b"expire/start")).header.revision
        lease = lease_with_keys(client, 1, b"expire/a", b"expire/b")
        changes = DeletionWatch(cluster.endpoints, b"expire/", b"expire/b", start).finish()

        assert deleted(changes) == [b"expire/a", b"expire/b"]
        assert len({change.revision for change in changes if change.deleted}) == 1
        assert gone(client, lease)


def test_lease_expires_although_its_leader_is_killed(cluster: LiveCluster) -> None:
    leader = cluster.leader
    alive = [cluster.endpoint(name) for name in cluster.followers]
    with EtcdClient(alive) as client:
        start = client.put(rpc.PutRequest(key=b"orphan/start")).header.revision
        lease = lease_with_keys(client, 2, b"orphan/a", b"orphan/b")

        cluster.client.kill([leader])
        watches = [DeletionWatch([end], b"orphan/", b"orphan/b", start) for end in alive]

        for watch in watches:
            assert deleted(watch.finish()) == [b"orphan/a", b"orphan/b"]
        assert gone(client, lease)


def test_lease_expires_once_there_is_a_quorum_again(cluster: LiveCluster) -> None:
    with EtcdClient(cluster.endpoints) as client:
        start = client.put(rpc.PutRequest(key=b"power/start")).header.revision
        lease = lease_with_keys(client, 2, b"power/a")

    cluster.client.kill(["all"])
    cluster.heal()

    DeletionWatch(cluster.endpoints, b"power/", b"power/a", start).finish()
    with EtcdClient(cluster.endpoints) as client:
        assert gone(client, lease)


def test_lease_that_is_kept_alive_outlives_leaders(cluster: LiveCluster) -> None:
    """A second lease of the same length, which nobody renews, shows that its time has passed."""
    with EtcdClient(cluster.endpoints) as client:
        kept = lease_with_keys(client, 2, b"kept/a")
    with kept_alive(cluster.endpoints, kept):
        for number in range(2):
            leader = cluster.leader
            cluster.client.kill([leader])
            cluster.new_leader(leader)
            key = b"left/%d" % number
            with EtcdClient(cluster.endpoints) as client:
                start = client.put(rpc.PutRequest(key=b"left/start")).header.revision
                lease_with_keys(client, 2, key)
            DeletionWatch(cluster.endpoints, b"left/", key, start).finish()
            cluster.client.start([leader])
        with EtcdClient(cluster.endpoints) as client:
            assert client.lease_time_to_live(kept, keys=True).keys == [b"kept/a"]
            (kv,) = client.range(rpc.RangeRequest(key=b"kept/a")).kvs

    assert kv.lease == kept


def test_revoked_on_one_node_is_gone_on_all(cluster: LiveCluster) -> None:
    with EtcdClient([cluster.endpoint("n1")]) as client:
        lease = lease_with_keys(client, 300, b"revoked/a")
    with EtcdClient([cluster.endpoint("n2")]) as client:
        client.lease_revoke(lease)

    for name in cluster.names:
        with EtcdClient([cluster.endpoint(name)]) as client:
            assert gone(client, lease)
            assert client.range(rpc.RangeRequest(key=b"revoked/a")).count == 0
