"""The one table between what can be refused and what etcd's clients read.

Go clients recognise an error by its exact text and take the code from a table of their own; all
others see the code. Both are therefore part of the wire contract, and both are here and nowhere
else. Two rows carry UNKNOWN where the family suggests another code: etcd's server returns the
client-side value there, so that is what has always been on the wire.

Source: etcd api/v3rpc/rpctypes/error.go and the errors that each server handler really returns.
"""

from __future__ import annotations

from dataclasses import dataclass

from node.machine import errors as refusals
from node.machine.errors import Malformed, Refusal
from transport.grpc.status import Status


@dataclass(frozen=True, slots=True)
class Fault:
    """How a call ends when it does not end well: gRPC status and text."""

    status: Status
    text: str


def _family(status: Status, texts: dict[str, str]) -> dict[str, Fault]:
    return {name: Fault(status, "etcdserver: " + text) for name, text in texts.items()}


ETCD_ERRORS: dict[str, Fault] = {
    **_family(
        Status.INVALID_ARGUMENT,
        {
            "EmptyKey": "key is not provided",
            "KeyNotFound": "key not found",
            "ValueProvided": "value is provided",
            "LeaseProvided": "lease is provided",
            "TooManyOps": "too many operations in txn request",
            "DuplicateKey": "duplicate key given in txn request",
            "InvalidClientAPIVersion": "invalid client api version",
            "InvalidSortOption": "invalid sort option",
            "MemberBadURLs": "given member URLs are invalid",
            "RequestTooLarge": "request is too large",
            "UserEmpty": "user name is empty",
            "RoleEmpty": "role name is empty",
            "AuthFailed": "authentication failed, invalid user ID or password",
            "PermissionNotGiven": "permission not given",
            "InvalidAuthMgmt": "invalid auth management",
            "AuthOldRevision": "revision of auth store is old",
            "WrongDowngradeVersionFormat": "wrong downgrade target version format",
            "InvalidDowngradeTargetVersion": "invalid downgrade target version",
        },
    ),
    **_family(
        Status.OUT_OF_RANGE,
        {
            "Compacted": "mvcc: required revision has been compacted",
            "FutureRev": "mvcc: required revision is a future revision",
            "LeaseTTLTooLarge": "too large lease TTL",
        },
    ),
    **_family(
        Status.RESOURCE_EXHAUSTED,
        {"NoSpace": "mvcc: database space exceeded"},
    ),
    **_family(
        Status.UNKNOWN,
        {
            "RequestTooManyRequests": "too many requests",
            "MemberNotEnoughStarted": ("re-configuration failed due to not enough started members"),
        },
    ),
    **_family(
        Status.NOT_FOUND,
        {"LeaseNotFound": "requested lease not found", "MemberNotFound": "member not found"},
    ),
    **_family(
        Status.FAILED_PRECONDITION,
        {
            "LeaseExist": "lease already exists",
            "MemberExist": "member ID already exist",
            "PeerURLExist": "Peer URLs already exists",
            "MemberNotLearner": "can only promote a learner member",
            "LearnerNotReady": "can only promote a learner member which is in sync with leader",
            "TooManyLearners": "too many learner members in cluster",
            "ClusterIDMismatch": "cluster ID mismatch",
            "RootUserNotExist": "root user does not exist",
            "RootRoleNotExist": "root user does not have root role",
            "UserAlreadyExist": "user name already exists",
            "UserNotFound": "user name not found",
            "RoleAlreadyExist": "role name already exists",
            "RoleNotFound": "role name not found",
            "RoleNotGranted": "role is not granted to the user",
            "PermissionNotGranted": "permission is not granted to the role",
            "AuthNotEnabled": "authentication is not enabled",
            "NotLeader": "not leader",
            "NotCapable": "not capable",
            "NotSupportedForLearner": "rpc not supported for learner",
            "BadLeaderTransferee": "bad leader transferee",
            "ClusterVersionUnavailable": "cluster version not found during downgrade",
            "DowngradeInProcess": "cluster has a downgrade job in progress",
            "NoInflightDowngrade": "no inflight downgrade job",
        },
    ),
    **_family(
        Status.CANCELLED,
        {"WatchCanceled": "watch canceled", "Canceled": "request canceled"},
    ),
    **_family(Status.PERMISSION_DENIED, {"PermissionDenied": "permission denied"}),
    **_family(Status.UNAUTHENTICATED, {"InvalidAuthToken": "invalid auth token"}),
    **_family(
        Status.UNAVAILABLE,
        {
            "NoLeader": "no leader",
            "LeaderChanged": "leader changed",
            "Stopped": "server stopped",
            "Timeout": "request timed out",
            "TimeoutDueToLeaderFail": (
                "request timed out, possibly due to previous leader failure"
            ),
            "TimeoutDueToConnectionLost": "request timed out, possibly due to connection lost",
            "TimeoutWaitAppliedIndex": (
                "request timed out, waiting for the applied index took too long"
            ),
            "Unhealthy": "unhealthy cluster",
        },
    ),
    **_family(Status.DATA_LOSS, {"Corrupt": "corrupt cluster"}),
}
"""Every error of etcd by its name in rpctypes (without the `Err` and `ErrGRPC` prefixes)."""

