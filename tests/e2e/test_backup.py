"""A snapshot leaves for etcd: saved by etcdctl, restored by etcdutl, served by a real etcd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from node.proto import rpc
from tests.support.api_client import ApiClient
from tests.support.etcd_process import running_etcd
from tests.support.etcdctl import Etcdctl
from tests.support.etcdutl import etcdutl
from tests.support.live_cluster import LiveCluster
from tests.support.writers import Writers

pytestmark = pytest.mark.e2e

RANGE = "/etcdserverpb.KV/Range"


def everything(revision: int = 0) -> rpc.RangeRequest:
    return rpc.RangeRequest(key=b"\0", range_end=b"\0", revision=revision)


def test_etcd_goes_on_where_the_cluster_was(
    fresh: Callable[..., LiveCluster], tmp_path: Path
) -> None:
    cluster = fresh()
    etcdctl = Etcdctl(cluster.endpoints)
    for value in ("1", "2", "3"):
        etcdctl.done("put", "changed", value)
    etcdctl.done("put", "deleted", "x")
    etcdctl.done("del", "deleted")
    etcdctl.done("put", "large", "-", stdin="y" * 200_000)
    lease = etcdctl.done("lease", "grant", "600").split()[1]
    etcdctl.done("put", "leased", "z", "--lease", lease)
    etcdctl.done("compact", "3")
    saved = tmp_path / "saved.db"
    with ApiClient(cluster.endpoints[1]) as api:
        here = [api.call(RANGE, everything(at), rpc.RangeResponse) for at in (0, 3, 5)]

    Etcdctl([cluster.endpoints[1]]).done("snapshot", "save", str(saved))
    etcdutl("snapshot", "restore", str(saved), "--data-dir", str(tmp_path / "data"))
    with running_etcd(tmp_path) as etcd:
        there = [etcd.call(RANGE, everything(at), rpc.RangeResponse) for at in (0, 3, 5)]
        leases = etcd.call(
            "/etcdserverpb.Lease/LeaseLeases", rpc.LeaseLeasesRequest(), rpc.LeaseLeasesResponse
        )
        put = etcd.call("/etcdserverpb.KV/Put", rpc.PutRequest(key=b"new"), rpc.PutResponse)

    for ours, theirs in zip(here, there, strict=True):
        assert isinstance(theirs, rpc.RangeResponse)
        assert theirs.kvs == ours.kvs
        assert theirs.header.revision == ours.header.revision
    assert isinstance(leases, rpc.LeaseLeasesResponse)
    assert [each.ID for each in leases.leases] == [int(lease, 16)]
    assert isinstance(put, rpc.PutResponse)
    assert put.header.revision == here[0].header.revision + 1


def test_snapshot_under_load_is_one_moment(
    fresh: Callable[..., LiveCluster], tmp_path: Path
) -> None:
    """What this member had applied when it was asked is in it, and no revision is missing."""
    cluster = fresh()
    saved = tmp_path / "saved.db"
    etcdctl = Etcdctl([cluster.endpoints[2]])
    with Writers(cluster.endpoints) as writers:
        writers.more(200)
        before = dict(writers.acknowledged)
        etcdctl.done("get", "linearizable")
        etcdctl.done("snapshot", "save", str(saved))
    etcdutl("snapshot", "restore", str(saved), "--data-dir", str(tmp_path / "data"))

    with running_etcd(tmp_path) as etcd:
        found = etcd.call(RANGE, everything(), rpc.RangeResponse)

    assert isinstance(found, rpc.RangeResponse)
    there = {each.key: each.mod_revision for each in found.kvs}
    assert before.items() <= there.items()
    revisions = sorted(each.mod_revision for each in found.kvs)
    assert revisions == list(range(revisions[0], found.header.revision + 1))


def test_cluster_begins_where_an_etcd_was(
    fresh: Callable[..., LiveCluster], tmp_path: Path
) -> None:
    saved = tmp_path / "saved.db"
    with running_etcd(tmp_path) as etcd:
        etcdctl = Etcdctl([etcd.address])
        lease = etcdctl.done("lease", "grant", "600").split()[1]
        for value in ("1", "2", "3"):
            etcdctl.done("put", "changed", value)
        etcdctl.done("put", "deleted", "x", "--lease", lease)
        etcdctl.done("del", "deleted")
        etcdctl.done("put", "leased", "z", "--lease", lease)
        etcdctl.done("compact", "3")
        there = [etcd.call(RANGE, everything(at), rpc.RangeResponse) for at in (0, 3, 5)]
        etcdctl.done("snapshot", "save", str(saved))

    cluster = fresh(3, "--from-snapshot", str(saved))

    etcdctl = Etcdctl(cluster.endpoints)
    assert lease in etcdctl.done("lease", "list")
    for endpoint in cluster.endpoints:
        with ApiClient(endpoint) as api:
            for at, theirs in zip((0, 3, 5), there, strict=True):
                assert isinstance(theirs, rpc.RangeResponse)
                ours = api.call(RANGE, everything(at), rpc.RangeResponse)
                assert ours.kvs == theirs.kvs
                assert ours.header.revision == theirs.header.revision
    cluster.client.kill(["all"])
    cluster.heal()
    assert etcdctl.done("get", "leased") == "leased\nz\n"
    etcdctl.done("lease", "revoke", lease)
    assert etcdctl.done("get", "leased") == ""
