"""The command line against real clusters: real processes, sockets and disks, the real etcdctl.

One cluster serves most tests, which leave it ready behind them; those that end a cluster have their
own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.conclave_process import DEADLINE_S, ConclaveHome, first_lines
from tools.cli.exit import Exit

pytestmark = pytest.mark.e2e

NODES = ["n1", "n2", "n3"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConclaveHome]:
    """A home with a running three-node cluster."""
    home = ConclaveHome(tmp_path_factory.mktemp("shared"))
    try:
        home.done("up", "-n", "3")
        yield home
    finally:
        home.close()


@pytest.fixture
def cluster(shared: ConclaveHome) -> Iterator[ConclaveHome]:
    """The shared cluster, whole again after each test."""
    yield shared
    client = shared.client()
    client.resume(["all"])
    client.start(["all"])
    client.wait("converged")
    client.wait("ready")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[ConclaveHome]:
    """A home without a cluster."""
    fresh = ConclaveHome(tmp_path)
    try:
        yield fresh
    finally:
        fresh.close()


def node_of(home: ConclaveHome, name: str) -> dict[str, Any]:
    """One node of the status."""
    (found,) = (node for node in home.document("status")["nodes"] if node["name"] == name)
    assert isinstance(found, dict)
    return found


def leader_of(home: ConclaveHome) -> str:
    """Who leads."""
    return str(home.document("status")["leader"])


def follower_of(home: ConclaveHome) -> str:
    """Somebody who does not lead."""
    return next(name for name in NODES if name != leader_of(home))


def processes_of(document: dict[str, Any]) -> list[int]:
    """Every process of a cluster, by its status."""
    supervisor = document["supervisor"]
    return [supervisor["pid"], *(node["pid"] for node in document["nodes"] if node["pid"])]


def await_end(pids: list[int]) -> None:
    """Wait until no such process is left."""
    found = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(found, timeout=DEADLINE_S)
    assert alive == []


def test_up_shows_where_the_time_went_and_what_to_do_next(home: ConclaveHome) -> None:
    result = home("up")

    assert result.returncode == Exit.DONE, result.stderr
    phases = [line[:29].strip() for line in result.stderr.splitlines() if line.startswith(" ✓")]
    assert phases[0] == "✓ forkserver warm"
    assert "✓ 3 nodes serving" in phases
    assert phases[-1] == "✓ first write committed"
    assert result.stdout.startswith("Ready in ")
    assert "export ETCDCTL_ENDPOINTS=" in result.stdout


def test_printed_lines_work_as_they_are(cluster: ConclaveHome) -> None:
    printed = [line.strip() for line in cluster.done("up").splitlines()]
    export, put, get, txn, lease, watch = printed[1:7]

    settings = export.partition("#")[0]
    done = cluster.shell("; ".join((settings, put, get, txn, lease)))
    watching = cluster.start_shell(f"{settings}; exec {watch}")
    try:
        watched = first_lines(watching, 3)
    finally:
        watching.kill()
        watching.communicate()

    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    assert answers[:4] == ["OK", "greeting", "hello", "SUCCESS"]
    assert answers[-1].endswith("granted with TTL(60s)")
    assert watched == ["PUT", "greeting", "hello"]


def test_up_twice_changes_nothing(cluster: ConclaveHome) -> None:
    before = processes_of(cluster.document("status"))

    document = cluster.document("up")

    assert document["already_up"] is True
    assert processes_of(document["status"]) == before


def test_up_with_another_size_is_a_conflict(cluster: ConclaveHome) -> None:
    assert cluster("up", "5").returncode == Exit.CONFLICT


def test_status_tells_three_nodes_and_one_leader(cluster: ConclaveHome) -> None:
    result = cluster("status")
    document = cluster.document("status")

    assert result.returncode == Exit.DONE, result.stdout
    assert document["schema"] == "conclave/status.v1"
    assert document["state"] == "READY"
    assert [node["name"] for node in document["nodes"]] == NODES
    assert [node["role"] for node in document["nodes"]].count("leader") == 1
    assert {node["leader"] for node in document["nodes"]} == {document["leader"]}
    assert len(document["endpoints"]) == 3


def test_etcdctl_works_with_the_environment(cluster: ConclaveHome) -> None:
    script = 'eval "$(conclave env)"; etcdctl put tour/a 1; etcdctl get tour/a'

    assert cluster.shell(script).stdout == "OK\ntour/a\n1\n"
    assert cluster.done("kv", "get", "tour/a") == "tour/a\n1\n"


def test_kv_round_trip(cluster: ConclaveHome) -> None:
    assert cluster.done("kv", "put", "kv/a", "1") == "OK\n"
    assert cluster.done("kv", "put", "kv/a", "2", "--prev-kv") == "OK\nkv/a\n1\n"
    cluster.done("kv", "put", "kv/b", "3")

    assert cluster.done("kv", "get", "kv/", "--prefix") == "kv/a\n2\nkv/b\n3\n"
    assert cluster.done("kv", "del", "kv/", "--prefix") == "2\n"
    assert cluster.done("kv", "get", "kv/", "--prefix") == ""


def test_kv_watch_sees_what_was_and_what_comes(cluster: ConclaveHome) -> None:
    cluster.done("kv", "put", "watched", "1")
    revision = cluster.document("kv", "get", "watched")["kvs"][0]["mod_revision"]
    watch = cluster.start("kv", "watch", "watched", "--rev", str(revision), "--count", "2")
    cluster.done("kv", "put", "watched", "2")

    out, err = watch.communicate(timeout=DEADLINE_S)

    assert watch.returncode == Exit.DONE, err
    assert out == "PUT\nwatched\n1\nPUT\nwatched\n2\n"


def test_kill_leader_elects_another_and_loses_nothing(cluster: ConclaveHome) -> None:
    cluster.done("kv", "put", "kept", "1")
    before = cluster.document("status")

    killed = cluster.document("kill", "leader")
    cluster.done("wait", f"term>{before['term']}", "--timeout", "30s")
    cluster.done("wait", "leader", "--timeout", "30s")

    assert killed["done"] == [before["leader"]]
    assert leader_of(cluster) != before["leader"]
    assert cluster.done("kv", "get", "kept") == "kept\n1\n"
    reigns = cluster.document("history")["reigns"]
    assert f"{before['leader']} killed" in [reign["reason"] for reign in reigns]
    assert (reigns[-1]["leader"], reigns[-1]["until"]) == (leader_of(cluster), None)
    exits = cluster.done("events", "--type", "node.exited", "--json").splitlines()
    assert json.loads(exits[-1])["node"] == before["leader"]


def test_paused_node_is_told_truly_and_hangs_nothing(cluster: ConclaveHome) -> None:
    name = follower_of(cluster)

    cluster.done("pause", name)

    assert node_of(cluster, name)["state"] == "paused"
    assert "PAUSED" in cluster.done("status")
    cluster.done("resume", name)
    cluster.done("wait", "node", f"{name}=running")


def test_pause_for_a_time_ends_by_itself(cluster: ConclaveHome) -> None:
    name = follower_of(cluster)

    cluster.done("pause", name, "--for", "200ms")

    cluster.done("wait", "node", f"{name}=running", "--timeout", "30s")


def test_without_a_quorum_status_exits_6(cluster: ConclaveHome) -> None:
    cluster.done("kill", "majority")

    result = cluster("status")
    waited = cluster("wait", "ready", "--timeout", "100ms")

    assert result.returncode == Exit.DEGRADED
    assert "READY" not in result.stdout.split()
    assert waited.returncode == Exit.TIMED_OUT


def test_restart_brings_a_node_back_up_to_date(cluster: ConclaveHome) -> None:
    name = follower_of(cluster)
    before = node_of(cluster, name)

    cluster.done("restart", name)
    cluster.done("kv", "put", "after", "restart")
    cluster.done("wait", "converged", "--timeout", "30s")

    after = node_of(cluster, name)
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"] + 1


def test_transfer_moves_leadership(cluster: ConclaveHome) -> None:
    target = follower_of(cluster)

    document = cluster.document("transfer", target)

    assert document["to"] == target
    assert leader_of(cluster) == target


def test_unknown_node_exits_3(cluster: ConclaveHome) -> None:
    result = cluster("kill", "n9")

    assert result.returncode == Exit.NOT_RUNNING
    assert "try: " in result.stderr


def test_events_followed_show_a_death(cluster: ConclaveHome) -> None:
    name = follower_of(cluster)
    seen = json.loads(cluster.done("events", "-n", "1", "--json"))["seq"]
    following = cluster.start(
        "events", "-f", "--type", "node.exited", "--after", str(seen), "--json"
    )

    try:
        cluster.done("kill", name)
        event = json.loads(first_lines(following, 1)[0])
    finally:
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=DEADLINE_S)

    assert (event["type"], event["node"]) == ("node.exited", name)
    assert following.returncode == Exit.INTERRUPTED


def test_logs_and_metrics_of_every_node(cluster: ConclaveHome) -> None:
    logs = cluster.done("logs", "-n", "1000", "--json").splitlines()
    metrics = cluster.done("metrics")

    assert {json.loads(line)["node"] for line in logs} == set(NODES)
    for name in NODES:
        assert f'conclave_node_up{{node="{name}"}} 1' in metrics


def test_down_keeps_the_data_and_leaves_no_process(home: ConclaveHome) -> None:
    home.done("up")
    pids = processes_of(home.document("status"))
    home.done("kv", "put", "durable", "yes")

    home.done("down")

    await_end(pids)
    assert home("status").returncode == Exit.NOT_RUNNING
    assert [row["state"] for row in home.document("ls")["clusters"]] == ["stopped"]
    assert home.document("down")["already_down"] == ["default"]
    home.done("up")
    assert home.done("kv", "get", "durable") == "durable\nyes\n"


def test_kill_9_of_the_supervisor_takes_the_nodes_along(home: ConclaveHome) -> None:
    home.done("up")
    pids = processes_of(home.document("status"))
    home.done("kv", "put", "durable", "yes")

    os.kill(pids[0], signal.SIGKILL)

    await_end(pids)
    assert [row["state"] for row in home.document("ls")["clusters"]] == ["stale"]
    home.done("up")
    assert home.done("kv", "get", "durable") == "durable\nyes\n"


def test_attached_cluster_ends_with_ctrl_c(home: ConclaveHome) -> None:
    attached = home.start("up", "-n", "1", "--attach", "--ephemeral")
    assert first_lines(attached, 1)[0].startswith("Ready in ")
    pids = processes_of(home.document("status"))

    attached.send_signal(signal.SIGINT)
    _, err = attached.communicate(timeout=DEADLINE_S)

    assert attached.returncode == Exit.INTERRUPTED, err
    await_end(pids)
    assert home.document("ls")["clusters"] == []


def test_rm_deletes_what_down_kept(home: ConclaveHome) -> None:
    home.done("up", "-n", "1")
    directory = Path(home.document("status")["directory"])

    assert home("rm", "--yes").returncode == Exit.CONFLICT
    home.done("down")
    assert directory.exists()
    home.done("rm", "--yes")

    assert not directory.exists()
    assert home.document("ls")["clusters"] == []


def test_two_clusters_live_side_by_side(home: ConclaveHome) -> None:
    home.done("up", "-n", "1", "-c", "a")
    home.done("up", "-n", "1", "-c", "b")

    assert home("status").returncode == Exit.USAGE
    home.done("kv", "put", "whose", "a", "-c", "a")
    assert home.done("kv", "get", "whose", "-c", "b") == ""
    home.done("down", "-c", "a")
    assert home.document("status")["cluster"] == "b"


def test_completion_offers_the_nodes_of_the_cluster(cluster: ConclaveHome) -> None:
    words = {
        "_CONCLAVE_COMPLETE": "bash_complete",
        "COMP_WORDS": "conclave kill n",
        "COMP_CWORD": "2",
    }

    done = subprocess.run(
        cluster.command(),
        env=cluster.environment | words,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )

    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == NODES


def test_attached_cluster_is_killed_by_the_second_ctrl_c(home: ConclaveHome) -> None:
    attached = home.start("up", "-n", "1", "--attach")
    first_lines(attached, 1)
    pids = processes_of(home.document("status"))
    home.done("pause", "n1")

    attached.send_signal(signal.SIGINT)
    assert attached.stderr is not None
    while "again kills" not in attached.stderr.readline():
        assert attached.poll() is None
    attached.send_signal(signal.SIGINT)
    attached.communicate(timeout=DEADLINE_S)

    assert attached.returncode == Exit.INTERRUPTED
    await_end(pids)
