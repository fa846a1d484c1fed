"""Maintenance, Cluster and grpc.health over the wire."""

from __future__ import annotations

import pytest

from node.api import steps
from node.proto import health, rpc
from node.status import Alarm
from tests.node.api.test_kv import refusal
from tests.support.api_client import ApiClient, Failed
from tests.support.api_member import ServedMember

STATUS = "/etcdserverpb.Maintenance/Status"
HASH = "/etcdserverpb.Maintenance/Hash"
HASH_KV = "/etcdserverpb.Maintenance/HashKV"
ALARM = "/etcdserverpb.Maintenance/Alarm"
MEMBER_LIST = "/etcdserverpb.Cluster/MemberList"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"


def status(client: ApiClient) -> rpc.StatusResponse:
    """Ask for the status."""
    return client.call(STATUS, rpc.StatusRequest(), rpc.StatusResponse)


def test_status_tells_all_that_etcdctl_shows(client: ApiClient) -> None:
    client.put(b"k")

    response = status(client)

    assert response.version == "3.6.11"
    assert response.storageVersion == "3.6.0"
    assert response.leader == response.header.member_id == 0xA1
    assert response.header.revision == 2
    assert (response.raftIndex, response.raftAppliedIndex, response.raftTerm) == (1, 1, 2)
    assert (response.dbSize, response.dbSizeInUse) == (4096, 2048)
    assert response.dbSizeQuota == 2 << 30
    assert response.HasField("downgradeInfo")
    assert list(response.errors) == []


def test_status_lists_what_is_wrong_without_a_quorum(
    served: ServedMember, client: ApiClient
) -> None:
    served.member.alarms = (Alarm(0xA1, 1),)
    served.call(served.member.lose_leader)

    response = status(client)

    assert response.leader == 0
    assert list(response.errors) == ["etcdserver: no leader", "memberID:161 alarm:NOSPACE"]


def test_learner_answers_status(served: ServedMember, client: ApiClient) -> None:
    served.member.is_learner = True

    assert status(client).isLearner


def test_alarm_get_goes_through_the_log(served: ServedMember, client: ApiClient) -> None:
    response = client.call(ALARM, rpc.AlarmRequest(), rpc.AlarmResponse)

    assert list(response.alarms) == []
    assert served.call(lambda: served.member.index) == 1


def test_member_list_has_urls_and_no_revision(client: ApiClient) -> None:
    client.put(b"k")

    request = rpc.MemberListRequest(linearizable=True)
    response = client.call(MEMBER_LIST, request, rpc.MemberListResponse)

    assert response.header.revision == 0
    assert response.header.member_id == 0xA1
    assert [(m.ID, m.name, list(m.clientURLs)) for m in response.members] == [
        (0xA1, "n1", ["http://127.0.0.1:2379"])
    ]


def test_local_member_list_needs_no_leader(served: ServedMember, client: ApiClient) -> None:
    served.call(served.member.lose_leader)

    response = client.call(MEMBER_LIST, rpc.MemberListRequest(), rpc.MemberListResponse)

    assert len(response.members) == 1


def test_learner_does_not_list_members(served: ServedMember, client: ApiClient) -> None:
    served.member.is_learner = True

    assert client.refused(MEMBER_LIST, rpc.MemberListRequest()) == refusal("NotSupportedForLearner")


def test_health_check_of_the_server(client: ApiClient) -> None:
    response = client.call(CHECK, health.HealthCheckRequest(), health.HealthCheckResponse)

    assert response.status == health.HealthCheckResponse.SERVING


def test_health_check_of_an_unknown_service(client: ApiClient) -> None:
    request = health.HealthCheckRequest(service="etcdserverpb.KV")

    assert client.refused(CHECK, request) == Failed(5, "unknown service")


def test_health_watch_tells_now_and_when_it_stops(served: ServedMember, client: ApiClient) -> None:
    request = health.HealthCheckRequest().SerializeToString()
    call = client.channel.unary_stream(WATCH)(request, timeout=10)
    serving = health.HealthCheckResponse.FromString(next(call))
    served.close(1.0)
    stopped = health.HealthCheckResponse.FromString(next(call))

    assert serving.status == health.HealthCheckResponse.SERVING
    assert stopped.status == health.HealthCheckResponse.NOT_SERVING


def hash_kv(client: ApiClient, revision: int = 0) -> rpc.HashKVResponse:
    """Ask for the checksum of the keyspace."""
    request = rpc.HashKVRequest(revision=revision)
    return client.call(HASH_KV, request, rpc.HashKVResponse)


def test_hash_of_the_keyspace_is_of_a_revision(client: ApiClient) -> None:
    client.put(b"k", b"1")
    first = hash_kv(client)
    client.put(b"k", b"2")

    assert hash_kv(client).hash != first.hash
    assert hash_kv(client, 2).hash == first.hash
    assert (first.hash_revision, first.compact_revision) == (2, -1)
    future = client.refused(HASH_KV, rpc.HashKVRequest(revision=9))
    assert future == Failed(11, "etcdserver: mvcc: required revision is a future revision")


def test_hash_of_a_long_history_is_taken_in_steps(
    client: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        client.put(b"k%d" % (number % 3))
    whole = hash_kv(client)
    monkeypatch.setattr(steps, "RECORDS_PER_STEP", 1)
    monkeypatch.setattr(steps, "WORK_SECONDS", 0.0)
    monkeypatch.setattr(steps, "REST_SECONDS", 0.0)

    assert hash_kv(client) == whole


def test_hash_changes_with_what_is_stored(client: ApiClient) -> None:
    def hashed() -> int:
        return client.call(HASH, rpc.HashRequest(), rpc.HashResponse).hash

    before = hashed()
    assert hashed() == before
    client.put(b"k")
    assert hashed() != before
