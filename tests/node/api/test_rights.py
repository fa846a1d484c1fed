"""What each method asks of its client while authentication is enabled."""

from __future__ import annotations

import http.client
from contextlib import closing

import pytest

from node.machine.auth import ROOT
from node.proto import election, lock, rpc
from tests.support.api_client import ApiClient, Failed, messages
from tests.support.api_member import OWN_TOKEN, ServedMember
from tests.support.auth_client import (
    ALICES,
    AUTH,
    BAD_TOKEN,
    DENIED,
    KV,
    NOBODY,
    AuthClient,
    first,
    log_in,
)

LEASE, CLUSTER = "/etcdserverpb.Lease", "/etcdserverpb.Cluster"
MAINTENANCE, LOCK = "/etcdserverpb.Maintenance", "/v3lockpb.Lock"
ELECTION = "/v3electionpb.Election"

USERS = {
    "root": {"nobody": "etcdserver: user name is empty", "alice": "etcdserver: permission denied"},
    "user": {"nobody": "etcdserver: user name is empty"},
    "": {},
}
RIGHTS = [
    (f"{KV}/Compact", rpc.CompactionRequest(revision=1), "root"),
    (f"{LEASE}/LeaseGrant", rpc.LeaseGrantRequest(TTL=60), "user"),
    (f"{LEASE}/LeaseRevoke", rpc.LeaseRevokeRequest(ID=77), "user"),
    (f"{LEASE}/LeaseTimeToLive", rpc.LeaseTimeToLiveRequest(ID=77), "user"),
    (f"{LEASE}/LeaseLeases", rpc.LeaseLeasesRequest(), "user"),
    (f"{CLUSTER}/MemberList", rpc.MemberListRequest(), "user"),
    (f"{CLUSTER}/MemberAdd", rpc.MemberAddRequest(), "root"),
    (f"{CLUSTER}/MemberRemove", rpc.MemberRemoveRequest(ID=9), "root"),
    (f"{CLUSTER}/MemberUpdate", rpc.MemberUpdateRequest(ID=9), "root"),
    (f"{CLUSTER}/MemberPromote", rpc.MemberPromoteRequest(ID=9), "root"),
    (f"{MAINTENANCE}/Status", rpc.StatusRequest(), "user"),
    (f"{MAINTENANCE}/Alarm", rpc.AlarmRequest(), "user"),
    (f"{MAINTENANCE}/Alarm", rpc.AlarmRequest(action="DEACTIVATE"), "root"),
    (f"{MAINTENANCE}/Defragment", rpc.DefragmentRequest(), "root"),
    (f"{MAINTENANCE}/Downgrade", rpc.DowngradeRequest(action="VALIDATE"), "root"),
    (f"{MAINTENANCE}/Hash", rpc.HashRequest(), "root"),
    (f"{MAINTENANCE}/HashKV", rpc.HashKVRequest(), "root"),
    (f"{MAINTENANCE}/MoveLeader", rpc.MoveLeaderRequest(targetID=9), "root"),
    (f"{AUTH}/AuthEnable", rpc.AuthEnableRequest(), "root"),
    (f"{AUTH}/AuthDisable", rpc.AuthDisableRequest(), "root"),
    (f"{AUTH}/AuthStatus", rpc.AuthStatusRequest(), "root"),
    (f"{AUTH}/UserAdd", rpc.AuthUserAddRequest(name="eve"), "root"),
    (f"{AUTH}/UserDelete", rpc.AuthUserDeleteRequest(name="eve"), "root"),
    (f"{AUTH}/UserList", rpc.AuthUserListRequest(), "root"),
    (f"{AUTH}/UserGet", rpc.AuthUserGetRequest(name="bob"), "root"),
    (f"{AUTH}/UserGet", rpc.AuthUserGetRequest(name="alice"), "user"),
    (f"{AUTH}/UserChangePassword", rpc.AuthUserChangePasswordRequest(name="bob"), "root"),
    (f"{AUTH}/UserGrantRole", rpc.AuthUserGrantRoleRequest(user="bob", role="a"), "root"),
    (f"{AUTH}/UserRevokeRole", rpc.AuthUserRevokeRoleRequest(name="bob", role="a"), "root"),
    (f"{AUTH}/RoleAdd", rpc.AuthRoleAddRequest(name="b"), "root"),
    (f"{AUTH}/RoleDelete", rpc.AuthRoleDeleteRequest(role="b"), "root"),
    (f"{AUTH}/RoleList", rpc.AuthRoleListRequest(), "root"),
    (f"{AUTH}/RoleGet", rpc.AuthRoleGetRequest(role="b"), "root"),
    (f"{AUTH}/RoleGet", rpc.AuthRoleGetRequest(role="a"), "user"),
    (f"{AUTH}/RoleGrantPermission", rpc.AuthRoleGrantPermissionRequest(name="b"), "root"),
    (f"{AUTH}/RoleRevokePermission", rpc.AuthRoleRevokePermissionRequest(role="b"), "root"),
    ("/grpc.health.v1.Health/Check", rpc.StatusRequest(), ""),
]
"""Path, a request, and who may make it: root, a user (alice here), or anybody."""


