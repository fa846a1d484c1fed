"""The real etcdctl against every endpoint, and against the real etcd for comparison."""

from __future__ import annotations

import difflib
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.conclave_process import DEADLINE_S, ConclaveHome
from tests.support.etcdctl import Etcdctl, Following
from tests.support.live_cluster import LiveCluster
from tests.support.tour import take_tour
from tools.bench.etcd import EtcdCluster

pytestmark = pytest.mark.e2e

PUT_AGAIN = ["PUT", "greeting", "again"]
FAST = ["--unsafe-no-fsync", "--heartbeat-interval=50", "--election-timeout=3000"]


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Three members of the real etcd."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), flags=FAST) as running:
        yield running


def test_tour_reads_as_on_etcd(fresh: Callable[..., LiveCluster], etcd: EtcdCluster) -> None:
    expected = take_tour(etcd.endpoints, "tour")

    found = take_tour(fresh().endpoints, "tour")

    if found != expected:
        pytest.fail("\n".join(difflib.unified_diff(expected, found, "etcd", "conclave", n=2)))


def test_printed_lines_work_in_a_shell(cluster: LiveCluster) -> None:
    lines = [line.strip() for line in cluster.up().splitlines()]
    export = next(line for line in lines if line.startswith("export ETCDCTL_ENDPOINTS="))
    tried = [line for line in lines if line != export and "etcdctl " in line]
    together = export.split(" #")[0].split("=")[1].strip()

    assert together.split(",") == cluster.endpoints
    for endpoints in (together, *cluster.endpoints):
        assert_tried(Shell(cluster.home, export.replace(together, endpoints)), tried)


def assert_tried(shell: Shell, lines: list[str]) -> None:
    """Each printed line does what it promises."""
    watching = [line for line in lines if "etcdctl watch" in line]
    said = "".join(shell.done(line) for line in lines if line not in watching)
    assert "greeting\nhello\n" in said
    assert "SUCCESS" in said
    assert "granted with TTL" in said
    for line in watching:
        assert shell.start(line).until("again") == ["PUT", "greeting", "hello", *PUT_AGAIN]


@pytest.mark.parametrize("node", ["n1", "n2", "n3"])
def test_members_are_told_by_every_endpoint(cluster: LiveCluster, node: str) -> None:
    ctl = Etcdctl([cluster.endpoint(node)])

    members = json.loads(ctl.done("member", "list", "-w", "json"))["members"]

    rows = {(f"{row['ID']:x}", row["name"], *row["clientURLs"]) for row in members}
    assert rows == {
        (row["id"], row["name"], f"http://{row['client']}") for row in cluster.status()["nodes"]
    }
    table = ctl.done("member", "list").splitlines()
    assert [row.split(", ")[1] for row in table] == ["started"] * 3


def test_all_members_hash_the_same(cluster: LiveCluster) -> None:
    ctl = Etcdctl(cluster.endpoints)
    revision = json.loads(ctl.done("put", "hashed", "value", "-w", "json"))["header"]["revision"]
    cluster.client.wait("converged")

    told = json.loads(ctl.done("endpoint", "hashkv", "--rev", str(revision), "-w", "json"))

    assert len(told) == 3
    assert len({each["HashKV"]["hash"] for each in told}) == 1


def test_endpoints_of_the_cluster_are_healthy(cluster: LiveCluster) -> None:
    ctl = Etcdctl(cluster.endpoints[:1])

    rows = json.loads(ctl.done("endpoint", "health", "--cluster", "-w", "json"))

    healthy = {row["endpoint"].removeprefix("http://") for row in rows if row["health"]}
    assert healthy == set(cluster.endpoints)


def test_endpoint_status_agrees_with_the_supervisor(
    cluster: LiveCluster, etcd: EtcdCluster
) -> None:
    rows = endpoint_status(cluster.endpoints[0])
    status = cluster.status()
    judge = endpoint_status(etcd.endpoints[0])

    assert {frozenset(row["Status"]) for row in rows} == {frozenset(judge[0]["Status"])}
    ids = {node["name"]: int(node["id"], 16) for node in status["nodes"]}
    by_member = {row["Status"]["header"]["member_id"]: row["Status"] for row in rows}
    assert set(by_member) == set(ids.values())
    assert {row["leader"] for row in by_member.values()} == {ids[str(status["leader"])]}
    assert {row["raftTerm"] for row in by_member.values()} == {status["term"]}
    assert {row["version"] for row in by_member.values()} == {"3.6.11"}
    assert all(row["dbSize"] > 0 and row["raftIndex"] > 0 for row in by_member.values())


def test_move_leader_by_etcdctl(cluster: LiveCluster) -> None:
    leader, target = cluster.leader, cluster.followers[0]
    ctl = Etcdctl([cluster.endpoint(leader)])

    ctl.done("move-leader", cluster.node(target)["id"])

    assert cluster.new_leader(leader) == target


class Shell:
    """A user's shell, in the directory in which the lines were printed."""

    def __init__(self, home: ConclaveHome, export: str) -> None:
        self._home = home
        self._export = export

    def done(self, line: str) -> str:
        """Run a line to its end."""
        return subprocess.run(
            ["sh", "-c", f"{self._export}\n{line}"],
            env=self._home.environment,
            cwd=self._home.directory,
            capture_output=True,
            check=True,
            text=True,
            timeout=DEADLINE_S,
        ).stdout

    def start(self, line: str) -> Following:
        """Start a line that goes on; the shell becomes its program."""
        command = f"cd '{self._home.directory}'\n{self._export}\nexec {line}"
        return Following(["sh", "-c", command], self._home.environment)


def endpoint_status(endpoint: str) -> list[dict[str, Any]]:
    """Every member's answer to Maintenance Status, found through one endpoint."""
    said = Etcdctl([endpoint]).done("endpoint", "status", "--cluster", "-w", "json")
    rows = json.loads(said)
    assert isinstance(rows, list)
    return rows
