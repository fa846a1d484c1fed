"""What clients see of a member whose state is not to be trusted."""

from __future__ import annotations

import pytest

from node.proto import health, rpc
from tests.node.api.test_maintenance import ALARM, CHECK, MEMBER_LIST, status
from tests.node.api.test_watch import Watching
from tests.support.api_client import ApiClient, Failed, messages

DATA_LOSS = Failed(15, "etcdserver: corrupt cluster")
OWN, NOBODY, OTHER = 0xA1, 0, 0xB2
REFUSED = [
    ("/etcdserverpb.KV/Range", rpc.RangeRequest(key=b"k")),
    ("/etcdserverpb.KV/Range", rpc.RangeRequest(key=b"k", serializable=True)),
    ("/etcdserverpb.KV/Put", rpc.PutRequest(key=b"k")),
    ("/etcdserverpb.KV/DeleteRange", rpc.DeleteRangeRequest(key=b"k")),
    ("/etcdserverpb.KV/Txn", rpc.TxnRequest()),
    ("/etcdserverpb.KV/Compact", rpc.CompactionRequest(revision=1)),
    ("/etcdserverpb.Lease/LeaseGrant", rpc.LeaseGrantRequest(TTL=5)),
    ("/etcdserverpb.Lease/LeaseRevoke", rpc.LeaseRevokeRequest(ID=1)),
    ("/etcdserverpb.Lease/LeaseTimeToLive", rpc.LeaseTimeToLiveRequest(ID=1)),
    ("/etcdserverpb.Lease/LeaseLeases", rpc.LeaseLeasesRequest()),
]


def alarm(client: ApiClient, action: str, member: int) -> list[tuple[int, int]]:
    request = rpc.AlarmRequest(action=action, memberID=member, alarm=rpc.CORRUPT)
    return [
        (each.memberID, each.alarm)
        for each in client.call(ALARM, request, rpc.AlarmResponse).alarms
    ]


@pytest.mark.parametrize("member", [OWN, NOBODY])
def test_corruptMember_refusesEverythingThatDependsOnItsState(
    client: ApiClient, member: int
) -> None:
    client.put(b"k")
    alarm(client, "ACTIVATE", member)

    for path, request in REFUSED:
        assert client.refused(path, request) == DATA_LOSS, path


def test_corruptMember_stillTellsWhatIsWrong_andIsDisarmed(client: ApiClient) -> None:
    client.put(b"k")
    alarm(client, "ACTIVATE", OWN)

    assert alarm(client, "GET", 0) == [(OWN, rpc.CORRUPT)]
    assert any("CORRUPT" in error for error in status(client).errors)
    assert client.call(MEMBER_LIST, rpc.MemberListRequest(), rpc.MemberListResponse).members
    check = client.call(CHECK, health.HealthCheckRequest(), health.HealthCheckResponse)
    assert check.status == health.HealthCheckResponse.NOT_SERVING

    alarm(client, "DEACTIVATE", OWN)

    assert client.get(b"k").count == 1
    check = client.call(CHECK, health.HealthCheckRequest(), health.HealthCheckResponse)
    assert check.status == health.HealthCheckResponse.SERVING


def test_alarmOfAnotherMember_stopsNothingHere(client: ApiClient) -> None:
    client.put(b"k")
    alarm(client, "ACTIVATE", OTHER)

    assert client.get(b"k").count == 1
    client.put(b"k", b"2")


def test_openStreams_endWhenTheAlarmIsRaised(client: ApiClient) -> None:
    with Watching(client) as watching:
        watching.create(rpc.WatchCreateRequest(key=b"k"))
        alarm(client, "ACTIVATE", OWN)

        assert watching.failed() == DATA_LOSS


def test_healthWatcher_hearsOfTheAlarm_andOfItsEnd(client: ApiClient) -> None:
    call = client.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
    told = messages(call, health.HealthCheckResponse)
    states = [next(told).status]
    alarm(client, "ACTIVATE", OWN)
    states.append(next(told).status)
    alarm(client, "DEACTIVATE", OWN)
    states.append(next(told).status)
    call.cancel()

    serving = health.HealthCheckResponse.SERVING
    assert states == [serving, health.HealthCheckResponse.NOT_SERVING, serving]
