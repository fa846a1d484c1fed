"""The blocking client against a real three-member etcd."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from node.client import CallFailed, ClientError, EtcdClient, Unreachable
from node.proto import rpc
from tools.bench.etcd import EtcdCluster
from transport.grpc import Status

FAST = ("--unsafe-no-fsync", "--heartbeat-interval=20", "--election-timeout=200")


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), 3, FAST) as cluster:
        yield cluster


@pytest.fixture
def client(etcd: EtcdCluster) -> Iterator[EtcdClient]:
    with EtcdClient(etcd.endpoints, timeout_s=10.0) as opened:
        yield opened


def following(watch: Iterator[rpc.WatchResponse]) -> rpc.WatchResponse:
    """The next response of a watch, with a deadline: a quiet watch would block for ever."""
    arrived: queue.SimpleQueue[rpc.WatchResponse] = queue.SimpleQueue()
    threading.Thread(target=lambda: arrived.put(next(watch)), daemon=True).start()
    return arrived.get(timeout=20.0)


def get(client: EtcdClient, key: bytes) -> list[bytes]:
    return [kv.value for kv in client.range(rpc.RangeRequest(key=key)).kvs]


def test_put_is_read_back(client: EtcdClient) -> None:
    put = client.put(rpc.PutRequest(key=b"put/a", value=b"1"))

    read = client.range(rpc.RangeRequest(key=b"put/a"))

    assert [kv.value for kv in read.kvs] == [b"1"]
    assert read.kvs[0].mod_revision == put.header.revision


def test_value_larger_than_every_window(client: EtcdClient) -> None:
    value = bytes(range(256)) * 4_000

    client.put(rpc.PutRequest(key=b"large", value=value))

    assert get(client, b"large") == [value]


def test_delete_range_counts(client: EtcdClient) -> None:
    for number in range(3):
        client.put(rpc.PutRequest(key=b"del/%d" % number))

    answer = client.delete_range(rpc.DeleteRangeRequest(key=b"del/", range_end=b"del0"))

    assert answer.deleted == 3


def test_txn_takes_one_branch(client: EtcdClient) -> None:
    compare = rpc.Compare(key=b"txn", target=rpc.Compare.CREATE, create_revision=0)
    put = rpc.RequestOp(request_put=rpc.PutRequest(key=b"txn", value=b"first"))
    request = rpc.TxnRequest(compare=[compare], success=[put])

    answers = [client.txn(request).succeeded for _ in range(2)]

    assert answers == [True, False]


def test_lease_from_grant_to_revoke(client: EtcdClient) -> None:
    lease = client.lease_grant(60)
    client.put(rpc.PutRequest(key=b"leased", lease=lease))

    assert client.lease_keep_alive(lease) == 60
    assert lease in client.leases()
    left = client.lease_time_to_live(lease, keys=True)
    assert list(left.keys) == [b"leased"]
    client.lease_revoke(lease)
    assert get(client, b"leased") == []
    assert client.lease_keep_alive(lease) == 0
    assert client.lease_time_to_live(lease).TTL == -1


def test_compacted_revision_is_refused_in_etcds_words(client: EtcdClient) -> None:
    revision = client.put(rpc.PutRequest(key=b"old")).header.revision
    client.put(rpc.PutRequest(key=b"old"))
    client.compact(revision + 1)

    with pytest.raises(CallFailed) as raised:
        client.range(rpc.RangeRequest(key=b"old", revision=revision))

    assert raised.value.status == Status.OUT_OF_RANGE
    assert raised.value.text == "etcdserver: mvcc: required revision has been compacted"


def test_status_members_and_alarms(client: EtcdClient) -> None:
    status = client.status()

    assert status.version.startswith("3.")
    members = client.members()
    assert len(members) == 3
    assert status.leader in [member.ID for member in members]
    assert client.alarms() == []


def test_move_leader(etcd: EtcdCluster, client: EtcdClient) -> None:
    status = client.status()
    follower = next(member.ID for member in client.members() if status.leader != member.ID)
    for endpoint in etcd.endpoints:
        with EtcdClient([endpoint], timeout_s=10.0) as member:
            if member.status().header.member_id == status.leader:
                member.move_leader(follower)

    deadline = time.monotonic() + 10.0
    while client.status().leader != follower:  # this member may hear of it last
        assert time.monotonic() < deadline


def test_watch_gives_what_happens(client: EtcdClient) -> None:
    request = rpc.WatchCreateRequest(key=b"watch/", range_end=b"watch0", prev_kv=True)
    watch = client.watch(request)
    assert following(watch).created

    client.put(rpc.PutRequest(key=b"watch/a", value=b"1"))
    client.delete_range(rpc.DeleteRangeRequest(key=b"watch/a"))
    put, deleted = following(watch).events[0], following(watch).events[0]
    watch.close()  # type: ignore[attr-defined]

    assert (put.kv.key, put.kv.value) == (b"watch/a", b"1")
    assert deleted.prev_kv.value == b"1"


def test_watch_in_the_compacted_past_is_cancelled(client: EtcdClient) -> None:
    revision = client.put(rpc.PutRequest(key=b"past")).header.revision
    client.compact(revision)

    responses = list(client.watch(rpc.WatchCreateRequest(key=b"past", start_revision=1)))

    assert responses[-1].canceled
    assert responses[-1].compact_revision == revision


def test_watch_goes_on_at_another_endpoint_without_a_gap(etcd: EtcdCluster) -> None:
    endpoints = [etcd.endpoints[2], etcd.endpoints[0], etcd.endpoints[1]]
    watched, writer = EtcdClient(endpoints, timeout_s=20.0), EtcdClient(endpoints[1:], timeout_s=20)
    watch = watched.watch(rpc.WatchCreateRequest(key=b"gap"))
    assert following(watch).created
    writer.put(rpc.PutRequest(key=b"gap", value=b"before"))
    assert following(watch).events[0].kv.value == b"before"

    etcd.kill(2)
    put_until_committed(writer, b"gap", b"during")
    seen = following(watch).events[0].kv.value
    etcd.start(2)
    watch.close()  # type: ignore[attr-defined]
    writer.close()

    assert seen == b"during"


def put_until_committed(client: EtcdClient, key: bytes, value: bytes) -> None:
    """Write in spite of an election, which the death of a member may have started."""
    for _ in range(50):
        try:
            client.put(rpc.PutRequest(key=key, value=value))
        except CallFailed as error:
            if error.status not in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED):
                raise
        else:
            return
    raise AssertionError("nothing was committed")


def test_dead_endpoint_is_passed_over(etcd: EtcdCluster) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{bound.getsockname()[1]}"

        with EtcdClient([dead, f"http://{etcd.endpoints[0]}"], timeout_s=10.0) as client:
            client.put(rpc.PutRequest(key=b"dead", value=b"1"))

            assert get(client, b"dead") == [b"1"]


def test_no_endpoint_answers() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))

        with (
            EtcdClient([f"127.0.0.1:{bound.getsockname()[1]}"], timeout_s=10.0) as client,
            pytest.raises(Unreachable, match="refused"),
        ):
            client.status()


@pytest.fixture
def silent_server() -> Iterator[tuple[str, threading.Event]]:
    """A server that takes connections and says nothing; it hangs up once the event is set."""
    hang_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            opened, _ = listener.accept()
            with opened:
                assert hang_up.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", hang_up
        hang_up.set()
        thread.join()


def test_silent_endpoint_runs_into_the_deadline(
    silent_server: tuple[str, threading.Event],
) -> None:
    with (
        EtcdClient([silent_server[0]], timeout_s=0.1) as client,
        pytest.raises(CallFailed) as raised,
    ):
        client.put(rpc.PutRequest(key=b"a"))

    assert raised.value.status == Status.DEADLINE_EXCEEDED


def test_write_that_lost_its_connection_is_not_repeated(
    silent_server: tuple[str, threading.Event],
) -> None:
    endpoint, hang_up = silent_server
    hang_up.set()

    with (
        EtcdClient([endpoint], timeout_s=10.0) as client,
        pytest.raises(Unreachable, match="before the answer"),
    ):
        client.put(rpc.PutRequest(key=b"a"))


@pytest.mark.parametrize(
    "endpoint", ["", "localhost", "https://localhost", "ftp://a:1", "a:b", "/x:1/"]
)
def test_endpoint_that_is_none(endpoint: str) -> None:
    with pytest.raises(ClientError, match="not an endpoint"):
        EtcdClient([endpoint])
