"""The ZeroMQ mesh among real processes: kill -9, SIGSTOP, strangers, garbage, arenas."""

from __future__ import annotations

import random
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.mesh_member import (
    DEADLINE_S,
    ECHO_BYTES,
    REPORT,
    child,
    receive_until,
    send_when_possible,
)
from transport.arena import create_arena
from transport.claim import Claimed
from transport.frame import Frame, Identity, Rejection, encode
from transport.mesh import Channel, Mesh, MeshConfig, Received, Unsent
from transport.region import RegionUnusable
from transport.zeromq import Dialer, PathTooLong, Sockets

CLUSTER = 7
ME, PEER = 1, 2


def config(directory: Path, member: int, incarnation: int, **changes: object) -> MeshConfig:
    plain = MeshConfig(
        cluster_id=CLUSTER, member_id=member, incarnation=incarnation, directory=str(directory)
    )
    return msgspec.structs.replace(plain, **changes)


def arenas(directory: Path, size: int) -> dict[int, str]:
    paths = {member: str(directory / f"arena.{member}") for member in (ME, PEER)}
    for path in paths.values():
        create_arena(path, size)
    return paths


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = Mesh(config(tmp_path, ME, 11))
    mesh.add_peer(PEER)
    yield mesh
    mesh.close()


def echo(mesh: Mesh, payload: bytes, channel: Channel = Channel.CONTROL) -> Received:
    """Send a payload to the child and return its echo, which is all that arrives."""
    received = send_when_possible(mesh, PEER, channel, payload)
    received += receive_until(mesh, bool) if not received else []
    assert [(r.sender, r.channel, r.payload) for r in received] == [
        (PEER, channel, payload[:ECHO_BYTES])
    ]
    return received[0]


def report(mesh: Mesh) -> dict[str, int]:
    """Ask the child why it has rejected messages."""
    received = send_when_possible(mesh, PEER, Channel.BULK, REPORT)
    received += receive_until(mesh, lambda batch: any(r.payload[:1] == b"{" for r in batch))
    answer = next(r.payload for r in received if r.payload[:1] == b"{")
    return msgspec.json.decode(answer, type=dict[str, int])


# ---------------------------------------------------------------------- lives


def test_killed_peer_is_reported_unreachable(mesh: Mesh, tmp_path: Path) -> None:
    with child(config(tmp_path, PEER, 21), mesh, ME) as peer:
        echo(mesh, b"alive")
        peer.kill()
        before = mesh.counters.unsent[Unsent.BLOCKED]

        deadline = time.monotonic() + DEADLINE_S
        while mesh.send(PEER, Channel.CONTROL, b"anybody?"):
            assert time.monotonic() < deadline
            select.select(mesh.filenos(), [], [], 0.01)
            mesh.receive(10)

    assert mesh.counters.unsent[Unsent.BLOCKED] == before + 1


def test_restarted_peer_is_reached_and_gets_nothing_of_its_predecessors(
    mesh: Mesh, tmp_path: Path
) -> None:
    """Frames pile up for a stopped life, in ZeroMQ and in the kernel; then it is killed."""
    with child(config(tmp_path, PEER, 21), mesh, ME) as former:
        echo(mesh, b"alive", Channel.APPEND)
        former.stop()
        piled_up = sum(mesh.send(PEER, Channel.APPEND, b"old %d" % n) for n in range(200))
        former.kill()
    with child(config(tmp_path, PEER, 22), mesh, ME):
        first = echo(mesh, b"new", Channel.APPEND)
        second = echo(mesh, b"newer", Channel.APPEND)
        rejected = report(mesh)

    assert piled_up == 200
    assert (first.incarnation, second.incarnation) == (22, 22)
    assert sum(rejected.values()) == 0, "the old frames did not even reach it"


def test_peer_that_was_away_for_long_is_reached_at_its_start(mesh: Mesh, tmp_path: Path) -> None:
    """Each life is dialled anew, or the grown reconnect interval would have to pass first."""
    for incarnation in range(21, 25):
        with child(config(tmp_path, PEER, incarnation), mesh, ME):
            assert echo(mesh, b"life %d" % incarnation).incarnation == incarnation


def test_frames_of_a_former_life_are_refused_after_its_successor_was_heard(
    mesh: Mesh, tmp_path: Path
) -> None:
    """Both lives wait in our socket when we look; the younger one counts, whichever comes first."""
    sockets = Sockets(message_bytes_max=1 << 20)
    lives = [Identity(CLUSTER, PEER, 21, 1_000), Identity(CLUSTER, PEER, 22, 2_000)]
    for life in reversed(lives):
        dial_and_send(sockets, mesh, tmp_path, life, frame_to(mesh, incarnation=life.incarnation))
    received = receive_until(mesh, lambda _: mesh.counters.rejected[Rejection.INCARNATION] == 1)
    sockets.close()

    assert [r.incarnation for r in received] == [22]