REFUSALS: dict[type[Refusal], Fault] = {
    refusals.EmptyKey: ETCD_ERRORS["EmptyKey"],
    refusals.InvalidSortOption: ETCD_ERRORS["InvalidSortOption"],
    refusals.ValueProvided: ETCD_ERRORS["ValueProvided"],
    refusals.LeaseProvided: ETCD_ERRORS["LeaseProvided"],
    refusals.TooManyOperations: ETCD_ERRORS["TooManyOps"],
    refusals.DuplicateKey: ETCD_ERRORS["DuplicateKey"],
    refusals.KeyNotFound: ETCD_ERRORS["KeyNotFound"],
    refusals.Compacted: ETCD_ERRORS["Compacted"],
    refusals.FutureRevision: ETCD_ERRORS["FutureRev"],
    refusals.LeaseNotFound: ETCD_ERRORS["LeaseNotFound"],
    refusals.LeaseExists: ETCD_ERRORS["LeaseExist"],
    refusals.LeaseTtlTooLarge: ETCD_ERRORS["LeaseTTLTooLarge"],
    refusals.WrongVersionFormat: ETCD_ERRORS["WrongDowngradeVersionFormat"],
    refusals.InvalidDowngradeTarget: ETCD_ERRORS["InvalidDowngradeTargetVersion"],
    refusals.DowngradeInProgress: ETCD_ERRORS["DowngradeInProcess"],
    refusals.NoDowngrade: ETCD_ERRORS["NoInflightDowngrade"],
    refusals.NoSpace: ETCD_ERRORS["NoSpace"],
    refusals.Corrupt: ETCD_ERRORS["Corrupt"],
    refusals.NoLeader: ETCD_ERRORS["NoLeader"],
    refusals.NotLeader: ETCD_ERRORS["NotLeader"],
    refusals.Stopped: ETCD_ERRORS["Stopped"],
    refusals.Timeout: ETCD_ERRORS["Timeout"],
    refusals.LeaderFailed: ETCD_ERRORS["TimeoutDueToLeaderFail"],
    refusals.TooManyRequests: ETCD_ERRORS["RequestTooManyRequests"],
    refusals.RequestTooLarge: ETCD_ERRORS["RequestTooLarge"],
    refusals.NotSupportedForLearner: ETCD_ERRORS["NotSupportedForLearner"],
    refusals.BadLeaderTransferee: ETCD_ERRORS["BadLeaderTransferee"],
    refusals.MemberNotFound: ETCD_ERRORS["MemberNotFound"],
    refusals.MemberExists: ETCD_ERRORS["MemberExist"],
    refusals.PeerUrlExists: ETCD_ERRORS["PeerURLExist"],
    refusals.TooManyLearners: ETCD_ERRORS["TooManyLearners"],
    refusals.MemberNotLearner: ETCD_ERRORS["MemberNotLearner"],
    refusals.LearnerNotReady: ETCD_ERRORS["LearnerNotReady"],
    refusals.NotEnoughStarted: ETCD_ERRORS["MemberNotEnoughStarted"],
    refusals.Unhealthy: ETCD_ERRORS["Unhealthy"],
    refusals.UserEmpty: ETCD_ERRORS["UserEmpty"],
    refusals.UserExists: ETCD_ERRORS["UserAlreadyExist"],
    refusals.UserNotFound: ETCD_ERRORS["UserNotFound"],
    refusals.RoleEmpty: ETCD_ERRORS["RoleEmpty"],
    refusals.RoleExists: ETCD_ERRORS["RoleAlreadyExist"],
    refusals.RoleNotFound: ETCD_ERRORS["RoleNotFound"],
    refusals.RoleNotGranted: ETCD_ERRORS["RoleNotGranted"],
    refusals.PermissionNotGiven: ETCD_ERRORS["PermissionNotGiven"],
    refusals.PermissionNotGranted: ETCD_ERRORS["PermissionNotGranted"],
    refusals.InvalidAuthManagement: ETCD_ERRORS["InvalidAuthMgmt"],
    refusals.RootUserNotFound: ETCD_ERRORS["RootUserNotExist"],
    refusals.RootRoleNotGranted: ETCD_ERRORS["RootRoleNotExist"],
    refusals.AuthNotEnabled: ETCD_ERRORS["AuthNotEnabled"],
    refusals.AuthFailed: ETCD_ERRORS["AuthFailed"],
    refusals.NoPasswordUser: Fault(
        Status.UNKNOWN, "auth: authentication failed, password was given for no password user"
    ),
    refusals.AuthOldRevision: ETCD_ERRORS["AuthOldRevision"],
    refusals.InvalidAuthToken: ETCD_ERRORS["InvalidAuthToken"],
    refusals.PermissionDenied: ETCD_ERRORS["PermissionDenied"],
}
"""Every refusal but `Malformed`, whose text carries its reason; a test holds the table complete."""

