"""Which path is served by whom: the one table of services.

Every service of etcd's client port has a row here, also those of which nothing is served yet, since
a client is told apart "no such service" and "no such method": it falls back on the latter.
"""

from __future__ import annotations

import random

from node.api.auth import Auth
from node.api.call import Call, Kind, Method, Right, StreamCall, StreamHandler, UnaryHandler
from node.api.cluster import Cluster
from node.api.election import Election
from node.api.errors import Fault, malformed_method, unknown_method, unknown_service
from node.api.health import Health
from node.api.kv import Kv
from node.api.lease import Lease
from node.api.lock import Lock
from node.api.maintenance import Maintenance
from node.api.member import Member
from node.api.queue import Queues
from node.api.range_stream import RangeStreams
from node.api.reflection import Reflection
from node.api.timed_call import TimedCall, TimedStreamCall
from node.api.watch import Watch

KV = "etcdserverpb.KV"
WATCH = "etcdserverpb.Watch"
LEASE = "etcdserverpb.Lease"
CLUSTER = "etcdserverpb.Cluster"
MAINTENANCE = "etcdserverpb.Maintenance"
AUTH = "etcdserverpb.Auth"
LOCK = "v3lockpb.Lock"
ELECTION = "v3electionpb.Election"
HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1.ServerReflection"
REFLECTION_ALPHA = "grpc.reflection.v1alpha.ServerReflection"

STATELESS = frozenset({HEALTH, REFLECTION, REFLECTION_ALPHA})
"""Services of gRPC itself: they show nothing of what is stored."""
SERVICES = STATELESS | {KV, WATCH, LEASE, CLUSTER, MAINTENANCE, AUTH, LOCK, ELECTION}
UNAFFECTED = STATELESS | {CLUSTER, MAINTENANCE, AUTH}
"""What a member whose state is corrupt still answers; not the stream that hands its state out."""


