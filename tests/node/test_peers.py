"""Messages in parcels: grouped, in order, in frames that fit; heartbeats measured and judged."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from node.opinion import Opinion
from node.peers import PARCEL_BYTES_MAX, LeaseAsk, Parcel, Peers, data_bytes, parts_of
from node.raft.message import (
    Append,
    AppendReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVote,
    Propose,
)
from tests.support.member_cluster import MemberCluster, RoundTripRecord
from transport.frame import Channel
from transport.mesh import Received

MS = 1_000_000
STALE_NS = 500 * MS


class Opinions:
    """Says who it is, and keeps what it hears."""

    def __init__(self, member: int) -> None:
        self.member = member
        self.told: list[tuple[int, Opinion]] = []
        self.frames = 0

    def opinion(self) -> Opinion:
        return Opinion(index=self.member)

    def heard(self, sender: int, opinion: Opinion) -> None:
        self.told.append((sender, opinion))

    def met(self) -> None:
        self.frames += 1


class Wire:
    """One member's peers, and the frames that it sends."""

    def __init__(self, member: int) -> None:
        self.member = member
        self.frames: list[tuple[int, Channel, bytes]] = []
        self.unreachable: set[int] = set()
        self.links = RoundTripRecord()
        self.opinions = Opinions(member)
        self.peers = Peers(self, self.links, self.opinions, STALE_NS)

    def send(self, to: int, channel: Channel, payload: bytes) -> bool:
        if to in self.unreachable:
            return False
        self.frames.append((to, channel, payload))
        return True

    def received(self) -> list[Received]:
        """What it has sent, as it arrives; the wire is empty afterwards."""
        frames, self.frames = self.frames, []
        return [Received(self.member, 1, channel, payload) for _, channel, payload in frames]


def append(size: int, to: int = 2, index: int = 1) -> Append:
    return Append(1, to, 3, index - 1, 3, 0, [Entry(3, index, 0, bytes(size))])


def test_messages_areGroupedByPeerAndChannel_inOrder() -> None:
    wire = Wire(1)
    messages: list[Message] = [
        append(10, 2, 1),
        Heartbeat(1, 3, 3, 0),
        append(10, 2, 2),
        Heartbeat(1, 2, 3, 0),
        AppendReply(1, 2, 3, 9),
    ]

    unreachable = wire.peers.send(messages, 5 * MS)

    assert unreachable == []
    assert [(to, channel) for to, channel, _ in wire.frames] == [
        (2, Channel.APPEND),
        (3, Channel.CONTROL),
        (2, Channel.CONTROL),
    ]
    opened = [list(Wire(2).peers.open(frame, 6 * MS)[0]) for frame in wire.received()]
    assert opened == [[messages[0], messages[2], messages[4]], [messages[1]], [messages[3]]]


def test_unreachable_areNamed_perPeer() -> None:
    wire = Wire(1)
    wire.unreachable = {3}

    unreachable = wire.peers.send([Heartbeat(1, 2, 3, 0), Heartbeat(1, 3, 3, 0)], MS)

    assert unreachable == [3]
    assert len(wire.frames) == 1


