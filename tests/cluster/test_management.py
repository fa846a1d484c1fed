"""The management socket as seen from outside: routes, refusals, streams, and who may ask."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import ClusterError, NotRunning
from cluster.exchange import request, request_json
from cluster.management import peer_uid
from tests.support.cluster_daemon import Daemon

PATIENCE_S = 20.0
NOBODY = 65_534


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("management"), nodes=1) as running:
        yield running


def ask(daemon: Daemon, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
    answer = request(daemon.paths.socket, method, target, body, timeout_s=PATIENCE_S)
    return answer.status, answer.body()


def rpc(daemon: Daemon, body: bytes) -> tuple[int, dict[str, Any]]:
    status, content = ask(daemon, "POST", "/v1/rpc", body)
    document: dict[str, Any] = json.loads(content)
    return status, document


def test_status_node_history_are_documents(daemon: Daemon) -> None:
    status, content = ask(daemon, "GET", "/v1/status")
    assert (status, json.loads(content)["schema"]) == (200, "conclave/status.v1")

    status, content = ask(daemon, "GET", "/v1/nodes/n1")
    assert (status, json.loads(content)["name"]) == (200, "n1")

    status, content = ask(daemon, "GET", "/v1/history")
    assert (status, json.loads(content)["reigns"][0]["leader"]) == (200, "n1")


def test_health_says_ok(daemon: Daemon) -> None:
    assert ask(daemon, "GET", "/livez") == (200, b"ok\n")
    assert ask(daemon, "GET", "/readyz") == (200, b"ok\n")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v2/status", 404),
        ("GET", "/v1/nodes/n9", 404),
        ("GET", "/v1/nodes/", 404),
        ("POST", "/v1/status", 400),
        ("GET", "/v1/rpc", 400),
        ("GET", "/v1/events?since=yesterday", 400),
        ("GET", "/v1/events?since=-1", 400),
    ],
)
def test_request_that_makes_no_sense_gets_an_error_document(
    daemon: Daemon, method: str, target: str, status: int
) -> None:
    got, content = ask(daemon, method, target)

    assert got == status
    assert set(json.loads(content)["error"]) == {"code", "message", "hint", "data"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{",
        b"[]",
        b'{"params": {}}',
        b'{"method": 7}',
        b'{"method": "ping", "colour": "blue"}',
        b'{"method": "ping", "params": []}',
        b'{"method": "explode"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_rpc_that_cannot_be_read_is_a_bad_request(daemon: Daemon, body: bytes) -> None:
    status, document = rpc(daemon, body)

    assert status == 400
    assert document["error"]["code"] == "bad-request"


def test_rpc_too_large_is_refused(daemon: Daemon) -> None:
    try:
        status, _ = ask(daemon, "POST", "/v1/rpc", b" " * (1 << 20) + b"{}")
    except NotRunning:
        return  # refused and closed while we were still sending
    assert status == 413


def test_rpc_answers_carry_the_callers_id(daemon: Daemon) -> None:
    status, document = rpc(daemon, b'{"id": "abc", "method": "ping"}')
    assert (status, document["id"], document["ok"]) == (200, "abc", True)

    status, document = rpc(daemon, b'{"id": 9, "method": "resolve", "params": {"selector": "n7"}}')
    assert (status, document["id"], document["ok"]) == (404, 9, False)


def test_rpc_past_its_deadline_is_a_time_out(daemon: Daemon) -> None:
    body = b'{"method": "wait", "params": {"condition": "term>99"}, "deadline_ms": 5}'

    status, document = rpc(daemon, body)

    assert (status, document["error"]["code"]) == (504, "timeout")


def test_events_since_gives_later_ones_only(daemon: Daemon) -> None:
    everything = list(daemon.client.events())
    later = list(daemon.client.events(since=everything[1]["seq"]))

    assert later == everything[2:]


def test_events_followed_begin_with_a_snapshot_and_go_on(daemon: Daemon) -> None:
    stream = daemon.client.events(follow=True)
    snapshot = next(stream)
    daemon.client.kill(["n1"], signal="SIGCONT")
    event = next(stream)

    assert snapshot["type"] == "snapshot"
    assert snapshot["status"]["schema"] == "conclave/status.v1"
    assert event["type"] == "node.signalled"
    assert event["seq"] == snapshot["seq"] + 1


def test_events_followed_since_tell_what_was_missed(daemon: Daemon) -> None:
    known = list(daemon.client.events())
    stream = daemon.client.events(since=known[0]["seq"], follow=True)
    next(stream)

    assert [next(stream) for _ in known[1:]] == known[1:]


def test_connection_serves_many_requests(daemon: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(daemon.paths.socket))
        for _ in range(3):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_garbage_gets_an_answer_and_a_closed_connection(daemon: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(daemon.paths.socket))
        connection.sendall(b"\x00\x01garbage\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 400")
    assert daemon.client.status()["state"] == "READY"


def test_socket_is_closed_to_others_by_its_modes(daemon: Daemon) -> None:
    assert stat.S_IMODE(daemon.paths.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(daemon.paths.runtime.stat().st_mode) == 0o700


def test_peer_uid_is_what_the_kernel_says() -> None:
    ours, theirs = socket.socketpair()

    assert peer_uid(ours) == os.getuid()
    ours.close()
    theirs.close()


STRANGER = """
import os, sys
from pathlib import Path
from cluster.client import ClusterClient
from cluster.errors import Forbidden
os.setuid(int(sys.argv[2]))
for _ in range(20):
    try:
        print(ClusterClient(socket=Path(sys.argv[1])).status())
    except Forbidden as refusal:
        print(refusal.code)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_other_user_is_refused_even_with_the_modes_open(tmp_path: Path) -> None:
    with Daemon(tmp_path, nodes=1) as daemon:
        for path in (daemon.runtime, daemon.runtime / "conclave", daemon.paths.runtime):
            path.chmod(0o755)
        daemon.paths.socket.chmod(0o666)

        stranger = subprocess.run(
            [sys.executable, "-c", STRANGER, str(daemon.paths.socket), str(NOBODY)],
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )

        assert stranger.stdout.split() == [b"forbidden"] * 20, stranger.stderr
        assert daemon.client.status()["state"] == "READY"


def test_exchange_nobody_listening_is_known_at_once(tmp_path: Path) -> None:
    with pytest.raises(NotRunning) as refusal:
        request_json(tmp_path / "ctl.sock", "GET", "/v1/status", timeout_s=PATIENCE_S)

    assert refusal.value.exit_code == 3


@pytest.mark.parametrize("answer", [b"220 smtp ready\r\n", b"", b"HTTP/1.1 200 OK\r\n\r\n{"])
def test_exchange_with_something_else_is_an_error(answer: bytes) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="c") as directory:
        path = Path(directory, "ctl.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            thread = threading.Thread(target=answer_once, args=(listener, answer))
            thread.start()
            with pytest.raises(ClusterError):
                request_json(path, "GET", "/v1/status", timeout_s=PATIENCE_S)
            thread.join()


def answer_once(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(answer)
