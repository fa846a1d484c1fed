"""`conclave status` tells how things are, whatever was done to a node and by whom."""

from __future__ import annotations

import json
import os
import signal

import psutil
import pytest

from cluster.document import StatusDocument
from tests.support.live_cluster import DEADLINE_S, LiveCluster
from tools.cli.exit import Exit

pytestmark = pytest.mark.e2e

OLD_MS = 500.0
"""Older than any figure of a node that turns."""


def states(status: StatusDocument) -> dict[str, str]:
    """Each node's state."""
    return {node["name"]: node["state"] for node in status["nodes"]}


def agreed(status: StatusDocument) -> bool:
    """Every node's own view is the cluster's. Their figures are some milliseconds old."""
    views = {(node["leader"], node["term"], node["applied"]) for node in status["nodes"]}
    return views == {(status["leader"], status["term"], status["commit"])}


def test_healthy_cluster(cluster: LiveCluster) -> None:
    cluster.await_true(lambda: agreed(cluster.status()), "all follow the leader and have caught up")

    status = cluster.status()

    assert (status["state"], status["quorum"]) == ("READY", {"needed": 2, "up": 3, "voters": 3})
    for node in status["nodes"]:
        process = psutil.Process(node["pid"])
        assert process.is_running()
        assert process.uids().real == os.getuid()
        assert (node["state"], node["exit"], node["faults"]) == ("running", None, [])
    assert sorted(node["role"] for node in status["nodes"]) == ["follower", "follower", "leader"]
    measured = {
        link["to"]
        for link in status["links"]
        if link["from"] == status["leader"] and link["p50_ms"] is not None
    }
    assert measured == set(cluster.followers)


@pytest.mark.parametrize("asked", [True, False], ids=["by verb", "behind its back"])
def test_killed_follower(cluster: LiveCluster, asked: bool) -> None:
    node = cluster.followers[0]
    since = cluster.last_event()

    if asked:
        cluster.client.kill([node])
    else:
        os.kill(cluster.pid(node), signal.SIGKILL)
    cluster.await_event(since, "node.exited", node)

    status = cluster.status()
    row = cluster.node(node)
    assert (row["state"], row["role"], row["pid"]) == ("exited", "unknown", None)
    assert row["exit"] is not None
    assert (row["exit"]["signal"], row["exit"]["expected"]) == ("SIGKILL", asked)
    assert (status["state"], status["quorum"]["up"]) == ("READY", 2)
    cluster.assert_serves(cluster.leader)


def test_paused_follower(cluster: LiveCluster) -> None:
    node = cluster.followers[0]

    cluster.client.pause([node])

    cluster.await_true(lambda: (cluster.node(node)["age_ms"] or 0) > OLD_MS, "an old figure")
    cluster.await_true(lambda: (cluster.node(node)["hb_age_ms"] or 0) > OLD_MS, "an old heartbeat")
    row = cluster.node(node)
    assert (row["state"], row["faults"]) == ("paused", ["pause"])
    assert psutil.Process(row["pid"]).status() == psutil.STATUS_STOPPED
    assert cluster.status()["quorum"]["up"] == 2
    cluster.assert_serves(cluster.leader)

    cluster.client.resume([node])
    cluster.client.wait("converged")
    assert cluster.node(node)["faults"] == []


def test_paused_leader_is_no_leader(cluster: LiveCluster) -> None:
    old = cluster.leader
    cluster.client.pause([old])
    new = cluster.new_leader(old)

    status = cluster.status()
    assert states(status)[old] == "paused"
    assert status["leader"] == new
    cluster.assert_serves(new)

    cluster.client.resume([old])
    cluster.await_true(lambda: cluster.node(old)["role"] == "follower", "the old leader follows")
    assert cluster.leader == new


def test_paused_majority_is_degraded(cluster: LiveCluster) -> None:
    cluster.client.pause(cluster.followers)

    cluster.client.wait("no-leader")

    status = cluster.status()
    assert (status["state"], status["leader"]) == ("DEGRADED", None)
    assert sorted(states(status).values()) == ["paused", "paused", "running"]
    ran = cluster.home("status", "-c", cluster.name)
    assert ran.returncode == Exit.DEGRADED
    assert "PAUSED" in ran.stdout


def test_restarted_node(cluster: LiveCluster) -> None:
    node = cluster.followers[0]
    before = cluster.node(node)
    cluster.client.kill([node])

    cluster.client.start([node])
    cluster.client.wait("converged")

    after = cluster.node(node)
    assert after["restarts"] == before["restarts"] + 1
    assert (after["state"], after["exit"]) == ("running", None)
    assert after["pid"] not in (None, before["pid"])
    cluster.await_true(lambda: agreed(cluster.status()), "it follows the leader")
    assert (after["uptime_ms"] or 0) < (before["uptime_ms"] or 0)


def test_everything_down(cluster: LiveCluster) -> None:
    cluster.client.kill(["all"])

    status = cluster.status()
    ran = cluster.home("status", "-c", cluster.name, "--json")

    assert (status["state"], status["leader"]) == ("DOWN", None)
    assert set(states(status).values()) == {"exited"}
    assert ran.returncode == Exit.DEGRADED
    assert json.loads(ran.stdout)["state"] == "DOWN"


def test_process_that_hangs_unasked_shows_its_age(cluster: LiveCluster) -> None:
    node = cluster.followers[0]
    pid = cluster.pid(node)

    os.kill(pid, signal.SIGSTOP)
    try:
        cluster.await_true(lambda: (cluster.node(node)["age_ms"] or 0) > OLD_MS, "an old figure")
        cluster.assert_serves(cluster.leader)
    finally:
        os.kill(pid, signal.SIGCONT)

    cluster.await_true(lambda: (cluster.node(node)["age_ms"] or 0) < OLD_MS, "fresh figures")


def test_stopped_cluster_is_not_running(cluster: LiveCluster) -> None:
    processes = cluster.processes()

    cluster.down()

    assert psutil.wait_procs(processes, timeout=DEADLINE_S)[1] == []
    ran = cluster.home("status", "-c", cluster.name)
    assert ran.returncode == Exit.NOT_RUNNING
    cluster.up()
