"""The real etcdctl against the client port."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.api_member import ServedMember

ETCDCTL = Path(sys.executable).parent / "etcdctl"


def etcdctl(served: ServedMember, *arguments: str, stdin: str = "") -> str:
    """Run one command; a failure shows both outputs."""
    command = [str(ETCDCTL), "--endpoints", served.address, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_put_get_del(served: ServedMember) -> None:
    assert etcdctl(served, "put", "k", "v") == "OK\n"
    assert etcdctl(served, "get", "k") == "k\nv\n"
    assert etcdctl(served, "del", "k") == "1\n"
    assert etcdctl(served, "get", "k") == ""


def test_get_by_prefix_sorted_and_limited(served: ServedMember) -> None:
    for name in ("a1", "a2", "a3", "b1"):
        etcdctl(served, "put", name, "v")

    options = ("--prefix", "--keys-only", "--order=DESCEND", "--limit=2")

    assert etcdctl(served, "get", "a", *options).split() == ["a3", "a2"]


def test_txn(served: ServedMember) -> None:
    etcdctl(served, "put", "k", "old")
    script = 'value("k") = "old"\n\nput k new\nget k\n\nget k\n\n'

    assert etcdctl(served, "txn", stdin=script) == "SUCCESS\n\nOK\n\nk\nnew\n"


def test_lease(served: ServedMember) -> None:
    granted = etcdctl(served, "lease", "grant", "60")
    lease_id = granted.split()[1]
    etcdctl(served, "put", "k", "v", f"--lease={lease_id}")

    assert f"lease {lease_id} granted with TTL(60s)" in granted
    assert "attached keys([k])" in etcdctl(served, "lease", "timetolive", lease_id, "--keys")
    assert lease_id in etcdctl(served, "lease", "list")
    assert "TTL(60)" in etcdctl(served, "lease", "keep-alive", "--once", lease_id)
    assert etcdctl(served, "lease", "revoke", lease_id) == f"lease {lease_id} revoked\n"
    assert etcdctl(served, "get", "k") == ""


def test_compaction_physical(served: ServedMember) -> None:
    for _ in range(3):
        etcdctl(served, "put", "k", "v")

    assert etcdctl(served, "compaction", "--physical", "3") == "compacted revision 3\n"


def test_endpoint_health_and_status(served: ServedMember) -> None:
    health = json.loads(etcdctl(served, "endpoint", "health", "-w", "json"))
    status = json.loads(etcdctl(served, "endpoint", "status", "-w", "json"))

    assert health[0]["health"] is True
    assert status[0]["Status"]["version"] == "3.6.11"
    assert status[0]["Status"]["leader"] == status[0]["Status"]["header"]["member_id"]


def test_member_list(served: ServedMember) -> None:
    line = etcdctl(served, "member", "list")

    assert line == "a1, started, n1, ipc://n1, http://127.0.0.1:2379, false\n"


def test_alarm_list(served: ServedMember) -> None:
    assert etcdctl(served, "alarm", "list") == ""


def test_watch_from_a_revision(served: ServedMember) -> None:
    etcdctl(served, "put", "k", "v1")
    etcdctl(served, "put", "k", "v2")
    command = [str(ETCDCTL), "--endpoints", served.address, "watch", "k", "--rev=2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        seen = [watching.stdout.readline() for _ in range(6)]
        etcdctl(served, "del", "k")
        seen += [watching.stdout.readline() for _ in range(2)]
        watching.terminate()

    assert "".join(seen) == "PUT\nk\nv1\nPUT\nk\nv2\nDELETE\nk\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("get", "k", "--rev=9"), "etcdserver: mvcc: required revision is a future revision"),
        (("lease", "revoke", "7"), "etcdserver: requested lease not found"),
        (("user", "get", "nobody"), "etcdserver: user name not found"),
    ],
)
def test_errors_read_as_etcds(
    served: ServedMember, arguments: tuple[str, ...], complaint: str
) -> None:
    command = [str(ETCDCTL), "--endpoints", served.address, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert done.returncode != 0
    assert complaint in done.stdout + done.stderr


def test_defrag(served: ServedMember) -> None:
    assert "Finished defragmenting etcd member" in etcdctl(served, "defrag")
