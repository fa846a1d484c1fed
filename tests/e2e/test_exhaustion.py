"""Resources that run out under a live node: room on its disk, and descriptors."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.live_cluster import LiveCluster
from tests.support.writers import Writers

pytestmark = pytest.mark.e2e

STORAGE = 70
FEW = 300
"""Descriptors: a few times what a node without clients has."""


def stop_growth(pid: int, directory: Path) -> None:
    """From now on no file of a process grows beyond what its largest log has already.

    The kernel's answer is EFBIG, which to a database is as good as a full disk.
    """
    largest = max(path.stat().st_size for path in directory.glob("*.log"))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_full_disk_ends_the_node_and_loses_nothing(cluster: LiveCluster, role: str) -> None:
    node = cluster.leader if role == "leader" else cluster.followers[0]
    database = cluster.data / node / "db"
    since = cluster.last_event()

    with Writers(cluster.endpoints, prefix=f"full/{role}") as writers:
        writers.more()
        stop_growth(cluster.pid(node), database)
        cluster.await_event(since, "node.exited", node)
        told = cluster.node(node)
        writers.more()
        cluster.client.start([node])
        writers.more()

    assert told["exit"] is not None
    assert (told["exit"]["code"], told["exit"]["reason"]) == (STORAGE, "storage-write")
    assert told["state"] == "failed"
    assert told["exit"]["detail"].startswith("the disk refused a write: ")
    writers.assert_nothing_lost(cluster.assert_equal_contents())


def test_node_is_not_slowed_by_idle_clients(cluster: LiveCluster) -> None:
    """Thousands of connections that ask for nothing."""
    node = cluster.leader
    with ExitStack() as held:
        for _ in range(800):
            client = held.enter_context(socket.socket())
            client.connect(("127.0.0.1", cluster.port(node)))
        with Writers(cluster.endpoints, prefix="idle") as writers:
            writers.more()
        assert cluster.leader == node

    writers.assert_nothing_lost(cluster.contents(node))


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_clients_do_not_get_the_last_descriptors(cluster: LiveCluster, role: str) -> None:
    """Its store needs some: without them a node cannot even begin a new file of its log."""
    node = cluster.leader if role == "leader" else cluster.followers[0]
    pid = cluster.pid(node)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with cluster.api(node) as early:
        early.put(b"descriptors/before")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW, hard))
        with ExitStack() as held, Writers(cluster.endpoints, prefix=f"fds/{role}") as writers:
            for _ in range(2 * FEW):
                client = held.enter_context(socket.socket())
                client.connect(("127.0.0.1", cluster.port(node)))
            writers.more(100)
            early.put(b"descriptors/meanwhile")
        cluster.assert_serves(node)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

    assert cluster.pid(node) == pid
    writers.assert_nothing_lost(cluster.contents(node))
