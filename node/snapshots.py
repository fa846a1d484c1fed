"""Snapshots on their way between members: a lagging follower gets the whole applied state.

    leader    InstallSnapshot from the core ──► start() reads an engine snapshot, chunk by chunk
    follower  chunks ──► a store generation of its own ──► after the last: InstallSnapshot
              core accepts ──► installer finishes with the Ready's write ──► new machine
              core declines ──► abandon(): what was written is swept away

The core speaks of snapshots, it never sees one. Chunks travel on the bulk channel, at most WINDOW
unacknowledged; an acknowledgement names the next chunk wanted, so that lost chunks are simply sent
again. Every chunk carries the checksum of all records up to its end: a receiver that missed or
doubled one cannot finish. The description that reaches the follower is the one of the state that
was really streamed, which may be newer than the core's.

Bounds: one stream per peer, `streams_max` in total, one install at a time, newest first.

Source: Raft §7; etcd server/etcdserver/api/rafthttp/snapshot_sender.go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from zlib import crc32

import msgspec

from node.raft.message import ConfState, InstallSnapshot, Number, SnapshotMeta
from store.errors import QueueFull
from store.installer import Installer
from store.overlay import StateSnapshot

WINDOW = 4
RETRY_SECONDS = 0.5
SILENCE_SECONDS_MAX = 5.0
"""A stream whose receiver acknowledges nothing for so long has failed."""

Records = list[tuple[bytes, bytes]]


class Chunk(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Part of a snapshot. `message` comes with the first one only."""

    stream: int
    sequence: Number
    records: Records
    checksum: int
    """CRC-32 over keys and values of all records so far."""
    last: bool
    message: InstallSnapshot | None
    digest: bytes = b""
    """The running digest that belongs to the position in `message`."""


class ChunkReply(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """`wanted` is the next chunk expected, 0 by who does not know the stream (yet, or any more);
    `refused` ends it."""

    stream: int
    wanted: Number
    refused: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Chunk | ChunkReply).decode
_decode_conf = msgspec.msgpack.Decoder(ConfState).decode


class Sending:
    """One stream to one peer."""

    def __init__(
        self, stream: int, message: InstallSnapshot, snapshot: StateSnapshot, now: float
    ) -> None:
        """Stream `snapshot`; its own position and membership replace those of the message."""
        position = snapshot.position
        meta = SnapshotMeta(position.index, position.term, _decode_conf(snapshot.conf))
        self.stream = stream
        self.to = message.to
        self.message: InstallSnapshot | None = msgspec.structs.replace(message, meta=meta)
        self.snapshot = snapshot
        self.cursor: bytes | None = b""
        self.sequence = 0
        self.checksum = 0
        self.unacknowledged: OrderedDict[int, bytes] = OrderedDict()
        self.heard_at = self.sent_at = now

    def next_chunk(self, bytes_max: int) -> bytes:
        """Encode the next chunk and keep it until it is acknowledged."""
        records, self.cursor = self.snapshot.chunk(self.cursor or b"", bytes_max)
        self.checksum = checksum_of(records, self.checksum)
        chunk = Chunk(
            self.stream,
            self.sequence,
            records,
            self.checksum,
            self.cursor is None,
            self.message,
            self.snapshot.digest if self.message is not None else b"",
        )
        self.message = None
        payload = _encode(chunk)
        self.unacknowledged[self.sequence] = payload
        self.sequence += 1
        return payload

    @property
    def finished(self) -> bool:
        """Whether everything was sent and acknowledged."""
        return self.cursor is None and not self.unacknowledged


class Receiving:
    """The one install that is being received."""

    def __init__(
        self, sender: int, stream: int, message: InstallSnapshot, installer: Installer, now: float
    ) -> None:
        self.sender = sender
        self.stream = stream
        self.message = message
        self.installer = installer
        self.wanted = 0
        self.checksum = 0
        self.heard_at = now


