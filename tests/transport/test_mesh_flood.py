"""Whoever floods a member's sockets takes its time, but not all of it."""

from __future__ import annotations

import select
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.mesh_member import DEADLINE_S
from transport.frame import Frame, Identity, encode
from transport.mesh import DROPS_MAX, WHO_IS_THERE, Channel, Mesh, MeshConfig
from transport.zeromq import Sockets

CLUSTER, ME, PEER = 7, 1, 2
DIALERS = 10
EACH = 4 * DROPS_MAX // DIALERS
ASKED = 16
"""Payloads that are asked for at a time."""


def dropped(mesh: Mesh, asked: list[bytes]) -> int:
    """Messages that were looked at and held nothing for us."""
    return len(asked) + sum(mesh.counters.rejected.values())


@pytest.mark.parametrize("message", [b"no frame", WHO_IS_THERE, b""])
def test_what_is_dropped_does_not_hold_a_turn_up(tmp_path: Path, message: bytes) -> None:
    """All of it lies in the sockets before the member looks; it takes a bounded part at a time,
    and what a peer has sent behind it arrives."""
    config = MeshConfig(cluster_id=CLUSTER, member_id=ME, incarnation=11, directory=str(tmp_path))
    asked: list[bytes] = []

    def introduce() -> bytes:
        asked.append(b"")
        return b"members"

    with (
        closing(Mesh(config, introduce=introduce)) as mesh,
        closing(Sockets(message_bytes_max=1 << 20)) as sockets,
    ):
        mesh.add_peer(PEER)
        path = f"{tmp_path}/{ME:016x}.{Channel.CONTROL.value}"
        dialers = [
            sockets.dial(
                path, Identity(CLUSTER, PEER, 21, 1_000, n).encode(), queue_messages_max=EACH + 8
            )
            for n in range(1, DIALERS + 1)
        ]
        deadline = time.monotonic() + DEADLINE_S
        while not all(dialer.connected() for dialer in dialers):
            assert time.monotonic() < deadline
            select.select([sockets.fileno()], [], [], 0.01)
        for dialer in dialers:
            assert all(dialer.send(message) for _ in range(EACH))
        frame = Frame(0, 0, CLUSTER, PEER, ME, 21, 11, 2**40, 0, 0, b"payload")
        assert dialers[0].send(encode(frame))
        looks = payloads = 0
        while not payloads:
            before = dropped(mesh, asked)
            payloads += len(mesh.receive(ASKED))
            looks += 1
            assert dropped(mesh, asked) - before <= DROPS_MAX + ASKED
            assert time.monotonic() < deadline

    assert payloads == 1
    assert looks > 1
