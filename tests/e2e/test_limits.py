"""What `up` was told about limits, kept by real nodes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.etcdctl import Etcdctl
from tests.support.live_cluster import LiveCluster

pytestmark = pytest.mark.e2e


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
