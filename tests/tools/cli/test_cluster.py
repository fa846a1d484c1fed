"""up, down, ls and rm: idempotence, conflicts, and asking before data goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import RunConclave, document_of
from tests.support.management_server import ManagementServer
from tests.support.status_document import node_document, status_document
from tools.cli.exit import Exit


def stopped_cluster(home: Path) -> Path:
    """A cluster that has run and is stopped."""
    directory = home / "data" / "conclave" / "default"
    with ManagementServer(directory, status_document(node_document("n1"))):
        pass
    return directory


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