def test_no_two_connections_of_a_life_share_a_routing_id(mesh: Mesh, tmp_path: Path) -> None:
    """A link that dialled again at the wrong moment was connected for ever and delivered nothing.

    The listener had not yet looked at either connection, and took the closing one for the newer.
    """
    sockets = Sockets(message_bytes_max=1 << 20)
    listeners = [
        sockets.listen(f"{tmp_path}/{PEER:016x}.{channel}", queue_messages_max=10)
        for channel in Channel
    ]
    announced: list[bytes] = []

    def collected(count: int) -> bool:
        sockets.notice()
        for listener in listeners:
            while (message := listener.receive()) is not None:
                announced.append(message[0])
        return len(announced) >= count

    receive_until(mesh, lambda _: collected(len(Channel)))
    for incarnation in (21, 22):
        life = Identity(CLUSTER, PEER, incarnation, incarnation * 1_000)
        dial_and_send(sockets, mesh, tmp_path, life, frame_to(mesh, incarnation=incarnation))
        receive_until(mesh, bool)
    receive_until(mesh, lambda _: collected(2 * len(Channel)))
    sockets.close()

    assert len(set(announced)) == len(announced)
    assert {Identity.decode(identity).incarnation for identity in announced} == {11}


def test_frame_meant_for_our_predecessor_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    refused_as(mesh, tmp_path, frame_to(mesh, to_incarnation=10), Rejection.PREDECESSOR)


def test_second_life_beside_a_living_one_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    with pytest.raises(Claimed):
        Mesh(config(tmp_path, ME, 12))

    with child(config(tmp_path, PEER, 21), mesh, ME):
        assert echo(mesh, b"still here").incarnation == 21


# ---------------------------------------------------------------------- pauses


def test_stopped_peer_fills_a_bounded_queue_and_answers_all_of_it_afterwards(
    tmp_path: Path,
) -> None:
    mesh = Mesh(config(tmp_path, ME, 11, queue_frames_max=64))
    mesh.add_peer(PEER)
    with child(config(tmp_path, PEER, 21, queue_frames_max=20_000), mesh, ME) as peer:
        echo(mesh, b"alive")
        peer.stop()
        taken = 0
        while mesh.send(PEER, Channel.CONTROL, b"%d" % taken + bytes(4_000)):
            taken += 1
            assert taken < 10_000, "64 frames, and what the kernel holds"
        peer.resume()
        received = receive_until(mesh, lambda batch: len(batch) >= taken)
    mesh.close()

    assert [int(r.payload.rstrip(b"\0")) for r in received] == list(range(taken))


# ---------------------------------------------------------------------- garbage


def frame_to(mesh: Mesh, **changes: object) -> bytes:
    """Return a frame that the mesh accepts as it is, or with some fields changed."""
    plain = Frame(0, 0, CLUSTER, PEER, ME, 21, 11, 1, 0, 0, b"payload")
    return encode(msgspec.structs.replace(plain, **changes))


def dial_and_send(
    sockets: Sockets, mesh: Mesh, directory: Path, identity: Identity, *messages: bytes
) -> Dialer:
    """Send messages to our control socket as somebody else."""
    path = f"{directory}/{ME:016x}.0"
    dialer = sockets.dial(path, identity.encode(), queue_messages_max=100)
    deadline = time.monotonic() + DEADLINE_S
    while not dialer.connected():
        assert time.monotonic() < deadline
        select.select([sockets.fileno()], [], [], 0.01)
    for message in messages:
        assert dialer.send(message)
    return dialer


