"""Members that have one port each: who is found where, moves, and asks before it is a member."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.etcd_process import free_ports
from transport.mesh import WHO_IS_THERE, Channel, Mesh, MeshConfig, Unsent
from transport.route import TcpRoutes, UnixRoutes, loopback_address
from transport.zeromq import CannotListen, ask

DEADLINE_S = 30.0


class Town:
    """Members and the addresses that everybody believes in."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.addresses: dict[int, str] = {}
        self._lives = 0

    def settle(self, member: int, *, tell: bool = True) -> Mesh:
        """A new life of a member, at a free address, which the others learn with `tell`."""
        address = f"127.0.0.1:{free_ports(1)[0]}"
        if tell:
            self.addresses[member] = address
        self._lives += 1
        mesh = Mesh(
            MeshConfig(cluster_id=7, member_id=member, incarnation=self._lives),
            TcpRoutes(address, lambda peer: self.addresses.get(peer, "")),
            introduce=lambda: b"members: 1",
        )
        self._stack.callback(mesh.close)
        return mesh


@pytest.fixture
def town() -> Iterator[Town]:
    with ExitStack() as stack:
        yield Town(stack)


def talk(one: Mesh, two: Mesh, to: int, payload: bytes) -> None:
    """Send until it arrives, since what is sent to a former life is lost; both keep looking."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        assert time.monotonic() < deadline
        one.send(to, Channel.CONTROL, payload)
        one.receive(10)
        if any(received.payload == payload for received in two.receive(10)):
            return


def test_peer_that_moves_is_found_at_its_new_address(town: Town) -> None:
    one, two = town.settle(1), town.settle(2)
    one.add_peer(2)
    two.add_peer(1)
    talk(one, two, 2, b"before")
    two.close()

    moved = town.settle(2)
    moved.add_peer(1)
    one.refresh()

    talk(one, moved, 2, b"after")
    talk(moved, one, 1, b"back")


def test_peer_without_an_address_is_heard_and_answered_once_it_has_one(town: Town) -> None:
    one, two = town.settle(1), town.settle(2, tell=False)
    one.add_peer(2)
    two.add_peer(1)
    deadline = time.monotonic() + DEADLINE_S
    while not one.counters.unsent[Unsent.BLOCKED]:
        assert time.monotonic() < deadline
        two.receive(10)
        one.receive(10)
        assert not one.send(2, Channel.CONTROL, b"x")

    town.addresses[2] = two._routes.own()[0][1].removeprefix("tcp://")
    one.refresh()

    talk(one, two, 2, b"now")


def test_refresh_leaves_who_has_not_moved_alone(town: Town) -> None:
    one, two = town.settle(1), town.settle(2)
    one.add_peer(2)
    two.add_peer(1)
    talk(one, two, 2, b"before")
    dials = one._dials

    one.refresh()

    assert one._dials == dials


def test_taken_port_is_an_error_at_start(town: Town) -> None:
    one = town.settle(1)
    address = one._routes.own()[0][1].removeprefix("tcp://")

    with pytest.raises(CannotListen, match="Address already in use"):
        Mesh(MeshConfig(cluster_id=7, member_id=2, incarnation=9), TcpRoutes(address, lambda _: ""))


def test_stranger_that_asks_is_told_who_is_there(town: Town) -> None:
    one = town.settle(1)
    answers: list[bytes | None] = []
    address = town.addresses[1]
    asker = threading.Thread(
        target=lambda: answers.append(ask(f"tcp://{address}", WHO_IS_THERE, DEADLINE_S))
    )
    asker.start()
    while asker.is_alive():
        assert one.receive(10) == []
        asker.join(0.001)

    assert answers == [b"members: 1"]


def test_question_to_nobody_has_no_answer() -> None:
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"

    assert ask(address, WHO_IS_THERE, 0.05) is None


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        ("127.0.0.1", 2380, "127.0.0.1:2380"),
        ("127.4.5.6", 1, "127.4.5.6:1"),
        ("localhost", 2380, "127.0.0.1:2380"),
        ("::1", 2380, "[::1]:2380"),
        ("10.0.0.1", 2380, ""),
        ("0.0.0.0", 2380, ""),
        ("::", 2380, ""),
        ("etcd0", 2380, ""),
        ("localhost.example.org", 2380, ""),
        ("", 2380, ""),
        ("127.0.0.1", 0, ""),
        ("127.0.0.1", 65_536, ""),
    ],
)
def test_loopback_address(host: str, port: int, address: str) -> None:
    assert loopback_address(host, port) == address


def test_unix_routes_are_a_socket_per_channel(tmp_path: Path) -> None:
    routes = UnixRoutes(str(tmp_path), 10)

    assert routes.own() == [(channel, routes.to(10, channel)) for channel in Channel]
    assert routes.to(11, Channel.BULK) == f"{tmp_path}/000000000000000b.2"
