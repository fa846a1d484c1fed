"""The state in etcd's buckets: what etcd itself would have written."""

from __future__ import annotations

import json

from node.machine.envelope import RequestKind
from node.machine.export import Origin, buckets
from node.proto import auth, kv, rpc
from tests.support.machine import Replica

ORIGIN = Origin(index=7, term=3, voters=(0xB, 0xA), learners=(0xC,), version="3.6.0")


def exported(replica: Replica) -> dict[bytes, dict[bytes, bytes]]:
    return {name: dict(items) for name, items in buckets(replica.view, ORIGIN)}


def sort_key(main: int, sub: int = 0) -> bytes:
    return main.to_bytes(8, "big") + b"_" + sub.to_bytes(8, "big")


def test_buckets_and_their_keys_come_in_order() -> None:
    replica = Replica()
    for number in range(300):
        replica.put(b"k%d" % (number % 7), b"v")

    found = [(name, [key for key, _ in items]) for name, items in buckets(replica.view, ORIGIN)]

    assert [name for name, _ in found] == sorted(name for name, _ in found)
    assert all(keys == sorted(keys) for _, keys in found)


def test_every_version_is_there_and_deletions_are_marked() -> None:
    replica = Replica()
    replica.put(b"a", b"1")
    replica.put(b"a", b"2" * 200)
    replica.delete(b"a")

    keys = exported(replica)[b"key"]

    assert list(keys) == [sort_key(2), sort_key(3), sort_key(4) + b"t"]
    assert kv.KeyValue.FromString(keys[sort_key(3)]) == kv.KeyValue(
        key=b"a", value=b"2" * 200, create_revision=2, mod_revision=3, version=2
    )
    assert kv.KeyValue.FromString(keys[sort_key(4) + b"t"]).key == b"a"


def test_large_value_is_whole() -> None:
    replica = Replica()
    replica.put(b"a", b"x" * 100_000)

    keys = exported(replica)[b"key"]

    assert kv.KeyValue.FromString(keys[sort_key(2)]).value == b"x" * 100_000


def test_txn_has_one_main_revision() -> None:
    replica = Replica()
    puts = [rpc.RequestOp(request_put=rpc.PutRequest(key=key)) for key in (b"a", b"b")]
    replica.txn(rpc.TxnRequest(success=puts))

    assert list(exported(replica)[b"key"]) == [sort_key(2, 0), sort_key(2, 1)]


def test_lease_keeps_id_and_ttl() -> None:
    replica = Replica()
    replica.apply(RequestKind.LEASE_GRANT, rpc.LeaseGrantRequest(ID=300, TTL=60))
    replica.put(b"a", lease=300)

    found = exported(replica)

    assert found[b"lease"] == {(300).to_bytes(8, "big"): b"\x08\xac\x02\x10\x3c"}
    assert kv.KeyValue.FromString(found[b"key"][sort_key(2)]).lease == 300


def test_lease_keeps_what_was_left() -> None:
    replica = Replica()
    replica.apply(RequestKind.LEASE_GRANT, rpc.LeaseGrantRequest(ID=300, TTL=60))
    note = rpc.LeaseCheckpoint(ID=300, remaining_TTL=9)
    replica.apply(RequestKind.LEASE_CHECKPOINT, rpc.LeaseCheckpointRequest(checkpoints=[note]))

    found = exported(replica)

    assert found[b"lease"] == {(300).to_bytes(8, "big"): b"\x08\xac\x02\x10\x3c\x18\x09"}


def test_compaction_is_scheduled_anew() -> None:
    replica = Replica()
    for _ in range(4):
        replica.put(b"a")
    assert b"scheduledCompactRev" not in exported(replica)[b"meta"]
    replica.compact(3)

    assert exported(replica)[b"meta"][b"scheduledCompactRev"] == sort_key(3)


def with_users() -> Replica:
    """As etcd's own commands make them: root, a role, and a user of it."""
    replica = Replica()
    options = auth.UserAddOptions()
    for name, password in (("root", "cm9vdA=="), ("alice", "dGVh")):
        request = rpc.AuthUserAddRequest(name=name, hashedPassword=password, options=options)
        replica.apply(RequestKind.USER_ADD, request)
    grants = [("root", "root"), ("alice", "reader")]
    replica.apply(RequestKind.ROLE_ADD, rpc.AuthRoleAddRequest(name="reader"))
    perm = auth.Permission(permType="READ", key=b"a", range_end=b"b")
    replica.apply(
        RequestKind.ROLE_GRANT_PERMISSION,
        rpc.AuthRoleGrantPermissionRequest(name="reader", perm=perm),
    )
    for user, role in grants:
        replica.apply(
            RequestKind.USER_GRANT_ROLE, rpc.AuthUserGrantRoleRequest(user=user, role=role)
        )
    replica.apply(RequestKind.AUTH_ENABLE, rpc.AuthEnableRequest())
    return replica


def test_store_that_never_had_users_is_at_etcds_first_auth_revision() -> None:
    found = exported(Replica())

    assert found[b"auth"] == {b"authRevision": (1).to_bytes(8, "big")}
    assert found[b"authUsers"] == found[b"authRoles"] == {}


def test_users_and_roles_are_kept() -> None:
    found = exported(with_users())

    assert found[b"auth"] == {
        b"authEnabled": b"\x01",
        b"authRevision": (7).to_bytes(8, "big"),
    }
    assert list(found[b"authUsers"]) == [b"alice", b"root"]
    assert auth.User.FromString(found[b"authUsers"][b"alice"]) == auth.User(
        name=b"alice", password=b"tea", roles=["reader"], options=auth.UserAddOptions()
    )
    perm = auth.Permission(permType="READ", key=b"a", range_end=b"b")
    assert auth.Role.FromString(found[b"authRoles"][b"reader"]) == auth.Role(
        name=b"reader", keyPermission=[perm]
    )


def test_alarms_are_kept() -> None:
    replica = Replica()
    for member in (5, 4):
        raised = rpc.AlarmRequest(action="ACTIVATE", memberID=member, alarm=rpc.NOSPACE)
        replica.apply(RequestKind.ALARM, raised)

    alarms = [rpc.AlarmMember.FromString(key) for key in exported(replica)[b"alarm"]]

    assert alarms == [rpc.AlarmMember(memberID=member, alarm=rpc.NOSPACE) for member in (4, 5)]


def test_members_and_position_are_told() -> None:
    found = exported(Replica())

    assert list(found[b"members"]) == [b"a", b"b", b"c"]
    assert json.loads(found[b"members"][b"c"])["isLearner"]
    meta = found[b"meta"]
    assert json.loads(meta[b"confState"])["voters"] == [0xA, 0xB]
    assert meta[b"consistent_index"] == (7).to_bytes(8, "big")
    assert meta[b"term"] == (3).to_bytes(8, "big")
    assert found[b"cluster"] == {b"clusterVersion": b"3.6.0"}
