"""What every verb shares: usage errors, the JSON of errors, precedence of settings, the help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import RunConclave, document_of, error_of
from tests.support.management_server import ManagementServer
from tests.support.status_document import status_document
from tools.cli.__main__ import SECTIONS, conclave
from tools.cli.exit import Exit

VERBS = [verb for verbs in SECTIONS.values() for verb in verbs]


@pytest.mark.parametrize("verb", VERBS)
def test_verb_has_help(run: RunConclave, verb: str) -> None:
    result = run(verb, "--help")

    assert result.exit_code == Exit.DONE, result.stderr
    assert result.stdout.startswith(f"Usage: conclave {verb}")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "kv"])
def test_verb_takes_the_common_options(verb: str) -> None:
    command = conclave.get_command(conclave.make_context("conclave", []), verb)

    assert command is not None
    assert {"--cluster", "--json", "--color", "--verbose", "--quiet"} <= {
        option for parameter in command.params for option in parameter.opts
    }


def test_conclave_without_a_verb_lists_every_verb(run: RunConclave) -> None:
    result = run()

    assert result.exit_code == Exit.DONE
    assert {line.split()[0] for line in result.stdout.splitlines() if line.strip()} >= set(VERBS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stauts"], "did you mean status"),
        (["up", "--nodse", "3"], "--nodse"),
        (["up", "--timeout", "30"], "'30' has no unit: write 30s for seconds or 30ms"),
        (["up", "3", "-n", "5"], "3 nodes and -n 5 contradict each other"),
        (["up", "--ports", "80"], "'80' is neither auto nor a port"),
        (["up", "0"], "0 is not in the range"),
        (["kill"], "missing argument 'NODE...'"),
        (["pause", "n1", "--for", "soon"], "'soon' is not a duration"),
        (["wait", "ready", "--for", "2"], "write 2s for seconds or 2ms"),
        (["status", "-c", "../x"], "'../x' is no cluster name"),
        (["kill", "n1", "--signal", "SIGNOPE"], "there is no signal 'SIGNOPE'"),
        (["logs", "--grep", "("], "--grep"),
        (["env", "--shell", "tcl"], "'tcl' is not one of"),
    ],
)
def test_usage_error_exits_2_with_the_fix(
    run: RunConclave, arguments: list[str], said: str
) -> None:
    result = run(*arguments)

    assert result.exit_code == Exit.USAGE
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert "  try: " in result.stderr


def test_usage_error_is_one_json_object_with_json(run: RunConclave) -> None:
    result = run("up", "--timeout", "30", "--json")

    assert result.exit_code == Exit.USAGE
    assert result.stdout == ""
    assert error_of(result) == {
        "schema": "conclave/error.v1",
        "exit": 2,
        "code": "usage",
        "message": (
            "invalid value for '--timeout': '30' has no unit: write 30s for seconds or 30ms"
        ),
        "cause": "the form is conclave up [OPTIONS] [N]",
        "hint": "conclave up --help",
        "data": {},
    }


@pytest.mark.parametrize("arguments", [["--json", "status"], ["status", "--json"]])
def test_common_option_may_stand_on_either_side(run: RunConclave, arguments: list[str]) -> None:
    result = run(*arguments)

    assert result.exit_code == Exit.NOT_RUNNING
    assert error_of(result)["code"] == "not_running"


def test_json_from_the_environment(run: RunConclave, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCLAVE_JSON", "1")

    result = run("status")

    assert error_of(result)["exit"] == Exit.NOT_RUNNING


def write_settings(path: Path, text: str) -> None:
    """Put a settings file in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def cluster_meant(run: RunConclave, *arguments: str) -> str:
    """The name of the cluster that a verb looked for, from its error."""
    result = run("status", *arguments)
    assert result.exit_code == Exit.NOT_RUNNING, result.stderr
    return result.stderr.split("'")[1]


