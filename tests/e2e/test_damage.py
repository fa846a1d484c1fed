"""Damaged, exchanged and missing files: the node refuses and says why, and the others serve."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from node.client import EtcdClient
from node.proto import rpc
from tests.support.api_client import Failed
from tests.support.burst import put_all
from tests.support.live_cluster import LiveCluster
from tests.support.writers import Writers
from tools.cli.exit import Exit

pytestmark = pytest.mark.e2e

NODE = "n2"
QUARANTINE = 71
FILLED = 60
IN_LOG, IN_STATE = b"filled/0030\x12", b"filled/0030\x10"
"""Log and state hold the same bytes, as PutRequest and KeyValue: the next field tells which."""
Damage = Callable[[Path], None]


@pytest.fixture(scope="module", autouse=True)
def filled(shared: LiveCluster) -> None:
    """What is to be damaged."""
    fill(shared)


def fill(cluster: LiveCluster) -> None:
    """Values in the store, and a start after them: LevelDB then moves its log into tables.

    What applying them did goes to disk with the next write, which is another one.
    """
    value = bytes(range(256)) * 256
    put_all(cluster.port("n1"), ((b"filled/%04d" % n, value) for n in range(FILLED)))
    cluster.client.wait("converged")
    cluster.assert_serves(NODE)
    cluster.client.restart([NODE])


@pytest.fixture
def stopped(shared: LiveCluster) -> Iterator[Path]:
    """The directory of a stopped node; it gets back what it had."""
    shared.assert_serves(NODE)
    shared.client.stop([NODE])
    home = shared.data / NODE
    kept = shared.data / "kept"
    shutil.copytree(home, kept)
    yield home
    shared.client.stop([NODE])
    shutil.rmtree(home)
    kept.rename(home)
    shared.heal()
    shared.assert_equal_contents()


def replace_kept(cluster: LiveCluster, home: Path) -> None:
    """The node has run since: what it gets back in the end is what it has now."""
    shutil.rmtree(cluster.data / "kept")
    shutil.copytree(home, cluster.data / "kept")


def files(home: Path, pattern: str) -> list[Path]:
    """Files of the database, largest first."""
    found = sorted(home.glob(f"db/{pattern}"), key=lambda path: path.stat().st_size, reverse=True)
    assert found, f"no {pattern} in {list(home.glob('db/*'))}"
    return found


def cut(pattern: str, part: float) -> Damage:
    """Keep the first part of the largest such file."""

    def damage(home: Path) -> None:
        path = files(home, pattern)[0]
        with open(path, "r+b") as file:
            file.truncate(int(path.stat().st_size * part))

    return damage


def flip(pattern: str, part: float) -> Damage:
    """Change one bit of the largest such file."""

    def damage(home: Path) -> None:
        path = files(home, pattern)[0]
        offset = int(path.stat().st_size * part)
        with open(path, "r+b") as file:
            file.seek(offset)
            (old,) = file.read(1)
            file.seek(offset)
            file.write(bytes([old ^ 0x10]))

    return damage


def delete(pattern: str) -> Damage:
    """Delete all such files."""

    def damage(home: Path) -> None:
        for path in files(home, pattern):
            path.unlink()

    return damage


def flip_after(head: bytes) -> Damage:
    """Change one bit of the value behind `head` in every table, or change it back."""

    def damage(home: Path) -> None:
        found = 0
        for path in files(home, "*.ldb"):
            content = path.read_bytes()
            at = content.find(head)
            if at >= 0:
                with open(path, "r+b") as file:  # in place: a node may have it mapped
                    file.seek(at + 1_000)
                    file.write(bytes((content[at + 1_000] ^ 0x01,)))
                found += 1
        assert found > 0, "it is in no table"

    return damage


def empty(home: Path) -> None:
    """Delete all that the database has, but not the directory."""
    for path in (home / "db").iterdir():
        path.unlink()


def remove(home: Path) -> None:
    """Delete the database."""
    shutil.rmtree(home / "db")


def remove_all(home: Path) -> None:
    """Delete all that the node ever wrote."""
    for path in home.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def delete_mark(home: Path) -> None:
    """Delete the witness of what was acknowledged."""
    (home / "db.mark").unlink()


def damage_mark(home: Path) -> None:
    """Overwrite it."""
    (home / "db.mark").write_bytes(b"\xff" * (home / "db.mark").stat().st_size)


DAMAGES: dict[str, Damage] = {
    "write-ahead log cut": cut("*.log", 0.7),
    "write-ahead log emptied": cut("*.log", 0.0),
    "write-ahead log flipped in the middle": flip("*.log", 0.5),
    "write-ahead log deleted": delete("*.log"),
    "table cut": cut("*.ldb", 0.5),
    "table emptied": cut("*.ldb", 0.0),
    "tables deleted": delete("*.ldb"),
    "table flipped among log entries": flip_after(IN_LOG),
    "manifest cut": cut("MANIFEST-*", 0.5),
    "manifest flipped": flip("MANIFEST-*", 0.5),
    "manifest deleted": delete("MANIFEST-*"),
    "CURRENT emptied": cut("CURRENT", 0.0),
    "CURRENT deleted": delete("CURRENT"),
    "database emptied": empty,
    "database removed": remove,
    "everything removed": remove_all,
    "mark deleted": delete_mark,
    "mark damaged": damage_mark,
}


def assert_quarantined(cluster: LiveCluster) -> str:
    """The node does not start, the status says why, and the others serve; returns the reason."""
    with pytest.raises(ClusterError):
        cluster.client.start([NODE])
    return assert_told_quarantined(cluster)


def assert_told_quarantined(cluster: LiveCluster) -> str:
    """The status says that and why; the others serve; returns the reason."""
    row = cluster.node(NODE)
    ended = row["exit"]
    assert ended is not None, row
    assert (ended["code"], ended["reason"]) == (QUARANTINE, "quarantine"), ended
    assert (row["state"], row["pid"], row["faults"]) == ("failed", None, ["quarantine"])
    assert ended["detail"]
    shown = cluster.home("status", "-c", cluster.name).stdout
    assert f"{NODE}: quarantine: {ended['detail']}" in shown
    assert cluster.status()["state"] == "READY"
    for name in cluster.names:
        if name != NODE:
            cluster.assert_serves(name)
    return ended["detail"]


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_node_is_quarantined(shared: LiveCluster, stopped: Path, name: str) -> None:
    DAMAGES[name](stopped)

    reason = assert_quarantined(shared)

    assert reason in (shared.data / NODE / "log").read_text()


def test_up_tells_who_is_quarantined_and_goes_on(shared: LiveCluster, stopped: Path) -> None:
    shared.down()
    delete_mark(stopped)

    ran = shared.home(*shared.up_command)

    assert ran.returncode == Exit.DONE
    assert f"{NODE} failed: quarantine" in ran.stderr
    assert "db.mark is missing" in assert_told_quarantined(shared)


def test_quarantine_is_not_worn_out_by_trying_again(shared: LiveCluster, stopped: Path) -> None:
    cut("*.log", 0.5)(stopped)

    reasons = [assert_quarantined(shared) for _ in range(3)]

    assert len(set(reasons)) == 1


def test_directory_of_another_member(shared: LiveCluster, stopped: Path) -> None:
    shared.client.stop(["n3"])
    shutil.rmtree(stopped)
    shutil.copytree(shared.data / "n3", stopped)
    shared.client.start(["n3"])
    shared.client.wait("ready")

    reason = assert_quarantined(shared)

    assert shared.node("n3")["id"] in reason


def test_directory_of_another_cluster(
    shared: LiveCluster, stopped: Path, fresh: Callable[..., LiveCluster]
) -> None:
    other = fresh()
    other.assert_serves(NODE)
    other.client.stop([NODE])
    shutil.rmtree(stopped)
    shutil.copytree(other.data / NODE, stopped)

    reason = assert_quarantined(shared)

    assert other.node(NODE)["id"] in reason


def test_older_copy_of_its_own_directory(shared: LiveCluster, stopped: Path) -> None:
    """All checksums hold; only the mark knows that acknowledged entries are missing."""
    older = shared.data / "older"
    shutil.copytree(stopped / "db", older)
    shared.client.start([NODE])
    shared.assert_serves(NODE)
    shared.client.wait("converged")
    shared.client.stop([NODE])
    replace_kept(shared, stopped)
    remove(stopped)
    older.rename(stopped / "db")

    reason = assert_quarantined(shared)

    assert "acknowledged" in reason


@pytest.fixture
def flipped(shared: LiveCluster, stopped: Path) -> Iterator[str]:
    """A running node with a value that cannot be read; gets it back, with what it wrote since."""
    shared.client.start([NODE])  # first: a start reads everything
    flip_after(IN_STATE)(stopped)
    yield NODE
    shared.client.stop([NODE])
    flip_after(IN_STATE)(stopped)
    replace_kept(shared, stopped)


READS = {
    "serializable": rpc.RangeRequest(key=b"filled/0030", serializable=True),
    "linearizable": rpc.RangeRequest(key=b"filled/0030"),
}


def assert_ended_by_checksum(cluster: LiveCluster, since: int, node: str) -> None:
    """It says so; the others serve. LevelDB's own compaction may find it before the reader does."""
    ended = cluster.await_event(since, "node.exited", node)
    assert (ended["code"], ended["reason"]) == (QUARANTINE, "quarantine")
    assert "checksum mismatch" in ended["detail"]
    for name in cluster.names:
        if name != node:
            cluster.assert_serves(name)


