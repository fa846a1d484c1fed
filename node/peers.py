"""Raft messages to and from the other members: one frame per peer, channel and turn, if it fits.

    Raft messages ──group by peer and channel──► Parcel ──msgpack──► mesh frame
    mesh frame ──► Parcel ──► Raft messages, lease calls; round trips into telemetry

Heartbeats, votes and read indexes travel on the control channel, so that they never queue behind
entries; snapshot chunks have a channel and a module of their own. What cannot be sent is lost,
which Raft tolerates; the caller is told which peers were unreachable.

Round trips are measured without a word of Raft: a parcel with a heartbeat carries the sender's
monotonic time, the parcel with its answer carries it back. All members live on one host and share
that clock, so the receiver can also tell how old a heartbeat is and drop the burst that piled up
while it was stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from node.opinion import Opinion
from node.raft.message import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    Propose,
    entries_bytes,
)
from node.status import Durations
from node.tally import Histogram
from transport.mesh import Channel, Received


class LeaseAsk(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """A follower asks the leader's lease clock: renew (or only look at) one lease."""

    number: int
    lease_id: int
    renew: bool


class LeaseReply(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """The leader's answer; `refused` when it cannot vouch for its own leadership."""

    number: int
    remaining: int
    granted: int
    refused: bool


class ChangeAsk(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """A member asks the leader of `term` for a change of the members; `request` is
    `etcdserverpb.Member`."""

    number: int
    term: int
    kind: int
    request: bytes


class ChangeReply(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """The leader has taken the change into its log (""), or why not; `term` as it was asked."""

    number: int
    term: int
    verdict: str


class Farewell(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """Who gets this has been removed: the sender has applied it."""


class LeaderAsk(msgspec.Struct, frozen=True, array_like=True, tag=6, gc=False):
    """Who leads? From one that has heard no leader for long."""


class LeaderReply(msgspec.Struct, frozen=True, array_like=True, tag=7, gc=False):
    """Whom the sender hears, or that it leads itself; and where that member is, if it has an
    address of its own."""

    leader: int
    address: str = ""


Call = LeaseAsk | LeaseReply | ChangeAsk | ChangeReply | Farewell | LeaderAsk | LeaderReply


class Parcel(msgspec.Struct, frozen=True, array_like=True):
    """What one frame carries. Times are monotonic nanoseconds, 0 = none."""

    stamp: int
    echo: int
    messages: list[Message]
    calls: list[Call] = []
    opinion: Opinion | None = None
    """Beside a heartbeat or its answer: what the sender says of its own state."""


class Mesh(Protocol):
    """The part of `transport.mesh.Mesh` that is used here."""

    def send(self, to: int, channel: Channel, payload: bytes) -> bool:
        """Hand one frame over; False = it was not taken."""


class RoundTrips(Protocol):
    """Where measured heartbeat round trips go."""

    def sent(self, peer: int, now_ns: int) -> None:
        """A heartbeat left for this peer."""

    def answered(self, peer: int, now_ns: int, round_trip_ns: int) -> None:
        """Its answer came back."""

    def heard(self, peer: int, now_ns: int) -> None:
        """A heartbeat of this peer arrived."""


class Opinions(Protocol):
    """Whoever compares the members' states."""

    def opinion(self) -> Opinion:
        """What this member says of its own."""

    def heard(self, sender: int, opinion: Opinion) -> None:
        """What another one says."""

    def met(self) -> None:
        """A frame of another member has arrived."""


PARCEL_BYTES_MAX = 1 << 20
"""Messages with more data than this together travel in several frames: a window of appends is
larger than a frame may be. One message always fits, since entries and proposals are limited."""
ROUND_TRIP_BOUNDS_SECONDS = tuple(0.0001 * 2**step for step in range(16))
"""Those of etcd's metric."""
ENTRY_TRAFFIC = (Append, AppendReply, Propose, InstallSnapshot)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Parcel).decode


class Peers:
    """The other members, as this member's loop talks to them."""

    def __init__(
        self, mesh: Mesh, round_trips: RoundTrips, opinions: Opinions, stale_ns: int
    ) -> None:
        """Heartbeats older than `stale_ns` on arrival are dropped."""
        self._mesh = mesh
        self._round_trips = round_trips
        self._opinions = opinions
        self._stale_ns = stale_ns
        self._echoes: dict[int, int] = {}
        self.round_trips: dict[int, Histogram] = {}
        """Of heartbeats, by peer."""
        self.undecodable = 0
        """Parcels that passed the frame's checksum and still made no sense."""

    def send(self, messages: Iterable[Message], now_ns: int) -> list[int]:
        """Send each peer its messages, in order per channel; returns the unreachable peers."""
        groups: dict[tuple[int, Channel], list[Message]] = {}
        for message in messages:
            channel = Channel.APPEND if isinstance(message, ENTRY_TRAFFIC) else Channel.CONTROL
            groups.setdefault((message.to, channel), []).append(message)
        return [
            to
            for (to, channel), group in groups.items()
            if not all(self._post(to, channel, part, now_ns) for part in parts_of(group))
        ]

    def call(self, to: int, calls: list[Call]) -> bool:
        """Send calls to one member; False = not sent."""
        return self._mesh.send(to, Channel.CONTROL, _encode(Parcel(0, 0, [], calls)))

    def open(self, received: Received, now_ns: int) -> tuple[Sequence[Message], Sequence[Call]]:
        """Decode one frame; messages that claim another sender than the frame's are dropped."""
        try:
            parcel = _decode(received.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self.undecodable += 1
            return (), ()
        sender = received.sender
        self._opinions.met()
        messages = [message for message in parcel.messages if message.sender == sender]
        if received.channel is Channel.CONTROL:
            messages = self._note_heartbeats(sender, parcel, messages, now_ns)
        return messages, parcel.calls

    def durations(self, peer: int) -> Durations:
        """How long its heartbeats took to come back."""
        found = self.round_trips.get(peer) or Histogram(ROUND_TRIP_BOUNDS_SECONDS)
        return Durations(found.bounds_seconds, tuple(found.counts), found.sum_seconds)

    def _post(self, to: int, channel: Channel, group: list[Message], now_ns: int) -> bool:
        stamp = echo = 0
        opinion = None
        if channel is Channel.CONTROL:
            for message in group:
                if isinstance(message, Heartbeat):
                    stamp = now_ns
                elif isinstance(message, HeartbeatReply):
                    echo = self._echoes.pop(to, 0)
                else:
                    continue
                opinion = opinion or self._opinions.opinion()
        sent = self._mesh.send(to, channel, _encode(Parcel(stamp, echo, group, [], opinion)))
        if stamp and sent:
            self._round_trips.sent(to, now_ns)
        return sent

    def _note_heartbeats(
        self, sender: int, parcel: Parcel, messages: list[Message], now_ns: int
    ) -> list[Message]:
        if parcel.opinion is not None:
            self._opinions.heard(sender, parcel.opinion)
        if parcel.echo:
            round_trip_ns = now_ns - parcel.echo
            self._round_trips.answered(sender, now_ns, round_trip_ns)
            if sender not in self.round_trips:
                self.round_trips[sender] = Histogram(ROUND_TRIP_BOUNDS_SECONDS)
            self.round_trips[sender].add(round_trip_ns / 1e9)
        if parcel.stamp:
            self._round_trips.heard(sender, now_ns)
            self._echoes[sender] = parcel.stamp
            if now_ns - parcel.stamp > self._stale_ns:
                return [m for m in messages if not isinstance(m, Heartbeat)]
        return messages


def parts_of(group: list[Message]) -> Iterator[list[Message]]:
    """The same messages in the same order, as few lists as the limit on parcels allows."""
    if len(group) == 1:
        yield group
        return
    part: list[Message] = []
    room = PARCEL_BYTES_MAX
    for message in group:
        size = data_bytes(message)
        if part and size > room:
            yield part
            part, room = [], PARCEL_BYTES_MAX
        part.append(message)
        room -= size
    yield part


def data_bytes(message: Message) -> int:
    """What a message carries for others, without its own few fields."""
    if isinstance(message, Append):
        return entries_bytes(message.entries)
    if isinstance(message, Propose):
        return sum(map(len, message.data))
    return 0
