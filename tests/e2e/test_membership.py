"""Members that come and go in whole clusters: by conclave, by etcdctl, under load, quarantined."""

from __future__ import annotations

import difflib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node.client import EtcdClient
from node.proto import rpc
from tests.support.etcdctl import Etcdctl
from tests.support.live_cluster import LiveCluster
from tests.support.writers import Writers
from tools.bench.etcd import EtcdCluster

pytestmark = pytest.mark.e2e

Fresh = Callable[..., LiveCluster]
FAST = ["--unsafe-no-fsync", "--heartbeat-interval=50", "--election-timeout=3000"]
HEX_ID = re.compile(r"(^| +)[0-9a-f]{13,16}\b")
"""etcdctl pads short ids."""


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Three members of the real etcd."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), flags=FAST) as running:
        yield running


def conclave(cluster: LiveCluster, *arguments: str) -> dict[str, Any]:
    """The JSON answer of a verb of the command line."""
    said = json.loads(cluster.home.done(*arguments, "-c", cluster.name, "--json"))
    assert isinstance(said, dict)
    return said


def rows(cluster: LiveCluster) -> dict[str, str]:
    """Role by node."""
    return {row["name"]: row["role"] for row in cluster.status()["nodes"]}


def assert_same_everywhere(cluster: LiveCluster, writers: Writers) -> None:
    """Nothing acknowledged is lost, and all nodes hold the same."""
    cluster.client.wait("converged")
    first, *others = [row["client"] for row in cluster.status()["nodes"]]
    found = cluster.contents_at(first)
    writers.assert_nothing_lost(found)
    assert all(cluster.contents_at(other) == found for other in others)


def test_cluster_grows_to_five_and_loses_its_leader_under_load(fresh: Fresh) -> None:
    cluster = fresh(1)
    with Writers(cluster.endpoints) as writers:
        for size in range(2, 6):
            added = conclave(cluster, "add")
            writers.more()
            assert (added["node"], added["role"]) == (f"n{size}", "voter")
    with Writers(cluster.endpoints, prefix="five") as more:
        assert cluster.status()["quorum"] == {"needed": 3, "up": 5, "voters": 5}

        removed = conclave(cluster, "remove", "leader")
        more.more()

    (gone,) = removed["done"]
    cluster.client.wait("ready")
    assert gone not in rows(cluster)
    assert cluster.status()["quorum"] == {"needed": 3, "up": 4, "voters": 4}
    assert_same_everywhere(cluster, more)
    assert_same_everywhere(cluster, writers)
    events = cluster.events(0, "node.exited", gone)
    assert [event["reason"] for event in events] == ["removed"]


def test_learner_is_promoted(fresh: Fresh) -> None:
    cluster = fresh(3)
    added = conclave(cluster, "add", "--learner")

    assert (added["node"], added["role"]) == ("n4", "learner")
    assert cluster.client.resolve("learners") == ["n4"]
    assert cluster.status()["quorum"]["voters"] == 3
    refused = Etcdctl([added["client"]]).run(["put", "k", "v"])
    assert "rpc not supported for learner" in refused.error

    conclave(cluster, "promote", "n4")
    assert conclave(cluster, "promote", "n4")["unchanged"] == ["n4"]
    assert cluster.status()["quorum"]["voters"] == 4
    Etcdctl([added["client"]]).done("put", "k", "v")


def test_promotion_is_not_undone_by_the_page_of_one_who_missed_it(fresh: Fresh) -> None:
    """The others have applied it; the new voter hangs, and its page still calls it a learner."""
    cluster = fresh(3)
    conclave(cluster, "add", "--learner")
    pid = cluster.pid("n4")

    with EtcdClient(cluster.endpoints) as client:
        for _ in range(40):  # nine tenths of it are enough: some entries more do no harm
            client.put(rpc.PutRequest(key=b"k"))

    def caught_up() -> bool:
        applied = {row["name"]: row["applied"] or 0 for row in cluster.status()["nodes"]}
        return applied["n4"] > 0 and applied["n4"] == max(applied.values())

    cluster.await_true(caught_up, "a learner that holds what the others hold")
    os.kill(pid, signal.SIGSTOP)
    try:
        conclave(cluster, "promote", "n4")
        cluster.client.wait("ready", for_ms=300)  # several looks at the pages
        status, role = cluster.status(), rows(cluster)["n4"]
    finally:
        os.kill(pid, signal.SIGCONT)

    assert status["quorum"] == {"needed": 3, "up": 4, "voters": 4}
    assert role == "follower"


