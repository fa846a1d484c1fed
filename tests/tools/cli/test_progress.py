"""The lines of `conclave up`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.document import Progress
from tests.support.status_document import status_document
from tools.cli.progress import Launch, ready_lines, runnable, tilde, up_document

START: list[Progress] = [
    {"phase": "zygote", "ms": 92.0},
    {"phase": "node", "ms": 18.0, "node": "n2"},
    {"phase": "node", "ms": 17.0, "node": "n1"},
    {"phase": "node", "ms": 41.0, "node": "n3"},
    {"phase": "nodes", "ms": 41.0},
    {"phase": "leader", "ms": 64.0, "node": "n1", "term": 1},
    {"phase": "write", "ms": 3.0},
    {"phase": "ready", "ms": 204.0, "status": status_document()},
]


def test_launch_shows_a_line_per_phase() -> None:
    launch = Launch()

    lines = [line for progress in START if (line := launch.take(progress))]

    assert lines == [
        " ✓ forkserver warm                92 ms",
        " ✓ 3 nodes serving                41 ms   n1 17  n2 18  n3 41",
        " ✓ leader n1 elected, term 1      64 ms",
        " ✓ first write committed           3 ms",
    ]


def test_launch_of_one_node_is_singular() -> None:
    launch = Launch()
    launch.take({"phase": "node", "ms": 17.0, "node": "n1"})

    assert "1 node serving" in launch.take({"phase": "nodes", "ms": 17.0})


def test_launch_shows_a_node_that_failed() -> None:
    failed: Progress = {"phase": "node-failed", "ms": 38.0, "node": "n2", "reason": "crash, exit 1"}
    launch = Launch()

    assert launch.take(failed) == " ✗ n2 failed: crash, exit 1"
    assert launch.phases == {}


def test_launch_shows_a_phase_that_it_does_not_know() -> None:
    assert "defragmented" in Launch().take({"phase": "defragmented", "ms": 1.0})


def test_ready_lines_say_what_to_do_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/tmp/data")
    monkeypatch.setenv("PATH", str(tmp_path))
    for program in ("conclave", "etcdctl"):
        (tmp_path / program).touch(mode=0o755)
    launch = Launch()
    for progress in START:
        launch.take(progress)

    lines = ready_lines(launch, status_document())

    assert lines[0] == "Ready in 0.20 s, 3 nodes, data ~/default"
    assert lines[1] == (
        "  export ETCDCTL_ENDPOINTS=127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379"
        '     # or: eval "$(conclave env)"'
    )
    assert lines[2] == "  etcdctl put greeting hello"
    assert lines[-1].startswith("  next: conclave status · conclave kill leader")


def test_runnable_off_path_is_the_path_beside_the_interpreter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    beside = tmp_path / "bin" / "etcdctl"
    beside.parent.mkdir()
    beside.touch(mode=0o755)
    monkeypatch.setattr("sys.executable", str(beside.with_name("python")))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.chdir(tmp_path)

    assert runnable("etcdctl") == "bin/etcdctl"
    assert runnable("no-such-program") == "no-such-program"
    monkeypatch.setenv("PATH", str(beside.parent))
    assert runnable("etcdctl") == "etcdctl"


def test_up_document_sums_up_the_launch() -> None:
    launch = Launch()
    for progress in START:
        launch.take(progress)

    document = up_document(launch, status_document())

    assert document["phases_ms"] == {"zygote": 92.0, "nodes": 41.0, "leader": 64.0, "write": 3.0}
    assert document["nodes_ms"] == {"n1": 17.0, "n2": 18.0, "n3": 41.0}
    assert document["ready_ms"] == 204.0
    assert document["already_up"] is False


@pytest.mark.parametrize(
    ("path", "shown"), [("/root/x", "~/x"), ("/root", "~"), ("/rooted/x", "/rooted/x")]
)
def test_tilde_only_below_home(monkeypatch: pytest.MonkeyPatch, path: str, shown: str) -> None:
    monkeypatch.setenv("HOME", "/root")

    assert tilde(path) == shown
