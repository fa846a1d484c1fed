"""One frame between two members: a fixed header, then the payload as it came.

A frame says who sent it, to whom, and *between which two lives* of these processes: a member
draws a new incarnation at every start, and a frame that was meant for another life of its receiver
is refused. Nothing is parsed before the checksum over header and payload holds, and no field is
believed that the length of the message contradicts. What the payload means is the business of
whoever sent it.

    offset  0  magic 4s | version u8 | channel u8 | flags u8 | zero u8
            8  cluster | sender | to | incarnation | to_incarnation          5 × u64
           48  sequence | append_seen | bulk_seen                            3 × u64
           72  length u32 | crc u32 (CRC-32 of bytes 0–75 and of the payload)
           80  payload

All numbers are little-endian: both ends live on one host. The checksum is zlib's CRC-32, because
the standard library computes it at 7 GB/s; CRC-32C would be one more dependency for the same
guarantee.

`sequence` grows with every frame of a sender, so that a channel delivers in order and at most once.
`append_seen` and `bulk_seen` tell the receiver of this frame which of *its* frames have been taken
in; that is what frees arena slots (see `transport.arena`).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag, StrEnum
from struct import Struct as Layout
from typing import Final
from zlib import crc32

import msgspec

MAGIC: Final = b"cncl"
VERSION: Final = 1

_PREFIX: Final = Layout("<4sBBBxQQQQQ")
_TAIL: Final = Layout("<QQQI")
_CRC: Final = Layout("<I")
_HEADER: Final = Layout("<4sBBBBQQQQQQQQII")
HEADER_BYTES: Final = _HEADER.size
_CRC_OFFSET: Final = HEADER_BYTES - _CRC.size

_IDENTITY: Final = Layout("<cQQQQQ")
_IDENTITY_MARK: Final = b"C"


class Channel(IntEnum):
    """What a frame waits behind: each channel is a socket of its own.

    Heartbeats that queue behind a snapshot arrive late and cost an election.
    """

    CONTROL = 0
    """Heartbeats, votes, acknowledgements: small, and read first."""
    APPEND = 1
    """Log entries."""
    BULK = 2
    """Snapshot chunks."""


class Flag(IntFlag):
    """What the payload is, and what its sender can do."""

    ARENA = 1
    """The payload is a `Descriptor`; the bytes lie in the sender's arena."""
    READS_ARENA = 2
    """The sender has mapped the receiver's arena: it may be sent descriptors."""


_FLAGS_KNOWN: Final = int(Flag.ARENA | Flag.READS_ARENA)
_CHANNELS: Final = len(Channel)


class Rejection(StrEnum):
    """Why a received message was dropped; the label of its counter."""

    SHORT = "short"
    MAGIC = "magic"
    VERSION = "version"
    CHANNEL = "channel"
    FLAGS = "flags"
    LENGTH = "length"
    CHECKSUM = "checksum"
    IDENTITY = "identity"
    """A connection announced itself by something that is no identity of ours."""
    CLUSTER = "cluster"
    RECIPIENT = "recipient"
    """Meant for another member."""
    SENDER = "sender"
    """From a member that is not a peer."""
    INCARNATION = "incarnation"
    """From a life of its sender that is over, or that has not announced itself."""
    PREDECESSOR = "predecessor"
    """Meant for an earlier life of this member."""
    ORDER = "order"
    """Not newer than what the channel has delivered already."""
    ARENA = "arena"
    """Its arena slot was reused before it could be copied, or cannot be read."""


