"""Lease over the wire."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import grpc  # type: ignore[import-untyped]

from node.proto import rpc
from tests.node.api.test_kv import refusal
from tests.support.api_client import ApiClient, Failed, failure, messages
from tests.support.api_member import ServedMember

GRANT = "/etcdserverpb.Lease/LeaseGrant"
REVOKE = "/etcdserverpb.Lease/LeaseRevoke"
KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
TIME_TO_LIVE = "/etcdserverpb.Lease/LeaseTimeToLive"
LEASES = "/etcdserverpb.Lease/LeaseLeases"


def grant(client: ApiClient, lease_id: int = 0, ttl: int = 60) -> rpc.LeaseGrantResponse:
    """Grant a lease."""
    return client.call(GRANT, rpc.LeaseGrantRequest(ID=lease_id, TTL=ttl), rpc.LeaseGrantResponse)


def keep_alive(lease_id: int) -> bytes:
    """One encoded request of the keep-alive stream."""
    return rpc.LeaseKeepAliveRequest(ID=lease_id).SerializeToString()


def test_grant_draws_a_positive_id(client: ApiClient) -> None:
    first, second = grant(client), grant(client)

    assert 0 < first.ID < 2**63
    assert first.ID != second.ID
    assert first.TTL == 60


def test_grant_takes_the_id_given_once(client: ApiClient) -> None:
    assert grant(client, 7).ID == 7

    assert client.refused(GRANT, rpc.LeaseGrantRequest(ID=7, TTL=60)) == refusal("LeaseExist")


def test_grant_refuses_a_ttl_that_is_too_large(client: ApiClient) -> None:
    request = rpc.LeaseGrantRequest(TTL=9_000_000_001)

    assert client.refused(GRANT, request) == refusal("LeaseTTLTooLarge")


def test_revoke_deletes_the_keys(client: ApiClient) -> None:
    grant(client, 7)
    client.put(b"k", lease=7)

    response = client.call(REVOKE, rpc.LeaseRevokeRequest(ID=7), rpc.LeaseRevokeResponse)

    assert response.header.revision == 3
    assert client.get(b"k").count == 0
    assert client.refused(REVOKE, rpc.LeaseRevokeRequest(ID=7)) == refusal("LeaseNotFound")


def test_time_to_live_tells_keys_when_asked(client: ApiClient) -> None:
    grant(client, 7)
    client.put(b"b", lease=7)
    client.put(b"a", lease=7)

    request = rpc.LeaseTimeToLiveRequest(ID=7, keys=True)
    response = client.call(TIME_TO_LIVE, request, rpc.LeaseTimeToLiveResponse)

    assert response.ID == 7
    assert response.grantedTTL == 60
    assert 50 <= response.TTL <= 60
    assert sorted(response.keys) == [b"a", b"b"]


def test_time_to_live_of_a_missing_lease_is_minus_one(client: ApiClient) -> None:
    request = rpc.LeaseTimeToLiveRequest(ID=7, keys=True)
    response = client.call(TIME_TO_LIVE, request, rpc.LeaseTimeToLiveResponse)

    assert (response.ID, response.TTL, response.grantedTTL) == (7, -1, 0)


def test_leases_lists_ids(client: ApiClient) -> None:
    grant(client, 7)
    grant(client, 8)

    response = client.call(LEASES, rpc.LeaseLeasesRequest(), rpc.LeaseLeasesResponse)

    assert sorted(lease.ID for lease in response.leases) == [7, 8]


def test_keep_alive_answers_every_request_and_ends_with_the_client(client: ApiClient) -> None:
    grant(client, 7)

    call = client.stream(KEEP_ALIVE, [keep_alive(7), keep_alive(9), keep_alive(7)])
    answers = [(answer.ID, answer.TTL) for answer in messages(call, rpc.LeaseKeepAliveResponse)]

    assert answers == [(7, 60), (9, 0), (7, 60)]
    assert call.code() is grpc.StatusCode.OK


def test_keep_alive_stream_stays_open_between_requests(client: ApiClient) -> None:
    grant(client, 7)
    requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def feed() -> Iterator[bytes]:
        while (request := requests.get()) is not None:
            yield request

    call = client.stream(KEEP_ALIVE, feed())
    answers = messages(call, rpc.LeaseKeepAliveResponse)
    for _ in range(3):
        requests.put(keep_alive(7))
        assert next(answers).TTL == 60
    requests.put(None)

    assert list(answers) == []


def test_keep_alive_without_leader_fails(served: ServedMember, client: ApiClient) -> None:
    served.call(served.member.lose_leader)
    call = client.stream(KEEP_ALIVE, [keep_alive(7)])
    failed: Failed | None = None
    try:
        next(call)
    except grpc.RpcError as error:
        failed = failure(error)

    assert failed == refusal("NoLeader")


def test_malformed_keep_alive_ends_its_stream(client: ApiClient) -> None:
    call = client.stream(KEEP_ALIVE, [b"\x08"])
    failed: Failed | None = None
    try:
        next(call)
    except grpc.RpcError as error:
        failed = failure(error)

    assert failed is not None
    assert failed.code == 13


def test_lease_that_is_not_renewed_expires(served: ServedMember, client: ApiClient) -> None:
    response = grant(client, 7, ttl=1)
    client.put(b"k", lease=7)
    served.call(lambda: served.member.jump(response.TTL + 1.0))
    served.wait(lambda: served.member.machine.revision == 3)

    assert client.get(b"k").count == 0
