"""Every shape of request that a kube-apiserver makes, on three nodes and on three members of etcd.

Each shape is asked of both, so that what is demanded here is what etcd does; and of both right
after the leader was killed, when conclave has not even noticed yet.
"""

from __future__ import annotations

from itertools import count

import grpc  # type: ignore[import-untyped]
import pytest

from node.proto import rpc
from tests.support.api_client import Failed
from tests.support.judged_server import JudgedServer
from tests.support.kubernetes import KubernetesStore
from tests.support.kubernetes_shapes import SHAPES, Shape

pytestmark = pytest.mark.e2e

NO_LEADER = Failed(14, "etcdserver: no leader")
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
numbers = count(1)


@pytest.fixture
def resource() -> bytes:
    """A kind of object that no other test has."""
    return b"/registry/kind%d/" % next(numbers)


@each_shape
def test_shape(server: JudgedServer, resource: bytes, shape: Shape) -> None:
    with KubernetesStore(server.endpoints[next(numbers) % 3]) as store:
        shape(store, resource)


@each_shape
def test_shape_right_after_the_leader_was_killed(
    server: JudgedServer, resource: bytes, shape: Shape
) -> None:
    survivors = server.kill_leader()

    with KubernetesStore(survivors[next(numbers) % 2]) as store:
        shape(store, resource)

    server.heal()


def test_who_needs_a_leader_is_told_that_there_is_none(
    server: JudgedServer, resource: bytes
) -> None:
    """The watch ends and the list fails, instead of waiting for what does not come."""
    list_all = rpc.RangeRequest(key=resource, range_end=resource + b"\xff", limit=10_000)
    survivor = server.endpoints[0]
    with KubernetesStore(survivor) as store:
        start = store.revision(resource) + 1
    survivor = server.kill_majority()

    with KubernetesStore(survivor) as store:
        with pytest.raises(grpc.RpcError) as ended, store.watch(resource, start) as watch:
            watch.next()
        refused = store.refused("KV/Range", list_all, leader=True)

    server.heal()
    assert (ended.value.code().value[0], ended.value.details()) == (14, NO_LEADER.text)
    assert refused == NO_LEADER
    with KubernetesStore(survivor) as store:
        assert store.range(list_all, leader=True).count == 0
