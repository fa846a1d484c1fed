"""Errors of etcd's table that take users: brought about here and at a real etcd, equal in both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.message import Message

from node.proto import rpc
from tests.node.api.test_errors import rows
from tests.support.api_client import ApiClient, Failed
from tests.support.api_member import ApiMember, ServedMember
from tests.support.auth_client import AuthClient, enable, log_in, make_users
from tests.support.etcd_process import running_etcd
from tests.support.provocation import AUTH, CLUSTER, KV, LEASE, MAINTENANCE

TABLE = {name: Failed(code, text) for name, code, text in rows()}
NOBODY, NONSENSE = "nobody", "nonsense"
LEASE_ID = 77

Case = tuple[str, str, str, Message]
"""The error, who asks, and what."""

ADMINISTRATION: list[tuple[str, Message]] = [
    (f"{AUTH}/AuthDisable", rpc.AuthDisableRequest()),
    (f"{AUTH}/UserAdd", rpc.AuthUserAddRequest(name="eve", password="x")),
    (f"{AUTH}/UserGet", rpc.AuthUserGetRequest(name="bob")),
    (f"{AUTH}/UserList", rpc.AuthUserListRequest()),
    (f"{AUTH}/UserDelete", rpc.AuthUserDeleteRequest(name="bob")),
    (f"{AUTH}/UserGrantRole", rpc.AuthUserGrantRoleRequest(user="alice", role="root")),
    (f"{AUTH}/RoleAdd", rpc.AuthRoleAddRequest(name="more")),
    (f"{AUTH}/RoleGet", rpc.AuthRoleGetRequest(role="root")),
    (f"{AUTH}/RoleList", rpc.AuthRoleListRequest()),
    (f"{CLUSTER}/MemberAdd", rpc.MemberAddRequest(peerURLs=["http://127.0.0.1:9"])),
    (f"{CLUSTER}/MemberRemove", rpc.MemberRemoveRequest(ID=1)),
]


RAISE = rpc.AlarmRequest(action=rpc.AlarmRequest.ACTIVATE, alarm=rpc.AlarmType.NOSPACE)
LATER_ADMINISTRATION: list[tuple[str, Message]] = [
    (f"{KV}/Compact", rpc.CompactionRequest(revision=1)),
    (f"{MAINTENANCE}/Alarm", RAISE),
    (f"{MAINTENANCE}/Defragment", rpc.DefragmentRequest()),
    (f"{MAINTENANCE}/Hash", rpc.HashRequest()),
    (f"{MAINTENANCE}/HashKV", rpc.HashKVRequest()),
    (f"{MAINTENANCE}/MoveLeader", rpc.MoveLeaderRequest(targetID=1)),
]
"""For root only in 3.6.11; 3.5.1 lets everybody, or says it with another code."""


def put(key: bytes) -> tuple[str, Message]:
    return f"{KV}/Put", rpc.PutRequest(key=key)


def read(key: bytes, range_end: bytes = b"") -> tuple[str, Message]:
    return f"{KV}/Range", rpc.RangeRequest(key=key, range_end=range_end)


def txn(*operations: rpc.RequestOp, **fields: list[rpc.Compare]) -> tuple[str, Message]:
    return f"{KV}/Txn", rpc.TxnRequest(compare=fields.get("compare"), success=operations)


def log_in_as(name: str) -> tuple[str, Message]:
    return f"{AUTH}/Authenticate", rpc.AuthenticateRequest(name=name, password="wrong")


OTHERS_PUT = rpc.RequestOp(request_put=rpc.PutRequest(key=b"b"))
OTHERS_RANGE = rpc.RequestOp(request_range=rpc.RangeRequest(key=b"b"))
OTHERS_COMPARE = rpc.Compare(key=b"b", target=rpc.Compare.VERSION)

CASES: list[Case] = [
    ("AuthFailed", NOBODY, *log_in_as("bob")),
    ("AuthFailed", NOBODY, *log_in_as("eve")),
    ("InvalidAuthToken", NONSENSE, *put(b"a/1")),
    ("InvalidAuthToken", NONSENSE, *read(b"a/1")),
    ("InvalidAuthToken", NONSENSE, f"{AUTH}/UserList", rpc.AuthUserListRequest()),
    ("UserEmpty", NOBODY, *put(b"a/1")),
    ("UserEmpty", NOBODY, *read(b"a/1")),
    ("UserEmpty", NOBODY, f"{AUTH}/UserList", rpc.AuthUserListRequest()),
    ("PermissionDenied", "alice", *put(b"b")),
    ("PermissionDenied", "alice", *read(b"b")),
    ("PermissionDenied", "alice", *read(b"a/", b"a1")),
    ("PermissionDenied", "alice", *read(b"a/", b"\0")),
    ("PermissionDenied", "bob", *read(b"a/1")),
    ("PermissionDenied", "alice", f"{KV}/DeleteRange", rpc.DeleteRangeRequest(key=b"b")),
    ("PermissionDenied", "alice", *txn(OTHERS_PUT)),
    ("PermissionDenied", "alice", *txn(OTHERS_RANGE)),
    ("PermissionDenied", "alice", *txn(compare=[OTHERS_COMPARE])),
    ("PermissionDenied", "bob", f"{LEASE}/LeaseRevoke", rpc.LeaseRevokeRequest(ID=LEASE_ID)),
    *[("PermissionDenied", "alice", path, request) for path, request in ADMINISTRATION],
    ("InvalidAuthMgmt", "root", f"{AUTH}/UserDelete", rpc.AuthUserDeleteRequest(name="root")),
    ("InvalidAuthMgmt", "root", f"{AUTH}/RoleDelete", rpc.AuthRoleDeleteRequest(role="root")),
    (
        "InvalidAuthMgmt",
        "root",
        f"{AUTH}/UserRevokeRole",
        rpc.AuthUserRevokeRoleRequest(name="root", role="root"),
    ),
]
LATER_CASES: list[Case] = [
    (
        "PermissionDenied",
        "bob",
        f"{LEASE}/LeaseTimeToLive",
        rpc.LeaseTimeToLiveRequest(ID=LEASE_ID, keys=True),
    ),
    ("UserEmpty", NOBODY, f"{MAINTENANCE}/Status", rpc.StatusRequest()),
    ("UserEmpty", NOBODY, f"{MAINTENANCE}/Alarm", rpc.AlarmRequest()),
    *[("PermissionDenied", "alice", path, request) for path, request in LATER_ADMINISTRATION],
]


class Guarded:
    """A server with authentication on, and its users."""

    def __init__(self, client: ApiClient) -> None:
        make_users(client)
        client.call(
            f"{LEASE}/LeaseGrant",
            rpc.LeaseGrantRequest(TTL=1000, ID=LEASE_ID),
            rpc.LeaseGrantResponse,
        )
        client.put(b"a/leased", b"v", lease=LEASE_ID)
        enable(client)
        self._askers = {name: log_in(client, name) for name in ("root", "alice", "bob")}
        self._askers[NOBODY] = AuthClient(client)
        self._askers[NONSENSE] = AuthClient(client, NONSENSE)

    def ask(self, who: str, path: str, request: Message) -> Failed | bytes:
        """Make a call as somebody."""
        return self._askers[who].raw(path, request)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as etcd, ApiClient(etcd.address) as client:
        yield Guarded(client)


@pytest.fixture(scope="module")
def ours() -> Iterator[Guarded]:
    with ServedMember(ApiMember()) as served, ApiClient(served.address) as client:
        yield Guarded(client)


@pytest.mark.parametrize(("error", "who", "path", "request_"), CASES)
def test_request_is_refused_as_by_etcd(
    ours: Guarded, theirs: Guarded, error: str, who: str, path: str, request_: Message
) -> None:
    found = ours.ask(who, path, request_)

    assert found == TABLE[error]
    assert found == theirs.ask(who, path, request_)


@pytest.mark.parametrize(("error", "who", "path", "request_"), LATER_CASES)
def test_request_is_refused_as_by_a_later_etcd(
    ours: Guarded, error: str, who: str, path: str, request_: Message
) -> None:
    assert ours.ask(who, path, request_) == TABLE[error]
