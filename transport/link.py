"""Everything one member knows about the way to one peer.

A link speaks to exactly one *life* of its peer, the newest it has heard of:

    silent ──first probe──► greeted ──probe of a later life──► greeted (redialled)

- While silent nothing is sent: there is nobody whose incarnation could be written on a frame.
- Each connection of a peer begins with a probe, so its new life is known within a millisecond of
  its start, and the link dials it anew. That drops whatever was queued for the former life, and it
  does not wait for ZeroMQ's reconnect interval, which grows while a peer is away.
- Only probes are believed, because they can be ordered: a member that was stopped may find what a
  dead life sent behind what its successor sent, and incarnations are random. A frame of any other
  life than the greeted one is refused.

Payloads from `arena_threshold_bytes` on go through the arena if the peer has said that it reads it.
Their slots are freed when the peer's frames say that it has taken in the frame with the descriptor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from transport.arena import Arena, ArenaReader, Descriptor
from transport.frame import Channel, Flag, Frame, FrameRejected, Identity, Rejection, Stamp
from transport.region import RegionUnusable
from transport.zeromq import Dialer


class Link:
    """The way to one peer, and what came from it so far."""

    def __init__(
        self,
        sender: Identity,
        peer: int,
        dial: Callable[[Channel], Dialer],
        hang_up: Callable[[Dialer], None],
        *,
        arena: Arena | None,
        peer_arena_path: str,
        arena_threshold_bytes: int,
    ) -> None:
        """Dial the peer.

        `arena` is the sender's own, shared by all its links; `peer_arena_path` is "" if the peer
        has none.
        """
        self.greeted: Identity | None = None
        """The life of the peer that is spoken to; None = silent."""
        self.incarnation = 0
        """Its incarnation, or 0."""
        self._sender = sender
        self._peer = peer
        self._dial = dial
        self._hang_up = hang_up
        self._dialers = [dial(channel) for channel in Channel]
        self._stamps: list[Stamp] = []
        self._arena_stamps: list[Stamp] = []
        self._seen = [0] * len(Channel)  # newest sequence taken in, by channel
        self._arena = arena
        self._arena_threshold_bytes = arena_threshold_bytes
        self._peer_reads_arena = False
        self._peer_arena_path = peer_arena_path
        self._peer_arena: ArenaReader | None = None
        self._lent: list[deque[tuple[int, Descriptor]]] = [deque() for _ in Channel]
        # by channel: (sequence, slot) that the peer has not yet said to have taken in

    # ------------------------------------------------------------------ lives

    def greet(self, peer: Identity) -> None:
        """Turn to this life of the peer, unless it is the greeted one or an earlier one."""
        if self.greeted is not None and peer.born_ns <= self.greeted.born_ns:
            return
        self._redial(only_unconnected=self.greeted is None)
        self._forget_former_life()
        self.greeted = peer
        self.incarnation = peer.incarnation
        self._attach_peer_arena()
        self._make_stamps()

    def redial(self) -> None:
        """Hang up and dial: the peer is to be found elsewhere now."""
        self._redial(only_unconnected=False)

    def close(self) -> None:
        """Drop what is queued, free the slots that the peer was to read, and unmap its arena."""
        for dialer in self._dialers:
            self._hang_up(dialer)
        self._forget_former_life()

    @property
    def connected(self) -> bool:
        """Whether the greeted life is connected and takes control frames."""
        return bool(self.incarnation) and self._dialers[Channel.CONTROL].connected()

    # ------------------------------------------------------------------ out

    def send(self, channel: Channel, payload: bytes, sequence: int) -> bool:
        """Send a payload in the frame; False when it was not taken."""
        _, append_seen, bulk_seen = self._seen
        frame = self._stamps[channel].encode(payload, sequence, append_seen, bulk_seen)
        return self._dialers[channel].send(frame)

    def wants_arena(self, channel: Channel, payload: bytes) -> bool:
        """Return whether this payload should go through the arena, if there is room."""
        return (
            len(payload) >= self._arena_threshold_bytes
            and self._peer_reads_arena
            and channel is not Channel.CONTROL
        )

    def lend(self, channel: Channel, payload: bytes, sequence: int) -> bool | None:
        """Send a payload through the arena; False = not taken, None = no room in the arena."""
        arena = self._arena
        descriptor = arena.put(payload) if arena is not None else None
        if arena is None or descriptor is None:
            return None
        _, append_seen, bulk_seen = self._seen
        frame = self._arena_stamps[channel].encode(
            descriptor.encode(), sequence, append_seen, bulk_seen
        )
        if not self._dialers[channel].send(frame):
            arena.release(descriptor)
            return False
        self._lent[channel].append((sequence, descriptor))
        return True

    # ------------------------------------------------------------------ in

    def accept(self, frame: Frame) -> bytes:
        """Take in a frame of the greeted life and return its payload.

        Raises:
            FrameRejected: it is not newer than the last one of its channel, or its arena slot was
                reused in the meantime.
        """
        channel = frame.channel
        if frame.sequence <= self._seen[channel]:
            raise FrameRejected(Rejection.ORDER)
        self._seen[channel] = frame.sequence
        flags = frame.flags
        self._peer_reads_arena = self._arena is not None and bool(flags & Flag.READS_ARENA)
        if self._lent[Channel.APPEND] or self._lent[Channel.BULK]:
            self._settle(Channel.APPEND, frame.append_seen)
            self._settle(Channel.BULK, frame.bulk_seen)
        if not flags & Flag.ARENA:
            return frame.payload
        payload = self._borrow(frame)
        if payload is None:
            raise FrameRejected(Rejection.ARENA)
        return payload

    # ------------------------------------------------------------------ rooms behind

    def _redial(self, *, only_unconnected: bool) -> None:
        for channel in Channel:
            if not (only_unconnected and self._dialers[channel].connected()):
                self._hang_up(self._dialers[channel])
                self._dialers[channel] = self._dial(channel)

    def _forget_former_life(self) -> None:
        self._seen = [0] * len(Channel)
        self._peer_reads_arena = False
        for channel in Channel:
            self._settle(channel, None)
        if self._peer_arena is not None:
            self._peer_arena.close()
            self._peer_arena = None

    def _attach_peer_arena(self) -> None:
        # At every life anew: the region may be another one now. Without it the peer is simply not
        # told that we can read it, and sends everything inline.
        if self._peer_arena_path:
            with suppress(RegionUnusable):
                self._peer_arena = ArenaReader(self._peer_arena_path)

    def _make_stamps(self) -> None:
        sender = self._sender
        able = Flag.READS_ARENA if self._peer_arena is not None else Flag(0)
        self._stamps, self._arena_stamps = (
            [
                Stamp(
                    channel,
                    flags,
                    sender.cluster,
                    sender.member,
                    self._peer,
                    sender.incarnation,
                    self.incarnation,
                )
                for channel in Channel
            ]
            for flags in (able, able | Flag.ARENA)
        )

    def _settle(self, channel: Channel, seen: int | None) -> None:
        """Free the slots of frames up to `seen`; None = all: their reader is gone."""
        lent = self._lent[channel]
        while lent and (seen is None or lent[0][0] <= seen):
            _, descriptor = lent.popleft()
            if self._arena is not None:
                self._arena.release(descriptor)

    def _borrow(self, frame: Frame) -> bytes | None:
        descriptor = Descriptor.decode(frame.payload)
        if descriptor is None or self._peer_arena is None:
            return None
        return self._peer_arena.get(descriptor)
