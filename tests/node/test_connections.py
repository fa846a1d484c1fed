"""Who is a peer: the members of the configuration, those who just left it, and guests that lead."""

from __future__ import annotations

from node.addresses import AddressBook
from node.connections import LINGER_SECONDS, Connections
from node.peers import Call, Farewell, LeaderAsk, LeaderReply
from node.raft.message import ConfState
from transport.memory import MemoryMesh, MemoryNetwork
from transport.mesh import MeshConfig

PATIENCE = 2.0
ADDRESS = "127.0.0.1:2380"


class Links:
    """A status page that nobody looks at."""

    def drop_link(self, peer: int) -> None:
        pass


class Peered:
    """The connections of member 1 in a cluster of three, and what they say."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[tuple[int, Call]] = []
        self.addresses = AddressBook(1, [])
        config = MeshConfig(cluster_id=1, member_id=1, incarnation=1, directory="/nowhere")
        self.mesh: MemoryMesh = MemoryNetwork().join(config)
        self.connections = Connections(
            1,
            (1, 2, 3),
            self.mesh,
            Links(),
            self.addresses,
            lambda to, calls: self.said.extend((to, call) for call in calls),
            lambda: self.now,
            PATIENCE,
        )
        self.connections.adopt(ConfState(voters=(1, 2, 3)))

    def keep_house(self, after: float, leader: int = 0) -> None:
        self.now += after
        self.connections.keep_house(self.now, leader)

    def meet(self, leader: int) -> None:
        self.connections.take(2, [LeaderReply(leader, ADDRESS)], 0)


def test_othersAreAskedForALeader_onlyAfterAWhileWithoutOne() -> None:
    peered = Peered()
    peered.keep_house(PATIENCE / 2, leader=2)
    peered.keep_house(PATIENCE / 2)
    assert not peered.said

    peered.keep_house(PATIENCE / 2)
    peered.keep_house(PATIENCE / 2)

    assert peered.said == [(2, LeaderAsk()), (3, LeaderAsk())]


def test_whoHearsALeader_saysSo_andWhoDoesNot_isSilent() -> None:
    peered = Peered()

    peered.connections.take(3, [LeaderAsk()], 0)
    peered.connections.take(3, [LeaderAsk()], 7)

    assert peered.said == [(3, LeaderReply(7))]


def test_unknownLeader_isAGuest_untilAnotherLeads() -> None:
    peered = Peered()
    peered.meet(7)
    peered.keep_house(0.1, leader=7)
    assert peered.mesh.peers() == [2, 3, 7]

    peered.keep_house(0.1, leader=2)

    assert peered.mesh.peers() == [2, 3]


def test_unknownLeader_isFoundWhereTheOtherSaysItIs() -> None:
    peered = Peered()

    peered.meet(7)
    peered.connections.take(3, [LeaderAsk()], 7)

    assert peered.addresses.address(7) == ADDRESS
    assert peered.said == [(3, LeaderReply(7, ADDRESS))]


def test_guest_isNotSentAwayByAChangeThatDoesNotNameIt() -> None:
    """It is a member already; the change that says so is still to be applied."""
    peered = Peered()
    peered.meet(7)

    peered.connections.change(ConfState(voters=(1, 2, 3), learners=(6,)))
    peered.keep_house(2 * LINGER_SECONDS, leader=7)

    assert peered.mesh.peers() == [2, 3, 6, 7]
    assert not [call for _, call in peered.said if isinstance(call, Farewell)]


def test_guestThatBecameAMember_hearsFarewellLikeAnyOther() -> None:
    peered = Peered()
    peered.meet(7)
    peered.connections.change(ConfState(voters=(1, 2, 3, 7)))

    peered.connections.change(ConfState(voters=(1, 2, 3)))

    assert peered.said == [(7, Farewell())]


def test_ownIdAndNobody_areNoGuests() -> None:
    peered = Peered()

    peered.meet(1)
    peered.meet(0)

    assert peered.mesh.peers() == [2, 3]
