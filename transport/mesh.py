"""All peers of one member: what is sent to them, and what came from them.

The mesh delivers a payload at most once and in the order of its channel, or not at all: a message
that cannot go out at once is refused, one that is lost on the way is lost without a word. It does
not retry, acknowledge, or know what it carries. That is what Raft asks of a network, and more would
only hide from it how things stand.

    send:    payload ──► Link ──► inline frame, or arena slot + frame with its descriptor ──► ZeroMQ
    receive: ZeroMQ ──► decode ──► cluster, recipient, sender, lives, order ──► payload

Nothing a peer or a stranger writes to our sockets makes it raise: what is not a frame of a peer's
present life for our present life is counted by its reason and dropped.

`transport.route` tells where they listen. Who is about to become a member may ask any of them who
the members are (`introduce`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Final, Protocol

import msgspec

from transport.arena import Arena
from transport.errors import check
from transport.frame import (
    HEADER_BYTES,
    Channel,
    FrameRejected,
    Identity,
    Rejection,
    decode,
)
from transport.link import Link
from transport.route import Routes, UnixRoutes
from transport.traffic import Counters, PeerCounters, Unsent
from transport.zeromq import Dialer, Sockets

__all__ = [
    "Channel",
    "Counters",
    "Mesh",
    "MeshConfig",
    "MeshPort",
    "PeerCounters",
    "Received",
    "Rejection",
    "Unsent",
]

WHO_IS_THERE: Final = b"cncl who is there?"
"""What one asks that is no member yet. No frame is that short."""
FRAME_BYTES_MAX: Final = 4 << 20
DROPS_MAX: Final = 1_024
"""Messages without a payload for us that are looked at in one go: some milliseconds."""
STRANGERS_MAX: Final = 64
"""Lives remembered of members that are no peers yet."""


class MeshConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One life of one member, and the bounds of its traffic."""

    cluster_id: int
    member_id: int
    incarnation: int
    """Drawn at random at every start of the process; not 0."""
    directory: str = ""
    """Where the sockets of all members lie, unless there are other routes."""
    arena_paths: Mapping[int, str] = {}
    """By member id, our own included. A member without one sends everything inline."""
    arena_threshold_bytes: int = 32 << 10
    """Payloads from this size on travel through the arena: below it there is no gain."""
    arena_age_ms_max: int = 2_000
    """How long a slot waits for a reader that does not answer."""
    queue_frames_max: int = 512
    """Unsent frames per peer on the control and append channels: two windows of Raft."""
    bulk_queue_frames_max: int = 32
    frame_bytes_max: int = FRAME_BYTES_MAX


class Received(msgspec.Struct, frozen=True, gc=False):
    """One payload from a peer."""

    sender: int
    incarnation: int
    """The life of the sender that sent it."""
    channel: Channel
    payload: bytes


class MeshPort(Protocol):
    """What a member's loop needs of its peers; `transport.memory` has the other implementation."""

    @property
    def counters(self) -> Counters:
        """The running totals; read, never written by others."""

    def add_peer(self, peer: int) -> None:
        """Start to exchange frames with a member; no effect if it is a peer."""

    def remove_peer(self, peer: int) -> None:
        """Stop it, and drop what is queued; no effect if it is no peer."""

    def peers(self) -> list[int]:
        """Return the ids of all peers, sorted."""

    def connected(self, peer: int) -> bool:
        """Return whether a frame to this peer would be taken right now."""

    def refresh(self) -> None:
        """Dial anew whoever is to be found elsewhere since it was dialled."""

    def send(self, to: int, channel: Channel, payload: bytes) -> bool:
        """Hand a payload over without waiting; False = not sent, so tell Raft.

        True promises nothing about its arrival.
        """

    def receive(self, frames_max: int) -> list[Received]:
        """Return up to `frames_max` payloads that have arrived, control first.

        Call it after every wakeup of `filenos` until it returns fewer than asked for: only then are
        the sockets empty, and only then does the next arrival wake the caller again. Call it now
        and then without a wakeup, too: what nobody should have sent may have filled a call.
        """

    def filenos(self) -> list[int]:
        """Return the descriptors that become readable when something arrives. Edge-triggered:
        they announce only what comes after `receive` has found the sockets empty.
        """

    def close(self) -> None:
        """Drop everything that is queued and leave."""


