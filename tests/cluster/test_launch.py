"""The launcher against real daemons, and the Python API over one."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Cluster
from cluster.client import ClusterClient, known_clusters, launch, remove
from cluster.config import ClusterConfig, ClusterPaths, paths_of, runtime_root
from cluster.directory import Occupation
from cluster.errors import (
    Conflict,
    Held,
    NoSuchNode,
    NotRunning,
    PortHeld,
    StartFailed,
    WaitTimeout,
)
from cluster.launch import holder
from tests.support.cluster_daemon import Daemon
from transport.claim import Claim


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("launch") / "data") as daemon:
        yield daemon


@pytest.fixture
def daemon(running: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A running cluster, and an environment in which it is the only one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(running.runtime))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return running.repair()


def runtime_directories() -> list[str]:
    return sorted(os.listdir(runtime_root()))


def test_launch_of_a_running_cluster_is_already_up(daemon: Daemon) -> None:
    [progress] = launch(daemon.config)

    assert progress["phase"] == "already-up"
    assert progress["status"]["supervisor"]["pid"] == daemon.process.pid


def test_launch_of_a_running_cluster_without_quorum_helps_it_up(daemon: Daemon) -> None:
    daemon.client.kill(["majority"])

    [progress] = launch(daemon.config)

    assert progress["status"]["state"] == "READY"
    assert [node["state"] for node in progress["status"]["nodes"]] == ["running"] * 3


def test_launch_of_a_running_cluster_in_another_size_is_a_conflict(daemon: Daemon) -> None:
    with pytest.raises(Conflict):
        list(launch(ClusterConfig(nodes=5)))


def test_launch_of_a_running_name_on_other_data_is_a_conflict(
    daemon: Daemon, tmp_path: Path
) -> None:
    with pytest.raises(Conflict):
        list(launch(ClusterConfig(directory=str(tmp_path))))


def test_launch_on_a_held_directory_is_refused_and_leaves_nothing(daemon: Daemon) -> None:
    with pytest.raises(Held) as refusal:
        list(launch(ClusterConfig(name="other", directory=str(daemon.paths.data))))

    assert refusal.value.data["pid"] == daemon.process.pid
    assert runtime_directories() == ["default"]
    assert daemon.client.status()["state"] == "READY"


def test_launch_beside_a_supervisor_that_leaves_starts_anew(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds its directories to the last moment, when its socket is gone already."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    config = ClusterConfig(name="next", nodes=1, ephemeral=True)
    paths = paths_of(config)
    for directory in (paths.data, paths.runtime):
        directory.mkdir(parents=True)
    held = [Claim(str(path)) for path in (paths.lock, paths.pid)]

    def leave(_: float) -> None:
        while held:
            held.pop().close()

    monkeypatch.setattr(time, "sleep", leave)

    phases = [progress["phase"] for progress in launch(config, timeout_s=20)]
    ClusterClient("next").down()

    assert phases[-1] == "ready"
    assert not held


def test_launch_on_held_ports_is_refused_and_leaves_nothing(daemon: Daemon, tmp_path: Path) -> None:
    port = int(daemon.client.status()["endpoints"][0].rpartition(":")[2])

    with pytest.raises(PortHeld) as refusal:
        list(launch(ClusterConfig(name="other", nodes=1, port_base=port)))

    assert refusal.value.data["port"] == port
    assert runtime_directories() == ["default"]


@pytest.mark.parametrize("timeout_s", [0.0, 0.05])
def test_launch_out_of_time_is_undone(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeout_s: float
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    with pytest.raises(WaitTimeout):
        list(launch(ClusterConfig(name="hasty", ephemeral=True), timeout_s=timeout_s))

    assert runtime_directories() == ["default"]
    assert not (tmp_path / f"conclave-{os.getuid()}-ephemeral" / "hasty").exists()


def test_launch_into_a_place_that_cannot_be_written_is_told(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StartFailed, match="cannot use"):
        list(launch(ClusterConfig(name="other", directory=str(tmp_path / "file" / "data"))))


def test_launch_with_an_unusable_runtime_directory_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc/version")

    with pytest.raises(StartFailed, match="cannot use /proc/version/conclave/other"):
        list(launch(ClusterConfig(name="other", nodes=1)))
    assert known_clusters() == []


def test_occupation_is_not_refused_by_a_look_at_its_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ClusterPaths(tmp_path / "data", tmp_path / "run" / "other")
    paths.data.mkdir()
    looking = os.open(paths.lock, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _: os.close(looking))

    occupation = Occupation(ClusterConfig(name="other"), paths)

    assert holder(paths.lock) == os.getpid()
    occupation.leave(wipe=True)


def test_down_of_a_supervisor_that_ends_meanwhile_is_not_running() -> None:
    class Late(ClusterClient):
        def ping(self) -> dict[str, Any]:
            """The answer of a supervisor that has ended since."""
            with subprocess.Popen(["true"]) as ended:
                pass
            return {"pid": ended.pid, "uptime_ms": 1.0}

    with pytest.raises(NotRunning):
        Late("other").down()


def test_known_clusters_are_found_without_asking_them(daemon: Daemon) -> None:
    [known] = known_clusters()

    assert (known.name, known.state, known.pid) == ("default", "running", daemon.process.pid)
    assert known.directory == daemon.paths.data
    assert known.socket == daemon.paths.socket


def test_remove_of_a_running_cluster_is_refused(daemon: Daemon) -> None:
    with pytest.raises(Conflict):
        remove("default")


def test_remove_of_an_absent_cluster_is_nothing(daemon: Daemon) -> None:
    assert remove("absent") is False


def test_remove_of_a_stopped_cluster_deletes_it(daemon: Daemon, tmp_path: Path) -> None:
    directory = tmp_path / "conclave" / "gone"
    (directory / "n1" / "db").mkdir(parents=True)
    (directory / "cluster.json").write_text("{}")

    assert remove("gone") is True
    assert not directory.exists()


def test_api_roles_are_looked_up_when_they_are_asked_for(daemon: Daemon) -> None:
    cluster = Cluster()
    first = cluster.leader
    first.kill()

    second = cluster.wait_leader(timeout=20)

    assert second.name != first.name
    assert first.name not in {node.name for node in cluster.followers}
    assert first.start().status["state"] == "running"


def test_api_node_by_name(daemon: Daemon) -> None:
    cluster = Cluster()
    node = cluster["n2"]

    assert node.endpoint == cluster.endpoints[1]
    assert [each.name for each in cluster] == ["n1", "n2", "n3"]
    assert node.pause().status["state"] == "paused"
    assert node.resume().status["state"] == "running"
    assert node.stop().status["state"] == "stopped"
    assert node.restart().status["state"] == "running"
    with pytest.raises(NoSuchNode):
        cluster["n9"]


def test_api_waits_for_a_predicate(daemon: Daemon) -> None:
    cluster = Cluster()
    cluster["n2"].kill(restart_after=0.001)

    status = cluster.wait_for(lambda s: s["nodes"][1]["state"] == "running", timeout=20)

    assert status["nodes"][1]["exit"] is None
    with pytest.raises(WaitTimeout) as late:
        cluster.wait_for(lambda s: s["term"] < 0, timeout=0)
    assert late.value.data["status"]["cluster"] == "default"


def test_api_leaving_the_context_keeps_a_cluster_that_was_there(daemon: Daemon) -> None:
    with Cluster.up(3) as cluster:
        assert cluster.env()["ETCDCTL_ENDPOINTS"] == ",".join(cluster.endpoints)

    assert daemon.client.status()["state"] == "READY"


def test_api_without_a_cluster_says_so(daemon: Daemon) -> None:
    with pytest.raises(NotRunning):
        Cluster("absent")
