"""logs, events, history and metrics, of a running cluster and from the files of a stopped one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.command import RunConclave, document_of
from tests.support.management_server import ManagementServer
from tests.support.status_document import status_document
from tools.cli.exit import Exit


def events(*kinds: str) -> list[dict[str, Any]]:
    """Numbered events of these types."""
    return [
        {"seq": n, "ts": f"2026-01-01T00:00:0{n}.000Z", "t_ms": 1000.0 * n, "type": kind}
        for n, kind in enumerate(kinds, 1)
    ]


def write_events(server: ManagementServer, *kinds: str) -> None:
    """Put events on disk, where the supervisor keeps them."""
    text = "".join(json.dumps(event) + "\n" for event in events(*kinds))
    (server.directory / "events.jsonl").write_text(text)


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


METRICS = """# HELP conclave_node_up Whether the node runs.
# TYPE conclave_node_up gauge
conclave_node_up{node="n1"} 1.0
conclave_node_up{node="n2"} NaN
"""


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


def test_metrics_text_and_samples(run: RunConclave, server: ManagementServer) -> None:
    server.metrics = METRICS

    assert run("metrics").stdout == METRICS
    samples = document_of(run("metrics", "--json"))["samples"]
    assert samples == [
        {"name": "conclave_node_up", "labels": {"node": "n1"}, "value": 1.0, "type": "gauge"},
        {"name": "conclave_node_up", "labels": {"node": "n2"}, "value": None, "type": "gauge"},
    ]