class Snapshots:
    """All streams of this member, out and in."""

    def __init__(
        self,
        *,
        read: Callable[[], StateSnapshot],
        installer: Callable[[], Installer],
        send: Callable[[int, bytes], bool],
        first_stream: int,
        chunk_bytes: int,
        streams_max: int,
    ) -> None:
        """`read` opens the durable applied state, `installer` begins an install, `send` posts on
        the bulk channel."""
        self._read = read
        self._new_installer = installer
        self._send = send
        self._stream = first_stream
        self._chunk_bytes = chunk_bytes
        self._streams_max = streams_max
        self._sending: dict[int, Sending] = {}
        self._receiving: Receiving | None = None
        self._arrived: Receiving | None = None
        self._completed = (0, 0)
        """(sender, stream) of the last one that arrived as a whole."""
        self._outcomes: list[tuple[int, bool]] = []

    # -- out -------------------------------------------------------------------------------------

    def start(self, message: InstallSnapshot, now: float) -> None:
        """Begin to stream the state to `message.to`, unless that is under way."""
        if message.to in self._sending:
            return
        if len(self._sending) >= self._streams_max:
            self._outcomes.append((message.to, False))
            return
        self._stream += 1
        sending = Sending(self._stream, message, self._read(), now)
        self._sending[message.to] = sending
        self._pump(sending, now)

    def keep_house(self, now: float) -> list[tuple[int, bool]]:
        """Send again what got lost, give up what has fallen silent; returns (peer, delivered) of
        streams to others that have ended."""
        for sending in list(self._sending.values()):
            if now - sending.heard_at > SILENCE_SECONDS_MAX:
                self._end(sending, delivered=False)
            elif now - sending.sent_at > RETRY_SECONDS:
                sending.sent_at = now
                for payload in sending.unacknowledged.values():
                    self._send(sending.to, payload)
        receiving = self._receiving
        if receiving is not None and now - receiving.heard_at > SILENCE_SECONDS_MAX:
            self._receiving = None
            self._give_up(receiving)
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def _pump(self, sending: Sending, now: float) -> None:
        while sending.cursor is not None and len(sending.unacknowledged) < WINDOW:
            sending.sent_at = now
            self._send(sending.to, sending.next_chunk(self._chunk_bytes))

    def _acknowledged(self, sender: int, reply: ChunkReply, now: float) -> None:
        sending = self._sending.get(sender)
        if sending is None or sending.stream != reply.stream:
            return
        forgotten = reply.wanted == 0 and 0 not in sending.unacknowledged
        if reply.refused or forgotten:  # a new process there knows nothing of the stream
            self._end(sending, delivered=False)
            return
        sending.heard_at = now
        for sequence in [s for s in sending.unacknowledged if s < reply.wanted]:
            del sending.unacknowledged[sequence]
        self._pump(sending, now)
        if sending.finished:
            self._end(sending, delivered=True)

    def _end(self, sending: Sending, *, delivered: bool) -> None:
        del self._sending[sending.to]
        sending.snapshot.close()
        self._outcomes.append((sending.to, delivered))

    # -- in --------------------------------------------------------------------------------------

    def receive(self, sender: int, payload: bytes, now: float) -> None:
        """Take one frame of the bulk channel; `arrived` shows when a snapshot is whole."""
        try:
            frame = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        if isinstance(frame, ChunkReply):
            self._acknowledged(sender, frame, now)
        else:
            self._take(sender, frame, now)

    @property
    def arrived(self) -> InstallSnapshot | None:
        """What to tell the core of a snapshot that is whole; None = there is none."""
        return self._arrived.message if self._arrived is not None else None

    def take_installer(self) -> Installer:
        """The core has accepted what arrived: its installer, to be finished by the disk."""
        assert self._arrived is not None
        arrived, self._arrived = self._arrived, None
        return arrived.installer

    def abandon(self) -> None:
        """The core has not asked for the installer: it knows better than what arrived."""
        if self._arrived is not None:
            self._give_up(self._arrived)
            self._arrived = None

    def _take(self, sender: int, chunk: Chunk, now: float) -> None:
        receiving = self._current(sender, chunk) or self._begin(sender, chunk, now)
        if receiving is None:
            return
        receiving.heard_at = now
        if chunk.sequence == receiving.wanted:
            checksum = checksum_of(chunk.records, receiving.checksum)
            if checksum != chunk.checksum:
                self._refuse(receiving)
                return
            try:
                receiving.installer.add(list(chunk.records))
            except QueueFull:
                return  # not acknowledged, so it comes again
            receiving.checksum = checksum
            receiving.wanted += 1
        self._send(sender, _encode(ChunkReply(chunk.stream, receiving.wanted)))
        if chunk.last and receiving.wanted == chunk.sequence + 1:
            self.abandon()  # one that still waits: newest first
            self._receiving, self._arrived = None, receiving
            self._completed = (sender, chunk.stream)

    def _current(self, sender: int, chunk: Chunk) -> Receiving | None:
        receiving = self._receiving
        if receiving and (receiving.sender, receiving.stream) == (sender, chunk.stream):
            return receiving
        return None

    def _begin(self, sender: int, chunk: Chunk, now: float) -> Receiving | None:
        """Take up another stream, if this is its beginning; else say what is known of it."""
        message, stream = chunk.message, chunk.stream
        if (sender, stream) == self._completed:
            self._send(sender, _encode(ChunkReply(stream, chunk.sequence + 1)))
            return None
        if chunk.sequence != 0 or message is None or message.sender != sender:
            self._send(sender, _encode(ChunkReply(stream, 0)))
            return None
        receiving = self._receiving
        if receiving is not None:
            if message.term < receiving.message.term:  # of a leader that has been replaced
                self._send(sender, _encode(ChunkReply(stream, 0, refused=True)))
                return None
            self._give_up(receiving)
        installer = self._new_installer()
        installer.digest = chunk.digest
        self._receiving = Receiving(sender, stream, message, installer, now)
        return self._receiving

    def _refuse(self, receiving: Receiving) -> None:
        self._send(receiving.sender, _encode(ChunkReply(receiving.stream, 0, refused=True)))
        self._give_up(receiving)
        self._receiving = None

    def _give_up(self, receiving: Receiving) -> None:
        with suppress(QueueFull):  # left to the next start: it sweeps all but the current one
            receiving.installer.abandon()


def checksum_of(records: Records, checksum: int) -> int:
    """Continue a CRC-32 over keys and values."""
    for key, value in records:
        checksum = crc32(value, crc32(key, checksum))
    return checksum
