"""The mesh without sockets: members of one process that exchange frames through lists.

It keeps the promises of `MeshPort` and of lives (a frame of, or for, a life that is over is
refused), and adds what a test wants to do to a network: lose, delay, repeat, and cut. There is no
clock and no chance in it: time moves when `advance` is called, and faults are decided by a function
that the test gives. With such a function the network may reorder and repeat, which is worse than
the port allows and just what Raft has to bear.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from transport.errors import check
from transport.frame import HEADER_BYTES, Channel, Rejection
from transport.mesh import Counters, MeshConfig, PeerCounters, Received, Unsent


class Letter(msgspec.Struct, frozen=True, gc=False):
    """A frame on its way."""

    sender: int
    incarnation: int
    to: int
    to_incarnation: int
    channel: Channel
    payload: bytes


Fate = Callable[[Letter], Sequence[int]]
"""What becomes of a letter: the delay of each copy in steps. () loses it, (0,) is no fault."""


class MemoryNetwork:
    """Where members meet. Letters without delay arrive within `send`."""

    def __init__(self, *, notify: Callable[[int], None] | None = None) -> None:
        """Make an empty network; `notify(member)` is called when something has arrived there."""
        self.fate: Fate | None = None
        self._notify = notify
        self._members: dict[int, MemoryMesh] = {}
        self._cuts: set[tuple[int, int]] = set()
        self._delayed: list[tuple[int, int, Letter]] = []  # heap of (due step, order, letter)
        self._step = 0
        self._order = 0

    def join(self, config: MeshConfig) -> MemoryMesh:
        """Let a member live here; a former life of it that was not closed ends, as by kill -9."""
        check(config.incarnation > 0 and config.member_id > 0, "ids are not zero")
        former = self._members.get(config.member_id)
        if former is not None:
            former.close()
        mesh = self._members[config.member_id] = MemoryMesh(self, config)
        return mesh

    def cut(self, sender: int, to: int) -> None:
        """Lose whatever goes this way from now on, without telling the sender."""
        self._cuts.add((sender, to))

    def partition(self, *groups: Sequence[int]) -> None:
        """Cut every way between members of different groups; other cuts end."""
        self._cuts = {
            (sender, to)
            for group in groups
            for other in groups
            if group is not other
            for sender in group
            for to in other
        }

    def heal(self) -> None:
        """End all cuts."""
        self._cuts.clear()

    def advance(self, steps: int = 1) -> None:
        """Move time on and deliver what is due, in the order of due time, then of sending."""
        self._step += steps
        while self._delayed and self._delayed[0][0] <= self._step:
            self._deliver(heapq.heappop(self._delayed)[2])

    def in_flight(self) -> int:
        """Return how many letters wait for their time."""
        return len(self._delayed)

    # ------------------------------------------------------------------ for the meshes

    def life_of(self, member: int) -> MemoryMesh | None:
        """Return the newest life of a member, closed or not."""
        return self._members.get(member)

    def post(self, letter: Letter) -> None:
        """Take a letter and decide about its copies."""
        if (letter.sender, letter.to) in self._cuts:
            return
        for delay in (0,) if self.fate is None else self.fate(letter):
            if delay <= 0:
                self._deliver(letter)
                continue
            self._order += 1
            heapq.heappush(self._delayed, (self._step + delay, self._order, letter))

    def _deliver(self, letter: Letter) -> None:
        mesh = self._members.get(letter.to)
        if mesh is not None and mesh.take_in(letter) and self._notify is not None:
            self._notify(letter.to)


class MemoryMesh:
    """One life of one member in a memory network: a `MeshPort`."""

    def __init__(self, network: MemoryNetwork, config: MeshConfig) -> None:
        """Made by `MemoryNetwork.join`."""
        self.config = config
        self.open = True
        self._network = network
        self._peers: set[int] = set()
        self._inboxes: dict[Channel, deque[Received]] = {channel: deque() for channel in Channel}
        self._counters = Counters()

    @property
    def counters(self) -> Counters:
        """The running totals; read, never written by others."""
        return self._counters

    def add_peer(self, peer: int) -> None:
        """Start to exchange frames with a member; no effect if it is a peer."""
        check(peer != self.config.member_id, "a member is not its own peer")
        if peer not in self._peers:
            self._peers.add(peer)
            self._counters.peers[peer] = PeerCounters()

    def remove_peer(self, peer: int) -> None:
        """Stop it; no effect if it is no peer."""
        self._peers.discard(peer)
        self._counters.peers.pop(peer, None)

    def peers(self) -> list[int]:
        """Return the ids of all peers, sorted."""
        return sorted(self._peers)

    def connected(self, peer: int) -> bool:
        """Return whether a frame to this peer would be taken right now."""
        return self._obstacle(peer, self._network.life_of(peer), Channel.CONTROL) is None

    def refresh(self) -> None:
        """No member ever moves in memory."""

    def send(self, to: int, channel: Channel, payload: bytes) -> bool:
        """Hand a payload over; False = not sent."""
        config = self.config
        check(len(payload) + HEADER_BYTES <= config.frame_bytes_max, "a payload fits a frame")
        target = self._network.life_of(to)
        reason = self._obstacle(to, target, channel)
        if reason is not None or target is None:
            self._counters.unsent[reason or Unsent.SILENT] += 1
            if to in self._peers:
                self._counters.peers[to].unsent += 1
            return False
        self._counters.sent += 1
        self._counters.sent_bytes += len(payload)
        self._counters.peers[to].sent_bytes += len(payload)
        life = target.config.incarnation
        self._network.post(Letter(config.member_id, config.incarnation, to, life, channel, payload))
        return True

    def receive(self, frames_max: int) -> list[Received]:
        """Return up to `frames_max` payloads that have arrived, control first."""
        batch: list[Received] = []
        for inbox in self._inboxes.values():
            while inbox and len(batch) < frames_max:
                batch.append(inbox.popleft())
        return batch

    def filenos(self) -> list[int]:
        """Return no descriptor: a memory network calls `notify` instead."""
        return []

    def close(self) -> None:
        """Drop everything that has not been received, and be gone for the others."""
        self.open = False
        self._peers.clear()
        for inbox in self._inboxes.values():
            inbox.clear()

    # ------------------------------------------------------------------ for the network

    def knows(self, peer: int) -> bool:
        """Return whether this life exchanges frames with that member."""
        return peer in self._peers

    def has_room(self, sender: int, channel: Channel) -> bool:
        """Return whether the queue from one sender takes one more frame."""
        bulk = channel is Channel.BULK
        bound = self.config.bulk_queue_frames_max if bulk else self.config.queue_frames_max
        inbox = self._inboxes[channel]
        return len(inbox) < bound or sum(held.sender == sender for held in inbox) < bound

    def take_in(self, letter: Letter) -> bool:
        """Judge an arrived letter as the real mesh does; False = dropped and counted."""
        sender = self._network.life_of(letter.sender)
        rejection: Rejection | None = None
        if letter.sender not in self._peers:
            rejection = Rejection.SENDER
        elif sender is None or sender.config.incarnation != letter.incarnation:
            rejection = Rejection.INCARNATION
        elif letter.to_incarnation != self.config.incarnation:
            rejection = Rejection.PREDECESSOR
        if rejection is not None:
            self._counters.rejected[rejection] += 1
            return False
        self._counters.received += 1
        self._counters.received_bytes += len(letter.payload)
        self._counters.peers[letter.sender].received_bytes += len(letter.payload)
        self._inboxes[letter.channel].append(
            Received(letter.sender, letter.incarnation, letter.channel, letter.payload)
        )
        return True

    # ------------------------------------------------------------------ rooms behind

    def _obstacle(self, to: int, target: MemoryMesh | None, channel: Channel) -> Unsent | None:
        """Return what keeps a frame from leaving; None = nothing."""
        if to not in self._peers:
            return Unsent.STRANGER
        me = self.config
        if target is None or target.config.cluster_id != me.cluster_id:
            return Unsent.SILENT
        if not target.open:
            return Unsent.BLOCKED
        if not target.knows(me.member_id):
            return Unsent.SILENT
        return None if target.has_room(me.member_id, channel) else Unsent.BLOCKED
