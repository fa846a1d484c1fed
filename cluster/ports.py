"""Client ports: chosen once per data directory, remembered, and held for the cluster's life.

The port of node n3 is the third one, also after other nodes have come and gone: whoever takes the
place of a node answers where that one did.

Candidates lie below the range from which the kernel hands out ports to outgoing connections,
etcd's own 2379, 22379, 32379 first. A port is claimed by one plain bind, which fails when anybody
has it. Only then the socket is opened for sharing (SO_REUSEPORT) and kept, never listening: a
stranger's bind is refused while a node is dead, clients get a prompt refusal, and the node's own
bind succeeds.

Bind first, share second: the other order would let two supervisors of one user take the same port.
SO_REUSEADDR is set only for that first bind, so that connections of an earlier run that linger in
TIME_WAIT do not cost a cluster its ports.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

from cluster.config import read_json, write_json
from cluster.errors import Conflict, PortHeld

BASES = (2379, 22379, 32379, 12379)
"""Of nodes 1 to 4; later nodes take the same hundreds further up."""
BLOCKS_MAX = 40
BLOCK_STRIDE = 10
PORT_MAX = 65_535
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def block(number: int, nodes: int) -> list[int]:
    """Ports of the given block, one per node: 0 → 2379, 22379, 32379; 1 → 2389, 22389, …"""
    return [BASES[n % 4] + 100 * (n // 4) + BLOCK_STRIDE * number for n in range(nodes)]


def ephemeral_floor(text: str) -> int:
    """The lowest port that the kernel gives to outgoing connections."""
    return int(text.split()[0])


class Reservation:
    """Ports that are ours until `close`."""

    def __init__(self, host: str, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self.host = host
        self.ports = [int(held.getsockname()[1]) for held in sockets]

    def extend(self, base: int) -> int:
        """Claim one port more, which goes on with the others' pattern; returns it.

        Raises:
            Conflict: none is free.
        """
        number = len(self.ports)
        for step in range(BLOCKS_MAX):
            port = base + number + step if base else block(step, number + 1)[number]
            if port > PORT_MAX or port in self.ports:
                continue
            try:
                self._sockets.append(_claim(self.host, port))
            except PortHeld:
                continue
            self.ports.append(port)
            return port
        raise Conflict(f"no free port for one node more on {self.host}", hint="conclave doctor")

    def close(self) -> None:
        """Give the ports back."""
        for held in self._sockets:
            held.close()


def reserve(host: str, ports: list[int]) -> Reservation:
    """Claim exactly these ports, all or none.

    Raises:
        PortHeld: one of them belongs to somebody else.
    """
    sockets: list[socket.socket] = []
    try:
        for port in ports:
            sockets.append(_claim(host, port))
    except PortHeld:
        Reservation(host, sockets).close()
        raise
    return Reservation(host, sockets)


def reserve_block(host: str, nodes: int, floor: int) -> Reservation:
    """Claim the first block that is wholly free and lies below `floor`.

    Raises:
        Conflict: none is.
    """
    for ports in _candidates(nodes, floor):
        try:
            return reserve(host, ports)
        except PortHeld:
            continue
    raise Conflict(
        f"no {nodes} free ports below {floor} on {host}", hint="conclave up --ports BASE"
    )


def remember(path: Path, ports: list[int]) -> None:
    """Write `ports.json`: the endpoints outlive every process."""
    write_json(path, {"ports": ports})


def recall(path: Path) -> list[int] | None:
    """The ports of an earlier run.

    Raises:
        Conflict: the file is damaged.
    """
    try:
        found = read_json(path)["ports"]
        if not all(type(port) is int and 0 < port < 1 << 16 for port in found):
            raise ValueError(f"{found!r} are no ports")
        return list(found)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise Conflict(f"{path} is damaged: {error}", hint=f"remove {path}") from error


def choose(path: Path, host: str, nodes: int, base: int) -> Reservation:
    """The remembered ports, or else the asked-for or first free ones, which are then remembered.

    Raises:
        PortHeld: a remembered or asked-for port is taken. Others are not chosen in its place: the
            endpoints were given to clients.
        Conflict: no block is free.
    """
    if (ports := recall(path)) is not None:
        return reserve(host, ports)
    if base:
        held = reserve(host, [base + n for n in range(nodes)])
    else:
        held = reserve_block(host, nodes, ephemeral_floor(EPHEMERAL_RANGE.read_text()))
    remember(path, held.ports)
    return held


def _candidates(nodes: int, floor: int) -> Iterator[list[int]]:
    for number in range(BLOCKS_MAX):
        ports = block(number, nodes)
        if max(ports) < floor:
            yield ports
    # Containers may set a low floor: plain consecutive ports from the unprivileged ones upward.
    for first in range(1024, floor - nodes, 10 * nodes):
        yield [first + n for n in range(nodes)]


def _claim(host: str, port: int) -> socket.socket:
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        held.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise _describe_holder(host, port) from error
    return held


def _describe_holder(host: str, port: int) -> PortHeld:
    # Imported here: only a refused start needs it.
    import psutil

    data: dict[str, object] = {"port": port}
    text = f"port {port} on {host} is held"
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr[1] == port and connection.pid:
            try:
                program = psutil.Process(connection.pid).name()
            except psutil.NoSuchProcess:
                continue
            data |= {"pid": connection.pid, "program": program}
            text += f" by pid {connection.pid} ({program})"
            break
    return PortHeld(text, hint="stop it, or take other ports: --ports BASE", data=data)