DEADLINE_EXCEEDED = Fault(Status.DEADLINE_EXCEEDED, "context deadline exceeded")
LEADER_TRANSFER_TIMEOUT = Fault(
    Status.UNKNOWN, "etcdserver: request timed out, leader transfer took too long"
)
UNKNOWN_ACTION = Fault(Status.UNKNOWN, "etcdserver: unknown method")
MEMBER_BAD_URLS = ETCD_ERRORS["MemberBadURLs"]
NO_LEADER = ETCD_ERRORS["NoLeader"]
CORRUPT = ETCD_ERRORS["Corrupt"]
NO_SORTED_STREAM = Fault(Status.UNIMPLEMENTED, "RangeStream does not support custom sort orders")
NO_FILTERED_STREAM = Fault(Status.UNIMPLEMENTED, "RangeStream does not support revision filters")
NOT_SUPPORTED_FOR_LEARNER = ETCD_ERRORS["NotSupportedForLearner"]
STOPPED = ETCD_ERRORS["Stopped"]


def fault_of(refusal: Refusal) -> Fault:
    """How a refused call ends."""
    if isinstance(refusal, Malformed):
        return malformed_message(refusal.reason)
    return REFUSALS[type(refusal)]


def unknown_service(service: str) -> Fault:
    """A path whose service nobody registered; wording of grpc-go's server."""
    return Fault(Status.UNIMPLEMENTED, f"unknown service {service}")


def unknown_method(service: str, method: str) -> Fault:
    """A method that its service does not have, or that is not served yet."""
    return Fault(Status.UNIMPLEMENTED, f"unknown method {method} for service {service}")


def malformed_method(path: str) -> Fault:
    """A path that is not `/service/method`."""
    return Fault(Status.UNIMPLEMENTED, f'malformed method name: "{path}"')


def malformed_message(reason: str) -> Fault:
    """A message that is no protobuf of the method's request type."""
    return Fault(Status.INTERNAL, f"grpc: error unmarshalling request: {reason}")