def test_methods_ask_for_whom_etcd_lets_do_it(served: ServedMember, guarded: ApiClient) -> None:
    clients = {"nobody": AuthClient(guarded), "alice": log_in(guarded, "alice")}
    for path, request, needed in RIGHTS:
        for who, client in clients.items():
            answer = client.raw(path, request)
            told = answer.text if isinstance(answer, Failed) else ""
            expected = USERS[needed].get(who, "")
            if expected:
                assert told == expected, (path, who)
            else:
                assert told not in USERS["root"].values(), (path, who)


def test_table_of_rights_is_complete(served: ServedMember) -> None:
    unary = served.client_port.services.unary
    judged = {f"{KV}/{name}" for name in ("Range", "Put", "DeleteRange", "Txn")}
    queues = {path for path in unary if path.startswith((LOCK, ELECTION))}

    assert {path for path, _, _ in RIGHTS} | judged | queues | {f"{AUTH}/Authenticate"} == set(
        unary
    )


@pytest.mark.parametrize("who", ["root", OWN_TOKEN])
def test_root_and_the_supervisor_may_do_everything(
    served: ServedMember, guarded: ApiClient, who: str
) -> None:
    """The supervisor is no user: nobody can delete it, or take away what it may do."""
    client = log_in(guarded, ROOT) if who == ROOT else AuthClient(guarded, who)
    denied = {*USERS["root"].values(), BAD_TOKEN.text}
    for path, request, _ in RIGHTS:
        if path.endswith(("AuthDisable", "AuthEnable")):
            continue
        answer = client.raw(path, request)
        assert not isinstance(answer, Failed) or answer.text not in denied, path
    assert isinstance(client.put(b"anything"), bytes)


def test_supervisors_token_is_nothing_by_itself(served: ServedMember, guarded: ApiClient) -> None:
    assert AuthClient(guarded, OWN_TOKEN[:-1]).put(b"a/1") == BAD_TOKEN
    assert AuthClient(guarded, OWN_TOKEN + "x").put(b"a/1") == BAD_TOKEN


# Keys, leases, watches, locks.


def test_keys_are_judged_by_what_a_request_touches(guarded: ApiClient) -> None:
    alice, bob, nobody = log_in(guarded, "alice"), log_in(guarded, "bob"), AuthClient(guarded)
    assert isinstance(alice.put(b"a/1"), bytes)

    for serializable in (False, True):
        assert isinstance(alice.get(*ALICES, serializable=serializable), bytes)
        assert alice.get(b"a/", b"\0", serializable=serializable) == DENIED
        assert bob.get(b"a/1", serializable=serializable) == DENIED
        assert nobody.get(b"a/1", serializable=serializable) == NOBODY
    assert alice.put(b"b") == DENIED
    assert bob.put(b"a/1") == DENIED
    assert nobody.put(b"a/1") == NOBODY
    both = rpc.TxnRequest(
        success=[
            rpc.RequestOp(request_range=rpc.RangeRequest(key=b"a/1")),
            rpc.RequestOp(request_range=rpc.RangeRequest(key=b"b")),
        ]
    )
    assert alice.raw(f"{KV}/Txn", both) == DENIED
    del both.success[1]
    assert isinstance(alice.raw(f"{KV}/Txn", both), bytes)


def test_lease_with_anothers_key_is_anothers(guarded: ApiClient) -> None:
    alice, bob, root = (log_in(guarded, name) for name in ("alice", "bob", "root"))
    grant = rpc.LeaseGrantRequest(ID=5, TTL=60)
    bob.call(f"{LEASE}/LeaseGrant", grant, rpc.LeaseGrantResponse)
    assert isinstance(alice.put(b"a/1", lease=5), bytes)

    look = rpc.LeaseTimeToLiveRequest(ID=5, keys=True)
    assert bob.raw(f"{LEASE}/LeaseTimeToLive", look) == DENIED
    assert bob.raw(f"{LEASE}/LeaseLeases", rpc.LeaseLeasesRequest()) == DENIED
    assert bob.raw(f"{LEASE}/LeaseRevoke", rpc.LeaseRevokeRequest(ID=5)) == DENIED
    assert renewed(guarded, bob) == DENIED
    assert renewed(guarded, AuthClient(guarded)) == NOBODY
    assert renewed(guarded, AuthClient(guarded, "nonsense")) == BAD_TOKEN
    for owner in (alice, root):
        told = owner.call(f"{LEASE}/LeaseTimeToLive", look, rpc.LeaseTimeToLiveResponse)
        assert list(told.keys) == [b"a/1"]
        assert renewed(guarded, owner) == 60
    alice.call(f"{LEASE}/LeaseRevoke", rpc.LeaseRevokeRequest(ID=5), rpc.LeaseRevokeResponse)


def renewed(client: ApiClient, who: AuthClient) -> int | Failed:
    """Keep lease 5 alive once: its time, or how the stream ended."""
    request = rpc.LeaseKeepAliveRequest(ID=5)
    told = first(client, who, f"{LEASE}/LeaseKeepAlive", request, rpc.LeaseKeepAliveResponse)
    return told if isinstance(told, Failed) else told.TTL


