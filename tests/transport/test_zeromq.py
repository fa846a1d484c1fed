"""The ZeroMQ settings: each prevents an accident, shown here on real sockets."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from tests.support.mesh_member import DEADLINE_S
from transport.zeromq import PATH_BYTES_MAX, Dialer, Listener, PathTooLong, Sockets

PATH = "socket"


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    sockets = Sockets(message_bytes_max=1_000)
    yield sockets
    sockets.close()


def wait(sockets: Sockets, done: Callable[[], bool]) -> None:
    """Let the sockets work until something holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline
        select.select([sockets.fileno()], [], [], 0.01)
        sockets.notice()


def receive(sockets: Sockets, listener: Listener, count: int) -> list[tuple[bytes, bytes]]:
    """Return the next messages."""
    messages: list[tuple[bytes, bytes]] = []

    def enough() -> bool:
        while (message := listener.receive()) is not None:
            messages.append(message)
        return len(messages) >= count

    wait(sockets, enough)
    return messages


def dial(sockets: Sockets, path: Path, identity: bytes = b"me", queue: int = 10) -> Dialer:
    return sockets.dial(str(path / PATH), identity, queue_messages_max=queue)


def listen(sockets: Sockets, path: Path) -> Listener:
    return sockets.listen(str(path / PATH), queue_messages_max=10)


def test_connection_announces_itself_before_its_first_message(
    sockets: Sockets, tmp_path: Path
) -> None:
    listener, dialer = listen(sockets, tmp_path), dial(sockets, tmp_path)
    wait(sockets, lambda: dialer.send(b"first"))

    assert receive(sockets, listener, 2) == [(b"me", b""), (b"me", b"first")]


def test_nothing_is_taken_while_nobody_is_there(sockets: Sockets, tmp_path: Path) -> None:
    dialer = dial(sockets, tmp_path)

    assert not dialer.connected()
    assert not dialer.send(b"into the void")
    listener = listen(sockets, tmp_path)
    wait(sockets, dialer.connected)
    assert dialer.send(b"heard")
    assert receive(sockets, listener, 2)[1:] == [(b"me", b"heard")]


def test_descriptor_wakes_for_a_message_and_is_quiet_when_all_is_read(
    sockets: Sockets, tmp_path: Path
) -> None:
    listener, dialer = listen(sockets, tmp_path), dial(sockets, tmp_path)
    wait(sockets, dialer.connected)
    receive(sockets, listener, 1)
    sockets.notice()
    quiet, _, _ = select.select([sockets.fileno()], [], [], 0)
    dialer.send(b"wake up")
    awake, _, _ = select.select([sockets.fileno()], [], [], DEADLINE_S)

    assert (quiet, awake) == ([], [sockets.fileno()])


def test_queue_is_bounded(sockets: Sockets, tmp_path: Path) -> None:
    """Ten in the dialer, the announcement among them; ten in the listener; some in the kernel."""
    listen(sockets, tmp_path)
    dialer = dial(sockets, tmp_path)
    wait(sockets, dialer.connected)
    taken = 0
    while dialer.send(bytes(900)):
        taken += 1
        assert taken < 10_000

    assert taken >= 9


def test_oversize_message_ends_its_connection_only(sockets: Sockets, tmp_path: Path) -> None:
    listener = listen(sockets, tmp_path)
    rude, polite = dial(sockets, tmp_path, b"rude"), dial(sockets, tmp_path, b"polite")
    wait(sockets, lambda: rude.send(bytes(1_001)))
    wait(sockets, lambda: polite.send(bytes(1_000)))
    messages = receive(sockets, listener, 4)

    assert (b"polite", bytes(1_000)) in messages
    assert (b"rude", bytes(1_001)) not in messages
    assert messages.count((b"rude", b"")) == 2, "it was cut off, and has connected again"


def test_message_of_several_parts_is_nothing_and_the_next_one_is_whole(
    sockets: Sockets, tmp_path: Path
) -> None:
    listener = listen(sockets, tmp_path)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.DEALER) as stranger:
        stranger.set(zmq.LINGER, 0)
        stranger.set(zmq.ROUTING_ID, b"stranger")
        stranger.connect(f"ipc://{tmp_path / PATH}")
        stranger.send_multipart([b"a", b"b", b"c"])
        stranger.send(b"whole")

        assert receive(sockets, listener, 2) == [(b"", b""), (b"stranger", b"whole")]


def test_hanging_up_drops_the_queue_and_leaves_others_alone(
    sockets: Sockets, tmp_path: Path
) -> None:
    listener = listen(sockets, tmp_path)
    gone, stays = dial(sockets, tmp_path, b"gone"), dial(sockets, tmp_path, b"stays")
    wait(sockets, lambda: gone.connected() and stays.connected())
    receive(sockets, listener, 2)
    sockets.hang_up(gone)
    stays.send(b"here")

    assert receive(sockets, listener, 1) == [(b"stays", b"here")]


@pytest.mark.parametrize("excess", [0, 1])
def test_path_is_measured_in_bytes(sockets: Sockets, tmp_path: Path, excess: int) -> None:
    room = PATH_BYTES_MAX - len(f"{tmp_path}/") + excess
    path = f"{tmp_path}/" + "ü" * (room // 2) + "x" * (room % 2)

    if excess:
        with pytest.raises(PathTooLong):
            sockets.listen(path, queue_messages_max=1)
    else:
        sockets.listen(path, queue_messages_max=1)
