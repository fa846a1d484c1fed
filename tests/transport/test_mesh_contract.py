"""What every mesh promises: the same tests over ZeroMQ and in memory."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.etcd_process import free_ports
from tests.support.mesh_member import DEADLINE_S, receive_until
from transport.arena import create_arena
from transport.errors import InvariantViolated
from transport.memory import MemoryNetwork
from transport.mesh import Channel, Mesh, MeshConfig, MeshPort, Received, Unsent
from transport.route import TcpRoutes

CLUSTER = 7


class Ground(Protocol):
    """Where meshes of one kind live."""

    def join(self, member: int, incarnation: int, cluster: int = CLUSTER) -> MeshPort:
        """Start a life of a member; a former one must have been closed."""

    def settle(self, *meshes: MeshPort) -> None:
        """Give what is under way the time to arrive at meshes that do not look."""

    def wait_for_control(self, mesh: MeshPort) -> None:
        """Wait, without receiving, until something is there to be received as control."""

    def close(self) -> None:
        """Close every mesh that was made."""


class ZeroMqGround:
    def __init__(self, directory: Path, *, arenas: bool) -> None:
        self._directory = directory
        self._meshes: list[Mesh] = []
        self._arena_paths: dict[int, str] = {}
        for member in (1, 2, 3) if arenas else ():
            self._arena_paths[member] = str(directory / f"arena.{member}")
            create_arena(self._arena_paths[member], 1 << 20)

    def join(self, member: int, incarnation: int, cluster: int = CLUSTER) -> MeshPort:
        mesh = Mesh(
            MeshConfig(
                cluster_id=cluster,
                member_id=member,
                incarnation=incarnation,
                directory=str(self._directory),
                arena_paths=self._arena_paths,
            )
        )
        self._meshes.append(mesh)
        return mesh

    def settle(self, *meshes: MeshPort) -> None:
        for mesh in meshes:
            select.select(mesh.filenos(), [], [], 0.2)

    def wait_for_control(self, mesh: MeshPort) -> None:
        assert isinstance(mesh, Mesh)
        _, listener = mesh._listeners[Channel.CONTROL]  # no port shows one channel alone
        readable, _, _ = select.select([listener._socket.fileno()], [], [], DEADLINE_S)
        assert readable

    def close(self) -> None:
        for mesh in self._meshes:
            with suppress(OSError):
                mesh.close()


class TcpGround(ZeroMqGround):
    """A port of loopback for each member, which it keeps through its lives."""

    def __init__(self) -> None:
        self._meshes = []
        ports = enumerate(free_ports(3), start=1)
        self._addresses = {member: f"127.0.0.1:{port}" for member, port in ports}

    def join(self, member: int, incarnation: int, cluster: int = CLUSTER) -> MeshPort:
        routes = TcpRoutes(self._addresses[member], lambda peer: self._addresses.get(peer, ""))
        config = MeshConfig(cluster_id=cluster, member_id=member, incarnation=incarnation)
        mesh = Mesh(config, routes)
        self._meshes.append(mesh)
        return mesh

    def wait_for_control(self, mesh: MeshPort) -> None:
        pytest.skip("channels that share a port take turns")


class MemoryGround:
    def __init__(self) -> None:
        self._network = MemoryNetwork()

    def join(self, member: int, incarnation: int, cluster: int = CLUSTER) -> MeshPort:
        return self._network.join(
            MeshConfig(cluster_id=cluster, member_id=member, incarnation=incarnation, directory="")
        )

    def settle(self, *meshes: MeshPort) -> None:
        self._network.advance(1)

    def wait_for_control(self, mesh: MeshPort) -> None:
        """It is there already."""

    def close(self) -> None:
        """Nothing outlives the network."""


@pytest.fixture(params=["zeromq", "zeromq without arena", "tcp", "memory"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    ground: Ground
    if request.param == "memory":
        ground = MemoryGround()
    elif request.param == "tcp":
        ground = TcpGround()
    else:
        ground = ZeroMqGround(tmp_path, arenas=request.param == "zeromq")
    yield ground
    ground.close()


def pair(ground: Ground) -> tuple[MeshPort, MeshPort]:
    """Two members that have heard of each other."""
    one, two = ground.join(1, 11), ground.join(2, 21)
    one.add_peer(2)
    two.add_peer(1)
    meet(one, two)
    return one, two


def meet(one: MeshPort, two: MeshPort) -> None:
    """Exchange one frame on each channel in both directions."""
    for channel in Channel:
        waiting = {(1, one, two), (2, two, one)}
        heard = {1: 0, 2: 0}
        deadline = time.monotonic() + DEADLINE_S
        while waiting or not all(heard.values()):
            assert time.monotonic() < deadline
            waiting = {
                (member, mesh, other)
                for member, mesh, other in waiting
                if not mesh.send(3 - member, channel, b"hello")
            }
            heard[1] += len(one.receive(10))
            heard[2] += len(two.receive(10))


def hear_of(one: MeshPort, successor: MeshPort) -> None:
    """Let member 1 receive something of a new life; before, it may speak to the former one."""
    deadline = time.monotonic() + DEADLINE_S
    sent = False
    while not any(received.payload == b"up" for received in one.receive(10)):
        assert time.monotonic() < deadline
        successor.receive(10)
        sent = sent or successor.send(1, Channel.CONTROL, b"up")


def drain(mesh: MeshPort, count: int) -> list[bytes]:
    """Return the next payloads."""
    return [r.payload for r in receive_until(mesh, lambda batch: len(batch) >= count)]


def test_payload_arrives_as_it_was_with_sender_life_and_channel(ground: Ground) -> None:
    one, two = pair(ground)
    assert one.send(2, Channel.APPEND, b"entries")
    assert two.send(1, Channel.CONTROL, b"")

    assert receive_until(two, bool) == [Received(1, 11, Channel.APPEND, b"entries")]
    assert receive_until(one, bool) == [Received(2, 21, Channel.CONTROL, b"")]


@pytest.mark.parametrize("size", [0, 1, 100, 32 << 10, 100_000, 1 << 20, (4 << 20) - 80])
def test_any_size_up_to_the_bound_arrives_whole(ground: Ground, size: int) -> None:
    one, two = pair(ground)
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert one.send(2, Channel.BULK, payload)

    assert drain(two, 1) == [payload]


def test_payload_over_the_bound_breaks_an_invariant(ground: Ground) -> None:
    one, _ = pair(ground)

    with pytest.raises(InvariantViolated):
        one.send(2, Channel.BULK, bytes((4 << 20) - 79))


@pytest.mark.parametrize("channel", Channel)
def test_channel_keeps_its_order(ground: Ground, channel: Channel) -> None:
    one, two = pair(ground)
    wanted = [b"%d" % number for number in range(30)]
    for payload in wanted:
        assert one.send(2, channel, payload)

    assert drain(two, len(wanted)) == wanted


def test_small_and_large_payloads_of_a_channel_keep_their_order(ground: Ground) -> None:
    one, two = pair(ground)
    wanted = [bytes([number]) * (50_000 if number % 2 else 50) for number in range(16)]
    for payload in wanted:
        assert one.send(2, Channel.APPEND, payload)

    assert drain(two, len(wanted)) == wanted


def test_control_is_received_before_what_was_sent_earlier(ground: Ground) -> None:
    one, two = pair(ground)
    for number in range(10):
        assert one.send(2, Channel.BULK, b"chunk %d" % number)
    assert one.send(2, Channel.CONTROL, b"heartbeat")
    ground.wait_for_control(two)

    assert drain(two, 11)[0] == b"heartbeat"


def test_receive_returns_no_more_than_asked_and_then_the_rest(ground: Ground) -> None:
    one, two = pair(ground)
    for number in range(7):
        assert one.send(2, Channel.APPEND, b"%d" % number)
    collected: list[bytes] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(collected) < 7:
        batch = two.receive(3)
        assert len(batch) <= 3
        assert time.monotonic() < deadline
        collected += [received.payload for received in batch]

    assert collected == [b"%d" % number for number in range(7)]
    assert two.receive(3) == []


def test_send_to_a_stranger_or_to_nobody_is_refused(ground: Ground) -> None:
    one, _ = pair(ground)
    one.add_peer(3)

    assert not one.send(99, Channel.CONTROL, b"x")
    assert not one.send(3, Channel.CONTROL, b"x")
    assert one.counters.unsent[Unsent.STRANGER] == 1
    assert one.counters.unsent[Unsent.SILENT] >= 1


def test_members_of_different_clusters_do_not_hear_each_other(ground: Ground) -> None:
    one, foreign = ground.join(1, 11), ground.join(2, 21, cluster=8)
    one.add_peer(2)
    foreign.add_peer(1)
    ground.settle(one, foreign)

    assert one.receive(10) == []
    assert foreign.receive(10) == []
    assert not one.send(2, Channel.CONTROL, b"x")
    assert not foreign.send(1, Channel.CONTROL, b"x")


def test_peers_are_listed_sorted_and_adding_twice_changes_nothing(ground: Ground) -> None:
    one, two = pair(ground)
    one.add_peer(3)
    one.add_peer(2)
    meet(one, two)

    assert one.peers() == [2, 3]
    one.remove_peer(3)
    one.remove_peer(3)
    assert one.peers() == [2]


def test_member_is_not_its_own_peer(ground: Ground) -> None:
    one = ground.join(1, 11)

    with pytest.raises(InvariantViolated):
        one.add_peer(1)


def test_removed_peer_is_neither_heard_nor_spoken_to(ground: Ground) -> None:
    one, two = pair(ground)
    one.remove_peer(2)
    two.send(1, Channel.CONTROL, b"late")
    ground.settle(one)

    assert one.receive(10) == []
    assert not one.send(2, Channel.CONTROL, b"x")


def test_peer_that_was_removed_can_be_added_again(ground: Ground) -> None:
    one, two = pair(ground)
    one.remove_peer(2)
    one.add_peer(2)

    meet(one, two)


def test_peer_added_by_one_side_first_is_reached_once_both_know(ground: Ground) -> None:
    one, two = ground.join(1, 11), ground.join(2, 21)
    two.add_peer(1)
    ground.settle(one)
    assert one.receive(10) == []
    one.add_peer(2)

    meet(one, two)


def test_new_life_is_reached_and_the_old_one_is_over(ground: Ground) -> None:
    one, two = pair(ground)
    two.close()
    successor = ground.join(2, 22)
    successor.add_peer(1)
    hear_of(one, successor)
    meet(one, successor)
    assert one.send(2, Channel.APPEND, b"to the new life")
    assert successor.send(1, Channel.APPEND, b"from the new life")

    assert drain(successor, 1) == [b"to the new life"]
    assert receive_until(one, bool) == [Received(2, 22, Channel.APPEND, b"from the new life")]


def test_three_members_talk_in_all_directions(ground: Ground) -> None:
    meshes = {member: ground.join(member, member * 10 + 1) for member in (1, 2, 3)}
    for member, mesh in meshes.items():
        for peer in meshes:
            if peer != member:
                mesh.add_peer(peer)
    for one, two in ((1, 2), (1, 3), (2, 3)):
        for sender, to in ((one, two), (two, one)):
            send_until_arrived(meshes, sender, to)


def send_until_arrived(meshes: dict[int, MeshPort], sender: int, to: int) -> None:
    """All meshes keep looking, as node loops do."""
    payload = b"%d to %d" % (sender, to)
    deadline = time.monotonic() + DEADLINE_S
    sent = False
    while True:
        assert time.monotonic() < deadline
        sent = sent or meshes[sender].send(to, Channel.CONTROL, payload)
        arrived = {member: mesh.receive(10) for member, mesh in meshes.items()}
        if any(r.payload == payload and r.sender == sender for r in arrived[to]):
            return


def test_traffic_is_counted(ground: Ground) -> None:
    one, two = pair(ground)
    before_sent, before_received = one.counters.sent, two.counters.received
    for _ in range(5):
        assert one.send(2, Channel.APPEND, b"0123456789")
    drain(two, 5)

    assert one.counters.sent - before_sent == 5
    assert two.counters.received - before_received == 5
    assert two.counters.received_bytes == 3 * len(b"hello") + 50


def test_traffic_is_counted_by_peer(ground: Ground) -> None:
    one, two = pair(ground)
    one.add_peer(3)
    before = one.counters.peers[2].sent_bytes, two.counters.peers[1].received_bytes

    assert one.send(2, Channel.CONTROL, b"12345")
    assert drain(two, 1) == [b"12345"]
    assert not one.send(3, Channel.CONTROL, b"nobody there")
    assert not one.send(4, Channel.CONTROL, b"stranger")

    after = one.counters.peers[2].sent_bytes, two.counters.peers[1].received_bytes
    assert [now - then for then, now in zip(before, after, strict=True)] == [5, 5]
    assert one.counters.peers[3].unsent == 1
    one.remove_peer(3)
    assert one.counters.peers.keys() == {2}


def test_connected_is_who_takes_frames(ground: Ground) -> None:
    one, two = pair(ground)
    one.add_peer(3)
    assert one.connected(2)
    assert not one.connected(3)
    assert not one.connected(4)

    two.close()

    deadline = time.monotonic() + DEADLINE_S
    while one.connected(2):
        assert time.monotonic() < deadline
        select.select(one.filenos(), [], [], 0.01)
        one.receive(10)
