"""Leaders killed, paused, stopped and replaced under writes: nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.support.live_cluster import LiveCluster
from tests.support.writers import Writers

pytestmark = pytest.mark.e2e

WAIT_S = 4.0
"""Far more than an election takes on a busy machine, and less than the request timeout of 6 s."""

Deed = Callable[[LiveCluster, str], None]


def kill(cluster: LiveCluster, leader: str) -> None:
    """SIGKILL through the supervisor."""
    assert cluster.client.kill(["leader"])["done"] == [leader]


def kill_unasked(cluster: LiveCluster, leader: str) -> None:
    """SIGKILL behind the supervisor's back."""
    os.kill(cluster.pid(leader), signal.SIGKILL)


def stop(cluster: LiveCluster, leader: str) -> None:
    """An orderly stop, which hands leadership over."""
    cluster.client.stop([leader])


def pause(cluster: LiveCluster, leader: str) -> None:
    """The leader stands still, and believes that it leads when it goes on."""
    cluster.client.pause([leader])


def transfer(cluster: LiveCluster, leader: str) -> None:
    """Leadership goes to a follower, and nothing dies."""
    assert cluster.client.transfer()["from"] == leader


@pytest.mark.parametrize("deed", [kill, kill_unasked, stop, pause, transfer])
def test_leader_is_replaced_and_nothing_is_lost(cluster: LiveCluster, deed: Deed) -> None:
    leader, term = cluster.leader, cluster.status()["term"]

    with Writers(cluster.endpoints, prefix=deed.__name__) as writers:
        deed(cluster, leader)
        cluster.new_leader(leader)
        writers.more()
        cluster.heal()
        writers.more()

    assert cluster.status()["term"] > term
    writers.assert_nothing_lost(cluster.assert_equal_contents())


@pytest.mark.parametrize("deed", [kill, kill_unasked, stop, pause, transfer])
def test_writes_under_way_wait_for_the_next_leader(cluster: LiveCluster, deed: Deed) -> None:
    """Whoever writes through another node is told of nothing but a longer wait."""
    leader = cluster.leader
    kept = [cluster.endpoint(name) for name in cluster.followers]

    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                Writers([endpoint], count=8, prefix=f"{deed.__name__}{n}", patience_s=20.0)
            )
            for n, endpoint in enumerate(kept)
        ]
        for each in writers:
            each.more()
        deed(cluster, leader)
        cluster.new_leader(leader)
        for each in writers:
            each.more(100)

    cluster.heal()
    contents = cluster.assert_equal_contents()
    for each in writers:
        assert each.failures == []
        assert each.slowest_s < WAIT_S
        each.assert_nothing_lost(contents)


def test_every_leader_in_turn(cluster: LiveCluster) -> None:
    with Writers(cluster.endpoints, prefix="turn") as writers:
        for _ in range(3):
            leader = cluster.leader
            cluster.client.kill([leader])
            cluster.new_leader(leader)
            writers.more()
            cluster.client.start([leader])

    cluster.client.wait("converged")
    writers.assert_nothing_lost(cluster.assert_equal_contents())


def test_no_quorum_acknowledges_nothing_and_comes_back(cluster: LiveCluster) -> None:
    leader = cluster.leader
    survivor = cluster.followers[0]
    others = [name for name in cluster.names if name != survivor]

    with Writers(cluster.endpoints, prefix="quorum") as writers:
        cluster.client.kill(others)
        cluster.client.wait("no-leader")
        before = len(writers.acknowledged)
        with cluster.api(survivor) as api:
            refused = api.raw("/etcdserverpb.KV/Put", b"\x0a\x01k", timeout=1.0)
        assert not isinstance(refused, bytes)
        assert len(writers.acknowledged) == before
        cluster.client.start(others)
        writers.more()

    assert leader in others
    cluster.client.wait("converged")
    writers.assert_nothing_lost(cluster.assert_equal_contents())
