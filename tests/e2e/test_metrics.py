"""/metrics of a whole cluster: what etcd's dashboard and alerts ask, beside a real etcd cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.client import EtcdClient
from node.proto import rpc
from tests.support.live_cluster import LiveCluster
from tests.support.mixin import MIXIN
from tests.support.scrape import families_of, label_names, samples_of
from tools.bench.etcd import EtcdCluster

pytestmark = pytest.mark.e2e

UNLABELLED = ()
LATE_IN_ETCD = {"etcd_network_peer_round_trip_time_seconds", "etcd_network_peer_sent_failures"}
"""Shown there once there was something to count: a round trip after four seconds, a failure."""


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), 3, ["--unsafe-no-fsync"]) as running:
        yield running


def test_every_node_shows_what_the_mixin_reads(cluster: LiveCluster, etcd: EtcdCluster) -> None:
    for endpoint in cluster.endpoints:
        ours = families_of(endpoint)
        for name, wanted in MIXIN.items():
            assert ours[name].type == wanted.type, name
            assert label_names(ours[name]) == {wanted.labels}, name
    theirs = families_of(etcd.endpoints[0])
    for name in MIXIN.keys() - LATE_IN_ETCD:
        assert theirs[name].type == MIXIN[name].type, name
        assert label_names(theirs[name]) == {MIXIN[name].labels}, name


def test_one_leader_and_equal_indexes(cluster: LiveCluster) -> None:
    cluster.assert_serves(cluster.leader)

    scrapes = [samples_of(endpoint) for endpoint in cluster.endpoints]

    assert [scrape["etcd_server_has_leader", UNLABELLED] for scrape in scrapes] == [1, 1, 1]
    assert sum(scrape["etcd_server_is_leader", UNLABELLED] for scrape in scrapes) == 1
    assert all(scrape["etcd_server_proposals_failed_total", UNLABELLED] == 0 for scrape in scrapes)


def test_puts_are_counted_by_every_member(cluster: LiveCluster) -> None:
    before = [samples_of(endpoint) for endpoint in cluster.endpoints]
    with EtcdClient(cluster.endpoints) as client:
        for number in range(7):
            client.put(rpc.PutRequest(key=b"counted", value=b"%d" % number))
    for node in cluster.names:
        cluster.contents(node)  # has applied them all

    after = [samples_of(endpoint) for endpoint in cluster.endpoints]

    puts = ("etcd_mvcc_put_total", UNLABELLED)
    assert [now[puts] - then[puts] for then, now in zip(before, after, strict=True)] == [7, 7, 7]


def test_peers_know_each_other_and_notice_who_is_gone(cluster: LiveCluster) -> None:
    leader, victim = cluster.leader, cluster.followers[0]
    ids = {node["name"]: node["id"] for node in cluster.status()["nodes"]}

    def peer(name: str, of: str) -> float:
        (value,) = (
            value
            for (sample, labels), value in samples_of(cluster.endpoint(leader)).items()
            if sample == name and (("To", of) in labels or ("Remote", of) in labels)
        )
        return value

    gone = ids[victim]
    cluster.await_true(
        lambda: peer("etcd_network_peer_round_trip_time_seconds_count", gone) > 0, "a round trip"
    )
    assert peer("etcd_network_active_peers", gone) == 1
    assert peer("etcd_network_peer_sent_bytes_total", gone) > 0
    failures = peer("etcd_network_peer_sent_failures_total", gone)

    cluster.client.kill([victim])

    cluster.await_true(lambda: peer("etcd_network_active_peers", gone) == 0, "noticed")
    cluster.await_true(
        lambda: peer("etcd_network_peer_sent_failures_total", gone) > failures, "counted"
    )