class Mesh:
    """The mesh over ZeroMQ and shared memory. Belongs to one thread; made after the fork."""

    def __init__(
        self,
        config: MeshConfig,
        routes: Routes | None = None,
        introduce: Callable[[], bytes] | None = None,
    ) -> None:
        """Claim this member's addresses, take over its arena and start to listen.

        `routes` are unix sockets in the directory unless given. `introduce` is what those are told
        who ask for the members; None = nothing.

        Raises:
            Claimed: another process lives as this member in this directory.
            PathTooLong: the directory's name leaves no room for a socket's.
            CannotListen: an address cannot be bound.
            RegionUnusable: the own arena cannot be mapped.
        """
        check(config.incarnation > 0 and config.member_id > 0, "ids are not zero")
        self._config = config
        self._routes = routes or UnixRoutes(config.directory, config.member_id)
        self._introduce = introduce
        with ExitStack() as undo:
            self._claim = self._routes.claim()
            if self._claim is not None:
                undo.callback(self._claim.close)
            self._open(undo)
            undo.pop_all()
        self._links: dict[int, Link] = {}
        self._strangers: dict[int, Identity] = {}  # by member, the latest heard last
        self._sequence = 0  # of all frames to all peers: a peer added again never sees it go back
        self._dials = 0
        self._counters = Counters()

    def _open(self, undo: ExitStack) -> None:
        config = self._config
        # Only after the claim: no earlier life of this member runs any more, so ours is younger.
        self._identity = Identity(
            config.cluster_id, config.member_id, config.incarnation, time.monotonic_ns()
        )
        self._arena = _open_arena(config)
        self._sockets = Sockets(message_bytes_max=config.frame_bytes_max)
        undo.callback(self._sockets.close)
        self._listeners = [
            (channel, self._sockets.listen(address, queue_messages_max=self._queue(channel)))
            for channel, address in self._routes.own()
        ]
        self._dialled: dict[int, str] = {}  # by member

    @property
    def counters(self) -> Counters:
        """The running totals; read, never written by others."""
        return self._counters

    # ------------------------------------------------------------------ peers

    def add_peer(self, peer: int) -> None:
        """Dial a member; no effect if it is a peer."""
        config = self._config
        check(peer != config.member_id, "a member is not its own peer")
        if peer in self._links:
            return
        self._counters.peers[peer] = PeerCounters()

        def dial(channel: Channel) -> Dialer:
            address = self._routes.to(peer, channel)
            self._dials += 1
            identity = msgspec.structs.replace(self._identity, dial=self._dials).encode()
            return self._sockets.dial(address, identity, queue_messages_max=self._queue(channel))

        self._dialled[peer] = self._routes.to(peer, Channel.CONTROL)

        link = self._links[peer] = Link(
            self._identity,
            peer,
            dial,
            self._sockets.hang_up,
            arena=self._arena,
            peer_arena_path=config.arena_paths.get(peer, ""),
            arena_threshold_bytes=config.arena_threshold_bytes,
        )
        # It may have announced itself before we knew it as a peer, and will not do so again.
        if (stranger := self._strangers.pop(peer, None)) is not None:
            link.greet(stranger)

    def remove_peer(self, peer: int) -> None:
        """Hang up, and drop what is queued; no effect if it is no peer."""
        link = self._links.pop(peer, None)
        if link is not None:
            del self._counters.peers[peer]
            del self._dialled[peer]
            if link.greeted is not None:
                self._note_stranger(link.greeted)
            link.close()

    def peers(self) -> list[int]:
        """Return the ids of all peers, sorted."""
        return sorted(self._links)

    def connected(self, peer: int) -> bool:
        """Return whether a frame to this peer would be taken right now."""
        link = self._links.get(peer)
        return link is not None and link.connected

    def refresh(self) -> None:
        """Dial anew whoever is to be found elsewhere since it was dialled."""
        for peer, link in self._links.items():
            address = self._routes.to(peer, Channel.CONTROL)
            if address and address != self._dialled[peer]:
                self._dialled[peer] = address
                link.redial()

    # ------------------------------------------------------------------ out

    def send(self, to: int, channel: Channel, payload: bytes) -> bool:
        """Hand a payload over without waiting; False = not sent, so tell Raft."""
        check(len(payload) + HEADER_BYTES <= self._config.frame_bytes_max, "a payload fits a frame")
        link = self._links.get(to)
        if link is None or not link.incarnation:
            return self._unsent(to, Unsent.STRANGER if link is None else Unsent.SILENT)
        counters = self._counters
        sequence = self._sequence = self._sequence + 1
        sent: bool | None = None
        if link.wants_arena(channel, payload):
            sent = link.lend(channel, payload, sequence)
            counters.arena_sent += sent is True
            counters.arena_fallbacks += sent is None
        if sent is None:
            sent = link.send(channel, payload, sequence)
        if not sent:
            return self._unsent(to, Unsent.BLOCKED)
        counters.sent += 1
        counters.sent_bytes += len(payload)
        counters.peers[to].sent_bytes += len(payload)
        return True

    # ------------------------------------------------------------------ in

    def filenos(self) -> list[int]:
        """Return the one descriptor that stands for all sockets, for the life of the mesh."""
        return [self._sockets.fileno()]

    def receive(self, frames_max: int) -> list[Received]:
        """Return up to `frames_max` payloads that have arrived, control first.

        Fewer payloads than asked for mean that nothing waits, unless DROPS_MAX messages of a
        channel were dropped: whoever floods our sockets with what is not for us must not keep the
        caller here for ever. Then more may wait, unannounced, for a call that is made anyway.
        """
        self._sockets.notice()
        batch: list[Received] = []
        for channel, listener in self._listeners:
            receive, looks = listener.receive, frames_max + DROPS_MAX
            while len(batch) < frames_max and looks and (message := receive()) is not None:
                looks -= 1
                if message[1] == WHO_IS_THERE and self._introduce is not None:
                    listener.reply(message[0], self._introduce())
                    continue
                try:
                    received = self._admit(channel, *message)
                except FrameRejected as rejected:
                    self._counters.rejected[rejected.reason] += 1
                    continue
                if received is not None:
                    batch.append(received)
        if self._listeners[0][0] is None:
            # Channels that share a port take turns there, so bulk does not hold control up for
            # long; among what has arrived, control is first all the same.
            batch.sort(key=_channel_of)
        return batch

    def close(self) -> None:
        """Drop everything that is queued, close the sockets and give the addresses up."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._sockets.close()
        if self._arena is not None:
            self._arena.close()
        if self._claim is not None:
            self._claim.close()

    # ------------------------------------------------------------------ rooms behind

    def _admit(self, channel: Channel | None, identity: bytes, message: bytes) -> Received | None:
        config = self._config
        if not message:
            self._probed(Identity.decode(identity))
            return None
        frame = decode(message)
        sender = frame.sender
        if frame.cluster != config.cluster_id:
            raise FrameRejected(Rejection.CLUSTER)
        if frame.to != config.member_id:
            raise FrameRejected(Rejection.RECIPIENT)
        if channel is None:
            channel = Channel(frame.channel)
        elif frame.channel != channel:
            raise FrameRejected(Rejection.CHANNEL)
        link = self._links.get(sender)
        if link is None:
            raise FrameRejected(Rejection.SENDER)
        if frame.incarnation != link.incarnation:
            raise FrameRejected(Rejection.INCARNATION)
        if frame.to_incarnation != config.incarnation:
            raise FrameRejected(Rejection.PREDECESSOR)
        payload = link.accept(frame)
        self._counters.received += 1
        self._counters.received_bytes += len(payload)
        self._counters.peers[sender].received_bytes += len(payload)
        return Received(sender, frame.incarnation, channel, payload)

    def _probed(self, identity: Identity) -> None:
        """Note which life of a member has just connected to us."""
        if identity.cluster != self._config.cluster_id:
            raise FrameRejected(Rejection.CLUSTER)
        link = self._links.get(identity.member)
        if link is None:
            self._note_stranger(identity)
        else:
            link.greet(identity)

    def _note_stranger(self, identity: Identity) -> None:
        strangers = self._strangers
        known = strangers.pop(identity.member, identity)
        strangers[identity.member] = max(known, identity, key=lambda life: life.born_ns)
        if len(strangers) > STRANGERS_MAX:
            del strangers[next(iter(strangers))]

    def _unsent(self, to: int, reason: Unsent) -> bool:
        self._counters.unsent[reason] += 1
        if to in self._counters.peers:
            self._counters.peers[to].unsent += 1
        return False

    def _queue(self, channel: Channel | None) -> int:
        config = self._config
        bulk = channel is Channel.BULK
        return config.bulk_queue_frames_max if bulk else config.queue_frames_max


def _channel_of(received: Received) -> Channel:
    return received.channel


def _open_arena(config: MeshConfig) -> Arena | None:
    path = config.arena_paths.get(config.member_id, "")
    if not path:
        return None
    check(os.path.isabs(path), "arena paths are absolute")
    return Arena(path, config.incarnation, age_ns_max=config.arena_age_ms_max * 1_000_000)
