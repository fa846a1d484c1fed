"""Which method a path of the JSON gateway stands for: etcd's mapping, whole.

Methods that are not served here are in it as well: they answer that they are not implemented.
RangeStream has no path, in etcd neither.
Source: the google.api.http options in etcd's .proto files.
"""

from __future__ import annotations

from typing import Final

from node.api.service import AUTH, CLUSTER, ELECTION, KV, LEASE, LOCK, MAINTENANCE, WATCH

ROUTES: Final[dict[str, tuple[str, str]]] = {
    "kv/range": (KV, "Range"),
    "kv/put": (KV, "Put"),
    "kv/deleterange": (KV, "DeleteRange"),
    "kv/txn": (KV, "Txn"),
    "kv/compaction": (KV, "Compact"),
    "watch": (WATCH, "Watch"),
    "lease/grant": (LEASE, "LeaseGrant"),
    "lease/revoke": (LEASE, "LeaseRevoke"),
    "kv/lease/revoke": (LEASE, "LeaseRevoke"),
    "lease/keepalive": (LEASE, "LeaseKeepAlive"),
    "lease/timetolive": (LEASE, "LeaseTimeToLive"),
    "kv/lease/timetolive": (LEASE, "LeaseTimeToLive"),
    "lease/leases": (LEASE, "LeaseLeases"),
    "kv/lease/leases": (LEASE, "LeaseLeases"),
    "cluster/member/add": (CLUSTER, "MemberAdd"),
    "cluster/member/remove": (CLUSTER, "MemberRemove"),
    "cluster/member/update": (CLUSTER, "MemberUpdate"),
    "cluster/member/list": (CLUSTER, "MemberList"),
    "cluster/member/promote": (CLUSTER, "MemberPromote"),
    "maintenance/alarm": (MAINTENANCE, "Alarm"),
    "maintenance/status": (MAINTENANCE, "Status"),
    "maintenance/defragment": (MAINTENANCE, "Defragment"),
    "maintenance/hash": (MAINTENANCE, "Hash"),
    "maintenance/hashkv": (MAINTENANCE, "HashKV"),
    "maintenance/snapshot": (MAINTENANCE, "Snapshot"),
    "maintenance/transfer-leadership": (MAINTENANCE, "MoveLeader"),
    "maintenance/downgrade": (MAINTENANCE, "Downgrade"),
    "auth/enable": (AUTH, "AuthEnable"),
    "auth/disable": (AUTH, "AuthDisable"),
    "auth/status": (AUTH, "AuthStatus"),
    "auth/authenticate": (AUTH, "Authenticate"),
    "auth/user/add": (AUTH, "UserAdd"),
    "auth/user/get": (AUTH, "UserGet"),
    "auth/user/list": (AUTH, "UserList"),
    "auth/user/delete": (AUTH, "UserDelete"),
    "auth/user/changepw": (AUTH, "UserChangePassword"),
    "auth/user/grant": (AUTH, "UserGrantRole"),
    "auth/user/revoke": (AUTH, "UserRevokeRole"),
    "auth/role/add": (AUTH, "RoleAdd"),
    "auth/role/get": (AUTH, "RoleGet"),
    "auth/role/list": (AUTH, "RoleList"),
    "auth/role/delete": (AUTH, "RoleDelete"),
    "auth/role/grant": (AUTH, "RoleGrantPermission"),
    "auth/role/revoke": (AUTH, "RoleRevokePermission"),
    "lock/lock": (LOCK, "Lock"),
    "lock/unlock": (LOCK, "Unlock"),
    "election/campaign": (ELECTION, "Campaign"),
    "election/proclaim": (ELECTION, "Proclaim"),
    "election/leader": (ELECTION, "Leader"),
    "election/observe": (ELECTION, "Observe"),
    "election/resign": (ELECTION, "Resign"),
}
"""Service and method by path below /v3/; every one is asked by POST."""
