"""A real supervisor over tiny real nodes, and what happens when any of them is killed."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.config import load
from cluster.errors import (
    BadRequest,
    ClusterError,
    Degraded,
    NoSuchNode,
    NotRunning,
    Stopping,
    WaitTimeout,
)
from cluster.event import read_events
from cluster.launch import holder
from tests.support.cluster_daemon import Daemon, wait_gone

WAIT_MS = 20_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("shared")) as daemon:
        yield daemon


@pytest.fixture
def daemon(running: Daemon) -> Daemon:
    """A whole cluster of three, as the test before left it and then repaired."""
    return running.repair()


def orders(directory: Path, node: str, text: str) -> None:
    (directory / node).mkdir(exist_ok=True)
    (directory / node / "orders").write_text(text)


# Coming up.


def test_up_tells_its_phases(daemon: Daemon) -> None:
    assert daemon.phases[0] == "zygote"
    assert daemon.phases[1:4] == ["node", "node", "node"]
    assert daemon.phases[4:] == ["nodes", "leader", "write", "ready"]
    status = daemon.progress[-1]["status"]
    assert status["state"] == "READY"
    assert [node["state"] for node in status["nodes"]] == ["running"] * 3


def test_up_with_a_quorum_is_ready_and_names_the_missing(tmp_path: Path) -> None:
    orders(tmp_path, "n3", "refuse")
    with Daemon(tmp_path) as daemon:
        failed = [line for line in daemon.progress if line["phase"] == "node-failed"]
        status = daemon.client.status()

    assert [line["node"] for line in failed] == ["n3"]
    assert "the disk is behind its mark" in failed[0]["reason"]
    assert status["state"] == "READY"
    assert status["nodes"][2]["exit"] == {
        "code": 71,
        "signal": None,
        "expected": False,
        "reason": "quarantine",
        "detail": "the disk is behind its mark",
    }


def test_up_without_a_quorum_fails_and_says_why(tmp_path: Path) -> None:
    orders(tmp_path, "n2", "crash")
    orders(tmp_path, "n3", "crash")
    with Daemon(tmp_path) as daemon:
        error = daemon.progress[-1]["error"]
        status = daemon.client.status()

    assert error["code"] == "start-failed"
    assert "1 of 3 nodes serve, 2 are needed" in error["message"]
    assert status["state"] != "READY"


def test_up_expects_an_empty_directory_only_once(tmp_path: Path) -> None:
    """A member that has served must not begin anew when its directory is gone."""
    with Daemon(tmp_path) as daemon:
        first = {event["node"]: event["bootstrap"] for event in daemon.events("node.serving")}
    for path in (tmp_path / "n1").iterdir():
        path.unlink()
    with Daemon(tmp_path) as daemon:
        second = {event["node"]: event["bootstrap"] for event in daemon.events("node.serving")}

    assert set(first.values()) == {True}
    assert set(second.values()) == {False}


def test_up_again_keeps_ids_and_ports(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        before = daemon.client.status()
        daemon.client.down()
        daemon.wait()
    with Daemon(tmp_path) as daemon:
        after = daemon.client.status()

    assert [node["id"] for node in after["nodes"]] == [node["id"] for node in before["nodes"]]
    assert after["endpoints"] == before["endpoints"]


def test_up_with_another_size_is_refused(tmp_path: Path) -> None:
    with Daemon(tmp_path, nodes=1):
        pass
    with Daemon(tmp_path, nodes=3) as daemon:
        assert daemon.progress[-1]["error"]["code"] == "conflict"
        assert daemon.wait() == 7


# One owner.


def test_second_supervisor_on_the_directory_is_refused(daemon: Daemon) -> None:
    with Daemon(daemon.paths.data, name="other") as second:
        error = second.progress[-1]["error"]
        assert second.wait() == 7

    assert error["code"] == "held"
    assert error["data"] == {"directory": str(daemon.paths.data), "pid": daemon.process.pid}
    assert daemon.client.status()["state"] == "READY"


def test_second_supervisor_of_the_name_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    with Daemon(elsewhere, runtime=daemon.runtime) as second:
        error = second.progress[-1]["error"]

    assert (error["code"], error["data"]["pid"]) == ("held", daemon.process.pid)
    assert daemon.client.status()["state"] == "READY"


def test_shared_memory_has_no_names(daemon: Daemon) -> None:
    """What has no name cannot be left behind, whoever dies in whatever order."""
    assert daemon.named_memory() == []
    assert any("memfd:conclave-n1-page" in link for link in open_files(daemon.process.pid))


def open_files(pid: int) -> list[str]:
    return [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]


def test_lock_names_its_holder_as_long_as_it_lives(tmp_path: Path) -> None:
    with Daemon(tmp_path, nodes=1) as daemon:
        assert holder(daemon.paths.pid) == daemon.process.pid
        daemon.client.down()
        daemon.wait()

        assert holder(daemon.paths.pid) is None


# Deaths.


def test_node_killed_is_an_event_with_its_signal(daemon: Daemon) -> None:
    leader = daemon.client.status()["leader"]
    assert leader is not None
    answer = daemon.client.kill(["leader"])
    daemon.client.wait("ready", timeout_ms=WAIT_MS)

    assert answer["resolved"] == [leader]
    exited = daemon.events("node.exited")[0]
    assert (exited["node"], exited["signal"], exited["expected"]) == (leader, "SIGKILL", True)
    assert daemon.events("leader.lost")[0]["cause"] == f"{leader} killed"
    before, after = daemon.client.history()["reigns"][-2:]
    assert before["leader"] == leader
    assert after["reason"] == f"{leader} killed"
    assert after["gap_ms"] is not None
    assert len(daemon.events("leader.elected")) == 1


def test_node_killed_from_outside_is_unexpected(daemon: Daemon) -> None:
    pid = daemon.node("n2")["pid"]
    os.kill(pid, signal.SIGKILL)
    daemon.client.wait("node n2=exited", timeout_ms=WAIT_MS)

    row = daemon.node("n2")
    assert row["exit"]["expected"] is False
    assert row["exit"]["reason"] == "killed"
    assert row["pid"] is None
    assert row["applied"] == 7, "the page keeps a dead node's last figures"


def test_node_killed_keeps_its_port_closed_to_strangers(daemon: Daemon) -> None:
    daemon.client.kill(["n2"])
    host, _, port = daemon.node("n2")["client"].partition(":")

    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind((host, int(port)))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_node_killed_restarts_after_the_time_it_was_given(daemon: Daemon) -> None:
    before = daemon.node("n2")["restarts"]
    daemon.client.kill(["n2"], restart_after_ms=1)
    daemon.client.wait("node n2=running", timeout_ms=WAIT_MS)

    assert daemon.node("n2")["restarts"] == before + 1
    assert daemon.node("n2")["exit"] is None


def test_node_policy_on_failure_starts_it_again(tmp_path: Path) -> None:
    with Daemon(tmp_path, nodes=1, restart_policy="on-failure") as daemon:
        os.kill(daemon.node("n1")["pid"], signal.SIGKILL)
        daemon.until("node.backoff")
        daemon.client.wait("node n1=running", timeout_ms=WAIT_MS)

        assert daemon.node("n1")["restarts"] == 1
        assert daemon.events("node.backoff")[0]["after_ms"] == 100


def test_node_policy_starts_a_paused_one_again(tmp_path: Path) -> None:
    """The resume that was to come is no restart that was to come."""
    with Daemon(tmp_path, restart_policy="on-failure") as daemon:
        daemon.client.pause(["n2"], for_ms=60_000)
        os.kill(daemon.node("n2")["pid"], signal.SIGKILL)

        assert daemon.until("node.backoff")["node"] == "n2"
        daemon.client.wait("node n2=running", timeout_ms=WAIT_MS)


def test_kill_of_a_node_in_backoff_leaves_its_restart(tmp_path: Path) -> None:
    with Daemon(tmp_path, restart_policy="on-failure", nodes=1) as daemon:
        os.kill(daemon.node("n1")["pid"], signal.SIGKILL)
        daemon.until("node.backoff")

        daemon.client.kill(["n1"])

        daemon.client.wait("ready", timeout_ms=WAIT_MS)


def test_node_policy_gives_up_on_a_quarantined_one(tmp_path: Path) -> None:
    orders(tmp_path, "n3", "refuse")
    with Daemon(tmp_path, restart_policy="always") as daemon:
        failed = daemon.node("n3")
        (tmp_path / "n3" / "orders").unlink()
        daemon.client.start(["n3"])
        started = daemon.node("n3")

    assert (failed["state"], failed["faults"]) == ("failed", ["quarantine"])
    assert (started["state"], started["faults"]) == ("running", [])


def test_majority_lost_and_regained_are_events(daemon: Daemon) -> None:
    daemon.client.kill(["majority"])
    assert daemon.client.status()["state"] == "DEGRADED"
    daemon.client.start(["down"])
    daemon.client.wait("ready", timeout_ms=WAIT_MS)

    assert len(daemon.events("quorum.lost")) == 1
    assert len(daemon.events("quorum.regained")) == 1


def test_zygote_killed_is_replaced_and_takes_no_node_along(daemon: Daemon) -> None:
    zygote = daemon.client.status()["supervisor"]["zygote_pid"]
    pids = [node["pid"] for node in daemon.client.status()["nodes"]]
    assert zygote is not None
    os.kill(zygote, signal.SIGKILL)
    daemon.until("zygote.started")

    assert [node["pid"] for node in daemon.client.status()["nodes"]] == pids
    daemon.client.kill(["n2"])
    assert daemon.node("n2")["exit"]["signal"] == "SIGKILL"
    daemon.client.start(["n2"])
    assert daemon.node("n2")["state"] == "running"


def test_supervisor_killed_leaves_nothing(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        # A paused node cannot hear that its lifeline has ended.
        daemon.client.pause(["any-follower"])
        below = daemon.descendants()
        names = {process.name() for process in below}
        daemon.process.kill()
        wait_gone(below)

        assert names == {"tiny-zygote", "tiny-n1", "tiny-n2", "tiny-n3"}
        with pytest.raises(NotRunning):
            daemon.client.status()
        # What it left in the runtime directory does not hinder the next one.
        with Daemon(tmp_path, runtime=daemon.runtime) as second:
            assert second.phases[-1] == "ready"


def test_supervisor_sweeps_what_dead_ones_left(tmp_path: Path) -> None:
    with Daemon(tmp_path / "one", name="one", nodes=1) as dead:
        dead.process.kill()
        dead.process.wait()
        assert dead.paths.runtime.is_dir()
        with Daemon(tmp_path / "two", name="two", nodes=1, runtime=dead.runtime):
            assert not dead.paths.runtime.exists()


def test_zygote_and_supervisor_killed_at_once_leave_nothing(tmp_path: Path) -> None:
    with Daemon(tmp_path, nodes=1) as daemon:
        daemon.client.pause(["n1"])
        below = daemon.descendants()
        [zygote] = [process for process in below if process.name() == "tiny-zygote"]
        zygote.suspend()
        daemon.process.kill()
        zygote.kill()

        wait_gone(below)


# Verbs.


def test_stop_drains_and_shows_as_stopped(daemon: Daemon) -> None:
    answer = daemon.client.stop(["n2"])

    assert answer["done"] == ["n2"]
    row = daemon.node("n2")
    assert (row["state"], row["exit"]["code"], row["exit"]["expected"]) == ("stopped", 0, True)
    assert daemon.client.stop(["n2"])["unchanged"] == ["n2"]


def test_stop_stubborn_node_is_killed_after_the_time_out(tmp_path: Path) -> None:
    orders(tmp_path, "n1", "stubborn")
    with Daemon(tmp_path, nodes=1) as daemon:
        daemon.client.stop(["n1"], timeout_ms=20)

        row = daemon.node("n1")
        assert (row["state"], row["exit"]["signal"]) == ("stopped", "SIGKILL")


def test_stop_paused_node_hears_it(daemon: Daemon) -> None:
    daemon.client.pause(["n2"])
    daemon.client.stop(["n2"])

    assert daemon.node("n2")["exit"]["code"] == 0


def test_restart_gives_a_new_process(daemon: Daemon) -> None:
    before = daemon.node("n2")["pid"]
    daemon.client.restart(["n2"])

    row = daemon.node("n2")
    assert row["state"] == "running"
    assert row["pid"] != before


def test_restart_that_meets_another_shares_its_start(daemon: Daemon) -> None:
    with ThreadPoolExecutor(4) as shells:
        answers = list(shells.map(lambda _: daemon.client.restart(["n2"]), range(4)))

    assert [answer["failed"] for answer in answers] == [{}] * 4
    assert daemon.node("n2")["state"] == "running"
    pids = [event["pid"] for event in daemon.events("node.spawned")]
    assert pids[-1] == daemon.node("n2")["pid"]
    assert len(daemon.events("node.exited")) == len(pids)


def test_restart_rolling_never_has_two_down(daemon: Daemon) -> None:
    daemon.client.restart(["all"], rolling=True)

    down: set[str] = set()
    for event in daemon.history():
        if event["type"] == "node.stopping":
            assert not down, f"{event['node']} was stopped while {down} did not serve"
            down.add(event["node"])
        elif event["type"] == "node.serving":
            down.discard(event["node"])
    assert not down
    assert not daemon.events("quorum.lost")


def test_start_of_a_running_node_changes_nothing(daemon: Daemon) -> None:
    answer = daemon.client.start(["all"])

    assert answer["unchanged"] == ["n1", "n2", "n3"]
    assert answer["done"] == []


def test_start_that_fails_for_some_is_partly_done(daemon: Daemon) -> None:
    daemon.client.stop(["n2", "n3"])
    orders(daemon.paths.data, "n3", "crash")

    with pytest.raises(ClusterError) as failure:
        daemon.client.start(["down"])

    (daemon.paths.data / "n3" / "orders").unlink()
    assert failure.value.exit_code == 5
    assert failure.value.data["done"] == ["n2"]
    assert list(failure.value.data["failed"]) == ["n3"]


def test_pause_shows_the_last_figures_with_their_age(daemon: Daemon) -> None:
    daemon.client.pause(["leader"])
    status = daemon.client.status()
    [row] = [node for node in status["nodes"] if node["state"] == "paused"]

    assert psutil.Process(row["pid"]).status() == psutil.STATUS_STOPPED
    assert row["applied"] == 7
    assert row["age_ms"] is not None
    assert row["faults"] == ["pause"]
    assert status["leader"] is None
    assert all(link["count"] > 0 for link in status["links"] if link["from"] == row["name"])


def test_pause_leader_that_wakes_in_time_leads_on(daemon: Daemon) -> None:
    """The tiny leader holds a lock even while it is stopped, so nobody else can win."""
    leader, term = daemon.client.status()["leader"], daemon.client.status()["term"]
    daemon.client.pause(["leader"], for_ms=1)
    daemon.until("leader.regained")

    status = daemon.client.status()
    assert (status["leader"], status["term"]) == (leader, term)
    assert not daemon.events("leader.elected")
    assert daemon.client.history()["reigns"][-1]["reason"] == f"{leader} paused"


def test_leader_that_stepped_down_is_not_regained_by_an_old_page(daemon: Daemon) -> None:
    leader = daemon.client.status()["leader"]
    daemon.client.kill([str(leader)], signal="SIGUSR1")
    daemon.until("leader.lost")

    daemon.client.wait("no-leader", for_ms=200)
    assert not daemon.events("leader.regained")
    daemon.client.restart([str(leader)])


def test_pause_of_a_paused_node_sets_when_it_wakes(daemon: Daemon) -> None:
    daemon.client.pause(["n2"])

    assert daemon.client.pause(["n2"])["unchanged"] == ["n2"]
    assert daemon.client.pause(["n2"], for_ms=1)["done"] == ["n2"]
    daemon.client.wait("node n2=running", timeout_ms=WAIT_MS)


def test_kill_with_sigcont_resumes(daemon: Daemon) -> None:
    daemon.client.pause(["n2"])
    daemon.client.kill(["n2"], signal="SIGCONT")

    assert daemon.node("n2")["state"] == "running"


def test_kill_with_sigterm_of_a_paused_node_ends_it_when_it_wakes(daemon: Daemon) -> None:
    daemon.client.pause(["n2"], for_ms=100)
    daemon.client.kill(["n2"], signal="SIGTERM")

    assert daemon.until("node.exited")["node"] == "n2"


def test_pause_of_a_dead_node_changes_nothing(daemon: Daemon) -> None:
    daemon.client.kill(["n2"])

    assert daemon.client.pause(["n2"])["unchanged"] == ["n2"]


def test_transfer_that_the_member_refuses_is_told(daemon: Daemon) -> None:
    with pytest.raises(ClusterError, match="cannot hand over"):
        daemon.client.transfer()


def test_transfer_without_a_leader_is_degraded(daemon: Daemon) -> None:
    daemon.client.kill(["all"])

    with pytest.raises(Degraded):
        daemon.client.transfer()


def test_selector_of_nobody_is_refused(daemon: Daemon) -> None:
    with pytest.raises(NoSuchNode):
        daemon.client.kill(["n9"])
    with pytest.raises(BadRequest):
        daemon.client.kill([])


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("explode", {}),
        ("kill", {}),
        ("kill", {"nodes": "n1"}),
        ("kill", {"nodes": ["n1"], "forse": True}),
        ("kill", {"nodes": ["n1"], "signal": "SIGNOTHING"}),
        ("kill", {"nodes": ["n1"], "signal": "SIGSTOP"}),
        ("pause", {"nodes": ["n1"], "for_ms": "long"}),
        ("wait", {"condition": "tea"}),
    ],
)
def test_verb_that_cannot_be_read_is_refused(
    daemon: Daemon, method: str, params: dict[str, Any]
) -> None:
    with pytest.raises(BadRequest):
        daemon.client.call(method, **params)


def test_wait_too_long_carries_the_status(daemon: Daemon) -> None:
    with pytest.raises(WaitTimeout) as late:
        daemon.client.wait("term>1000", timeout_ms=5)

    assert late.value.data["condition"] == "term>1000"
    assert late.value.data["status"]["state"] == "READY"


def test_logs_are_the_nodes_own_files(daemon: Daemon) -> None:
    paths = daemon.client.logs(["n1"])

    assert set(Path(paths["n1"]).read_text().splitlines()) == {"serves"}


def test_metrics_show_every_node(daemon: Daemon) -> None:
    lines = daemon.client.metrics().splitlines()

    assert [line for line in lines if line.startswith("conclave_node_up{")] == [
        f'conclave_node_up{{node="n{n}"}} 1.0' for n in (1, 2, 3)
    ]
    assert any(line.startswith("conclave_heartbeat_rtt_seconds{") for line in lines)


# Going down.


def test_down_ends_all_and_keeps_the_data(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        below = daemon.descendants()
        daemon.client.down()
        assert daemon.wait() == 0
        wait_gone(below)

        assert not daemon.paths.runtime.exists()
        assert load(tmp_path / "cluster.json") is not None


def test_down_lets_nothing_start_any_more(tmp_path: Path) -> None:
    orders(tmp_path, "n1", "stubborn")
    with Daemon(tmp_path) as daemon, ThreadPoolExecutor(1) as shell:
        daemon.client.kill(["n2"])
        going = shell.submit(daemon.client.down, timeout_ms=500)
        daemon.until("cluster.stopping")

        with pytest.raises(Stopping):
            daemon.client.start(["n2"])
        assert going.result()["stopped"] == ["n1", "n3"]
        assert daemon.wait() == 0


def test_down_wipe_deletes_only_what_is_ours(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with Daemon(tmp_path, nodes=1) as daemon:
        daemon.client.down(wipe=True)
        daemon.wait()

    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_terminated_supervisor_stops_its_nodes_in_good_order(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.process.terminate()
        assert daemon.wait() == 0

    events = list(read_events(tmp_path / "events.jsonl"))
    codes = [event["code"] for event in events if event["type"] == "node.exited"]
    assert codes == [0, 0, 0]
    assert events[-1]["type"] == "cluster.stopped"
