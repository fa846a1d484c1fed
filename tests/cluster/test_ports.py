"""Client ports with real sockets: chosen, remembered, held against strangers, left to the node."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from cluster.errors import Conflict, PortHeld
from cluster.ports import block, choose, ephemeral_floor, recall, remember, reserve, reserve_block

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind((HOST, 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def bind(port: int, option: int | None = None) -> socket.socket:
    bound = socket.socket()
    try:
        if option is not None:
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound


def test_block_etcd_ports_come_first() -> None:
    assert block(0, 3) == [2379, 22379, 32379]


@pytest.mark.parametrize("number", range(8))
def test_block_sixteen_nodes_have_distinct_ports_below_the_usual_floor(number: int) -> None:
    ports = block(number, 16)

    assert len(set(ports)) == 16
    assert max(ports) < 32_768


def test_ephemeral_floor_reads_the_kernels_range() -> None:
    assert ephemeral_floor("32768\t60999\n") == 32_768


@pytest.mark.parametrize("option", [None, socket.SO_REUSEADDR], ids=["plain", "reuse-address"])
def test_reservation_refuses_strangers(option: int | None) -> None:
    [port] = free_ports(1)
    reservation = reserve(HOST, [port])

    with pytest.raises(OSError, match="in use"):
        bind(port, option)
    reservation.close()
    bind(port).close()


def test_reservation_leaves_the_port_to_the_node() -> None:
    [port] = free_ports(1)
    reservation = reserve(HOST, [port])

    node = bind(port, socket.SO_REUSEPORT)
    node.listen()
    client = socket.create_connection((HOST, port))

    server, _ = node.accept()
    for each in (client, server, node):
        each.close()
    reservation.close()


def test_reservation_refuses_clients_while_the_node_is_dead() -> None:
    [port] = free_ports(1)
    reservation = reserve(HOST, [port])

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))
    reservation.close()


def test_reserve_twice_by_one_user_is_refused() -> None:
    """Both would share it if the sharing option came before the bind."""
    [port] = free_ports(1)
    first = reserve(HOST, [port])

    with pytest.raises(PortHeld):
        reserve(HOST, [port])
    first.close()


def test_reserve_held_names_the_holder_and_takes_nothing() -> None:
    ports = free_ports(2)
    stranger = bind(ports[1])
    stranger.listen()

    with pytest.raises(PortHeld) as refusal:
        reserve(HOST, ports)

    assert refusal.value.data["port"] == ports[1]
    assert refusal.value.data["pid"] == os.getpid()
    bind(ports[0]).close()
    stranger.close()


def test_reserve_after_a_server_closed_its_connections() -> None:
    """The server's side of a connection lingers; that must not cost a restart its ports."""
    [port] = free_ports(1)
    reservation = reserve(HOST, [port])
    server = socket.socket()
    # As asyncio's servers have them; a lingering connection keeps the options of its listener.
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        server.setsockopt(socket.SOL_SOCKET, option, 1)
    server.bind((HOST, port))
    server.listen()
    client = socket.create_connection((HOST, port))
    accepted, _ = server.accept()
    accepted.close()
    client.close()
    server.close()
    reservation.close()

    reserve(HOST, [port]).close()


def test_reserve_block_skips_a_block_that_is_partly_taken() -> None:
    first = reserve_block(HOST, 3, 32_768)

    second = reserve_block(HOST, 3, 32_768)

    assert not set(first.ports) & set(second.ports)
    first.close()
    second.close()


def test_reserve_block_without_room_is_a_conflict() -> None:
    with pytest.raises(Conflict):
        reserve_block(HOST, 3, 1025)


def test_choose_remembers_and_insists(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    ports = free_ports(3)
    remember(path, ports)

    chosen = choose(path, HOST, 3, 0)

    assert chosen.ports == ports
    with pytest.raises(PortHeld):
        choose(path, HOST, 3, 0)
    chosen.close()


def test_choose_base_takes_consecutive_ports(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    base = next(n for n in range(20_000, 30_000, 50) if all(is_free(n + i) for i in range(3)))

    chosen = choose(path, HOST, 3, base)

    assert chosen.ports == [base, base + 1, base + 2]
    assert recall(path) == chosen.ports
    chosen.close()


def test_recall_damaged_file_is_a_conflict(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    path.write_text("[2379]")

    with pytest.raises(Conflict):
        recall(path)


def is_free(port: int) -> bool:
    try:
        bind(port).close()
    except OSError:
        return False
    return True


def test_reservation_is_extended_past_ports_of_strangers() -> None:
    base = free_ports(1)[0]
    reservation = reserve(HOST, [base])
    try:
        port = reservation.extend(base)

        assert reservation.ports == [base, port]
        assert port > base
        with pytest.raises(OSError, match="in use"):
            bind(port)
    finally:
        reservation.close()
