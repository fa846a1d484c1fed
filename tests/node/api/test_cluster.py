"""The Cluster service over the wire: what goes in, what etcd's clients get back."""

from __future__ import annotations

import pytest

from node.api.cluster import are_urls
from node.proto import rpc
from tests.support.api_client import ApiClient, Failed

ADD = "/etcdserverpb.Cluster/MemberAdd"
REMOVE = "/etcdserverpb.Cluster/MemberRemove"
UPDATE = "/etcdserverpb.Cluster/MemberUpdate"
PROMOTE = "/etcdserverpb.Cluster/MemberPromote"
OWN = 0xA1
URL = "http://127.0.0.1:12380"


def add(client: ApiClient, *, learner: bool = False, url: str = URL) -> rpc.MemberAddResponse:
    request = rpc.MemberAddRequest(peerURLs=[url], isLearner=learner)
    return client.call(ADD, request, rpc.MemberAddResponse)


def test_add_tells_the_new_member_and_all_of_them(client: ApiClient) -> None:
    response = add(client, learner=True)

    added = response.member
    assert added.ID > 0
    assert (added.name, list(added.peerURLs), added.isLearner) == ("", [URL], True)
    assert {member.ID for member in response.members} == {OWN, added.ID}
    assert (response.header.member_id, response.header.revision) == (OWN, 0)
    assert response.header.raft_term == 2


def test_learner_is_promoted_updated_and_removed(client: ApiClient) -> None:
    member = add(client, learner=True).member.ID
    moved = "http://127.0.0.1:9"

    promoted = client.call(PROMOTE, rpc.MemberPromoteRequest(ID=member), rpc.MemberPromoteResponse)
    updated = client.call(
        UPDATE, rpc.MemberUpdateRequest(ID=member, peerURLs=[moved]), rpc.MemberUpdateResponse
    )
    removed = client.call(REMOVE, rpc.MemberRemoveRequest(ID=member), rpc.MemberRemoveResponse)

    assert [row.isLearner for row in promoted.members if member == row.ID] == [False]
    assert [list(row.peerURLs) for row in updated.members if member == row.ID] == [[moved]]
    assert [row.ID for row in removed.members] == [OWN]


def test_refusals_read_as_those_of_etcd(client: ApiClient) -> None:
    learner = add(client, learner=True).member.ID
    taken = rpc.MemberAddRequest(peerURLs=[URL])
    second = rpc.MemberAddRequest(peerURLs=["http://127.0.0.1:1"], isLearner=True)

    assert client.refused(ADD, rpc.MemberAddRequest()) == Failed(
        3, "etcdserver: given member URLs are invalid"
    )
    assert client.refused(ADD, taken) == Failed(9, "etcdserver: Peer URLs already exists")
    assert client.refused(ADD, second) == Failed(
        9, "etcdserver: too many learner members in cluster"
    )
    assert client.refused(REMOVE, rpc.MemberRemoveRequest(ID=5)) == Failed(
        5, "etcdserver: member not found"
    )
    assert client.refused(UPDATE, rpc.MemberUpdateRequest(ID=5, peerURLs=[URL])) == Failed(
        5, "etcdserver: member not found"
    )
    assert client.refused(PROMOTE, rpc.MemberPromoteRequest(ID=OWN)) == Failed(
        9, "etcdserver: can only promote a learner member"
    )
    client.call(REMOVE, rpc.MemberRemoveRequest(ID=learner), rpc.MemberRemoveResponse)
    assert client.refused(REMOVE, rpc.MemberRemoveRequest(ID=learner)).code == 5


@pytest.mark.parametrize(
    ("urls", "good"),
    [
        (["http://127.0.0.1:2380"], True),
        (["https://host:1", "unix://n4"], True),
        ([], False),
        (["http://host"], False),
        (["http://host:1/path"], False),
        (["http://:1"], False),
        (["http://host:port"], False),
        (["ftp://host:1"], False),
        (["http://host:1", ""], False),
    ],
)
def test_urls_that_etcd_takes(urls: list[str], good: bool) -> None:
    assert are_urls(urls) is good
