"""What `up` was told about limits, kept by real nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from node.proto import rpc
from tests.support.api_client import Failed
from tests.support.etcdctl import Etcdctl
from tests.support.live_cluster import LiveCluster
from tools.cli.exit import Exit

pytestmark = pytest.mark.e2e

PUT = "/etcdserverpb.KV/Put"
TXN = "/etcdserverpb.KV/Txn"


def test_history_goes_by_itself_and_what_was_chosen_is_remembered(
    fresh: Callable[..., LiveCluster],
) -> None:
    cluster = fresh(3, "--auto-compaction-retention", "1s")
    ctl = Etcdctl(cluster.endpoints)

    def compacted(revision: int) -> bool:
        ctl.done("put", "k", "v")
        told = ctl.run(["get", "k", f"--rev={revision}"])
        return "required revision has been compacted" in told.error

    cluster.await_true(lambda: compacted(2), "a compaction")
    cluster.down()
    cluster.up()
    newest = int(ctl.done("put", "k", "v", "-w", "fields").split('"Revision" :')[1].split()[0])
    cluster.await_true(lambda: compacted(newest), "another compaction")


SETTINGS = {
    "--max-request-bytes": ("10MiB", "max-request-bytes", 10 << 20),
    "--max-txn-ops": ("3", "max-txn-ops", 3),
    "--heartbeat-interval": ("100", "heartbeat-interval", 100),
    "--election-timeout": ("1500", "election-timeout", 1_500),
    "--snapshot-count": ("20", "snapshot-count", 20),
    "--corrupt-check-time": ("2s", "corrupt-check-time", 2_000),
}


def test_limits_hold_at_every_node_and_are_shown(fresh: Callable[..., LiveCluster]) -> None:
    words = [word for flag, (text, _, _) in SETTINGS.items() for word in (flag, text)]
    cluster = fresh(3, *words)
    large = rpc.PutRequest(key=b"large", value=bytes(9 << 20))
    larger = rpc.PutRequest(key=b"larger", value=bytes(10 << 20))
    put = rpc.RequestOp(request_put=rpc.PutRequest(key=b"k"))

    for node in cluster.names:
        with cluster.api(node) as api:
            api.call(PUT, large, rpc.PutResponse)
            for number in range(50):  # more than the log keeps
                api.put(b"k%d" % number)
            too_large = api.raw(PUT, larger.SerializeToString())
            too_many = api.raw(TXN, rpc.TxnRequest(success=[put] * 4).SerializeToString())
        assert too_large == Failed(3, "etcdserver: request is too large")
        assert too_many == Failed(3, "etcdserver: too many operations in txn request")
    cluster.client.wait("converged")
    shown = cluster.status()["settings"]

    assert {name: shown[name] for _, name, _ in SETTINGS.values()} == {
        name: value for _, name, value in SETTINGS.values()
    }
    assert shown["grpc-keepalive-interval"] == 7_200_000
    cluster.assert_equal_contents()


def test_impossible_limit_is_refused_before_anything_starts(tmp_path: Path) -> None:
    cluster = LiveCluster(tmp_path, "never-up", 1)

    ran = cluster.home(*cluster.up_command, "--watch-progress-notify-interval", "1ms")

    assert ran.returncode == Exit.USAGE
    assert "watch-progress-notify-interval 1ms: use 100ms to " in ran.stderr
    assert cluster.processes() == []
