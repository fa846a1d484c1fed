"""Locks and elections: the same conversations with us and with a real etcd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from node.proto import election, lock, rpc
from tests.support.api_client import ApiClient, Failed
from tests.support.api_member import ServedMember
from tests.support.etcd_process import EtcdProcess, running_etcd

LOCK, UNLOCK = "/v3lockpb.Lock/Lock", "/v3lockpb.Lock/Unlock"
CAMPAIGN, PROCLAIM, LEADER, OBSERVE, RESIGN = (
    f"/v3electionpb.Election/{name}"
    for name in ("Campaign", "Proclaim", "Leader", "Observe", "Resign")
)
PATIENCE_S = 10.0
A, B = 0xA, 0xB


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture(params=["conclave", "etcd"])
def api(
    request: pytest.FixtureRequest, served: ServedMember, etcd: EtcdProcess
) -> Iterator[Conversation]:
    address = served.address if request.param == "conclave" else etcd.address
    with ApiClient(address) as client:
        conversation = Conversation(client)
        yield conversation
        conversation.end()


class Conversation:
    """Calls with two leases, and what keys there are."""

    def __init__(self, client: ApiClient) -> None:
        self.client = client
        for lease in (A, B):
            client.raw(
                "/etcdserverpb.Lease/LeaseGrant",
                rpc.LeaseGrantRequest(ID=lease, TTL=60).SerializeToString(),
            )

    def end(self) -> None:
        """Leave nothing for the next one."""
        for lease in (A, B):
            self.revoke(lease)

    def call(self, path: str, request: Any, response: Any) -> Any:
        return self.client.call(path, request, response)

    def later(self, path: str, request: Any, response: Any) -> Any:
        """A call that will be answered later: its future."""
        method = self.client.channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return method.future(request, timeout=PATIENCE_S)

    def revoke(self, lease: int) -> None:
        request = rpc.LeaseRevokeRequest(ID=lease).SerializeToString()
        self.client.raw("/etcdserverpb.Lease/LeaseRevoke", request)

    def keys(self, prefix: bytes) -> list[bytes]:
        request = rpc.RangeRequest(key=prefix, range_end=prefix + b"\xff")
        found = self.call("/etcdserverpb.KV/Range", request, rpc.RangeResponse).kvs
        return [each.key for each in found]

    def until(self, condition: Callable[[], bool]) -> None:
        """Ask again and again; a read each time, so that others get their turn."""
        for _ in range(10_000):
            if condition():
                return
        raise AssertionError("it does not come to hold")


def test_lock_is_a_key_of_the_lease(api: Conversation) -> None:
    held = api.call(LOCK, lock.LockRequest(name=b"one", lease=A), lock.LockResponse)

    assert held.key == b"one/a"
    again = api.call(LOCK, lock.LockRequest(name=b"one", lease=A), lock.LockResponse)
    assert again.key == held.key
    assert api.keys(b"one/") == [b"one/a"]
    api.call(UNLOCK, lock.UnlockRequest(key=held.key), lock.UnlockResponse)
    assert api.keys(b"one/") == []


def test_lock_is_waited_for(api: Conversation) -> None:
    held = api.call(LOCK, lock.LockRequest(name=b"two", lease=A), lock.LockResponse)
    waiting = api.later(LOCK, lock.LockRequest(name=b"two", lease=B), lock.LockResponse)
    api.until(lambda: len(api.keys(b"two/")) == 2)
    assert not waiting.done()

    api.call(UNLOCK, lock.UnlockRequest(key=held.key), lock.UnlockResponse)

    assert waiting.result().key == b"two/b"
    assert api.keys(b"two/") == [b"two/b"]


def test_lock_passes_on_when_its_lease_ends(api: Conversation) -> None:
    api.call(LOCK, lock.LockRequest(name=b"three", lease=A), lock.LockResponse)
    waiting = api.later(LOCK, lock.LockRequest(name=b"three", lease=B), lock.LockResponse)
    api.until(lambda: len(api.keys(b"three/")) == 2)

    api.revoke(A)

    assert waiting.result().key == b"three/b"


def test_whoever_gives_up_leaves_the_queue(api: Conversation) -> None:
    api.call(LOCK, lock.LockRequest(name=b"four", lease=A), lock.LockResponse)
    waiting = api.later(LOCK, lock.LockRequest(name=b"four", lease=B), lock.LockResponse)
    api.until(lambda: len(api.keys(b"four/")) == 2)

    waiting.cancel()

    api.until(lambda: api.keys(b"four/") == [b"four/a"])


def test_lock_whose_own_lease_ends_is_not_held(api: Conversation) -> None:
    api.call(LOCK, lock.LockRequest(name=b"five", lease=A), lock.LockResponse)
    waiting = api.later(LOCK, lock.LockRequest(name=b"five", lease=B), lock.LockResponse)
    api.until(lambda: len(api.keys(b"five/")) == 2)

    api.revoke(B)
    api.revoke(A)

    with pytest.raises(grpc.RpcError) as raised:
        waiting.result()
    assert raised.value.code() is grpc.StatusCode.UNKNOWN
    assert raised.value.details() == "mutex: session is expired"


def test_lock_without_a_lease_gets_one(api: Conversation) -> None:
    held = api.call(LOCK, lock.LockRequest(name=b"six"), lock.LockResponse)

    lease = int(held.key.removeprefix(b"six/"), 16)
    request = rpc.LeaseTimeToLiveRequest(ID=lease)
    left = api.call("/etcdserverpb.Lease/LeaseTimeToLive", request, rpc.LeaseTimeToLiveResponse)
    assert left.grantedTTL == 60
    api.revoke(lease)


def test_lock_with_a_lease_that_is_not_there(api: Conversation) -> None:
    request = lock.LockRequest(name=b"seven", lease=0xDEAD)

    assert api.client.refused(LOCK, request) == Failed(2, "etcdserver: requested lease not found")


def leader_of(api: Conversation, name: bytes) -> Any:
    return api.call(LEADER, election.LeaderRequest(name=name), election.LeaderResponse).kv


def campaign(name: bytes, lease: int, value: bytes) -> election.CampaignRequest:
    return election.CampaignRequest(name=name, lease=lease, value=value)


def test_election_from_candidate_to_resignation(api: Conversation) -> None:
    name = b"office"
    missing = api.client.refused(LEADER, election.LeaderRequest(name=name))
    assert missing == Failed(2, "election: no leader")
    first = api.call(CAMPAIGN, campaign(name, A, b"first"), election.CampaignResponse).leader
    assert (first.name, first.key, first.lease) == (name, b"office/a", A)
    second = api.later(CAMPAIGN, campaign(name, B, b"second"), election.CampaignResponse)
    api.until(lambda: len(api.keys(b"office/")) == 2)
    assert leader_of(api, name).value == b"first"
    assert leader_of(api, name).create_revision == first.rev

    request = election.ProclaimRequest(leader=first, value=b"changed")
    api.call(PROCLAIM, request, election.ProclaimResponse)
    assert leader_of(api, name).value == b"changed"

    api.call(RESIGN, election.ResignRequest(leader=first), election.ResignResponse)
    assert second.result().leader.key == b"office/b"
    assert leader_of(api, name).value == b"second"
    refused = api.client.refused(PROCLAIM, request)
    assert refused == Failed(2, "election: not leader")
    api.call(RESIGN, election.ResignRequest(leader=first), election.ResignResponse)
    assert leader_of(api, name).value == b"second"


def test_candidate_may_change_its_mind(api: Conversation) -> None:
    name = b"mind"
    first = api.call(CAMPAIGN, campaign(name, A, b"1"), election.CampaignResponse).leader

    again = api.call(CAMPAIGN, campaign(name, A, b"2"), election.CampaignResponse).leader

    assert again == first
    assert leader_of(api, name).value == b"2"


@pytest.mark.parametrize("path", [PROCLAIM, RESIGN])
def test_leader_has_to_be_named(api: Conversation, path: str) -> None:
    request = election.ResignRequest()

    assert api.client.refused(path, request) == Failed(2, '"leader" field must be provided')


def test_election_can_be_followed(api: Conversation) -> None:
    name = b"seen"
    observing = api.client.channel.unary_stream(
        OBSERVE,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=election.LeaderResponse.FromString,
    )(election.LeaderRequest(name=name), timeout=PATIENCE_S)
    told = (each.kv.value for each in observing)
    first = api.call(CAMPAIGN, campaign(name, A, b"first"), election.CampaignResponse).leader
    assert next(told) == b"first"
    request = election.ProclaimRequest(leader=first, value=b"changed")
    api.call(PROCLAIM, request, election.ProclaimResponse)
    assert next(told) == b"changed"
    second = api.later(CAMPAIGN, campaign(name, B, b"second"), election.CampaignResponse)
    api.until(lambda: len(api.keys(b"seen/")) == 2)

    api.revoke(A)

    assert next(told) == b"second"
    assert second.result().leader.key == b"seen/b"
    observing.cancel()
