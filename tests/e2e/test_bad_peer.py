"""Strangers on the peer sockets: what is no frame of a peer's present life changes nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import pytest
import zmq

from tests.support.live_cluster import LiveCluster
from tests.support.writers import Writers
from transport.frame import MAGIC, VERSION, Channel, Flag, Stamp

pytestmark = pytest.mark.e2e

CHANNELS = [channel.value for channel in Channel]
LINGER_MS = 5_000


@pytest.fixture(params=["leader", "follower"])
def target(shared: LiveCluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """Whose sockets are attacked; afterwards everybody serves, in the same processes."""
    name = shared.leader if request.param == "leader" else shared.followers[0]
    pids = [shared.pid(node) for node in shared.names]
    leader, term = shared.leader, shared.status()["term"]
    yield name
    for node in shared.names:
        shared.assert_serves(node)
    assert [shared.pid(node) for node in shared.names] == pids
    assert (shared.leader, shared.status()["term"]) == (leader, term)
    shared.assert_equal_contents()


def socket_path(cluster: LiveCluster, node: str, channel: int) -> Path:
    """Where a member listens for its peers."""
    return cluster.runtime / f"{int(cluster.node(node)['id'], 16):016x}.{channel}"


def member(cluster: LiveCluster, node: str) -> int:
    """Its id."""
    return int(cluster.node(node)["id"], 16)


def cluster_id(cluster: LiveCluster) -> int:
    """As clients are told."""
    with cluster.api(cluster.leader) as api:
        return int(api.get(b"x").header.cluster_id)


@pytest.mark.parametrize("channel", CHANNELS)
def test_raw_bytes(shared: LiveCluster, target: str, channel: int) -> None:
    """What is not even ZeroMQ."""
    random = Random(channel)
    contents = [b"", b"\x00", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, random.randbytes(1 << 20)]
    # A greeting of ZeroMQ, and then a frame that announces 2^62 bytes.
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + bytes(32)
    contents += [greeting, greeting + b"\x02" + (1 << 62).to_bytes(8, "big")]
    with (
        Writers(shared.endpoints, prefix=f"raw/{channel}/{target}") as writers,
        ExitStack() as held,
    ):
        for content in contents * 3:
            rogue = held.enter_context(socket.socket(socket.AF_UNIX))
            rogue.connect(str(socket_path(shared, target, channel)))
            with suppress(BrokenPipeError, ConnectionResetError):
                rogue.sendall(content)
        writers.more()

    writers.assert_nothing_lost(shared.contents(target))


def frames(cluster: LiveCluster, target: str) -> list[bytes]:
    """From noise to frames in which only one thing is wrong."""
    random = Random(3)
    victim, friend = member(cluster, target), member(cluster, other_than(cluster, target))
    own = cluster_id(cluster)

    def frame(
        *, group: int = own, sender: int = friend, to: int = victim, payload: bytes = b"x"
    ) -> bytes:
        stamp = Stamp(Channel.CONTROL, Flag(0), group, sender, to, 77, 88)
        return stamp.encode(payload, 1, 0, 0)

    good = frame()
    flipped = [bytes([*good[:n], good[n] ^ 1, *good[n + 1 :]]) for n in range(0, len(good), 3)]
    return [
        *(random.randbytes(size) for size in (0, 1, 79, 80, 81, 5_000, 3 << 20)),
        MAGIC + bytes([VERSION]) + bytes(200),
        good,
        good[:-1],
        good + b"more",
        *flipped,
        frame(group=own ^ 1),
        frame(sender=12345),
        frame(sender=victim),
        frame(to=friend),
        frame(payload=random.randbytes(4_000)),
    ]


def other_than(cluster: LiveCluster, name: str) -> str:
    """Some other node."""
    return next(node for node in cluster.names if node != name)


@pytest.mark.parametrize("routing", ["own", "a peer's"])
def test_frames_of_strangers(shared: LiveCluster, target: str, routing: str) -> None:
    """What is ZeroMQ, and well-made in all but one thing."""
    with Writers(shared.endpoints, prefix=f"frames/{routing[0]}/{target}") as writers:
        for channel in CHANNELS:
            send_all(shared, target, channel, frames(shared, target), routing)
        writers.more()

    writers.assert_nothing_lost(shared.contents(target))


def send_all(
    cluster: LiveCluster, target: str, channel: int, messages: list[bytes], routing: str
) -> None:
    """Send by a socket that announces itself as a stranger, or as a peer would."""
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger = LINGER_MS
    if routing == "a peer's":
        friend = member(cluster, other_than(cluster, target))
        dealer.routing_id = b"C" + friend.to_bytes(8, "little") + os.urandom(32)
    try:
        dealer.connect(f"ipc://{socket_path(cluster, target, channel)}")
        for message in messages:
            dealer.send(message)
            dealer.send_multipart([message, b"a second part", b""])
    finally:
        dealer.close()
        context.term()


def test_message_beyond_every_bound(shared: LiveCluster, target: str) -> None:
    """ZeroMQ hangs up on it before it is all there."""
    send_all(shared, target, Channel.BULK, [bytes(32 << 20)], "own")


def test_thousands_of_connections(shared: LiveCluster, target: str) -> None:
    with Writers(shared.endpoints, prefix=f"many/{target}") as writers, ExitStack() as held:
        for number in range(600):
            rogue = held.enter_context(socket.socket(socket.AF_UNIX))
            rogue.setblocking(False)
            with suppress(BlockingIOError):
                rogue.connect(str(socket_path(shared, target, number % len(CHANNELS))))
        writers.more()