def refused_as(mesh: Mesh, directory: Path, message: bytes, reason: Rejection) -> None:
    """Send something to be refused, then something to be accepted, and expect just that."""
    sockets = Sockets(message_bytes_max=1 << 20)
    identity = Identity(CLUSTER, PEER, 21, 1_000)
    good = frame_to(mesh, sequence=2**40)
    dial_and_send(sockets, mesh, directory, identity, message, good)
    received = receive_until(mesh, lambda batch: len(batch) == 1)
    sockets.close()

    assert received == [Received(PEER, 21, Channel.CONTROL, b"payload")]
    assert mesh.counters.rejected == dict.fromkeys(Rejection, 0) | {reason: 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cluster": 8}, Rejection.CLUSTER),
        ({"to": 3}, Rejection.RECIPIENT),
        ({"sender": 3}, Rejection.SENDER),
        ({"incarnation": 20}, Rejection.INCARNATION),
        ({"to_incarnation": 0}, Rejection.PREDECESSOR),
        ({"channel": 1}, Rejection.CHANNEL),
        ({"channel": 7}, Rejection.CHANNEL),
        ({"sequence": 0}, Rejection.ORDER),
        ({"flags": 1}, Rejection.ARENA),
        ({"flags": 1, "payload": bytes(32)}, Rejection.ARENA),
    ],
)
def test_frame_that_is_not_for_us_is_refused(
    mesh: Mesh, tmp_path: Path, changes: dict[str, object], reason: Rejection
) -> None:
    refused_as(mesh, tmp_path, frame_to(mesh, **changes), reason)


def test_damaged_frame_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    damaged = frame_to(mesh)[:-1] + b"?"

    refused_as(mesh, tmp_path, damaged, Rejection.CHECKSUM)


def test_message_that_is_no_frame_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    refused_as(mesh, tmp_path, b"GET / HTTP/1.1\r\n\r\n", Rejection.SHORT)


def test_repeated_frame_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    sockets = Sockets(message_bytes_max=1 << 20)
    once = frame_to(mesh)
    dial_and_send(sockets, mesh, tmp_path, Identity(CLUSTER, PEER, 21, 1_000), once, once)
    received = receive_until(mesh, lambda _: mesh.counters.rejected[Rejection.ORDER] == 1)
    sockets.close()

    assert len(received) == 1


@pytest.mark.parametrize("incarnation", [31, 32])
def test_connection_of_a_foreign_cluster_teaches_nothing(
    mesh: Mesh, tmp_path: Path, incarnation: int
) -> None:
    sockets = Sockets(message_bytes_max=1 << 20)
    dial_and_send(sockets, mesh, tmp_path, Identity(8, PEER, incarnation, 1_000))
    receive_until(mesh, lambda _: mesh.counters.rejected[Rejection.CLUSTER] == 1)
    sockets.close()

    assert not mesh.send(PEER, Channel.CONTROL, b"x")
    assert mesh.counters.unsent[Unsent.SILENT] == 1


def test_oversize_message_is_cut_off_and_others_get_through(tmp_path: Path) -> None:
    mesh = Mesh(config(tmp_path, ME, 11, frame_bytes_max=10_000))
    mesh.add_peer(PEER)
    sockets = Sockets(message_bytes_max=1 << 20)
    dial_and_send(sockets, mesh, tmp_path, Identity(CLUSTER, PEER, 21, 1_000), bytes(10_001))
    with child(config(tmp_path, PEER, 22), mesh, ME):
        answer = echo(mesh, b"after it")
    sockets.close()
    mesh.close()

    assert answer.incarnation == 22
    assert mesh.counters.received == 2, "up and the echo"


def test_raw_bytes_on_every_socket_do_no_harm(mesh: Mesh, tmp_path: Path) -> None:
    """Also the greetings of old ZeroMQ versions, which take almost anything for a message."""
    chance = random.Random(4)
    openings = [
        b"",
        b"\xff\0\0\0\0\0\0\0\1\x7f",
        b"\1\0",
        b"\xff" + bytes(8) + b"\x7f\3",
        b"\0" * 64,
    ]
    with child(config(tmp_path, PEER, 21), mesh, ME):
        echo(mesh, b"before")
        strangers = []
        for member in (ME, PEER):
            for channel in Channel:
                for opening in openings:
                    stranger = socket.socket(socket.AF_UNIX)
                    stranger.connect(f"{tmp_path}/{member:016x}.{channel}")
                    stranger.sendall(opening + chance.randbytes(chance.randrange(400)))
                    strangers.append(stranger)
        for channel in Channel:
            assert echo(mesh, b"during %d" % channel, channel).sender == PEER
        for stranger in strangers:
            stranger.close()
        answer = echo(mesh, b"after")
        rejected = report(mesh)

    assert answer.incarnation == 21
    # What surfaced as a message was refused for what it is: no frame, or no announcement.
    formless = {"short", "magic", "identity"}
    assert {reason for reason, count in rejected.items() if count} <= formless
    assert {reason for reason, count in mesh.counters.rejected.items() if count} <= formless
    assert mesh.counters.received == 7, "up, five echoes and a report"


# ---------------------------------------------------------------------- arenas


