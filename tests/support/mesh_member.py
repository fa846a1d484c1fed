"""A member in a process of its own, for what only real processes can show: kill -9 and SIGSTOP.

The child says `UP` as soon as it can reach its peer. Then it echoes the first bytes of every
payload to its sender on the channel that it came by; to the payload `REPORT` it answers with its
counts of rejected messages instead.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from transport.mesh import Channel, Mesh, MeshConfig, MeshPort, Received

ECHO_BYTES = 16
UP = b"I am up"
REPORT = b"how many were rejected, and why?"
DEADLINE_S = 20.0
ROOT = Path(__file__).parents[2]


class Start(msgspec.Struct, frozen=True):
    """What a child is told on its command line."""

    config: MeshConfig
    peer: int


def serve(mesh: Mesh, peer: int) -> None:
    """Say that we are up, then echo for ever."""
    up = False
    while True:
        select.select(mesh.filenos(), [], [], None if up else 0.01)
        up = up or mesh.send(peer, Channel.CONTROL, UP)
        while batch := mesh.receive(256):
            for received in batch:
                mesh.send(received.sender, received.channel, answer(mesh, received.payload))


def answer(mesh: Mesh, payload: bytes) -> bytes:
    """Return what a child says to a payload."""
    if payload == REPORT:
        return msgspec.json.encode(mesh.counters.rejected)
    return payload[:ECHO_BYTES]


class Child:
    """One life of a member, until it is killed."""

    def __init__(self, config: MeshConfig, peer: int) -> None:
        """Start it and wait until its sockets are bound."""
        start = msgspec.json.encode(Start(config, peer)).decode()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.mesh_member", start],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            assert stdout.readline() == b"bound\n"

    def kill(self) -> None:
        """End it as kill -9 does, and wait until it is gone; no effect if it is."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop it, and wait until it has stopped."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def child(config: MeshConfig, mesh: Mesh, peer: int) -> Iterator[Child]:
    """Run a child for the duration of a block, which begins when the mesh has heard of it.

    Until then a frame may leave for the child's former life, to be refused where it arrives.
    """
    member = Child(config, peer)
    try:
        receive_until(
            mesh,
            lambda batch: any(
                r.payload == UP and r.incarnation == config.incarnation for r in batch
            ),
        )
        yield member
    finally:
        member.kill()


def receive_until(
    mesh: MeshPort, enough: Callable[[list[Received]], bool], deadline_s: float = DEADLINE_S
) -> list[Received]:
    """Collect what arrives until it is enough; fails the test when that takes too long."""
    collected = mesh.receive(256)
    deadline = time.monotonic() + deadline_s
    while not enough(collected):
        assert time.monotonic() < deadline, f"waited in vain; so far {collected!r:.2000}"
        select.select(mesh.filenos(), [], [], 0.01)
        collected += mesh.receive(256)
    return collected


def send_when_possible(mesh: MeshPort, to: int, channel: Channel, payload: bytes) -> list[Received]:
    """Send as soon as the peer can be reached; returns what arrived in the meantime."""
    sent = False

    def taken(_: list[Received]) -> bool:
        nonlocal sent
        sent = sent or mesh.send(to, channel, payload)
        return sent

    return receive_until(mesh, taken)


if __name__ == "__main__":
    told = msgspec.json.decode(sys.argv[1], type=Start)
    member = Mesh(told.config)
    member.add_peer(told.peer)
    sys.stdout.write("bound\n")
    sys.stdout.flush()
    serve(member, told.peer)
