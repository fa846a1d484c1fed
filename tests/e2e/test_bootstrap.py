"""Clusters of every usual size: they come up, survive a minority, and come up again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.live_cluster import LiveCluster

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_bootstrap(fresh: Callable[..., LiveCluster], size: int) -> None:
    cluster = fresh(size)
    cluster.client.wait("ready")
    status = cluster.status()
    assert status["quorum"]["up"] == size
    assert len({node["id"] for node in status["nodes"]}) == size
    for name in cluster.names:
        cluster.assert_serves(name)

    minority = cluster.client.resolve("minority")
    assert len(minority) == (size - 1) // 2
    if minority:
        cluster.client.kill(minority)
    running = [name for name in cluster.names if name not in minority]
    cluster.client.wait("ready")
    for name in running:
        cluster.assert_serves(name)

    cluster.heal()
    cluster.assert_equal_contents()


@pytest.mark.parametrize("size", [1, 3])
def test_second_start_is_the_same_cluster(fresh: Callable[..., LiveCluster], size: int) -> None:
    cluster = fresh(size)
    cluster.assert_serves("n1")
    ids = [node["id"] for node in cluster.status()["nodes"]]
    before = cluster.assert_equal_contents()

    cluster.down()
    cluster.up()

    assert cluster.assert_equal_contents() == before
    assert [node["id"] for node in cluster.status()["nodes"]] == ids


def test_first_leader_is_the_one_that_was_asked_for(fresh: Callable[..., LiveCluster]) -> None:
    cluster = fresh(3, "--leader", "n3")

    assert cluster.leader == "n3"
    assert cluster.status()["elections"] == 1


def test_node_killed_while_the_others_bootstrap_joins_later(
    fresh: Callable[..., LiveCluster],
) -> None:
    """Its data directory may be at any point of its creation."""
    cluster = fresh(3)
    cluster.client.kill(["n2"])
    for _ in range(3):
        cluster.client.start(["n2"], wait=False)
        cluster.client.kill(["n2"])

    cluster.client.start(["n2"])

    cluster.client.wait("converged")
    cluster.assert_equal_contents()
    cluster.assert_serves("n2")
