"""A record that has changed under a stopped node, with all checksums right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from node.proto import rpc
from store import record
from store.config import StoreConfig
from store.leveldb import LevelDBEngine
from tests.support.api_client import Failed
from tests.support.burst import put_all
from tests.support.etcdctl import Etcdctl
from tests.support.live_cluster import LiveCluster

pytestmark = pytest.mark.e2e

Fresh = Callable[..., LiveCluster]
KEY = b"filled/0007"
DATA_LOSS = Failed(15, "etcdserver: corrupt cluster")


def change_record(home: Path) -> bool:
    """What a client would read under the key becomes another value; False = it is not there yet."""
    engine = LevelDBEngine(home / "db", StoreConfig())
    generation = record.decode_generation(engine.get(record.GENERATION) or b"")
    key = record.state_prefix(generation) + b"c" + KEY
    value = engine.get(key)
    if value is not None:
        engine.write([(key, value.replace(b"sound", b"wrong"))])
        assert engine.get(key) != value
    engine.close()
    return value is not None


def corrupted(cluster: LiveCluster) -> str:
    """A follower that has been started again on a changed disk and was found out."""
    put_all(cluster.port("n1"), ((b"filled/%04d" % n, b"sound") for n in range(60)))
    victim = cluster.followers[0]
    cluster.client.stop([victim])
    while not change_record(cluster.data / victim):  # it is only in the log, and applied again
        cluster.client.start([victim])
        cluster.assert_serves(victim)
        cluster.client.stop([victim])
    before = cluster.last_event()
    cluster.client.start([victim])
    cluster.await_event(before, "node.corrupt", victim)
    return victim


def test_changedRecord_isFoundAtTheStart_andReplaceHeals(fresh: Fresh) -> None:
    cluster = fresh(3)
    victim = corrupted(cluster)
    others = [name for name in cluster.names if name != victim]
    member_id = int(cluster.node(victim)["id"], 16)

    # It has served nobody, and does not; the others do.
    cluster.await_true(lambda: cluster.node(victim)["state"] == "running", "it answers")
    with cluster.api(victim) as client:
        serializable = rpc.RangeRequest(key=KEY, serializable=True)
        assert client.refused("/etcdserverpb.KV/Range", serializable) == DATA_LOSS
        assert client.refused("/etcdserverpb.KV/Put", rpc.PutRequest(key=KEY)) == DATA_LOSS
    for name in others:
        assert Etcdctl([cluster.endpoint(name)]).done("get", KEY.decode()).endswith("\nsound\n")
    assert cluster.leader in others

    # Everybody says why.
    for name in cluster.names:
        alarms = Etcdctl([cluster.endpoint(name)]).done("alarm", "list")
        assert alarms == f"memberID:{member_id} alarm:CORRUPT \n"
    cluster.await_true(lambda: "corrupt" in cluster.node(victim)["faults"], "its page says so")
    told = cluster.home("status", "-c", cluster.name).stdout
    assert f"conclave replace {victim}" in told

    # And what to do about it helps.
    cluster.home.done("replace", victim, "-c", cluster.name)
    assert Etcdctl(cluster.endpoints).done("alarm", "list") == ""
    cluster.assert_serves(victim)
    cluster.assert_equal_contents()
    assert "corrupt" not in cluster.node(victim)["faults"]


def test_disarmedAlarm_servesAgain_untilItIsFoundAgain(fresh: Fresh) -> None:
    cluster = fresh(3)
    victim, before = corrupted(cluster), cluster.last_event()
    assert "CORRUPT" in Etcdctl(cluster.endpoints).done("alarm", "disarm")
    cluster.await_event(before, "node.cleared", victim)
    cluster.assert_serves(victim)

    cluster.client.restart([victim])

    cluster.await_event(before, "node.corrupt", victim)
