"""Each check of the doctor, well and unwell, and that an unwell one names a fix."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.command import RunConclave, document_of, error_of
from tests.support.management_server import ManagementServer
from tests.support.status_document import status_document
from tools.cli import doctor
from tools.cli.doctor import Finding, Level
from tools.cli.exit import Exit


@pytest.mark.parametrize(
    ("finding", "level"),
    [
        (doctor.check_python((3, 11, 0)), "ok"),
        (doctor.check_python((3, 10, 9)), "fail"),
        (doctor.check_packages(["click>=8.1", 'pytest; extra == "test"']), "ok"),
        (doctor.check_packages(["click>=8.1", "no-such-distribution>=1"]), "fail"),
        (doctor.check_kernel([("pidfd_open", True)]), "ok"),
        (doctor.check_kernel([("pidfd_open", False)]), "fail"),
        (doctor.check_open_files(65_536, 65_536), "ok"),
        (doctor.check_open_files(-1, -1), "ok"),
        (doctor.check_open_files(1_024, 65_536), "warn"),
        (doctor.check_open_files(1_024, 1_024), "warn"),
        (doctor.check_memory(4 << 30), "ok"),
        (doctor.check_memory(100 << 20), "warn"),
        (doctor.check_shared_memory(Path("/nowhere")), "fail"),
        (doctor.check_stale([]), "ok"),
        (doctor.check_stale(["old"]), "warn"),
        (doctor.check_etcdctl("/usr/bin/etcdctl"), "ok"),
        (doctor.check_etcdctl(None), "warn"),
        (doctor.judge_sync([0.1, 0.2, 0.3]), "ok"),
        (doctor.judge_sync([15.0, 20.0, 30.0]), "warn"),
    ],
)
def test_check_level_and_fix(finding: Finding, level: Level) -> None:
    assert finding.level == level
    assert bool(finding.fix) == (level != "ok")


def test_check_open_files_names_the_hard_limit_when_it_is_in_the_way() -> None:
    assert "hard limit of 1024" in doctor.check_open_files(1_024, 1_024).fix
    assert doctor.check_open_files(1_024, 9_999).fix == "ulimit -n 4096"


def test_check_runtime_directory_by_length_of_socket_paths(tmp_path: Path) -> None:
    short = doctor.check_runtime_directory(Path("/tmp/conclave-0/default"))
    long = doctor.check_runtime_directory(tmp_path / ("d" * 80))

    assert short.level == "ok"
    assert long.level == "fail"
    assert "the kernel takes 107" in long.detail


def test_check_ports_names_the_holder() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]

        finding = doctor.check_ports([port], doctor.port_holder)

    assert finding.level == "warn"
    assert f"held: {port} by pid " in finding.detail


def test_check_ports_of_our_own_clusters_are_no_matter() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]

        finding = doctor.check_ports([port], lambda _: "pid 7 (conclave-n1)")

    assert (finding.level, finding.detail) == ("ok", f"ours: {port} by pid 7 (conclave-n1)")


def test_check_ports_free() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    assert doctor.check_ports([port], doctor.port_holder).level == "ok"


def test_check_disk_measures_and_leaves_nothing_behind(tmp_path: Path) -> None:
    room, sync = doctor.check_disk(tmp_path / "not" / "yet")

    assert (room.check, sync.check) == ("disk", "disk sync")
    assert "p50" in sync.detail
    assert list(tmp_path.iterdir()) == []


def test_doctor_reports_every_check_with_json(run: RunConclave) -> None:
    result = run("doctor", "--json")

    document = document_of(result)
    assert document["schema"] == "conclave/doctor.v1"
    assert {finding["check"] for finding in document["findings"]} == {
        "python",
        "packages",
        "kernel",
        "open files",
        "memory",
        "shared memory",
        "runtime directory",
        "disk",
        "disk sync",
        "ports",
        "stale clusters",
        "etcdctl",
    }


def test_doctor_fails_when_something_is_unfit(
    run: RunConclave, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PYTHON_MIN", (9, 9))

    result = run("doctor", "--json")

    assert result.exit_code == Exit.FAILED
    assert document_of(result)["fit"] is False
    assert error_of(result)["message"] == "not fit: python"


def test_doctor_names_a_stale_cluster_with_its_fix(run: RunConclave, home: Path) -> None:
    with ManagementServer(home / "kept", status_document(), name="left"):
        pass

    result = run("doctor")

    assert "their supervisor is gone: left" in result.stdout
    assert "conclave rm -c left" in result.stdout
