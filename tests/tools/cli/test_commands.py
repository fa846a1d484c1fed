"""Verbs against a management socket: what is asked, what is printed, which code is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.document import Affected
from cluster.errors import Degraded, NoSuchNode, PartlyDone, StartFailed, WaitTimeout
from tests.support.command import RunConclave, document_of, error_of
from tests.support.management_server import ManagementServer
from tests.support.status_document import node_document, status_document
from tools.cli.exit import Exit


@pytest.fixture
def server(home: Path) -> Iterator[ManagementServer]:
    """A running cluster named default, with a log per node and three events."""
    directory = home / "kept"
    with ManagementServer(directory, status_document()) as running:
        for name in ("n1", "n2", "n3"):
            (directory / name).mkdir()
        yield running


def affected(selector: str, *done: str, **facts: Any) -> Affected:
    """What a verb over nodes answers."""
    answer: Affected = {
        "selector": selector,
        "resolved": list(done),
        "done": list(done),
        "unchanged": [],
        "failed": {},
        "ms": 3.4,
    }
    return {**answer, **facts}  # type: ignore[typeddict-item]


def events(*kinds: str) -> list[dict[str, Any]]:
    """Numbered events of these types."""
    return [
        {"seq": n, "ts": f"2026-01-01T00:00:0{n}.000Z", "t_ms": 1000.0 * n, "type": kind}
        for n, kind in enumerate(kinds, 1)
    ]


def raising(error: Exception) -> Any:
    """A verb of the server that answers with an error."""

    def verb(_: dict[str, Any]) -> Any:
        raise error

    return verb


def write_events(server: ManagementServer, *kinds: str) -> None:
    """Put events on disk, where the supervisor keeps them."""
    text = "".join(json.dumps(event) + "\n" for event in events(*kinds))
    (server.directory / "events.jsonl").write_text(text)


def test_status_of_a_ready_cluster(run: RunConclave, server: ManagementServer) -> None:
    result = run("status")

    assert result.exit_code == Exit.DONE
    assert result.stdout.startswith("default  READY  leader n2")
    assert result.stderr == ""


def test_status_json_is_the_document(run: RunConclave, server: ManagementServer) -> None:
    assert document_of(run("status", "--json")) == server.status


@pytest.mark.parametrize("state", ["DEGRADED", "STARTING", "DOWN"])
def test_status_of_an_unready_cluster_exits_6(
    run: RunConclave, server: ManagementServer, state: str
) -> None:
    server.status["state"] = state

    for arguments in (["status"], ["status", "--json"]):
        result = run(*arguments)

        assert result.exit_code == Exit.DEGRADED
        assert state in result.stdout


def test_status_alias(run: RunConclave, server: ManagementServer) -> None:
    assert run("st").stdout == run("status").stdout


def test_status_colours_on_request(run: RunConclave, server: ManagementServer) -> None:
    assert "\x1b[32;1mREADY\x1b[0m" in run("status", "--color", "always").stdout
    assert "\x1b" not in run("status").stdout


@pytest.mark.parametrize("arguments", [["status"], ["kill", "n1"], ["metrics"], ["env"]])
def test_verb_without_a_cluster_exits_3(run: RunConclave, arguments: list[str]) -> None:
    result = run(*arguments)

    assert result.exit_code == Exit.NOT_RUNNING
    assert "cluster 'default' is not running" in result.stderr
    assert "try: conclave up" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "method", "params"),
    [
        (["kill", "leader"], "kill", {"nodes": ["leader"], "signal": "SIGKILL"}),
        (["kill", "n1", "n2", "--signal", "term"], "kill", {"nodes": ["n1", "n2"]}),
        (["kill", "n1", "--restart-after", "2s"], "kill", {"restart_after_ms": 2000}),
        (["pause", "!leader", "--for", "3s"], "pause", {"nodes": ["!leader"], "for_ms": 3000}),
        (["pause", "2", "of", "followers"], "pause", {"nodes": ["2 of followers"]}),
        (["resume", "n[1-3]"], "resume", {"nodes": ["n[1-3]"]}),
        (["start", "down"], "start", {"nodes": ["down"], "wait": True}),
        (["start", "n1", "--no-wait"], "start", {"wait": False}),
        (["stop", "n1", "--timeout", "500ms"], "stop", {"timeout_ms": 500}),
        (["restart", "all", "--rolling"], "restart", {"nodes": ["all"], "rolling": True}),
    ],
)
def test_node_verb_passes_selectors_through(
    run: RunConclave,
    server: ManagementServer,
    arguments: list[str],
    method: str,
    params: dict[str, Any],
) -> None:
    server.verbs[method] = lambda given: affected(" ".join(given["nodes"]), "n2")

    result = run(*arguments)

    assert result.exit_code == Exit.DONE, result.stderr
    called, given = server.calls[-1]
    assert called == method
    assert given == given | params


def test_node_verb_prints_the_resolution(run: RunConclave, server: ManagementServer) -> None:
    server.verbs["kill"] = lambda _: affected("leader", "n2", term=7)

    assert run("kill", "leader").stdout == "kill leader → n2 (3 ms)\n"
    assert document_of(run("kill", "leader", "--json")) == {
        "schema": "conclave/kill.v1",
        **affected("leader", "n2"),
        "term": 7,
    }


def test_node_verb_with_nothing_to_do_succeeds(run: RunConclave, server: ManagementServer) -> None:
    server.verbs["start"] = lambda _: affected("all", resolved=["n1", "n2"], unchanged=["n1", "n2"])

    result = run("start", "all")

    assert result.exit_code == Exit.DONE
    assert result.stdout == "start all → n1 n2 (3 ms)\n  nothing to do for n1 n2\n"


@pytest.mark.parametrize("raised", [True, False])
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (affected("all", "n1", resolved=["n1", "n2"], failed={"n2": "held"}), Exit.PARTLY_DONE),
        (affected("n2", resolved=["n2"], failed={"n2": "held"}, done=[]), Exit.FAILED),
    ],
)
def test_node_verb_that_fails_names_the_nodes(
    run: RunConclave, server: ManagementServer, answer: Affected, code: Exit, raised: bool
) -> None:
    refusal = PartlyDone("n2: held", data=dict(answer))
    server.verbs["start"] = raising(refusal) if raised else lambda _: answer

    result = run("start", "all", "--json")

    assert result.exit_code == code
    assert document_of(result)["failed"] == {"n2": "held"}
    assert error_of(result)["data"]["failed"] == {"n2": "held"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoSuchNode("no node 'n9'", hint="conclave status"), Exit.NOT_RUNNING),
        (Degraded("no quorum"), Exit.DEGRADED),
        (WaitTimeout("not in time"), Exit.TIMED_OUT),
        (StartFailed("n2 exited 1", data={"log": ["first", "last"]}), Exit.FAILED),
    ],
)
def test_error_of_the_supervisor_becomes_code_and_text(
    run: RunConclave, server: ManagementServer, error: Exception, code: Exit
) -> None:
    server.verbs["kill"] = raising(error)

    result = run("kill", "n9")

    assert result.exit_code == code
    assert result.stderr.startswith(f"error: {error}")


def test_error_with_a_log_shows_its_last_lines(run: RunConclave, server: ManagementServer) -> None:
    server.verbs["start"] = raising(StartFailed("n2 exited 1", data={"log": ["first", "last"]}))

    result = run("start", "n2")

    assert "  cause: last log lines:\n  cause: first\n  cause: last\n" in result.stderr


def test_transfer_prints_the_new_leader(run: RunConclave, server: ManagementServer) -> None:
    server.verbs["transfer"] = lambda given: {
        "from": "n2",
        "to": given["to"],
        "term": 8,
        "ms": 12.0,
    }

    result = run("transfer", "n3")

    assert result.stdout == "transfer → n3 (term 8, 12 ms)\n"


def test_wait_joins_the_words_of_its_condition(run: RunConclave, server: ManagementServer) -> None:
    server.verbs["wait"] = lambda given: {"condition": given["condition"], "waited_ms": 5.0}

    result = run("wait", "node", "n2=paused", "--timeout", "2s", "--for", "100ms")

    assert result.stdout == "node n2=paused (5 ms)\n"
    method, given = server.calls[-1]
    assert method == "wait"
    assert given == {"condition": "node n2=paused", "timeout_ms": 2000, "for_ms": 100}


def test_wait_that_times_out_exits_4(run: RunConclave, server: ManagementServer) -> None:
    server.verbs["wait"] = raising(WaitTimeout("no leader within 1s"))

    assert run("wait", "leader").exit_code == Exit.TIMED_OUT


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("sh", "export ETCDCTL_ENDPOINTS=127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379"),
        ("fish", "set -gx ETCDCTL_ENDPOINTS 127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379;"),
        ("csh", "setenv ETCDCTL_ENDPOINTS 127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379;"),
    ],
)
def test_env_in_the_syntax_of_the_shell(
    run: RunConclave, server: ManagementServer, shell: str, line: str
) -> None:
    lines = run("env", "--shell", shell).stdout.splitlines()

    assert line in lines
    assert any(str(server.runtime / "ctl.sock") in text for text in lines)


def test_env_unset_needs_no_cluster(run: RunConclave) -> None:
    result = run("env", "--unset")

    assert result.exit_code == Exit.DONE
    assert "unset ETCDCTL_ENDPOINTS" in result.stdout.splitlines()


def test_ls_shows_running_and_stopped(run: RunConclave, server: ManagementServer) -> None:
    result = run("ls", "--json")

    (row,) = document_of(result)["clusters"]
    assert (row["name"], row["state"], row["health"], row["nodes"], row["leader"]) == (
        "default",
        "running",
        "READY",
        3,
        "n2",
    )
    assert row["directory"] == str(server.directory)
    assert run("ls").stdout.splitlines()[1].startswith("default  running  READY   3      n2 ")


def test_ls_names_a_stale_cluster(run: RunConclave, home: Path) -> None:
    with ManagementServer(home / "kept", status_document()):
        pass

    (row,) = document_of(run("ls", "--json"))["clusters"]

    assert (row["state"], row["leader"], row["supervisor_pid"]) == ("stale", None, None)


def test_ls_without_clusters(run: RunConclave) -> None:
    assert run("ls").stdout == "no clusters; try: conclave up\n"


def test_events_of_a_running_and_a_stopped_cluster(
    run: RunConclave, server: ManagementServer
) -> None:
    write_events(server, "cluster.starting", "leader.elected", "node.exited")

    shown = [json.loads(line)["type"] for line in run("events", "--json").stdout.splitlines()]
    last = run("events", "-n", "1").stdout
    chosen = run("events", "--type", "node.*", "--type", "leader.elected").stdout.splitlines()
    later = run("events", "--after", "2").stdout.splitlines()

    assert shown == ["cluster.starting", "leader.elected", "node.exited"]
    assert "+3.000 s  node.exited" in last
    assert len(chosen) == 2
    assert len(later) == 1


def test_events_followed_go_on_after_the_last_one_seen(
    run: RunConclave, server: ManagementServer
) -> None:
    write_events(server, "cluster.starting", "leader.elected")
    server.stream = [
        {"type": "snapshot", "seq": 2, "status": server.status},
        *events("x", "x", "leader.lost")[2:],
    ]

    lines = run("events", "-f").stdout.splitlines()

    assert [line.split()[3] for line in lines] == [
        "cluster.starting",
        "leader.elected",
        "leader.lost",
    ]
    assert server.calls[-1][0] == "/v1/events?since=2&follow=1"


def test_events_of_an_absent_cluster_exits_3(run: RunConclave) -> None:
    result = run("events")

    assert result.exit_code == Exit.NOT_RUNNING
    assert "there is no cluster 'default'" in result.stderr


def test_history_table(run: RunConclave, server: ManagementServer) -> None:
    reign = {
        "leader": "n1",
        "term": 2,
        "since": "2026-01-01T00:00:00Z",
        "until": None,
        "duration_ms": None,
        "gap_ms": 142.6,
        "reason": "n2 killed",
    }
    document = {"schema": "conclave/history.v1", "cluster": "default", "reigns": [reign]}
    server.verbs["history"] = lambda _: document

    row = run("history").stdout.splitlines()[1]

    assert row.startswith("n1      2 ")
    assert "still leads  143 ms" in row
    assert row.endswith("n2 killed")
    assert document_of(run("history", "--json")) == document


def test_history_without_leaders(run: RunConclave, server: ManagementServer) -> None:
    server.verbs["history"] = lambda _: {"schema": "", "cluster": "default", "reigns": []}

    assert run("history").stdout == "nobody has led yet\n"


def test_logs_are_merged_by_time(run: RunConclave, server: ManagementServer) -> None:
    write_logs(server)

    lines = run("logs").stdout.splitlines()

    assert lines == [
        "n1 │ 2026-01-01T00:00:01Z one",
        "n2 │ 2026-01-01T00:00:02Z two",
        "n2 │   a traceback stays with its line",
        "n1 │ 2026-01-01T00:00:03Z three",
    ]


def write_logs(server: ManagementServer) -> None:
    """Two logs whose lines interleave in time, and the verb that names them."""
    (server.directory / "n1" / "log").write_text(
        "2026-01-01T00:00:01Z one\n2026-01-01T00:00:03Z three\n"
    )
    (server.directory / "n2" / "log").write_text(
        "2026-01-01T00:00:02Z two\n  a traceback stays with its line\n"
    )
    paths = {name: str(server.directory / name / "log") for name in ("n1", "n2")}
    server.verbs["logs"] = lambda _: {"paths": paths}


def test_logs_filters(run: RunConclave, server: ManagementServer) -> None:
    write_logs(server)

    assert run("logs", "-n", "1").stdout == "n1 │ 2026-01-01T00:00:03Z three\n"
    assert run("logs", "--grep", "t[hwr]").stdout.count("\n") == 3
    assert run("logs", "--since", "1h").stdout == ""
    assert json.loads(run("logs", "-n", "1", "--json").stdout) == {
        "schema": "conclave/log.v1",
        "node": "n1",
        "text": "2026-01-01T00:00:03Z three",
    }


def test_logs_of_a_stopped_cluster(run: RunConclave, home: Path) -> None:
    with ManagementServer(home / "data" / "conclave" / "default", status_document()) as server:
        for name in ("n1", "n2"):
            (server.directory / name).mkdir()
        write_logs(server)

    assert run("logs", "n1").stdout.splitlines()[0] == "2026-01-01T00:00:01Z one"
    assert len(run("logs").stdout.splitlines()) == 4
    refused = run("logs", "leader")
    assert refused.exit_code == Exit.NOT_RUNNING
    assert "roles mean nothing while it is stopped" in refused.stderr


def test_logs_of_the_supervisor(run: RunConclave, server: ManagementServer) -> None:
    (server.directory / "supervisor.log").write_text("warm\n")

    assert run("logs", "supervisor").stdout == "warm\n"


METRICS = """# HELP conclave_node_up Whether the node runs.
# TYPE conclave_node_up gauge
conclave_node_up{node="n1"} 1.0
conclave_node_up{node="n2"} NaN
"""


def test_metrics_text_and_samples(run: RunConclave, server: ManagementServer) -> None:
    server.metrics = METRICS

    assert run("metrics").stdout == METRICS
    samples = document_of(run("metrics", "--json"))["samples"]
    assert samples == [
        {"name": "conclave_node_up", "labels": {"node": "n1"}, "value": 1.0, "type": "gauge"},
        {"name": "conclave_node_up", "labels": {"node": "n2"}, "value": None, "type": "gauge"},
    ]


def test_up_on_a_running_cluster_succeeds(run: RunConclave, server: ManagementServer) -> None:
    result = run("up")

    assert result.exit_code == Exit.DONE, result.stderr
    assert result.stdout.startswith("Already up, 3 nodes")
    document = document_of(run("up", "--json"))
    assert document["already_up"] is True
    assert document["endpoints"] == server.status["endpoints"]


def test_up_with_another_size_is_a_conflict(run: RunConclave, server: ManagementServer) -> None:
    result = run("up", "5")

    assert result.exit_code == Exit.CONFLICT
    assert "runs with 3 nodes, not 5" in result.stderr


def test_down_of_an_absent_cluster_succeeds(run: RunConclave) -> None:
    result = run("down", "--json")

    assert result.exit_code == Exit.DONE
    assert document_of(result) == {
        "schema": "conclave/down.v1",
        "stopped": [],
        "already_down": ["default"],
        "wiped": False,
    }


def test_rm_of_an_absent_cluster_succeeds(run: RunConclave) -> None:
    result = run("rm")

    assert result.exit_code == Exit.DONE
    assert result.stdout == "there is no cluster default\n"


def test_rm_of_a_running_cluster_is_a_conflict(run: RunConclave, server: ManagementServer) -> None:
    result = run("rm", "--yes")

    assert result.exit_code == Exit.CONFLICT
    assert "--force" in result.stderr


def stopped_cluster(home: Path) -> Path:
    """A cluster that has run and is stopped."""
    directory = home / "data" / "conclave" / "default"
    with ManagementServer(directory, status_document(node_document("n1"))):
        pass
    return directory


@pytest.mark.parametrize("arguments", [["rm"], ["down", "--wipe"]])
def test_deleting_needs_yes_without_a_terminal(
    run: RunConclave, home: Path, arguments: list[str]
) -> None:
    directory = stopped_cluster(home)

    refused = run(*arguments)

    assert refused.exit_code == Exit.USAGE
    assert "--yes" in refused.stderr
    assert directory.exists()
    assert run(*arguments, "--yes").exit_code == Exit.DONE
    assert not directory.exists()
