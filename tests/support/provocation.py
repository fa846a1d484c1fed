"""Requests that bring about each error of etcd's table, for any member that serves the API.

A provocation is a list of calls of which the last one must fail; those before it prepare, those of
`undo` leave the member as it was. What needs a state of affairs (no leader, no vote, no quorum)
is brought about by whoever makes the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from node.proto import auth, rpc
from tests.support.api_client import ApiClient, Failed

Step = tuple[str, Message]
AUTH, CLUSTER, KV, LEASE, MAINTENANCE = (
    f"/etcdserverpb.{service}" for service in ("Auth", "Cluster", "KV", "Lease", "Maintenance")
)
HUGE = 9_000_000_001
FREE_LEASE = 4711
KEY = b"provocation"


@dataclass(frozen=True)
class Provocation:
    """One way to an error."""

    error: str
    """Its name in the table."""
    what: str
    steps: Sequence[Step]
    undo: Sequence[Step] = ()
    newer: bool = False
    """The etcd at hand is older than the error."""

    @property
    def name(self) -> str:
        """For the test's name."""
        return f"{self.error}: {self.what}"

    @property
    def path(self) -> str:
        """The method that fails."""
        return self.steps[-1][0]

    def provoke(self, client: ApiClient) -> Failed | bytes:
        """What the last call comes to."""
        *before, (path, request) = self.steps
        try:
            for other, preparing in before:
                client.raw(other, preparing.SerializeToString())
            return client.raw(path, request.SerializeToString())
        finally:
            for other, undoing in self.undo:
                client.raw(other, undoing.SerializeToString())


def put(key: bytes = KEY, **fields: object) -> Step:
    return f"{KV}/Put", rpc.PutRequest(key=key, **fields)  # type: ignore[arg-type]


def read(key: bytes = KEY, **fields: object) -> Step:
    return f"{KV}/Range", rpc.RangeRequest(key=key, **fields)  # type: ignore[arg-type]


def txn(*success: rpc.RequestOp, **fields: object) -> Step:
    return f"{KV}/Txn", rpc.TxnRequest(success=success, **fields)  # type: ignore[arg-type]


def put_operation(key: bytes = KEY, **fields: object) -> rpc.RequestOp:
    request = rpc.PutRequest(key=key, **fields)  # type: ignore[arg-type]
    return rpc.RequestOp(request_put=request)


def grant(ttl: int = 100, lease: int = FREE_LEASE) -> Step:
    return f"{LEASE}/LeaseGrant", rpc.LeaseGrantRequest(TTL=ttl, ID=lease)


def revoke(lease: int = FREE_LEASE) -> Step:
    return f"{LEASE}/LeaseRevoke", rpc.LeaseRevokeRequest(ID=lease)


def compact(revision: int) -> Step:
    return f"{KV}/Compact", rpc.CompactionRequest(revision=revision)


def alarm(kind: rpc.AlarmType, action: str, member_id: int = 0) -> Step:
    chosen = rpc.AlarmRequest.DEACTIVATE if action == "DEACTIVATE" else rpc.AlarmRequest.ACTIVATE
    return f"{MAINTENANCE}/Alarm", rpc.AlarmRequest(action=chosen, memberID=member_id, alarm=kind)


def alarmed(error: str, what: str, kind: rpc.AlarmType, step: Step) -> Provocation:
    """What is refused while an alarm of everybody stands."""
    return Provocation(error, what, [alarm(kind, "ACTIVATE"), step], [alarm(kind, "DEACTIVATE")])


NO_OPERATION = rpc.RequestOp()
NO_KEY_COMPARE = rpc.Compare(target=rpc.Compare.VERSION)
WRONG_ORDER = rpc.RangeRequest.FromString(b"\x0a\x01k\x28\x07")
DELETE_OPERATION = rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=KEY))
NOSPACE, CORRUPT = rpc.AlarmType.NOSPACE, rpc.AlarmType.CORRUPT
BAD_URLS = ("", "localhost:1", "http://localhost", "ftp://localhost:1", "http://localhost:1/path")

