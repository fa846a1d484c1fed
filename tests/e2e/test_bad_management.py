"""The management socket of a cluster in use: nonsense is refused, and the cluster runs on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import ClusterError
from cluster.exchange import request
from tests.support.live_cluster import DEADLINE_S, LiveCluster

pytestmark = pytest.mark.e2e

NOBODY = 65_534
MIB = 1 << 20


@pytest.fixture
def unharmed(shared: LiveCluster) -> Iterator[LiveCluster]:
    """A cluster that has the same processes and leader afterwards, and serves."""
    before = shared.status()
    yield shared
    after = shared.status()
    assert [row["pid"] for row in after["nodes"]] == [row["pid"] for row in before["nodes"]]
    assert after["supervisor"]["pid"] == before["supervisor"]["pid"]
    assert (after["state"], after["leader"]) == ("READY", before["leader"])
    for name in shared.names:
        shared.assert_serves(name)


def ask(cluster: LiveCluster, body: bytes) -> tuple[int, dict[str, Any]]:
    """POST to /v1/rpc."""
    path = cluster.runtime / "ctl.sock"
    answer = request(path, "POST", "/v1/rpc", body, timeout_s=DEADLINE_S)
    return answer.status, json.loads(answer.body())


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown verb": ({"method": "explode"}, "bad-request"),
    "no verb": ({}, "bad-request"),
    "unknown field": ({"method": "ping", "colour": "red"}, "bad-request"),
    "unknown parameter": ({"method": "ping", "params": {"loud": True}}, "bad-request"),
    "misspelt parameter": ({"method": "kill", "params": {"node": ["all"]}}, "bad-request"),
    "wrong type": ({"method": "kill", "params": {"nodes": "all"}}, "bad-request"),
    "unknown node": ({"method": "kill", "params": {"nodes": ["n9"]}}, "no-such-node"),
    "unknown signal": (
        {"method": "kill", "params": {"nodes": ["n1"], "signal": "SIGNONE"}},
        "bad-request",
    ),
    "unreadable condition": ({"method": "wait", "params": {"condition": "soon"}}, "bad-request"),
    "negative patience": (
        {"method": "wait", "params": {"condition": "term>99", "timeout_ms": -1}},
        "bad-request",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_call_that_makes_no_sense_does_nothing(unharmed: LiveCluster, name: str) -> None:
    call, code = REFUSED[name]

    _, document = ask(unharmed, json.dumps(call).encode())

    assert document["error"]["code"] == code
    assert document["error"]["message"]


def test_body_beyond_the_bound_is_refused(unharmed: LiveCluster) -> None:
    body = b'{"method": "ping", "params": {"x": "' + b"a" * MIB + b'"}}'
    path = unharmed.runtime / "ctl.sock"

    assert request(path, "POST", "/v1/rpc", body, timeout_s=DEADLINE_S).status == 413


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 1000,
        b"\xff" * 100_000,
        b"GET /v1/status",
        b"GET /v1/status HTTP/1.1\r\n" + b"x: y\r\n" * 10_000 + b"\r\n",
        b"POST /v1/rpc HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/rpc HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"DELETE /v1/status HTTP/1.1\r\nhost: a\r\n\r\n",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_bytes_that_are_no_call(unharmed: LiveCluster, data: bytes) -> None:
    with ExitStack() as held:
        for _ in range(20):
            rogue = held.enter_context(socket.socket(socket.AF_UNIX))
            rogue.connect(str(unharmed.runtime / "ctl.sock"))
            with suppress(BrokenPipeError, ConnectionResetError):
                rogue.sendall(data)
        assert unharmed.client.ping()["pid"] == unharmed.status()["supervisor"]["pid"]


def test_followers_of_events_that_never_read_are_borne(unharmed: LiveCluster) -> None:
    with ExitStack() as held:
        for _ in range(20):
            rogue = held.enter_context(socket.socket(socket.AF_UNIX))
            rogue.connect(str(unharmed.runtime / "ctl.sock"))
            rogue.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nhost: a\r\n\r\n")
        for _ in range(200):
            unharmed.client.kill(["n1"], signal="SIGCONT")


def test_caller_that_hangs_up_leaves_nothing_waiting(unharmed: LiveCluster) -> None:
    body = json.dumps({"method": "wait", "params": {"condition": "term>999"}}).encode()
    head = b"POST /v1/rpc HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body)
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as rogue:
            rogue.connect(str(unharmed.runtime / "ctl.sock"))
            rogue.sendall(head + body)

    assert unharmed.client.ping()


CONNECT = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(sys.argv[1])
    try:
        client.sendall(b"GET /v1/status HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n")
    except BrokenPipeError:
        pass  # sent away before it could ask
    print(client.recv(100).split(b"\\r\\n")[0].decode())
except PermissionError:
    print("no permission")
"""


def as_nobody(path: Path) -> str:
    """What another user gets at the socket."""
    # Not this interpreter: its home may be closed to others.
    return subprocess.run(
        ["/usr/bin/env", "python3", "-c", CONNECT, str(path)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    ).stdout.strip()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_other_user_is_kept_out_twice(unharmed: LiveCluster) -> None:
    """By the directory's mode, and, should that be opened, by the kernel's word of who it is."""
    path = unharmed.runtime / "ctl.sock"
    way = [unharmed.home.runtime, unharmed.home.runtime / "conclave", unharmed.runtime]

    assert as_nobody(path) == "no permission"
    for directory in way:
        directory.chmod(0o755)
    path.chmod(0o666)
    try:
        assert as_nobody(path) == "HTTP/1.1 403 Forbidden"
    finally:
        path.chmod(0o600)
        for directory in way:
            directory.chmod(0o700)


def test_unknown_verb_by_the_client_says_what_there_is(unharmed: LiveCluster) -> None:
    with pytest.raises(ClusterError) as caught:
        unharmed.client.call("explode")

    assert "kill" in caught.value.data["verbs"]