def test_large_payloads_go_through_the_arena_and_their_slots_come_back(tmp_path: Path) -> None:
    paths = arenas(tmp_path, 1 << 20)
    mesh = Mesh(config(tmp_path, ME, 11, arena_paths=paths, arena_age_ms_max=60_000))
    mesh.add_peer(PEER)
    with child(config(tmp_path, PEER, 21, arena_paths=paths), mesh, ME):
        echo(mesh, b"hello")
        for number in range(40):
            echo(mesh, b"%016d" % number + bytes(100_000), Channel.APPEND)
    mesh.close()

    assert mesh.counters.arena_sent == 40, "four times what the arena holds"
    assert mesh.counters.arena_fallbacks == 0


def test_full_arena_falls_back_to_the_socket(tmp_path: Path) -> None:
    paths = arenas(tmp_path, 256 << 10)
    mesh = Mesh(config(tmp_path, ME, 11, arena_paths=paths, arena_age_ms_max=60_000))
    mesh.add_peer(PEER)
    with child(config(tmp_path, PEER, 21, arena_paths=paths), mesh, ME) as peer:
        echo(mesh, b"hello")
        peer.stop()
        sent = sum(
            mesh.send(PEER, Channel.BULK, b"%016d" % number + bytes(100_000)) for number in range(6)
        )
        peer.resume()
        received = receive_until(mesh, lambda batch: len(batch) == 6)
    mesh.close()

    assert sent == 6
    assert (mesh.counters.arena_sent, mesh.counters.arena_fallbacks) == (2, 4)
    assert [int(r.payload) for r in received] == list(range(6))


def test_slot_that_was_reused_while_its_reader_was_stopped_is_lost(tmp_path: Path) -> None:
    paths = arenas(tmp_path, 256 << 10)
    mesh = Mesh(config(tmp_path, ME, 11, arena_paths=paths, arena_age_ms_max=0))
    mesh.add_peer(PEER)
    with child(config(tmp_path, PEER, 21, arena_paths=paths), mesh, ME) as peer:
        echo(mesh, b"hello")
        peer.stop()
        sent = sum(
            mesh.send(PEER, Channel.BULK, b"%016d" % number + bytes(100_000)) for number in range(6)
        )
        peer.resume()
        received = receive_until(mesh, lambda batch: len(batch) == 2)
        rejected = report(mesh)
    mesh.close()

    assert (sent, mesh.counters.arena_fallbacks) == (6, 0)
    assert [int(r.payload) for r in received] == [4, 5], "the two that the arena still holds"
    assert rejected["arena"] == 4


def test_slots_of_a_dead_reader_come_back_with_its_successor(tmp_path: Path) -> None:
    paths = arenas(tmp_path, 256 << 10)
    mesh = Mesh(config(tmp_path, ME, 11, arena_paths=paths, arena_age_ms_max=60_000))
    mesh.add_peer(PEER)
    with child(config(tmp_path, PEER, 21, arena_paths=paths), mesh, ME) as peer:
        echo(mesh, b"hello")
        peer.stop()
        for number in range(3):
            mesh.send(PEER, Channel.BULK, b"%016d" % number + bytes(100_000))
    fallbacks = mesh.counters.arena_fallbacks
    with child(config(tmp_path, PEER, 22, arena_paths=paths), mesh, ME):
        echo(mesh, b"hello again")
        echo(mesh, b"x" * 100_000, Channel.BULK)
    mesh.close()

    assert fallbacks == 1
    assert mesh.counters.arena_fallbacks == 1
    assert mesh.counters.arena_sent == 3


def test_peer_that_cannot_read_our_arena_gets_everything_inline(tmp_path: Path) -> None:
    paths = arenas(tmp_path, 1 << 20)
    mesh = Mesh(config(tmp_path, ME, 11, arena_paths=paths))
    mesh.add_peer(PEER)
    blind = {PEER: paths[PEER], ME: str(tmp_path / "elsewhere")}
    with child(config(tmp_path, PEER, 21, arena_paths=blind), mesh, ME):
        echo(mesh, b"hello")
        echo(mesh, b"x" * 100_000, Channel.APPEND)
    mesh.close()

    assert mesh.counters.arena_sent == 0
    assert mesh.counters.arena_fallbacks == 0


def test_own_arena_that_cannot_be_mapped_is_an_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(RegionUnusable):
        Mesh(config(tmp_path, ME, 11, arena_paths={ME: str(tmp_path / "none")}))

    Mesh(config(tmp_path, ME, 11)).close()


def test_directory_with_a_long_name_is_an_error_at_start(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()

    with pytest.raises(PathTooLong):
        Mesh(config(deep, ME, 11))