OF_REQUESTS = [
    Provocation("EmptyKey", "put", [put(b"")]),
    Provocation("EmptyKey", "range", [read(b"")]),
    Provocation("EmptyKey", "delete", [(f"{KV}/DeleteRange", rpc.DeleteRangeRequest())]),
    Provocation("EmptyKey", "txn", [txn(put_operation(b""))]),
    Provocation("EmptyKey", "compare", [txn(compare=[NO_KEY_COMPARE])]),
    Provocation("KeyNotFound", "put", [put(b"no such key", ignore_value=True)]),
    Provocation("KeyNotFound", "lease", [put(b"no such key", ignore_lease=True)]),
    Provocation("KeyNotFound", "txn", [txn(put_operation(b"no such key", ignore_value=True))]),
    Provocation("KeyNotFound", "no operation", [txn(NO_OPERATION)]),
    Provocation("ValueProvided", "put", [put(value=b"v", ignore_value=True)]),
    Provocation("ValueProvided", "txn", [txn(put_operation(value=b"v", ignore_value=True))]),
    Provocation("LeaseProvided", "put", [put(lease=5, ignore_lease=True)]),
    Provocation("TooManyOps", "txn", [txn(*[put_operation(b"%d" % n) for n in range(129)])]),
    Provocation(
        "TooManyOps",
        "nested",
        [txn(rpc.RequestOp(request_txn=rpc.TxnRequest(success=[NO_OPERATION] * 128)))],
    ),
    Provocation("DuplicateKey", "puts", [txn(put_operation(), put_operation())]),
    Provocation("DuplicateKey", "delete", [txn(DELETE_OPERATION, put_operation())]),
    Provocation("InvalidSortOption", "range", [(f"{KV}/Range", WRONG_ORDER)], newer=True),
    Provocation("RequestTooLarge", "put", [put(value=bytes(1_600_000))]),
    Provocation("RequestTooLarge", "txn", [txn(put_operation(value=bytes(1_600_000)))]),
    Provocation("FutureRev", "range", [read(revision=1 << 40)]),
    Provocation("FutureRev", "compaction", [compact(1 << 40)]),
    Provocation(
        "FutureRev", "hash", [(f"{MAINTENANCE}/HashKV", rpc.HashKVRequest(revision=1 << 40))]
    ),
    Provocation(
        "FutureRev",
        "txn",
        [txn(rpc.RequestOp(request_range=rpc.RangeRequest(key=KEY, revision=1 << 40)))],
    ),
    Provocation("Compacted", "range", [put(), put(), compact(3), read(revision=2)]),
    Provocation("Compacted", "compaction", [put(), put(), compact(3), compact(3)]),
    Provocation(
        "Compacted",
        "hash",
        [put(), put(), compact(3), (f"{MAINTENANCE}/HashKV", rpc.HashKVRequest(revision=2))],
    ),
    Provocation("LeaseTTLTooLarge", "grant", [grant(HUGE)]),
    Provocation("LeaseNotFound", "revoke", [revoke()]),
    Provocation("LeaseNotFound", "put", [put(lease=FREE_LEASE)]),
    Provocation("LeaseNotFound", "txn", [txn(put_operation(lease=FREE_LEASE))]),
    Provocation("LeaseExist", "grant", [grant(), grant()], [revoke()]),
    alarmed("NoSpace", "put", NOSPACE, put()),
    alarmed("NoSpace", "txn", NOSPACE, txn(put_operation())),
    alarmed("NoSpace", "grant", NOSPACE, grant()),
    alarmed("Corrupt", "put", CORRUPT, put()),
    alarmed("Corrupt", "delete", CORRUPT, (f"{KV}/DeleteRange", rpc.DeleteRangeRequest(key=KEY))),
    alarmed("Corrupt", "txn", CORRUPT, txn(put_operation())),
    alarmed("Corrupt", "grant", CORRUPT, grant()),
    alarmed("Corrupt", "compaction", CORRUPT, compact(1)),
    *[
        Provocation(
            "MemberBadURLs",
            f"add {url!r}",
            [(f"{CLUSTER}/MemberAdd", rpc.MemberAddRequest(peerURLs=[url]))],
        )
        for url in BAD_URLS
    ],
    Provocation("MemberBadURLs", "add none", [(f"{CLUSTER}/MemberAdd", rpc.MemberAddRequest())]),
    Provocation(
        "MemberNotFound", "remove", [(f"{CLUSTER}/MemberRemove", rpc.MemberRemoveRequest(ID=1))]
    ),
    Provocation(
        "MemberNotFound", "promote", [(f"{CLUSTER}/MemberPromote", rpc.MemberPromoteRequest(ID=1))]
    ),
    Provocation(
        "MemberNotFound",
        "update",
        [
            (
                f"{CLUSTER}/MemberUpdate",
                rpc.MemberUpdateRequest(ID=1, peerURLs=["http://localhost:1"]),
            )
        ],
    ),
    Provocation(
        "MemberNotFound",
        "update without URLs",
        [(f"{CLUSTER}/MemberUpdate", rpc.MemberUpdateRequest(ID=1))],
    ),
    Provocation(
        "BadLeaderTransferee",
        "unknown",
        [(f"{MAINTENANCE}/MoveLeader", rpc.MoveLeaderRequest(targetID=1))],
    ),
    Provocation(
        "WrongDowngradeVersionFormat",
        "validate",
        [(f"{MAINTENANCE}/Downgrade", rpc.DowngradeRequest(version="three"))],
    ),
    Provocation(
        "InvalidDowngradeTargetVersion",
        "validate",
        [(f"{MAINTENANCE}/Downgrade", rpc.DowngradeRequest(version="3.0.0"))],
    ),
]


