"""The memory network's faults: what a test decides is what happens."""

from __future__ import annotations

from collections.abc import Sequence

from transport.frame import Rejection
from transport.memory import Letter, MemoryMesh, MemoryNetwork
from transport.mesh import Channel, MeshConfig, Unsent


def join(network: MemoryNetwork, member: int, incarnation: int = 0) -> MemoryMesh:
    """Let a member live that knows members 1 to 3."""
    mesh = network.join(
        MeshConfig(
            cluster_id=7,
            member_id=member,
            incarnation=incarnation or member * 10,
            directory="",
            queue_frames_max=8,
            bulk_queue_frames_max=2,
        )
    )
    for peer in {1, 2, 3} - {member}:
        mesh.add_peer(peer)
    return mesh


def payloads(mesh: MemoryMesh) -> list[bytes]:
    return [received.payload for received in mesh.receive(100)]


def test_letter_without_delay_arrives_within_send() -> None:
    network = MemoryNetwork()
    one, two = join(network, 1), join(network, 2)

    assert one.send(2, Channel.CONTROL, b"now")
    assert payloads(two) == [b"now"]


def test_fate_loses_delays_and_repeats() -> None:
    def fate(letter: Letter) -> Sequence[int]:
        return {b"lost": (), b"late": (3,), b"twice": (0, 2)}[letter.payload]

    network = MemoryNetwork()
    one, two = join(network, 1), join(network, 2)
    network.fate = fate
    for payload in (b"late", b"lost", b"twice"):
        assert one.send(2, Channel.APPEND, payload)
    at_once = payloads(two)
    network.advance(2)
    after_two = payloads(two)
    network.advance(1)
    after_three = payloads(two)

    assert (at_once, after_two, after_three) == ([b"twice"], [b"twice"], [b"late"])
    assert network.in_flight() == 0


def test_delayed_letters_arrive_by_due_time_then_in_order_of_sending() -> None:
    delays = iter([(2,), (1,), (2,), (1,)])
    network = MemoryNetwork()
    one, two = join(network, 1), join(network, 2)
    network.fate = lambda _: next(delays)
    for payload in (b"a", b"b", b"c", b"d"):
        one.send(2, Channel.APPEND, payload)
    network.advance(5)

    assert payloads(two) == [b"b", b"d", b"a", b"c"]


def test_partition_loses_between_groups_and_heals() -> None:
    network = MemoryNetwork()
    one, two, three = (join(network, member) for member in (1, 2, 3))
    network.partition([1, 2], [3])
    for sender, to in ((one, 2), (one, 3), (three, 1)):
        assert sender.send(to, Channel.CONTROL, b"x"), "a cut says nothing to the sender"
    divided = [payloads(mesh) for mesh in (one, two, three)]
    network.heal()
    one.send(3, Channel.CONTROL, b"y")

    assert divided == [[], [b"x"], []]
    assert payloads(three) == [b"y"]


def test_cut_has_one_direction() -> None:
    network = MemoryNetwork()
    one, two = join(network, 1), join(network, 2)
    network.cut(1, 2)
    one.send(2, Channel.CONTROL, b"there")
    two.send(1, Channel.CONTROL, b"back")

    assert payloads(two) == []
    assert payloads(one) == [b"back"]


def test_letter_for_a_former_life_is_refused() -> None:
    network = MemoryNetwork()
    one, _ = join(network, 1), join(network, 2, incarnation=20)
    network.fate = lambda _: (1,)
    one.send(2, Channel.APPEND, b"old")
    successor = join(network, 2, incarnation=21)
    network.advance(1)

    assert payloads(successor) == []
    assert successor.counters.rejected[Rejection.PREDECESSOR] == 1


def test_letter_from_a_former_life_is_refused() -> None:
    network = MemoryNetwork()
    one, two = join(network, 1), join(network, 2, incarnation=20)
    network.fate = lambda _: (1,)
    two.send(1, Channel.APPEND, b"old")
    join(network, 2, incarnation=21)
    network.advance(1)

    assert payloads(one) == []
    assert one.counters.rejected[Rejection.INCARNATION] == 1


def test_life_that_was_replaced_is_over() -> None:
    network = MemoryNetwork()
    join(network, 1)
    former = join(network, 2, incarnation=20)
    join(network, 2, incarnation=21)

    assert not former.open
    assert not former.send(1, Channel.CONTROL, b"ghost")


def test_full_queue_takes_nothing_more_of_that_sender_and_channel() -> None:
    network = MemoryNetwork()
    one, two, three = (join(network, member) for member in (1, 2, 3))
    taken = [one.send(2, Channel.BULK, b"%d" % number) for number in range(3)]

    assert taken == [True, True, False]
    assert one.counters.unsent[Unsent.BLOCKED] == 1
    assert one.send(2, Channel.APPEND, b"other channel")
    assert three.send(2, Channel.BULK, b"other sender")
    payloads(two)
    assert one.send(2, Channel.BULK, b"again")


def test_notify_names_the_member_at_which_something_arrived() -> None:
    told: list[int] = []
    network = MemoryNetwork(notify=told.append)
    one, _ = join(network, 1), join(network, 2)
    one.send(2, Channel.CONTROL, b"x")
    one.send(3, Channel.CONTROL, b"nobody lives there")

    assert told == [2]
