"""SIGKILL for everybody, for the supervisor, for the zygote; two supervisors for one directory."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from json import dumps, loads
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import cluster_name
from tests.store.crash.trace import Call, Disk, lay_out, read_trace
from tests.store.crash.witness import compiled_shim
from tests.support.live_cluster import DEADLINE_S, LiveCluster, await_end, end_all
from tests.support.writers import Writers
from tools.cli.exit import Exit

pytestmark = pytest.mark.e2e


def by_name(cluster: LiveCluster) -> dict[str, psutil.Process]:
    """Supervisor, zygote and nodes."""
    status = cluster.status()
    zygote = status["supervisor"]["zygote_pid"]
    assert zygote is not None
    pids = {"supervisor": status["supervisor"]["pid"], "zygote": zygote}
    pids |= {node["name"]: node["pid"] for node in status["nodes"] if node["pid"]}
    return {name: psutil.Process(pid) for name, pid in pids.items()}


def test_cluster_has_exactly_its_processes(cluster: LiveCluster) -> None:
    named = by_name(cluster)

    assert {process.pid for process in cluster.processes()} == {p.pid for p in named.values()}
    assert cluster.shared_memory_files() == []
    names = {name: process.name() for name, process in named.items()}
    assert {names[node] for node in cluster.names} == {"conclave-n1", "conclave-n2", "conclave-n3"}


def test_kill_9_of_every_process_loses_nothing(cluster: LiveCluster) -> None:
    with Writers(cluster.endpoints, prefix="power") as writers:
        writers.more(100)
        processes = cluster.processes()
        end_all(processes)

    assert len(processes) == 5
    assert cluster.processes() == []
    cluster.up()
    writers.assert_nothing_lost(cluster.assert_equal_contents())
    for name in cluster.names:
        cluster.assert_serves(name)


def test_kill_9_of_every_process_again_and_again(cluster: LiveCluster) -> None:
    """Also of a cluster that has hardly come up."""
    rounds = []
    for number in range(2):
        with Writers(cluster.endpoints, prefix=f"again/{number}") as writers:
            end_all(cluster.processes())
        rounds.append(writers)
        cluster.up()

    contents = cluster.assert_equal_contents()
    for writers in rounds:
        writers.assert_nothing_lost(contents)


def test_kill_9_of_the_supervisor_leaves_nobody(cluster: LiveCluster) -> None:
    named = by_name(cluster)
    cluster.assert_serves("n1")

    with Writers(cluster.endpoints, prefix="supervisor") as writers:
        named["supervisor"].kill()
        await_end(list(named.values()))

    assert cluster.processes() == []
    assert cluster.home("status", "-c", cluster.name).returncode == Exit.NOT_RUNNING
    (known,) = cluster.home.document("ls")["clusters"]
    assert known["state"] == "stale"
    cluster.up()
    writers.assert_nothing_lost(cluster.assert_equal_contents())


def test_kill_9_of_the_supervisor_beside_a_paused_node(cluster: LiveCluster) -> None:
    """A stopped process reads no lifeline: it has to end all the same."""
    named = by_name(cluster)
    cluster.client.pause([cluster.followers[0]])

    named["supervisor"].kill()
    await_end(list(named.values()))

    assert cluster.processes() == []
    cluster.up()


def test_kill_9_of_the_zygote_disturbs_no_node(cluster: LiveCluster) -> None:
    named = by_name(cluster)
    since = cluster.last_event()

    with Writers(cluster.endpoints, prefix="zygote") as writers:
        named["zygote"].kill()
        cluster.await_event(since, "zygote.started")
        writers.more()

    now = by_name(cluster)
    assert now["zygote"].pid != named["zygote"].pid
    assert {name: now[name].pid for name in cluster.names} == {
        name: named[name].pid for name in cluster.names
    }
    writers.assert_nothing_lost(cluster.assert_equal_contents())


def test_orphans_of_a_killed_zygote_are_still_told_truly(cluster: LiveCluster) -> None:
    """Kill and restart nodes whose parent is gone."""
    since = cluster.last_event()
    by_name(cluster)["zygote"].kill()
    cluster.await_event(since, "zygote.started")

    cluster.client.kill(["n1"])
    cluster.client.restart(["n2"])
    cluster.client.start(["n1"])
    cluster.client.wait("ready")

    exited = {event["node"]: event for event in cluster.events(since, "node.exited")}
    assert exited["n1"]["signal"] == "SIGKILL"
    assert exited["n2"]["code"] == 0
    for name in cluster.names:
        cluster.assert_serves(name)


def test_kill_9_of_zygote_and_supervisor_leaves_nobody(cluster: LiveCluster) -> None:
    named = by_name(cluster)

    end_all([named["zygote"], named["supervisor"]])
    await_end(list(named.values()))

    assert cluster.processes() == []
    cluster.up()
    cluster.assert_serves("n2")


@pytest.mark.parametrize("name", ["other", "same"])
def test_second_supervisor_is_refused_with_the_pid_of_the_first(
    cluster: LiveCluster, name: str
) -> None:
    first = cluster.status()["supervisor"]["pid"]
    before = {process.pid for process in cluster.processes()}

    error = refusal_of_daemon(cluster, cluster.name if name == "same" else "second")

    assert error["code"] == "held"
    assert re.search(rf"\b{first}\b", error["message"]), error
    cluster.await_true(
        lambda: {process.pid for process in cluster.processes()} == before, "the end of the second"
    )
    cluster.assert_serves(cluster.leader)


def refusal_of_daemon(cluster: LiveCluster, name: str) -> dict[str, Any]:
    """What a daemon on the same directory says; `up` would find the first one and be content."""
    config = {"name": name, "nodes": 3, "directory": str(cluster.data)}
    reader, writer = os.pipe()
    with open(reader, encoding="utf-8") as progress:
        subprocess.run(
            [sys.executable, "-P", "-m", "cluster", "--progress-fd", str(writer), dumps(config)],
            env=cluster.home.environment,
            pass_fds=[writer],
            stderr=subprocess.DEVNULL,
            timeout=DEADLINE_S,
        )
        os.close(writer)
        *_, last = progress  # ends with the daemon
    error = loads(last)["error"]
    assert isinstance(error, dict)
    return error


def test_up_on_a_held_directory_names_the_holder(cluster: LiveCluster) -> None:
    first = cluster.status()["supervisor"]["pid"]

    ran = cluster.home("up", "-c", "second", "--data", str(cluster.data))

    assert ran.returncode == Exit.CONFLICT
    assert str(first) in ran.stderr
    assert not (cluster.home.runtime / "conclave" / "second").exists()


def test_terminated_supervisor_takes_the_cluster_down_in_order(cluster: LiveCluster) -> None:
    named = by_name(cluster)

    os.kill(named["supervisor"].pid, signal.SIGTERM)
    await_end(list(named.values()))

    assert cluster.processes() == []
    assert not cluster.runtime.exists()
    cluster.up()


@dataclass(frozen=True)
class Watched:
    """A cluster that is down, all that its processes did to their files, and who wrote to it."""

    cluster: LiveCluster
    root: Path
    calls: list[Call]
    writers: Writers

    def after_cut(self, calls: list[Call], chance: Random) -> None:
        """Bring it up on what a power cut after these calls may leave, on all nodes at once."""
        disk = Disk({})
        for call in calls:
            disk.play(call)
        shutil.rmtree(self.root)
        self.root.mkdir()
        lay_out(disk.unplugged(chance), self.root)
        self.cluster.up()


@pytest.fixture(scope="module")
def watched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    host, trace = folder / "host", folder / "trace"
    cluster = LiveCluster(host, f"{cluster_name(request)}-cut")
    root = host / "data"
    root.mkdir()
    shim = {"SHIM_ROOT": str(root), "SHIM_TRACE": str(trace)}
    shim["LD_PRELOAD"] = str(compiled_shim(folder))
    cluster.home.environment.update(shim)
    try:
        cluster.up()
        with Writers(cluster.endpoints, prefix="cut") as writers:
            writers.more(100)
            end_all(cluster.processes())
        for name in shim:
            del cluster.home.environment[name]
        yield Watched(cluster, root, read_trace(trace, root), writers)
    finally:
        cluster.close()


def test_power_cut_of_the_whole_host_loses_nothing(
    watched: Watched, request: pytest.FixtureRequest
) -> None:
    """What nobody had synced is gone, of the nodes' files and of the supervisor's papers."""
    cluster = watched.cluster
    for seed in range(int(request.config.getoption("--crash-seeds"))):
        watched.after_cut(watched.calls, Random(seed))

        watched.writers.assert_nothing_lost(cluster.assert_equal_contents())
        end_all(cluster.processes())


def test_power_cut_of_a_first_start_is_no_obstacle(
    watched: Watched, request: pytest.FixtureRequest
) -> None:
    """Half-made directories, marks and papers: the cluster comes up, nobody is in quarantine."""
    cluster = watched.cluster
    served = next(n for n, call in enumerate(watched.calls) if "started" in call.path)
    for seed in range(int(request.config.getoption("--crash-seeds"))):
        chance = Random(seed)
        watched.after_cut(watched.calls[: chance.randrange(served)], chance)

        for name in cluster.names:
            cluster.assert_serves(name)
        end_all(cluster.processes())