class Services:
    """The handlers of one member, by path."""

    def __init__(self, member: Member, chance: random.Random) -> None:
        """Build every service; `chance` draws ids that the server is to choose."""
        timed = member.limits.metrics == "extensive"
        self.new_call: type[Call] = TimedCall if timed else Call
        self.new_stream: type[StreamCall] = TimedStreamCall if timed else StreamCall
        self.unary: dict[str, tuple[Method, UnaryHandler]] = {}
        self.streams: dict[str, tuple[Method, StreamHandler]] = {}
        self._kv = Kv(member)
        self._health = Health(member)
        lease = Lease(member, chance)
        maintenance = Maintenance(member)
        self._unary(KV, "Range", self._kv.range, learner=True)  # judges `serializable` itself
        self._stream(KV, "RangeStream", Kind.SERVER_STREAM, RangeStreams(member).range_stream)
        self._unary(KV, "Put", self._kv.put)
        self._unary(KV, "DeleteRange", self._kv.delete_range)
        self._unary(KV, "Txn", self._kv.txn)
        self._unary(KV, "Compact", self._kv.compact, Right.ROOT)
        self._stream(WATCH, "Watch", Kind.BIDI_STREAM, Watch(member).watch)
        self._unary(LEASE, "LeaseGrant", lease.grant, Right.USER)
        self._unary(LEASE, "LeaseRevoke", lease.revoke, Right.USER)
        self._stream(LEASE, "LeaseKeepAlive", Kind.BIDI_STREAM, lease.keep_alive)
        self._unary(LEASE, "LeaseTimeToLive", lease.time_to_live, Right.USER)
        self._unary(LEASE, "LeaseLeases", lease.leases)
        cluster = Cluster(member, chance)
        self._unary(CLUSTER, "MemberList", cluster.member_list, Right.USER)
        self._unary(CLUSTER, "MemberAdd", cluster.member_add, Right.ROOT)
        self._unary(CLUSTER, "MemberRemove", cluster.member_remove, Right.ROOT)
        self._unary(CLUSTER, "MemberUpdate", cluster.member_update, Right.ROOT)
        self._unary(CLUSTER, "MemberPromote", cluster.member_promote, Right.ROOT)
        self._unary(MAINTENANCE, "Status", maintenance.status, Right.USER, learner=True)
        self._unary(MAINTENANCE, "Alarm", maintenance.alarm, Right.USER)
        self._unary(MAINTENANCE, "Defragment", maintenance.defragment, Right.ROOT)
        self._unary(MAINTENANCE, "Downgrade", maintenance.downgrade, Right.ROOT)
        self._unary(MAINTENANCE, "Hash", maintenance.hash, Right.ROOT)
        self._unary(MAINTENANCE, "HashKV", maintenance.hash_kv, Right.ROOT)
        self._unary(MAINTENANCE, "MoveLeader", maintenance.move_leader, Right.ROOT)
        self._stream(
            MAINTENANCE, "Snapshot", Kind.SERVER_STREAM, maintenance.snapshot, learner=True
        )
        self._queues = Queues(member, chance)
        locks, elections = Lock(self._queues), Election(self._queues)
        self._unary(LOCK, "Lock", locks.lock)
        self._unary(LOCK, "Unlock", locks.unlock)
        self._unary(ELECTION, "Campaign", elections.campaign)
        self._unary(ELECTION, "Proclaim", elections.proclaim)
        self._unary(ELECTION, "Leader", elections.leader)
        self._unary(ELECTION, "Resign", elections.resign)
        self._stream(ELECTION, "Observe", Kind.SERVER_STREAM, elections.observe)
        self._users(Auth(member, chance))
        self._unary(HEALTH, "Check", self._health.check, Right.NONE, learner=True)
        self._stream(HEALTH, "Watch", Kind.SERVER_STREAM, self._health.watch, learner=True)
        reflection = Reflection(SERVICES)
        for name in (REFLECTION, REFLECTION_ALPHA):
            self._stream(
                name, "ServerReflectionInfo", Kind.BIDI_STREAM, reflection.info, learner=True
            )
        self.unary_paths = frozenset(self.unary)

    def methods(self) -> list[Method]:
        """Every served method with its counts."""
        return [method for method, _ in (*self.unary.values(), *self.streams.values())]

    def unserved(self, path: str) -> Fault:
        """Why a path that is in neither table is not served."""
        service, slash, method = path.removeprefix("/").rpartition("/")
        if not slash:
            return malformed_method(path)
        if service not in SERVICES:
            return unknown_service(service)
        return unknown_method(service, method)

    def poll(self) -> None:
        """Look after what changes without a request; called by the sweep."""
        self._kv.poll()
        self._queues.poll()
        self._health.poll()

    def stop(self) -> None:
        """The server takes no more calls."""
        self._health.stop()

    def _users(self, auth: Auth) -> None:
        self._unary(AUTH, "UserAdd", auth.user_add)
        self._unary(AUTH, "UserGet", auth.user_get)
        self._unary(AUTH, "UserList", auth.user_list)
        self._unary(AUTH, "UserDelete", auth.user_delete)
        self._unary(AUTH, "UserChangePassword", auth.user_change_password)
        self._unary(AUTH, "UserGrantRole", auth.user_grant_role)
        self._unary(AUTH, "UserRevokeRole", auth.user_revoke_role)
        self._unary(AUTH, "RoleAdd", auth.role_add)
        self._unary(AUTH, "RoleGet", auth.role_get)
        self._unary(AUTH, "RoleList", auth.role_list)
        self._unary(AUTH, "RoleDelete", auth.role_delete)
        self._unary(AUTH, "RoleGrantPermission", auth.role_grant_permission)
        self._unary(AUTH, "RoleRevokePermission", auth.role_revoke_permission)
        self._unary(AUTH, "AuthEnable", auth.enable)
        self._unary(AUTH, "AuthDisable", auth.disable)
        self._unary(AUTH, "AuthStatus", auth.status)
        self._unary(AUTH, "Authenticate", auth.authenticate, Right.NONE)

    def _unary(
        self,
        service: str,
        name: str,
        handler: UnaryHandler,
        right: Right = Right.JUDGED,
        *,
        learner: bool = False,
    ) -> None:
        accused = service in UNAFFECTED
        method = Method(service, name, Kind.UNARY, right, learner=learner, accused=accused)
        self.unary[method.path] = (method, handler)

    def _stream(
        self, service: str, name: str, kind: Kind, handler: StreamHandler, *, learner: bool = False
    ) -> None:
        method = Method(service, name, kind, learner=learner, accused=service in STATELESS)
        self.streams[method.path] = (method, handler)
