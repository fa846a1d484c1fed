"""A follower whose next entry is compacted away gets the whole state instead."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from node.config import Limits
from tests.support.burst import put_all
from tests.support.live_cluster import DEADLINE_S, LiveCluster
from tests.support.writers import Writers

pytestmark = pytest.mark.e2e

ENTRIES = Limits().log_entries_max
"""More than any member keeps for one who is away."""
SILENT_MS = 3 * 10 * 50
"""Election timeouts, by default ticks of 10 ms."""
INSTALLED = "raft.snapshot_installed"
CHUNK_BYTES = 256 << 10
PART_BYTES = 4 << 20
"""Of a state that is ten times as large."""


def filler(tag: str) -> Iterator[tuple[bytes, bytes]]:
    """Enough small writes that the log before them is compacted away."""
    return ((f"{tag}/{n % 1000:04}".encode(), b"%d" % n) for n in range(ENTRIES))


def leave_behind(cluster: LiveCluster, node: str, tag: str) -> None:
    """Kill a node and write on until what it needs is in nobody's log any more.

    What a follower that was heard of lately still needs is kept; silence has to be long enough.
    """
    leader = cluster.leader
    cluster.await_true(lambda: silence_ms(cluster, leader, node) >= 0, f"heartbeats to {node}")
    cluster.client.kill([node])
    put_all(cluster.port(leader), filler(tag))
    cluster.await_true(lambda: silence_ms(cluster, leader, node) > SILENT_MS, f"silence of {node}")
    put_all(cluster.port(leader), filler(tag))


def silence_ms(cluster: LiveCluster, leader: str, node: str) -> float:
    """Since the leader last heard of a node; -1 if it never did."""
    ends = (leader, node)
    links = [row for row in cluster.status()["links"] if (row["from"], row["to"]) == ends]
    ages = [row["age_ms"] for row in links if row["age_ms"] is not None]
    return min(ages, default=-1.0)


def size_of(directory: Path) -> int:
    """Bytes of all files; some vanish while we look."""
    total = 0
    for path in directory.iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def await_growth(directory: Path, count: int) -> None:
    """Watch a database until it has grown by so many bytes."""
    enough = size_of(directory) + count
    deadline = monotonic() + DEADLINE_S
    while size_of(directory) < enough:
        assert monotonic() < deadline, "nothing arrives"


def test_follower_far_behind_gets_a_snapshot(cluster: LiveCluster) -> None:
    node = cluster.followers[0]
    leave_behind(cluster, node, "behind")
    since = cluster.last_event()

    with Writers(cluster.endpoints, prefix="meanwhile") as writers:
        cluster.client.start([node])
        cluster.await_event(since, INSTALLED, node)
        writers.more()

    writers.assert_nothing_lost(cluster.assert_equal_contents())
    cluster.assert_serves(node)


@pytest.mark.parametrize("victim", ["follower", "leader"])
def test_snapshot_that_is_cut_short_is_sent_again(cluster: LiveCluster, victim: str) -> None:
    node, leader = cluster.followers[0], cluster.leader
    value = os.urandom(CHUNK_BYTES)
    put_all(cluster.port(leader), ((f"large/{n:03}".encode(), value) for n in range(160)))
    leave_behind(cluster, node, "cut")
    since = cluster.last_event()

    cluster.client.start([node], wait=False)  # it serves once its new state has been compared
    await_growth(cluster.data / node / "db", PART_BYTES)
    name = node if victim == "follower" else leader
    os.kill(cluster.pid(name), signal.SIGKILL)
    cluster.await_event(since, "node.exited", name)
    assert cluster.events(since, INSTALLED, node) == []

    cluster.client.start([name])
    cluster.await_event(since, INSTALLED, node)
    cluster.client.wait(f"node {node}=running")
    contents = cluster.assert_equal_contents()
    assert sum(record.value == value for record in contents) == 160
    cluster.assert_serves(node)


def test_follower_paused_while_the_log_is_compacted(cluster: LiveCluster) -> None:
    """What waits in its sockets may be enough or too little; either way it catches up."""
    node = cluster.followers[0]
    cluster.client.pause([node])
    put_all(cluster.port(cluster.leader), filler("paused"))

    cluster.client.resume([node])

    cluster.assert_equal_contents()
    cluster.assert_serves(node)