def user(method: str, **fields: str) -> Step:
    kind = {
        "UserAdd": rpc.AuthUserAddRequest,
        "UserGet": rpc.AuthUserGetRequest,
        "UserDelete": rpc.AuthUserDeleteRequest,
        "UserChangePassword": rpc.AuthUserChangePasswordRequest,
        "UserGrantRole": rpc.AuthUserGrantRoleRequest,
        "UserRevokeRole": rpc.AuthUserRevokeRoleRequest,
        "RoleAdd": rpc.AuthRoleAddRequest,
        "RoleGet": rpc.AuthRoleGetRequest,
        "RoleDelete": rpc.AuthRoleDeleteRequest,
        "RoleRevokePermission": rpc.AuthRoleRevokePermissionRequest,
        "Authenticate": rpc.AuthenticateRequest,
        "AuthEnable": rpc.AuthEnableRequest,
    }[method]
    return f"{AUTH}/{method}", kind(**fields)


ALICE, ROLE = user("UserAdd", name="alice", password="secret"), user("RoleAdd", name="reader")
NO_ALICE, NO_ROLE = user("UserDelete", name="alice"), user("RoleDelete", role="reader")
ROOT, NO_ROOT = user("UserAdd", name="root", password="secret"), user("UserDelete", name="root")
NO_PERMISSION: Step = (
    f"{AUTH}/RoleGrantPermission",
    rpc.AuthRoleGrantPermissionRequest(name="nobody", perm=auth.Permission(key=b"k")),
)

OF_AUTH = [
    Provocation("UserEmpty", "add", [user("UserAdd", name="")]),
    Provocation("RoleEmpty", "add", [user("RoleAdd", name="")]),
    Provocation("UserNotFound", "get", [user("UserGet", name="nobody")]),
    Provocation("UserNotFound", "delete", [user("UserDelete", name="nobody")]),
    Provocation(
        "UserNotFound", "password", [user("UserChangePassword", name="nobody", password="x")]
    ),
    Provocation("UserNotFound", "grant", [user("UserGrantRole", user="nobody", role="r")]),
    Provocation("UserAlreadyExist", "add", [ALICE, ALICE], [NO_ALICE]),
    Provocation("RoleNotFound", "get", [user("RoleGet", role="nothing")]),
    Provocation("RoleNotFound", "delete", [user("RoleDelete", role="nothing")]),
    Provocation("RoleNotFound", "permission", [NO_PERMISSION]),
    Provocation(
        "RoleNotFound", "grant", [ALICE, user("UserGrantRole", user="alice", role="no")], [NO_ALICE]
    ),
    Provocation(
        "PermissionNotGiven",
        "grant",
        [
            ROLE,
            (
                f"{AUTH}/RoleGrantPermission",
                rpc.AuthRoleGrantPermissionRequest(name="reader"),
            ),
        ],
        [NO_ROLE],
    ),
    Provocation("RoleAlreadyExist", "add", [ROLE, ROLE], [NO_ROLE]),
    Provocation(
        "RoleNotGranted",
        "revoke",
        [ALICE, ROLE, user("UserRevokeRole", name="alice", role="reader")],
        [NO_ALICE, NO_ROLE],
    ),
    Provocation(
        "PermissionNotGranted",
        "revoke",
        [
            ROLE,
            (
                f"{AUTH}/RoleRevokePermission",
                rpc.AuthRoleRevokePermissionRequest(role="reader", key=b"k"),
            ),
        ],
        [NO_ROLE],
    ),
    Provocation("AuthNotEnabled", "authenticate", [user("Authenticate", name="a", password="b")]),
    Provocation("RootUserNotExist", "enable", [user("AuthEnable")]),
    Provocation("RootRoleNotExist", "enable", [ROOT, user("AuthEnable")], [NO_ROOT]),
]

BY_CLUSTERS = {
    "LearnerNotReady",
    "MemberNotLearner",
    "NoLeader",
    "NotLeader",
    "PeerURLExist",
    "Timeout",
    "TooManyLearners",
}
"""Errors that take several members, or one that is not there."""
