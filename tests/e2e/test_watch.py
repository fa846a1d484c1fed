"""Watches across the death of a leader: every event, once, in order."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence

import pytest

from node.client import EtcdClient
from node.proto import rpc
from tests.support.etcdctl import Etcdctl
from tests.support.live_cluster import LiveCluster
from tests.support.watchers import Change, Watcher, change_of
from tests.support.writers import Writers

pytestmark = pytest.mark.e2e


def history(cluster: LiveCluster, node: str, prefix: bytes, last: bytes) -> list[Change]:
    """The truth: what a node has kept, read after everything is over."""
    return Watcher([cluster.endpoint(node)], prefix, last, start_revision=1).finish()


def put_last(cluster: LiveCluster, key: bytes) -> None:
    """The write that every watcher waits for."""
    with EtcdClient([cluster.endpoint(cluster.leader)]) as client:
        client.put(rpc.PutRequest(key=key))


def assert_ordered(changes: Sequence[Change]) -> None:
    """Revisions never go back, and nothing comes twice."""
    revisions = [change.revision for change in changes]
    assert revisions == sorted(revisions)
    assert len(set(changes)) == len(changes)


def test_watchers_of_every_node_see_everything_across_a_leader_kill(
    cluster: LiveCluster,
) -> None:
    """Those of the leader resume elsewhere; those of followers never notice."""
    ends, last = cluster.endpoints, b"kill/zzz"
    leader = cluster.leader
    watchers = {
        name: Watcher([*ends[n:], *ends[:n]], b"kill/", last)
        for n, name in enumerate(cluster.names)
    }
    only = {name: Watcher([cluster.endpoint(name)], b"kill/", last) for name in cluster.followers}

    with Writers(ends, prefix="kill") as writers:
        writers.more()
        cluster.client.kill([leader])
        cluster.new_leader(leader)
        writers.more()
        cluster.client.start([leader])
        writers.more()
    put_last(cluster, last)

    expected = history(cluster, cluster.leader, b"kill/", last)
    assert_ordered(expected)
    assert {change.key for change in expected} >= set(writers.acknowledged)
    for name, watcher in [*watchers.items(), *only.items()]:
        assert watcher.finish() == expected, name
    for name in cluster.names:
        assert history(cluster, name, b"kill/", last) == expected, name


def test_etcdctl_resumes_its_watch_on_another_endpoint(cluster: LiveCluster) -> None:
    """clientv3 as the judge: it was connected to the node that dies."""
    leader = cluster.leader
    ordered = sorted(cluster.names, key=lambda name: name != leader)
    last = b"resume/zzz"
    with EtcdClient(cluster.endpoints) as client:
        start = client.put(rpc.PutRequest(key=b"resume/first")).header.revision
    ctl = Etcdctl([cluster.endpoint(name) for name in ordered])
    following = ctl.start(["watch", "--prefix", "resume/", "--rev", str(start), "-w", "json"])

    with Writers(cluster.endpoints, prefix="resume") as writers:
        cluster.client.kill([leader])
        cluster.new_leader(leader)
        writers.more()
    put_last(cluster, last)

    lines = following.until_true(lambda line: last in [key for _, key in decoded(line)])
    seen = [event for line in lines for event in decoded(line)]
    assert seen == [(c.revision, c.key) for c in history(cluster, ordered[1], b"resume/", last)]


def test_watch_of_a_paused_node_goes_on_after_it(cluster: LiveCluster) -> None:
    node, last = cluster.followers[0], b"pause/zzz"
    watcher = Watcher([cluster.endpoint(node)], b"pause/", last)

    cluster.client.pause([node])
    with Writers([cluster.endpoint(cluster.leader)], prefix="pause") as writers:
        writers.more()
    put_last(cluster, last)
    cluster.client.resume([node])

    assert watcher.finish() == history(cluster, cluster.leader, b"pause/", last)


def test_txn_arrives_as_one_response(cluster: LiveCluster) -> None:
    """All changes of a revision stand together, on a follower, too."""
    request = rpc.WatchCreateRequest(key=b"txn/", range_end=b"txn0", prev_kv=True)
    txn = rpc.TxnRequest(
        success=[
            rpc.RequestOp(request_put=rpc.PutRequest(key=b"txn/a", value=b"2")),
            rpc.RequestOp(request_put=rpc.PutRequest(key=b"txn/b", value=b"2")),
            rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=b"txn/c")),
        ]
    )
    with (
        EtcdClient([cluster.endpoint(cluster.followers[0])]) as follower,
        EtcdClient([cluster.endpoint(cluster.leader)]) as client,
    ):
        before = client.put(rpc.PutRequest(key=b"txn/c", value=b"1")).header.revision
        request.start_revision = before + 1
        responses = follower.watch(request)
        assert next(responses).created
        revision = client.txn(txn).header.revision

        response = next(responses)

    events = response.events
    assert [change_of(event) for event in events] == [
        Change(revision, b"txn/a", b"2", deleted=False),
        Change(revision, b"txn/b", b"2", deleted=False),
        Change(revision, b"txn/c", b"", deleted=True),
    ]
    assert events[2].prev_kv.value == b"1"


def decoded(line: str) -> list[tuple[int, bytes]]:
    """(revision, key) of the events of one line of etcdctl's JSON."""
    events = json.loads(line).get("Events") or []
    return [(event["kv"]["mod_revision"], b64decode(event["kv"]["key"])) for event in events]