def test_lease_ends_for_everybody_when_its_time_is_over(
    served: ServedMember, guarded: ApiClient
) -> None:
    alice = log_in(guarded, "alice")
    alice.call(f"{LEASE}/LeaseGrant", rpc.LeaseGrantRequest(ID=5, TTL=2), rpc.LeaseGrantResponse)
    alice.put(b"a/1", lease=5)

    served.call(lambda: served.member.jump(3))

    served.wait(lambda: not served.member.machine.leases())


def test_watcher_of_anothers_keys_is_refused_and_the_stream_goes_on(guarded: ApiClient) -> None:
    alice = log_in(guarded, "alice")
    creates = [
        rpc.WatchCreateRequest(key=b"b", watch_id=1),
        rpc.WatchCreateRequest(key=b"a/", range_end=b"\0", watch_id=2),
        rpc.WatchCreateRequest(key=b"a/1", start_revision=1, watch_id=3),
    ]
    alice.put(b"a/1")
    requests = [rpc.WatchRequest(create_request=c).SerializeToString() for c in creates]
    call = guarded.stream("/etcdserverpb.Watch/Watch", requests, alice.metadata)

    told = messages(call, rpc.WatchResponse)

    for _ in range(2):
        refused = next(told)
        assert (refused.watch_id, refused.created, refused.canceled) == (-1, True, True)
        assert refused.cancel_reason == (
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
        )
        assert refused.header.revision == 2
    assert next(told).watch_id == 3
    assert next(told).events[0].kv.key == b"a/1"
    call.cancel()


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"),
        ("no.1", "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"),
    ],
)
def test_watcher_of_nobody_is_refused(guarded: ApiClient, token: str, reason: str) -> None:
    create = rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=b"a/1"))
    metadata = AuthClient(guarded, token).metadata
    call = guarded.stream("/etcdserverpb.Watch/Watch", [create.SerializeToString()], metadata)

    assert next(messages(call, rpc.WatchResponse)).cancel_reason == reason
    call.cancel()


def test_snapshot_is_for_root(guarded: ApiClient) -> None:
    """It has everything in it, and everybody's hashes."""
    request = rpc.SnapshotRequest()
    path = f"{MAINTENANCE}/Snapshot"

    root = first(guarded, log_in(guarded, "root"), path, request, rpc.SnapshotResponse)
    assert isinstance(root, rpc.SnapshotResponse)
    assert first(guarded, log_in(guarded, "alice"), path, request, rpc.SnapshotResponse) == DENIED
    assert first(guarded, AuthClient(guarded), path, request, rpc.SnapshotResponse) == NOBODY


def test_range_stream_is_judged_as_a_range(guarded: ApiClient) -> None:
    alice = log_in(guarded, "alice")
    path = f"{KV}/RangeStream"
    own = rpc.RangeRequest(key=ALICES[0], range_end=ALICES[1])
    all_keys = rpc.RangeRequest(key=b"\0", range_end=b"\0")

    told = first(guarded, alice, path, own, rpc.RangeStreamResponse)
    assert isinstance(told, rpc.RangeStreamResponse)
    assert first(guarded, alice, path, all_keys, rpc.RangeStreamResponse) == DENIED


def test_locks_and_elections_are_keys_too(guarded: ApiClient) -> None:
    alice, bob = log_in(guarded, "alice"), log_in(guarded, "bob")

    held = alice.call(f"{LOCK}/Lock", lock.LockRequest(name=b"a/lock"), lock.LockResponse)
    assert held.key.startswith(b"a/lock/")
    assert bob.refused(f"{LOCK}/Lock", lock.LockRequest(name=b"a/lock")) == DENIED.text
    nobody = AuthClient(guarded)
    assert nobody.refused(f"{LOCK}/Lock", lock.LockRequest(name=b"a/lock")) == NOBODY.text
    assert bob.refused(f"{LOCK}/Unlock", lock.UnlockRequest(key=held.key)) == DENIED.text
    alice.call(f"{LOCK}/Unlock", lock.UnlockRequest(key=held.key), lock.UnlockResponse)

    campaign = election.CampaignRequest(name=b"a/seat", value=b"me")
    alice.call(f"{ELECTION}/Campaign", campaign, election.CampaignResponse)
    ask = election.LeaderRequest(name=b"a/seat")
    leader = alice.call(f"{ELECTION}/Leader", ask, election.LeaderResponse)
    assert leader.kv.value == b"me"
    assert bob.refused(f"{ELECTION}/Leader", ask) == DENIED.text
    observe = f"{ELECTION}/Observe"
    seen = first(guarded, alice, observe, ask, election.LeaderResponse)
    assert isinstance(seen, election.LeaderResponse)
    denied = first(guarded, bob, observe, ask, election.LeaderResponse)
    assert isinstance(denied, Failed)
    assert denied.text == DENIED.text


def test_probes_need_no_user(served: ServedMember, guarded: ApiClient) -> None:
    with closing(http.client.HTTPConnection(served.address, timeout=10)) as connection:
        for path in ("/health", "/livez", "/readyz", "/version", "/metrics"):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert response.status == 200, path
