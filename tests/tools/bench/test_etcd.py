"""The real etcd as the other side of a comparison: it must begin with nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from node.client import EtcdClient
from node.proto import rpc
from tools.bench.etcd import EtcdCluster

FLAGS = ["--unsafe-no-fsync", "--heartbeat-interval=100", "--election-timeout=5000"]
ATTEMPT_SECONDS = 1.0


def test_waiting_for_a_write_leaves_nothing_behind(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, flags=FLAGS) as cluster, ThreadPoolExecutor() as pool:
        with stopped(followers(cluster)):
            waiting = pool.submit(cluster.await_write)
            time.sleep(3 * ATTEMPT_SECONDS)  # attempts are given up meanwhile, but not undone
        waiting.result()

        with EtcdClient(cluster.endpoints) as client:
            assert client.leases() == []
            everything = rpc.RangeRequest(key=b"\0", range_end=b"\0")
            assert client.range(everything).header.revision == 1


def followers(cluster: EtcdCluster) -> list[int]:
    """The processes of all but the leader."""
    pids = []
    for endpoint, pid in zip(cluster.endpoints, cluster.pids, strict=True):
        with EtcdClient([endpoint]) as client:
            status = client.status()
        if status.leader != status.header.member_id:
            pids.append(pid)
    assert len(pids) == len(cluster.pids) - 1
    return pids


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Processes that do nothing for a while."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