@pytest.mark.parametrize("name", READS)
def test_flipped_bit_of_a_value_is_never_served(
    shared: LiveCluster, flipped: str, name: str
) -> None:
    """Values are verified when they are read: the node answers nothing, ends, and says why."""
    since = shared.last_event()

    with shared.api(flipped) as api:
        failed = api.raw("/etcdserverpb.KV/Range", READS[name].SerializeToString())

    assert isinstance(failed, Failed)
    assert_ended_by_checksum(shared, since, flipped)


def test_watcher_of_a_flipped_bit_sees_everything_elsewhere(
    shared: LiveCluster, flipped: str
) -> None:
    """History is read for watchers, too; one that loses its node goes on at the next."""
    since = shared.last_event()
    with EtcdClient([shared.endpoint(flipped), shared.endpoint("n1")]) as client:
        request = rpc.WatchCreateRequest(key=b"filled/", range_end=b"filled0", start_revision=1)
        seen: list[bytes] = []
        for response in client.watch(request):
            seen += [event.kv.key for event in response.events]
            if seen[-1:] == [b"filled/%04d" % (FILLED - 1)]:
                break

    assert seen == [b"filled/%04d" % number for number in range(FILLED)]
    assert_ended_by_checksum(shared, since, flipped)


def test_flipped_bit_that_nobody_reads_is_found_at_the_next_start(
    shared: LiveCluster, flipped: str
) -> None:
    """What a member starts with is compared with the others' as a whole, and therefore read."""
    with pytest.raises(ClusterError, match="checksum mismatch"):
        shared.client.restart([flipped])

    assert shared.node(flipped)["faults"] == ["quarantine"]
    assert "checksum mismatch" in assert_told_quarantined(shared)
    shared.assert_serves("n1")


def test_node_that_found_damage_while_it_served_is_replaced_under_load(
    fresh: Callable[..., LiveCluster],
) -> None:
    cluster = fresh()
    fill(cluster)
    cluster.client.restart([NODE])  # by then the state was on disk for sure, and is in a table
    flip_after(IN_STATE)(cluster.data / NODE)
    since, old_id = cluster.last_event(), cluster.node(NODE)["id"]

    with Writers([cluster.endpoint("n1"), cluster.endpoint("n3")]) as writers:
        with cluster.api(NODE) as api:
            api.raw("/etcdserverpb.KV/Range", READS["serializable"].SerializeToString())
        told = cluster.await_event(since, "node.quarantined", NODE)
        cluster.await_true(lambda: cluster.node(NODE)["faults"] == ["quarantine"], "its end")
        cluster.home.done("replace", NODE, "-c", cluster.name)
        writers.more()

    assert "checksum mismatch" in told["reason"]
    assert cluster.node(NODE)["id"] != old_id
    assert cluster.node(NODE)["faults"] == []
    cluster.client.wait("converged")
    writers.assert_nothing_lost(cluster.assert_equal_contents())
