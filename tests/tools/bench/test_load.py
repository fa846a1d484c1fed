"""The generator against a real etcd, and against servers that fail."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from node.client import EtcdClient
from node.client_link import Address
from node.proto import rpc
from tests.support.grpc_echo import serve_echo
from tools.bench.compare import compare
from tools.bench.errors import BenchFailed
from tools.bench.etcd import EtcdCluster
from tools.bench.load import LoadConnection, Run, measure
from tools.bench.place import Place
from tools.bench.plan import WORKLOADS, Plan, Workload
from tools.bench.side import EtcdSide

FAST = ("--unsafe-no-fsync", "--heartbeat-interval=20", "--election-timeout=200")


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), 1, FAST) as cluster:
        yield cluster


@pytest.mark.parametrize("workload", [one for one in WORKLOADS if one != "watch"])
def test_all_requests_are_answered(etcd: EtcdCluster, workload: Workload) -> None:
    plan = Plan(
        endpoints=tuple(etcd.endpoints), workload=workload, clients=7, connections=2, total=100
    )

    report = measure(plan)

    assert (report.requests, report.errors) == (100, {})
    assert 0 < report.p50_ms <= report.p99_ms <= report.max_ms
    assert (report.clients, report.connections) == (7, 2)


def test_puts_are_in_the_store(etcd: EtcdCluster) -> None:
    measure(Plan(endpoints=tuple(etcd.endpoints), total=50, prefix=b"stored/", value_bytes=9))

    with EtcdClient(etcd.endpoints) as client:
        answer = client.range(rpc.RangeRequest(key=b"stored/", range_end=b"stored0"))
    assert answer.count == 50
    assert {kv.value for kv in answer.kvs} == {bytes(9)}


def test_every_watcher_sees_every_put(etcd: EtcdCluster) -> None:
    plan = Plan(endpoints=tuple(etcd.endpoints), workload="watch", clients=6, total=20)

    report = measure(plan)

    assert (report.requests, report.errors) == (120, {})


def test_duration_ends_a_run(etcd: EtcdCluster) -> None:
    plan = Plan(endpoints=tuple(etcd.endpoints), clients=4, total=0, duration_s=0.05)

    report = measure(plan)

    assert report.requests > 0
    assert report.errors == {}


def test_failed_requests_are_counted_by_text() -> None:
    with serve_echo() as echo:
        plan = Plan(endpoints=(f"127.0.0.1:{echo.port}",), clients=2, total=6)

        report = measure(plan)

    assert report.requests == 0
    assert report.errors == {"unknown method": 6}


def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))

        with pytest.raises(BenchFailed, match="cannot connect"):
            measure(Plan(endpoints=(f"127.0.0.1:{bound.getsockname()[1]}",)))


def test_connection_lost_fails_what_was_in_flight_and_is_opened_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []

        def hang_up_twice() -> None:
            for _ in range(2):
                opened, _ = listener.accept()
                taken = 0
                while taken < Plan(endpoints=("a:1",)).value_bytes:  # a request, not only a preface
                    taken += len(opened.recv(65_536))
                accepted.append(True)
                opened.close()
            opened, _ = listener.accept()
            accepted.append(True)
            opened.close()

        thread = threading.Thread(target=hang_up_twice)
        thread.start()
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
        report = measure(Plan(endpoints=(endpoint,), total=2))
        thread.join(10)

    assert report.requests == 0
    assert report.errors == {"connection lost": 2}
    assert len(accepted) == 3


def test_connection_lost_before_its_first_request_is_opened_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        async def begin() -> int:
            run = Run(Plan(endpoints=("127.0.0.1:1",), total=1), lambda: None)
            place = Place(Address("127.0.0.1", listener.getsockname()[1]), None)
            connection = LoadConnection(run, place, 1)
            await connection.connect()
            listener.accept()[0].close()
            while connection.connected:
                await asyncio.sleep(0.001)
            connection.go()
            listener.settimeout(30.0)
            opened, _ = await asyncio.to_thread(listener.accept)
            connection.close()
            opened.close()
            return run.errors.total()

        assert asyncio.run(begin()) == 0


def test_comparison_of_etcd_with_itself() -> None:
    with EtcdSide(FAST) as one, EtcdSide(FAST) as other:
        rows = compare((one, other), clients=[2], seconds=0.05, rounds=1)

    titles = [row.title for row in rows]
    assert titles[1:3] == ["put, 2 clients", "put, 2 clients, p99"]
    assert titles[3:5] == ["range, 2 clients", "range, 2 clients, p99"]
    assert all(row.conclave > 0 and row.etcd > 0 and row.ratio > 0 for row in rows)
    assert {row.unit for row in rows} == {"s", "1/s", "ms", "MiB"}