def test_large_travelInSeveralFrames_inOrder() -> None:
    wire = Wire(1)
    messages: list[Message] = [append(PARCEL_BYTES_MAX // 3, 2, n) for n in range(1, 9)]

    wire.peers.send(messages, MS)

    assert len(wire.frames) == 4
    frames = wire.received()
    assert all(len(frame.payload) < PARCEL_BYTES_MAX + 1_000 for frame in frames)
    assert [message for frame in frames for message in Wire(2).peers.open(frame, MS)[0]] == messages


def test_large_afterOneThatIsNotTaken_areNotSent() -> None:
    """What follows a hole is of no use."""
    wire = Wire(1)
    wire.unreachable = {2}

    unreachable = wire.peers.send([append(PARCEL_BYTES_MAX, 2, n) for n in range(1, 4)], MS)

    assert unreachable == [2]


sizes = st.lists(st.integers(0, PARCEL_BYTES_MAX * 3 // 2), min_size=1, max_size=8)


@settings(deadline=None, max_examples=100)
@given(sizes, st.booleans())
def test_parts_loseNothingAndFit(sizes: list[int], forwarded: bool) -> None:
    blob = bytes(2 * PARCEL_BYTES_MAX)
    group: list[Message] = [
        Propose(1, 2, 3, 0, [blob[:size]], 4, index) if forwarded else append(size, 2, index)
        for index, size in enumerate(sizes, 1)
    ]

    parts = list(parts_of(group))

    assert [message for part in parts for message in part] == group
    for part in parts:
        assert len(part) == 1 or sum(map(data_bytes, part)) <= PARCEL_BYTES_MAX


def test_foreignSender_isDropped() -> None:
    """A frame speaks for the member that sent it only."""
    parcel = Parcel(0, 0, [PreVote(3, 2, 9, 0, 0), PreVote(1, 2, 9, 0, 0)])
    frame = Received(1, 1, Channel.CONTROL, msgspec.msgpack.encode(parcel))

    messages, _ = Wire(2).peers.open(frame, MS)

    assert messages == [parcel.messages[1]]


def test_garbage_isCounted() -> None:
    peers = Wire(2).peers
    wrong = [b"", b"\xff\xff", msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode([0, 0, [7]])]

    opened = [peers.open(Received(1, 1, Channel.CONTROL, payload), MS) for payload in wrong]

    assert opened == [((), ())] * 4
    assert peers.undecodable == 4


def test_roundTrip_isMeasuredByTheEcho() -> None:
    leader, follower = Wire(1), Wire(2)
    leader.peers.send([Heartbeat(1, 2, 3, 0)], 10 * MS)
    [frame] = leader.received()
    follower.peers.open(frame, 12 * MS)
    follower.peers.send([HeartbeatReply(2, 1, 3)], 13 * MS)
    [frame] = follower.received()

    leader.peers.open(frame, 17 * MS)

    assert leader.links.round_trips == {2: [7 * MS]}
    counted = leader.peers.durations(2)
    assert (sum(counted.counts), counted.sum_seconds) == (1, 0.007)
    assert counted.counts[counted.bounds_seconds.index(0.0128)] == 1
    assert sum(leader.peers.durations(3).counts) == 0


def test_echo_isUsedOnce() -> None:
    """A read's extra answer must not be taken for the answer to an older heartbeat."""
    leader, follower = Wire(1), Wire(2)
    leader.peers.send([Heartbeat(1, 2, 3, 0)], 10 * MS)
    [frame] = leader.received()
    follower.peers.open(frame, 12 * MS)
    for _ in range(2):
        follower.peers.send([HeartbeatReply(2, 1, 3)], 13 * MS)
    for frame in follower.received():
        leader.peers.open(frame, 17 * MS)

    assert leader.links.round_trips == {2: [7 * MS]}


def test_staleHeartbeat_isDropped_itsCompanyIsNot() -> None:
    leader, follower = Wire(1), Wire(2)
    vote = PreVote(1, 2, 4, 0, 0)
    leader.peers.send([Heartbeat(1, 2, 3, 0), vote], 10 * MS)
    [frame] = leader.received()

    fresh, _ = follower.peers.open(frame, 10 * MS + STALE_NS)
    stale, _ = follower.peers.open(frame, 10 * MS + STALE_NS + 1)

    assert list(fresh) == [Heartbeat(1, 2, 3, 0), vote]
    assert list(stale) == [vote]


def test_calls_travelOnTheControlChannel() -> None:
    wire = Wire(1)

    wire.peers.call(2, [LeaseAsk(1, 7, True)])

    [frame] = wire.received()
    assert frame.channel is Channel.CONTROL
    assert Wire(2).peers.open(frame, MS) == ([], [LeaseAsk(1, 7, True)])


def test_roundTrips_inAWholeCluster() -> None:
    cluster = MemberCluster()
    leader = cluster.elect()
    cluster.network.fate = lambda letter: (1,)

    cluster.tick(100)

    trips = {peer: set(found) for peer, found in leader.links.round_trips.items()}
    assert set(trips) == {node.id for node in cluster.followers()}
    for found in trips.values():
        assert max(found) == 20 * MS


def test_opinions_travelBesideHeartbeatsAndTheirAnswers_only() -> None:
    one, two = Wire(1), Wire(2)
    one.peers.send([Heartbeat(1, 2, 3, 0, 0), append(10, 2, 1)], MS)
    one.peers.send([PreVote(1, 2, 9, 0, 0)], MS)
    for frame in one.received():
        two.peers.open(frame, MS)
    two.peers.send([HeartbeatReply(2, 1, 3, 0)], 2 * MS)
    for frame in two.received():
        one.peers.open(frame, 2 * MS)

    assert two.opinions.told == [(1, Opinion(index=1))]
    assert one.opinions.told == [(2, Opinion(index=2))]
    assert (two.opinions.frames, one.opinions.frames) == (3, 1)