def test_settings_by_precedence(
    run: RunConclave, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster_meant(run) == "default"
    write_settings(home / "config" / "conclave" / "config.toml", 'cluster = "from-home"')
    assert cluster_meant(run) == "from-home"
    write_settings(home / "conclave.toml", 'cluster = "from-here"')
    assert cluster_meant(run) == "from-here"
    monkeypatch.setenv("CONCLAVE_CLUSTER", "from-environment")
    assert cluster_meant(run) == "from-environment"
    assert cluster_meant(run, "-c", "from-flag") == "from-flag"


def test_settings_of_a_verb_are_read_as_typed(run: RunConclave, home: Path) -> None:
    write_settings(home / "conclave.toml", "[wait]\ntimeout = 30\n")

    result = run("wait", "ready")

    assert result.exit_code == Exit.USAGE
    assert "'30' has no unit" in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('clutser = "x"', "does not know 'clutser'"),
        ('[status]\nwathc = "1s"', "does not know 'wathc'"),
        ("[kv]\ngte = {}", "does not know 'gte'"),
        ("[kv.get]\nlimt = 5", "does not know 'limt'"),
        ("cluster = ", "is not valid TOML"),
    ],
)
def test_settings_misspelt_are_refused(run: RunConclave, home: Path, text: str, said: str) -> None:
    write_settings(home / "conclave.toml", text)

    result = run(*(["kv", "get", "a"] if "kv" in text else ["status"]))

    assert result.exit_code == Exit.USAGE
    assert said in result.stderr


def test_settings_of_a_verb_hold_for_its_alias(run: RunConclave, home: Path) -> None:
    write_settings(home / "conclave.toml", '[status]\nwatch = "soon"\n')

    assert "'soon' is not a duration" in run("st").stderr


def test_option_from_the_environment_is_read_as_typed(
    run: RunConclave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCLAVE_WAIT_TIMEOUT", "30")

    assert "'30' has no unit" in run("wait", "ready").stderr


def test_several_running_clusters_must_be_told_apart(run: RunConclave, home: Path) -> None:
    with (
        ManagementServer(home / "a", status_document(), name="a"),
        ManagementServer(home / "b", status_document(), name="b"),
    ):
        result = run("status", "--json")

    assert result.exit_code == Exit.USAGE
    assert error_of(result)["data"] == {"candidates": ["a", "b"]}


def test_the_only_running_cluster_is_meant(run: RunConclave, home: Path) -> None:
    with ManagementServer(home / "a", status_document(cluster="a"), name="a"):
        result = run("status", "--json")

    assert document_of(result)["cluster"] == "a"


def test_default_is_meant_among_several(run: RunConclave, home: Path) -> None:
    with (
        ManagementServer(home / "a", status_document(cluster="a"), name="a"),
        ManagementServer(home / "default", status_document(), name="default"),
    ):
        result = run("status", "--json")

    assert document_of(result)["cluster"] == "default"


def test_fast_path_loads_nothing_heavy(home: Path) -> None:
    """`conclave status` has a tenth of a second; each of these would take a good part of it."""
    heavy = ("rich", "asyncio", "grpc", "google.protobuf", "msgspec", "psutil", "yaml", "zmq")
    code = (
        "import sys\n"
        "from tools.cli.__main__ import conclave\n"
        "try: conclave.main(['status'])\n"
        "except SystemExit as left: print(left.code)\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
    )
    with ManagementServer(home / "default", status_document()):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ
        )

    assert done.stdout.splitlines()[-2:] == ["0", "[]"], done.stderr


def test_closed_pipe_ends_quietly(home: Path) -> None:
    events = [{"seq": n, "ts": "2026-01-01T00:00:00Z", "type": "x"} for n in range(5_000)]
    with ManagementServer(home / "default", status_document(), stream=events):
        command = f"{sys.executable} -m tools.cli events -f | head -n 1"
        done = subprocess.run(
            ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": os.getcwd()},
            cwd=Path(__file__).parents[3],
        )

    assert done.stdout.splitlines()[-1] == str(int(Exit.PIPE_CLOSED)), done.stderr
    assert done.stderr == ""
