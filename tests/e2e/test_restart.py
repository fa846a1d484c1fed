"""Nodes that were away come back and catch up, to the byte."""

from __future__ import annotations

import pytest

from node.proto import rpc
from tests.support.live_cluster import LiveCluster
from tests.support.writers import Writers

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("node", ["n1", "n2", "n3"])
def test_restarted_node_catches_up(cluster: LiveCluster, node: str) -> None:
    before = cluster.node(node)

    with Writers(cluster.endpoints, prefix=f"restart/{node}") as writers:
        cluster.client.restart([node])
        writers.more()

    after = cluster.node(node)
    assert (after["state"], after["restarts"]) == ("running", before["restarts"] + 1)
    assert after["pid"] != before["pid"]
    assert (after["id"], after["client"]) == (before["id"], before["client"])
    writers.assert_nothing_lost(cluster.assert_equal_contents())


def test_node_that_missed_every_kind_of_write_catches_up(cluster: LiveCluster) -> None:
    node = cluster.followers[0]
    other = cluster.leader
    with cluster.api(other) as api:
        api.put(b"missed/deleted")
        api.put(b"missed/changed", b"old")
        revision = api.get(b"missed/").header.revision
        cluster.client.kill([node])

        api.put(b"missed/changed", b"new")
        delete = rpc.DeleteRangeRequest(key=b"missed/deleted")
        api.call("/etcdserverpb.KV/DeleteRange", delete, rpc.DeleteRangeResponse)
        lease = rpc.LeaseGrantRequest(TTL=300)
        granted = api.call("/etcdserverpb.Lease/LeaseGrant", lease, rpc.LeaseGrantResponse)
        api.put(b"missed/leased", b"", granted.ID)
        compact = rpc.CompactionRequest(revision=revision)
        api.call("/etcdserverpb.KV/Compact", compact, rpc.CompactionResponse)
    cluster.client.start([node])

    contents = {record.key: record for record in cluster.assert_equal_contents()}

    assert contents[b"missed/changed"].value == b"new"
    assert contents[b"missed/leased"].lease == granted.ID
    assert b"missed/deleted" not in contents
    with cluster.api(node) as api:
        early = rpc.RangeRequest(key=b"missed/", revision=revision - 1, serializable=True)
        failed = api.refused("/etcdserverpb.KV/Range", early)
        leases = api.call(
            "/etcdserverpb.Lease/LeaseLeases", rpc.LeaseLeasesRequest(), rpc.LeaseLeasesResponse
        )
    assert "required revision has been compacted" in failed.text
    assert granted.ID in [lease.ID for lease in leases.leases]


def test_rolling_restart_under_writes_loses_nothing(cluster: LiveCluster) -> None:
    with Writers(cluster.endpoints, prefix="rolling") as writers:
        cluster.client.restart(["all"], rolling=True)
        writers.more()

    writers.assert_nothing_lost(cluster.assert_equal_contents())


def test_down_and_up_keeps_everything(cluster: LiveCluster) -> None:
    with Writers(cluster.endpoints, prefix="down") as writers:
        writers.more()
    before = cluster.assert_equal_contents()

    cluster.down()
    cluster.up()

    assert cluster.assert_equal_contents() == before
    writers.assert_nothing_lost(before)
