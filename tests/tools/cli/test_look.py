"""status, wait and env against a management socket: what is asked, printed, and left as code."""

from __future__ import annotations

import pytest

from cluster.errors import WaitTimeout
from tests.support.command import RunConclave, document_of
from tests.support.management_server import ManagementServer, raising
from tools.cli.exit import Exit


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
