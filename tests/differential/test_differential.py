"""What conclave answers to requests drawn at random, beside a real etcd.

A short run of what `make differential` does at length. A failure prints the shortest sequence of
requests that parts the two; its seed repeats it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from node.proto import rpc
from tests.differential.campaign import campaign
from tests.differential.generator import Generator
from tests.differential.side import Pending, Side
from tests.differential.step import Ask, Watch
from tests.support.api_member import ApiMember, ServedMember
from tests.support.etcd_process import running_etcd
from tests.support.live_cluster import running_cluster

ON_A_MEMBER = 3_000
ON_A_CLUSTER = 600

MUST_HAPPEN = {
    "Put: ok",
    "Put: etcdserver: key is not provided",
    "Put: etcdserver: key not found",
    "Put: etcdserver: lease is provided",
    "Put: etcdserver: requested lease not found",
    "Put: etcdserver: value is provided",
    "DeleteRange: ok",
    "DeleteRange: etcdserver: key is not provided",
    "Range: ok",
    "Range: etcdserver: key is not provided",
    "Range: etcdserver: mvcc: required revision has been compacted",
    "Range: etcdserver: mvcc: required revision is a future revision",
    "Txn: ok",
    "Txn: etcdserver: duplicate key given in txn request",
    "Txn: etcdserver: key is not provided",
    "Txn: etcdserver: key not found",
    "Txn: etcdserver: mvcc: required revision has been compacted",
    "Txn: etcdserver: mvcc: required revision is a future revision",
    "Txn: etcdserver: requested lease not found",
    "Txn: etcdserver: too many operations in txn request",
    "Compaction: ok",
    "Compaction: etcdserver: mvcc: required revision has been compacted",
    "Compaction: etcdserver: mvcc: required revision is a future revision",
    "LeaseGrant: ok",
    "LeaseGrant: etcdserver: lease already exists",
    "LeaseGrant: etcdserver: too large lease TTL",
    "LeaseRevoke: ok",
    "LeaseRevoke: etcdserver: requested lease not found",
    "LeaseTimeToLive: ok",
    "LeaseKeepAlive: ok",
    "LeaseLeases: ok",
    "Watch create_request",
    "Watch cancel_request",
    "Watch progress_request",
}
"""Agreement means nothing about what was never asked."""


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as process:
        side = Side("etcd", [process.address])
        yield side
        side.close()


@pytest.fixture
def member() -> Iterator[Side]:
    with ServedMember(ApiMember()) as served:
        side = Side("conclave", [served.address])
        yield side
        side.close()


def test_member_answers_as_etcd(etcd: Side, member: Side) -> None:
    experience = campaign([etcd, member], ON_A_MEMBER, first=1)

    assert experience.steps >= ON_A_MEMBER
    assert set(experience.outcomes) >= MUST_HAPPEN


@pytest.mark.e2e
def test_cluster_answers_as_etcd(etcd: Side, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Writes go round the members; what a member answers by itself is asked after catching up."""
    directory = tmp_path_factory.mktemp("cluster")
    with running_cluster(directory, "differential") as cluster, ExitStack() as stack:
        conclave = Side("conclave", cluster.endpoints)
        stack.callback(conclave.close)

        experience = campaign([etcd, conclave], ON_A_CLUSTER, first=10_001)

        assert experience.steps >= ON_A_CLUSTER


class Careless(Side):
    """Leaves the option of one kind of request away."""

    def send(self, step: Ask) -> Pending:
        if isinstance(step.request, rpc.DeleteRangeRequest):
            request = rpc.DeleteRangeRequest(key=step.request.key, range_end=step.request.range_end)
            return super().send(Ask(request))
        return super().send(step)


def test_difference_is_told_in_few_steps(etcd: Side) -> None:
    with ServedMember(ApiMember()) as served:
        careless = Careless("careless", [served.address])

        with pytest.raises(AssertionError) as told:
            campaign([etcd, careless], ON_A_MEMBER, first=1)

        careless.close()
    first, *lines = str(told.value).splitlines()
    assert first.endswith(("1 of 60 steps:", "2 of 60 steps:"))
    assert "DeleteRangeRequest" in lines[-4]
    assert "prev_kv: true" in str(told.value)


def test_episode_is_a_function_of_its_seed() -> None:
    first, second, other = (Generator(seed).steps(100) for seed in (7, 7, 8))

    assert first == second
    assert first != other
    assert {type(step) for step in first} == {Ask, Watch}