class FrameRejected(Exception):
    """A message that is not a frame for this member; drop it and count the reason."""

    def __init__(self, reason: Rejection) -> None:
        """Remember the reason, which is all that is worth knowing of garbage."""
        super().__init__(reason.value)
        self.reason = reason


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A message whose checksum held. Who may send it to whom has not been judged yet."""

    channel: int
    flags: int
    cluster: int
    sender: int
    to: int
    incarnation: int
    """The life of the sender that this frame belongs to."""
    to_incarnation: int
    """The life of the receiver that it is meant for."""
    sequence: int
    append_seen: int
    bulk_seen: int
    payload: bytes


class Stamp:
    """Encoder of the frames from one member to one life of another on one channel.

    All that stays the same is packed, and its checksum computed, once.
    """

    __slots__ = ("_prefix", "_prefix_crc")

    def __init__(
        self,
        channel: int,
        flags: int,
        cluster: int,
        sender: int,
        to: int,
        incarnation: int,
        to_incarnation: int,
    ) -> None:
        """Fix everything but the payload and the sequence numbers."""
        self._prefix = _PREFIX.pack(
            MAGIC, VERSION, channel, flags, cluster, sender, to, incarnation, to_incarnation
        )
        self._prefix_crc = crc32(self._prefix)

    def encode(self, payload: bytes, sequence: int, append_seen: int, bulk_seen: int) -> bytes:
        """Return the whole frame."""
        tail = _TAIL.pack(sequence, append_seen, bulk_seen, len(payload))
        crc = crc32(payload, crc32(tail, self._prefix_crc))
        return b"".join((self._prefix, tail, _CRC.pack(crc), payload))


def encode(frame: Frame) -> bytes:
    """Return the bytes of one frame; `Stamp` is the way to encode many."""
    stamp = Stamp(
        frame.channel,
        frame.flags,
        frame.cluster,
        frame.sender,
        frame.to,
        frame.incarnation,
        frame.to_incarnation,
    )
    return stamp.encode(frame.payload, frame.sequence, frame.append_seen, frame.bulk_seen)


def decode(data: bytes) -> Frame:
    """Return the frame that `data` is, whatever `data` is.

    Raises:
        FrameRejected: it is none, or it was damaged.
    """
    if len(data) < HEADER_BYTES:
        raise FrameRejected(Rejection.SHORT)
    (
        magic,
        version,
        channel,
        flags,
        zero,
        cluster,
        sender,
        to,
        incarnation,
        to_incarnation,
        sequence,
        append_seen,
        bulk_seen,
        length,
        crc,
    ) = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise FrameRejected(Rejection.MAGIC)
    if version != VERSION:
        raise FrameRejected(Rejection.VERSION)
    payload = data[HEADER_BYTES:]
    if length != len(payload):
        raise FrameRejected(Rejection.LENGTH)
    if crc32(payload, crc32(data[:_CRC_OFFSET])) != crc:
        raise FrameRejected(Rejection.CHECKSUM)
    if channel >= _CHANNELS:
        raise FrameRejected(Rejection.CHANNEL)
    if flags & ~_FLAGS_KNOWN or zero:
        raise FrameRejected(Rejection.FLAGS)
    return Frame(
        channel,
        flags,
        cluster,
        sender,
        to,
        incarnation,
        to_incarnation,
        sequence,
        append_seen,
        bulk_seen,
        payload,
    )


class Identity(msgspec.Struct, frozen=True, gc=False):
    """How a connection announces itself before its first frame: one life of one member."""

    cluster: int
    member: int
    incarnation: int
    born_ns: int
    """When this life began, on the monotonic clock of the host: orders the lives of a member."""
    dial: int = 0
    """Which of this life's sockets it is. Two never share a routing id, not even while one closes:
    if the closing one's connection is seen last, it takes the other's place, which then looks
    connected for ever and delivers nothing.
    """

    def encode(self) -> bytes:
        """Return the ZeroMQ routing id. Its first byte is not zero: those are ZeroMQ's own."""
        return _IDENTITY.pack(
            _IDENTITY_MARK, self.cluster, self.member, self.incarnation, self.born_ns, self.dial
        )

    @staticmethod
    def decode(data: bytes) -> Identity:
        """Return the identity that `data` is.

        Raises:
            FrameRejected: it is none.
        """
        if len(data) != _IDENTITY.size or data[:1] != _IDENTITY_MARK:
            raise FrameRejected(Rejection.IDENTITY)
        _, cluster, member, incarnation, born_ns, dial = _IDENTITY.unpack(data)
        return Identity(cluster, member, incarnation, born_ns, dial)
