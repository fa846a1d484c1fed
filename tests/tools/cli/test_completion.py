"""What the shell is offered, and the scripts that ask for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import RunConclave, document_of
from tests.support.management_server import ManagementServer
from tests.support.status_document import status_document
from tools.cli.exit import Exit


def offered(*words: str, environment: dict[str, str] | None = None) -> list[str]:
    """What bash would be offered after `conclave WORDS`, the last word being unfinished."""
    line = ["conclave", *words]
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli"],
        env=os.environ
        | {
            "_CONCLAVE_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(line),
            "COMP_CWORD": str(len(line) - 1),
        }
        | (environment or {}),
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    return [text.partition(",")[2] for text in done.stdout.splitlines() if text]


def test_complete_verbs(home: Path) -> None:
    assert offered("st") == ["status", "start", "stop"]


def test_complete_clusters_and_nodes_without_a_daemon(home: Path) -> None:
    directory = home / "data" / "conclave" / "demo"
    with ManagementServer(directory, status_document(), name="demo"):
        for name in ("n1", "n2"):
            (directory / name).mkdir()
            (directory / name / "log").touch()

    assert offered("status", "-c", "d") == ["demo"]
    assert offered("kill", "n") == ["n1", "n2"]
    assert offered("-c", "demo", "kill", "n") == ["n1", "n2"]
    assert offered("kill", "-c", "other", "n") == []
    assert offered("kill", "n", environment={"CONCLAVE_CLUSTER": "other"}) == []


def test_complete_selectors_plain_and_negated(home: Path) -> None:
    assert offered("kill", "lea") == ["leader", "learners"]
    assert offered("pause", "!lea") == ["!leader", "!learners"]


def test_complete_conditions_and_event_types(home: Path) -> None:
    assert offered("wait", "con") == ["converged"]
    assert offered("events", "--type", "leader.") == ["leader.elected", "leader.lost"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script(run: RunConclave, shell: str) -> None:
    result = run("completion", shell)

    assert result.exit_code == Exit.DONE
    assert "_CONCLAVE_COMPLETE" in result.stdout


def test_completion_takes_the_shell_of_the_user(
    run: RunConclave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert document_of(run("completion", "--json"))["shell"] == "fish"

    monkeypatch.setenv("SHELL", "/bin/tcsh")
    refused = run("completion")
    assert refused.exit_code == Exit.USAGE
    assert "SHELL is tcsh" in refused.stderr


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", "data/bash-completion/completions/conclave"),
        ("zsh", "data/zsh/site-functions/_conclave"),
        ("fish", "config/fish/completions/conclave.fish"),
    ],
)
def test_completion_installs_where_the_shell_looks(
    run: RunConclave, home: Path, shell: str, place: str
) -> None:
    result = run("completion", shell, "--install", "--json")

    path = home / place
    assert document_of(result)["path"] == str(path)
    assert "_CONCLAVE_COMPLETE" in path.read_text()


def test_version_names_the_etcd_api(run: RunConclave) -> None:
    document = document_of(run("version", "--json"))

    assert document["schema"] == "conclave/version.v1"
    assert document["etcd_api"] == "3.6.11"
    assert run("--version").stdout == run("version").stdout