def test_quarantined_node_is_replaced(fresh: Fresh) -> None:
    cluster = fresh(3)
    (victim, *_), before = cluster.followers, cluster.last_event()
    old_id, endpoint = cluster.node(victim)["id"], cluster.endpoint(victim)
    with Writers(cluster.endpoints) as writers:
        cluster.client.kill([victim])
        (cluster.data / victim / "db" / "CURRENT").unlink()
        cluster.home("start", victim, "-c", cluster.name)
        cluster.await_event(before, "node.quarantined", victim)

        conclave(cluster, "replace", victim)
        writers.more()

    # What a node says of itself follows within a tick or two of its promotion.
    cluster.await_true(
        lambda: rows(cluster)[victim] in ("follower", "leader"), f"a vote for {victim}"
    )
    assert cluster.node(victim)["id"] != old_id
    assert cluster.endpoint(victim) == endpoint
    assert_same_everywhere(cluster, writers)


def test_changed_cluster_comes_up_again(fresh: Fresh) -> None:
    cluster = fresh(3)
    conclave(cluster, "add")
    conclave(cluster, "remove", "n2")
    ids = {row["name"]: (row["id"], row["client"]) for row in cluster.status()["nodes"]}
    Etcdctl(cluster.endpoints).done("put", "k", "kept")
    cluster.down()

    cluster.up()

    again = {row["name"]: (row["id"], row["client"]) for row in cluster.status()["nodes"]}
    assert again == ids
    assert sorted(ids) == ["n1", "n3", "n4"]
    assert Etcdctl(cluster.endpoints).done("get", "k") == "k\nkept\n"


@pytest.mark.parametrize("state", ["running", "paused", "down"])
def test_member_that_etcdctl_removes_is_seen_off(fresh: Fresh, state: str) -> None:
    cluster = fresh(3)
    victim, other = cluster.followers
    directory = cluster.data / victim
    member_id = cluster.node(victim)["id"]
    endpoint = cluster.endpoint(victim if state == "running" else other)
    if state == "paused":
        cluster.client.pause([victim])
    elif state == "down":
        cluster.client.kill([victim])

    said = Etcdctl([endpoint]).done("member", "remove", member_id)

    assert said.startswith(f"Member {member_id:>16} removed from cluster ")
    cluster.await_true(lambda: victim not in rows(cluster), f"{victim} is gone")
    cluster.await_true(lambda: not directory.exists(), "its files are set aside")
    assert cluster.status()["quorum"] == {"needed": 2, "up": 2, "voters": 2}
    assert Path(cluster.data, "removed", f"{victim}-{int(member_id, 16):016x}").is_dir()


def test_etcdctl_reads_as_on_etcd(fresh: Fresh, etcd: EtcdCluster) -> None:
    found = tour(fresh(3).endpoints[0])
    expected = tour(etcd.endpoints[0])

    if found != expected:
        pytest.fail("\n".join(difflib.unified_diff(expected, found, "etcd", "conclave", n=0)))


def tour(endpoint: str) -> list[str]:
    """What etcdctl prints while a member comes, changes and goes; ids replaced by a word."""
    ctl = Etcdctl([endpoint])
    url = "http://127.0.0.1:1"
    said = []

    def run(*arguments: str) -> str:
        ran = ctl.run(["member", *arguments])
        said.append(f"{arguments[0]} {ran.code} {ran.error}")
        said.extend(line for line in ran.out.splitlines() if "ETCD_INITIAL_CLUSTER=" not in line)
        return ran.out

    add = ("add", "four", f"--peer-urls={url}", "--learner")
    run(*add)
    while "unhealthy cluster" in said[0]:  # etcd wants members that have been there for 5 s
        said.clear()
        run(*add)
    run("add", "four", f"--peer-urls={url},http://127.0.0.1:9")
    run("add", "five", "--peer-urls=http://127.0.0.1:2", "--learner")
    run("add", "six", "--peer-urls=no-url")
    (row,) = [line for line in ctl.done("member", "list").splitlines() if "unstarted" in line]
    member = row.split(", ")[0]
    said.append(row)
    run("promote", member)
    run("update", member, "--peer-urls=http://127.0.0.1:3")
    run("update", "77", "--peer-urls=http://127.0.0.1:3")
    run("promote", "77")
    run("remove", member)
    run("remove", member)
    return [HEX_ID.sub(" ID", line) for line in said]
