"""/metrics beside that of a real etcd: what its dashboard and alerts read, and equal counts."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.config import Limits
from node.proto import rpc
from node.status import Durations, PeerFigures
from tests.support.api_client import ApiClient, Failed, messages
from tests.support.api_member import ApiMember, ServedMember
from tests.support.etcd_process import EtcdProcess, running_etcd
from tests.support.mixin import MIXIN
from tests.support.scrape import Samples, families_of, label_names, samples_of

KV, LEASE = "/etcdserverpb.KV", "/etcdserverpb.Lease"
WATCH = "/etcdserverpb.Watch/Watch"


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.mark.parametrize("name", sorted(set(MIXIN) - {"etcd_network_peer_sent_failures"}))
def test_what_the_mixin_reads_is_here_as_in_etcd(
    served: ServedMember, etcd: EtcdProcess, name: str
) -> None:
    served.member.peers = (
        PeerFigures(0xB2, True, 10, 20, 1, Durations((0.1, 0.2), (3, 2, 1), 0.7)),
    )
    ours, theirs = families_of(served.address), families_of(etcd.address)

    assert ours[name].type == MIXIN[name].type
    assert label_names(ours[name]) == {MIXIN[name].labels}
    if not name.startswith("etcd_network_peer"):  # there is no other member to tell of
        assert theirs[name].type == MIXIN[name].type
        assert label_names(theirs[name]) == {MIXIN[name].labels}


SAME_TYPES = (
    "etcd_cluster_version",
    "etcd_debugging_auth_revision",
    "etcd_debugging_lease_granted",
    "etcd_debugging_lease_renewed",
    "etcd_debugging_lease_revoked",
    "etcd_debugging_mvcc_compact_revision",
    "etcd_debugging_mvcc_current_revision",
    "etcd_debugging_mvcc_db_compaction_keys",
    "etcd_debugging_mvcc_events",
    "etcd_debugging_mvcc_slow_watcher_total",
    "etcd_debugging_mvcc_total_put_size_in_bytes",
    "etcd_debugging_mvcc_watch_stream_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_debugging_server_lease_expired",
    "etcd_disk_defrag_inflight",
    "etcd_mvcc_delete",
    "etcd_mvcc_put",
    "etcd_mvcc_range",
    "etcd_mvcc_txn",
    "etcd_server_id",
    "etcd_server_is_leader",
    "etcd_server_is_learner",
    "etcd_server_read_indexes_failed",
    "etcd_server_snapshot_apply_in_progress_total",
    "etcd_server_version",
    "grpc_server_msg_received",
    "grpc_server_msg_sent",
    "process_cpu_seconds",
    "process_max_fds",
    "process_open_fds",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)


@pytest.mark.parametrize("name", SAME_TYPES)
def test_other_families_of_etcd_have_its_type_and_labels(
    served: ServedMember, etcd: EtcdProcess, name: str
) -> None:
    ours, theirs = families_of(served.address)[name], families_of(etcd.address)[name]

    assert ours.type == theirs.type
    assert label_names(ours) == label_names(theirs)


# Counting.


@dataclass(frozen=True)
class Step:
    """One request, and what it is."""

    path: str
    request: rpc.PutRequest | rpc.RangeRequest | rpc.DeleteRangeRequest | rpc.TxnRequest


def put(key: bytes, value: bytes = b"", *, prev_kv: bool = False) -> Step:
    return Step(f"{KV}/Put", rpc.PutRequest(key=key, value=value, prev_kv=prev_kv))


def txn(request: rpc.TxnRequest) -> Step:
    return Step(f"{KV}/Txn", request)


def operation(
    step: rpc.PutRequest | rpc.RangeRequest | rpc.DeleteRangeRequest | rpc.TxnRequest,
) -> rpc.RequestOp:
    if isinstance(step, rpc.PutRequest):
        return rpc.RequestOp(request_put=step)
    if isinstance(step, rpc.RangeRequest):
        return rpc.RequestOp(request_range=step)
    if isinstance(step, rpc.DeleteRangeRequest):
        return rpc.RequestOp(request_delete_range=step)
    return rpc.RequestOp(request_txn=step)


A, B, NONE = b"a", b"b", b"nothing"
HELD = rpc.Compare(key=A, result=rpc.Compare.GREATER, target=rpc.Compare.VERSION, version=0)
FAILING = rpc.Compare(key=NONE, result=rpc.Compare.GREATER, target=rpc.Compare.VERSION, version=0)
READ, WRITE, DELETE = (
    operation(rpc.RangeRequest(key=A)),
    operation(rpc.PutRequest(key=B, value=b"12", prev_kv=True)),
    operation(rpc.DeleteRangeRequest(key=b"c", prev_kv=True)),
)
NESTED = operation(rpc.TxnRequest(compare=[HELD, FAILING, HELD], failure=[READ, DELETE]))

SCRIPTS: dict[str, list[Step]] = {
    "puts": [put(A, b"1"), put(A, b"22", prev_kv=True), put(b"")],
    "kept": [
        put(A, b"123"),
        Step(f"{KV}/Put", rpc.PutRequest(key=A, ignore_value=True)),
        Step(f"{KV}/Put", rpc.PutRequest(key=A, value=b"1", ignore_lease=True)),
    ],
    "ranges": [
        Step(f"{KV}/Range", rpc.RangeRequest(key=A, range_end=b"z")),
        Step(f"{KV}/Range", rpc.RangeRequest(key=A, serializable=True)),
        Step(f"{KV}/Range", rpc.RangeRequest(key=A, count_only=True)),
        Step(f"{KV}/Range", rpc.RangeRequest(key=A, revision=1 << 40)),
    ],
    "deletes": [
        put(A),
        Step(f"{KV}/DeleteRange", rpc.DeleteRangeRequest(key=A)),
        Step(f"{KV}/DeleteRange", rpc.DeleteRangeRequest(key=A, range_end=b"z", prev_kv=True)),
    ],
    "txn without anything": [txn(rpc.TxnRequest())],
    "txn that reads": [txn(rpc.TxnRequest(compare=[HELD], success=[READ], failure=[READ, READ]))],
    "txn that writes": [
        put(A),
        txn(rpc.TxnRequest(compare=[HELD, HELD], success=[WRITE, READ, DELETE])),
    ],
    "txn that writes one key": [put(A), txn(rpc.TxnRequest(compare=[HELD], success=[WRITE]))],
    "txn that fails early": [
        txn(rpc.TxnRequest(compare=[FAILING, HELD, HELD], success=[WRITE], failure=[READ])),
    ],
    "txn in a txn": [put(A), txn(rpc.TxnRequest(compare=[HELD], success=[NESTED, WRITE]))],
    "txn that is refused": [
        put(A),
        txn(rpc.TxnRequest(compare=[HELD], success=[operation(rpc.PutRequest(key=A, lease=99))])),
    ],
}
COUNTED = (
    "etcd_mvcc_",
    "etcd_debugging_mvcc_total_put",
    "etcd_debugging_mvcc_current",
    "etcd_network_client_grpc_received",
    "grpc_server_",
)
NOT_COUNTED = ("etcd_mvcc_db", "etcd_mvcc_hash")


def counted(samples: Samples) -> Samples:
    """Those that the same requests move by the same amount."""
    return {
        key: value
        for key, value in samples.items()
        if key[0].startswith(COUNTED) and not key[0].startswith(NOT_COUNTED)
    }


def growth(before: Samples, after: Samples) -> Samples:
    """What has changed, and by how much."""
    found = {key: value - before.get(key, 0.0) for key, value in after.items()}
    return {key: value for key, value in found.items() if value}


@pytest.mark.parametrize("name", SCRIPTS)
def test_same_requests_count_the_same(served: ServedMember, etcd: EtcdProcess, name: str) -> None:
    grown = []
    for address in (served.address, etcd.address):
        with ApiClient(address) as client:
            before = counted(samples_of(address))
            for step in SCRIPTS[name]:
                client.raw(step.path, step.request.SerializeToString())
            grown.append(growth(before, counted(samples_of(address))))

    assert grown[0] == grown[1]
    assert grown[0]


def tour(address: str) -> Samples:
    """Leases, a watch, a compaction; what they have counted when everything has been told."""
    with ApiClient(address) as client:
        before = samples_of(address)
        grant = rpc.LeaseGrantRequest(TTL=100, ID=77)
        client.call(f"{LEASE}/LeaseGrant", grant, rpc.LeaseGrantResponse)
        client.put(b"l1", b"1", lease=77)
        client.put(b"l2", b"2", lease=77)
        alive = rpc.LeaseKeepAliveRequest(ID=77).SerializeToString()
        assert len(list(client.stream(f"{LEASE}/LeaseKeepAlive", [alive, alive]))) == 2
        create = rpc.WatchCreateRequest(key=b"l", range_end=b"m")
        opened = rpc.WatchRequest(create_request=create).SerializeToString()
        watch = client.stream(WATCH, [opened])
        told = messages(watch, rpc.WatchResponse)
        assert next(told).created
        client.put(b"l3", b"3")
        revoke = rpc.LeaseRevokeRequest(ID=77)
        revision = client.call(
            f"{LEASE}/LeaseRevoke", revoke, rpc.LeaseRevokeResponse
        ).header.revision
        events = 0
        while events < 3:
            events += len(next(told).events)
        compact = rpc.CompactionRequest(revision=revision, physical=True)
        client.call(f"{KV}/Compact", compact, rpc.CompactionResponse)
        after = samples_of(address)
        watch.cancel()
    return growth(before, after)


TOURED = (
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_lease_renewed_total",
    "etcd_debugging_lease_revoked_total",
    "etcd_debugging_mvcc_events_total",
    "etcd_debugging_mvcc_watch_stream_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_put_total",
    "etcd_mvcc_txn_total",
)


def test_leases_and_watches_count_as_in_etcd(served: ServedMember, etcd: EtcdProcess) -> None:
    ours, theirs = tour(served.address), tour(etcd.address)

    for name in TOURED:
        assert (name, ours.get((name, ()))) == (name, theirs.get((name, ())))
    assert ours["etcd_debugging_mvcc_db_compaction_keys_total", ()] == 2  # l1 and l2 before the end


def test_auth_revision_moves_as_in_etcd(served: ServedMember, etcd: EtcdProcess) -> None:
    moved = []
    for address in (served.address, etcd.address):
        before = samples_of(address)["etcd_debugging_auth_revision", ()]
        with ApiClient(address) as client:
            for name in ("one", "two"):
                add = rpc.AuthRoleAddRequest(name=name)
                client.call("/etcdserverpb.Auth/RoleAdd", add, rpc.AuthRoleAddResponse)
        after = samples_of(address)["etcd_debugging_auth_revision", ()]
        moved.append((before, after))

    assert moved == [(1, 3), (1, 3)]


def test_bytes_sent_are_those_of_the_messages(served: ServedMember, client: ApiClient) -> None:
    before = samples_of(served.address)
    answer = client.raw(f"{KV}/Put", rpc.PutRequest(key=b"k").SerializeToString())
    refused = client.raw(f"{KV}/Put", b"")
    after = samples_of(served.address)

    assert isinstance(answer, bytes)
    assert isinstance(refused, Failed)
    name = ("etcd_network_client_grpc_sent_bytes_total", ())
    assert after[name] - before[name] == len(answer)


def test_peers_are_told_apart(served: ServedMember) -> None:
    served.member.peers = (
        PeerFigures(0xB2, True, 10, 20, 0, Durations((0.1, 0.2), (3, 2, 1), 0.7)),
        PeerFigures(0xC3, False, 30, 40, 5, Durations((0.1, 0.2), (0, 0, 0), 0.0)),
    )

    found = samples_of(served.address)

    ends = (("Local", "a1"), ("Remote", "b2")), (("Local", "a1"), ("Remote", "c3"))
    assert [found["etcd_network_active_peers", end] for end in ends] == [1, 0]
    assert [found["etcd_network_known_peers", end] for end in ends] == [1, 1]
    to, other = (("To", "b2"),), (("To", "c3"),)
    assert found["etcd_network_peer_sent_bytes_total", to] == 10
    assert found["etcd_network_peer_received_bytes_total", (("From", "c3"),)] == 40
    assert found["etcd_network_peer_sent_failures_total", other] == 5
    name = "etcd_network_peer_round_trip_time_seconds"
    buckets = [found[f"{name}_bucket", (*to, ("le", le))] for le in ("0.1", "0.2", "+Inf")]
    assert buckets == [3, 5, 6]
    assert (found[f"{name}_count", to], found[f"{name}_sum", to]) == (6, 0.7)


def test_reads_that_failed_are_counted() -> None:
    with ServedMember(ApiMember(timeout_seconds=0.05)) as served:
        served.call(served.member.lose_leader)
        with ApiClient(served.address) as client:
            for _ in range(3):
                client.refused(f"{KV}/Range", rpc.RangeRequest(key=b"k"))

        assert samples_of(served.address)["etcd_server_read_indexes_failed_total", ()] == 3


def test_alarms_are_told(served: ServedMember, client: ApiClient) -> None:
    alarm = rpc.AlarmRequest(
        action=rpc.AlarmRequest.ACTIVATE, memberID=0xA1, alarm=rpc.AlarmType.NOSPACE
    )
    client.call("/etcdserverpb.Maintenance/Alarm", alarm, rpc.AlarmResponse)

    labels = (("alarm_type", "NOSPACE"), ("server_id", "a1"))
    assert samples_of(served.address)["etcd_debugging_server_alarms", labels] == 1


TIMES = "grpc_server_handling_seconds"


def test_time_of_calls_is_measured_when_asked_for(tmp_path: Path) -> None:
    counts = []
    bounds = []
    with (
        ServedMember(ApiMember(Limits(metrics="extensive"))) as served,
        running_etcd(tmp_path, "--metrics=extensive") as theirs,
    ):
        for address in (served.address, theirs.address):
            with ApiClient(address) as client:
                before = samples_of(address)
                client.put(b"k")
                client.put(b"k")
                client.raw(f"{KV}/Put", b"")
                alive = rpc.LeaseKeepAliveRequest(ID=77).SerializeToString()
                list(client.stream(f"{LEASE}/LeaseKeepAlive", [alive]))
            family = families_of(address)[TIMES]
            assert family.type == "histogram"
            assert label_names(family) == {MIXIN["grpc_server_started"].labels}
            bounds.append({sample.labels.get("le") for sample in family.samples})
            grown = growth(before, samples_of(address))
            counts.append({key: n for key, n in grown.items() if key[0] == f"{TIMES}_count"})

    assert counts[0] == counts[1]
    assert sorted(counts[0].values()) == [1, 3]
    assert numbers(bounds[0]) == numbers(bounds[1])


def numbers(bounds: set[str | None]) -> list[float]:
    return sorted(float(bound) for bound in bounds if bound is not None)


def test_time_of_calls_is_not_shown_by_default(served: ServedMember, etcd: EtcdProcess) -> None:
    assert TIMES not in families_of(served.address)
    assert TIMES not in families_of(etcd.address)


def test_gateway_and_clients_that_leave_are_measured() -> None:
    with ServedMember(ApiMember(Limits(metrics="extensive"))) as served:
        connection = http.client.HTTPConnection(served.address, timeout=10)
        connection.request("POST", "/v3/kv/put", '{"key":"aw=="}')
        connection.getresponse().read()
        connection.close()
        with ApiClient(served.address) as client:
            create = rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=b"k"))
            watch = client.stream(WATCH, [create.SerializeToString()])
            next(watch)
            watch.cancel()
            served.wait(lambda: served.open_calls == 0)
        put, _ = served.client_port.services.unary[f"{KV}/Put"]
        watched, _ = served.client_port.services.streams[WATCH]

        assert sum(put.durations.counts) == 1
        assert sum(watched.durations.counts) == 1


def test_every_method_is_shown_before_its_first_call(served: ServedMember) -> None:
    found = samples_of(served.address)
    watch = (
        ("grpc_method", "Watch"),
        ("grpc_service", "etcdserverpb.Watch"),
        ("grpc_type", "bidi_stream"),
    )

    assert found["grpc_server_started_total", watch] == 0
    assert found["grpc_server_handled_total", (("grpc_code", "Unavailable"), *watch)] == 0
