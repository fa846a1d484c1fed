"""Errors that take several members, brought about in a whole cluster and in a real etcd cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TypeVar

import pytest

from node.client import EtcdClient
from node.proto import rpc
from tests.node.api.test_errors import rows
from tests.support.api_client import ApiClient, Failed
from tests.support.live_cluster import DEADLINE_S, LiveCluster
from tests.support.provocation import CLUSTER, KV, MAINTENANCE, put, read
from tools.bench.etcd import EtcdCluster

pytestmark = pytest.mark.e2e

T = TypeVar("T")
TABLE = {name: Failed(code, text) for name, code, text in rows()}
HAS_LEADER = (("hasleader", "true"),)
NOBODY = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Side:
    """Three members of one kind."""

    endpoints: list[str]
    kill: Callable[[int], None]
    start: Callable[[int], None]

    def status(self, member: int) -> rpc.StatusResponse:
        with EtcdClient([self.endpoints[member]]) as client:
            return client.status()

    def leader(self) -> int:
        """The place of the member that leads."""
        (place,) = (
            place
            for place in range(len(self.endpoints))
            if (status := self.status(place)).leader == status.header.member_id
        )
        return place

    def api(self, member: int) -> ApiClient:
        return ApiClient(self.endpoints[member])


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), 3, ["--unsafe-no-fsync"]) as running:
        yield running


@pytest.fixture(params=["conclave", "etcd"])
def side(request: pytest.FixtureRequest) -> Side:
    """A whole cluster with a leader."""
    if request.param == "etcd":
        etcd: EtcdCluster = request.getfixturevalue("etcd")
        etcd.await_write()
        return Side(etcd.endpoints, etcd.kill, etcd.start)
    cluster: LiveCluster = request.getfixturevalue("cluster")
    names = cluster.names
    return Side(
        cluster.endpoints,
        lambda member: void(cluster.client.kill([names[member]])),
        lambda member: void(cluster.client.start([names[member]])),
    )


def void(_: object) -> None:
    """Nothing of interest."""


def refused(
    client: ApiClient, name: str, request: rpc.MemberAddRequest | rpc.MemberPromoteRequest
) -> Failed:
    """How a change of the members fails."""
    return client.refused(f"{CLUSTER}/{name}", request)


def test_leadership_is_handed_over_by_the_leader_only(side: Side) -> None:
    leader = side.leader()
    follower = (leader + 1) % 3
    target = side.status(follower).header.member_id

    with side.api(follower) as client:
        found = client.refused(f"{MAINTENANCE}/MoveLeader", rpc.MoveLeaderRequest(targetID=target))

    assert found == TABLE["NotLeader"]


def test_members_that_may_not_be(side: Side) -> None:
    leader = side.leader()
    with side.api(leader) as client:
        own = side.status(leader).header.member_id
        voter = refused(client, "MemberPromote", rpc.MemberPromoteRequest(ID=own))
        learner = rpc.MemberAddRequest(peerURLs=[NOBODY], isLearner=True)
        added = add(client, learner)
        try:
            taken = refused(
                client, "MemberAdd", rpc.MemberAddRequest(peerURLs=[NOBODY, NOBODY + "8"])
            )
            other = rpc.MemberAddRequest(peerURLs=[NOBODY + "9"], isLearner=True)
            too_many = refused(client, "MemberAdd", other)
            never_started = refused(client, "MemberPromote", rpc.MemberPromoteRequest(ID=added))
        finally:
            remove = rpc.MemberRemoveRequest(ID=added)
            client.call(f"{CLUSTER}/MemberRemove", remove, rpc.MemberRemoveResponse)

    assert voter == TABLE["MemberNotLearner"]
    assert taken == TABLE["PeerURLExist"]
    assert too_many == TABLE["TooManyLearners"]
    assert never_started == TABLE["LearnerNotReady"]


def add(client: ApiClient, request: rpc.MemberAddRequest) -> int:
    """Add a member; etcd wants the others to have been connected for five seconds."""
    deadline = monotonic() + DEADLINE_S
    message = request.SerializeToString()
    while isinstance(answer := client.raw(f"{CLUSTER}/MemberAdd", message), Failed):
        assert answer.text == "etcdserver: unhealthy cluster"
        assert monotonic() < deadline
        sleep(0.1)
    return rpc.MemberAddResponse.FromString(answer).member.ID


def test_cluster_that_lacks_members(side: Side) -> None:
    leader = side.leader()
    gone, survivor = (place for place in range(3) if place != leader)
    expected: bytes | Failed = TABLE["NoLeader"]
    (_, write), (_, ranged) = put(), read()
    puts, ranges = write.SerializeToString(), ranged.SerializeToString()
    side.kill(gone)
    side.kill(leader)
    with side.api(survivor) as client:
        try:
            leaderless = until(lambda: client.raw(f"{KV}/Put", puts, metadata=HAS_LEADER), expected)
            late = client.raw(f"{KV}/Range", ranges, timeout=DEADLINE_S)
        finally:
            for place in (gone, leader):
                side.start(place)

    assert leaderless == expected
    assert late == TABLE["Timeout"]


def until(look: Callable[[], T], wanted: T) -> T:
    """What is seen when it is what is wanted, or after a long time."""
    deadline = monotonic() + DEADLINE_S
    while (found := look()) != wanted and monotonic() < deadline:
        sleep(0.05)
    return found
