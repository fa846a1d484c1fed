"""Verbs over nodes against a management socket: selectors pass through, failures are named."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.document import Affected
from cluster.errors import Degraded, NoSuchNode, PartlyDone, StartFailed, WaitTimeout
from tests.support.command import RunConclave, document_of, error_of
from tests.support.management_server import ManagementServer, raising
from tools.cli.exit import Exit


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


def test_node_verb_is_silent_when_told(run: RunConclave, server: ManagementServer) -> None:
    server.verbs["kill"] = lambda _: affected("leader", "n2")

    assert run("kill", "leader", "-q").output == ""
    assert document_of(run("kill", "leader", "-q", "--json"))["done"] == ["n2"]
