"""The supervisor's own files, damaged or gone: it refuses clearly or starts, and the data stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.live_cluster import LiveCluster
from tools.cli.exit import Exit

pytestmark = pytest.mark.e2e

GARBAGE = b"\xff\x00garbage{"


@pytest.fixture(scope="module", autouse=True)
def written(shared: LiveCluster) -> None:
    """Something to lose."""
    shared.assert_serves("n1")


def restart_with(cluster: LiveCluster, name: str, content: bytes | None) -> tuple[int, str]:
    """Take the cluster down, replace a file, bring it up; exit code and complaints."""
    path = cluster.data / name
    cluster.down()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    ran = cluster.home(*cluster.up_command)
    return ran.returncode, ran.stderr


@pytest.mark.parametrize("content", [GARBAGE, b"", b"[1, 2]"], ids=["garbage", "empty", "a list"])
@pytest.mark.parametrize("name", ["cluster.json", "ports.json", "started.json"])
def test_damaged_file_is_named_and_nothing_starts(
    shared: LiveCluster, name: str, content: bytes
) -> None:
    kept = (shared.data / name).read_bytes()
    before = shared.contents("n1")

    code, complaint = restart_with(shared, name, content)

    assert code == Exit.CONFLICT
    assert f"{shared.data / name} is damaged" in complaint
    assert shared.processes() == []
    (shared.data / name).write_bytes(kept)
    shared.up()
    assert shared.contents("n1") == before


@pytest.mark.parametrize("name", ["ports.json", "started.json", "events.jsonl"])
def test_file_that_is_gone_is_written_anew(shared: LiveCluster, name: str) -> None:
    before = shared.contents("n1")

    code, complaint = restart_with(shared, name, None)

    assert code == Exit.DONE, complaint
    assert (shared.data / name).exists()
    assert shared.contents("n1") == before


def test_torn_events_are_passed_over(shared: LiveCluster) -> None:
    before = shared.contents("n1")
    seq = shared.last_event()
    whole = (shared.data / "events.jsonl").read_bytes()

    code, complaint = restart_with(shared, "events.jsonl", whole + b'{"seq": 999999999, "ty')

    assert code == Exit.DONE, complaint
    assert shared.contents("n1") == before
    numbers = [event["seq"] for event in shared.client.events()]
    assert numbers == sorted(numbers)
    assert seq < numbers[0] < 999_999_999


def test_identity_that_is_gone_quarantines_its_nodes(
    fresh: Callable[..., LiveCluster],
) -> None:
    """A new identity is drawn, and the data of the old one is not taken for its own."""
    cluster = fresh(1)
    cluster.assert_serves("n1")
    kept = (cluster.data / "cluster.json").read_bytes()
    before = cluster.contents("n1")

    code, complaint = restart_with(cluster, "cluster.json", None)

    assert code == Exit.FAILED
    assert "the data belongs to member" in complaint
    (cluster.data / "cluster.json").write_bytes(kept)
    cluster.up()
    assert cluster.contents("n1") == before
