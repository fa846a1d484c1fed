"""Targets of what members tell each other, by frames and by shared memory.

Half of the inputs get a right checksum after they were mutated, as in `tests.fuzz.disk`: what the
checksum lets through must be refused by what is behind it, because a peer of another release, or
one with a bug, computes checksums as well as we do. A peer may thus be wrong, it may not be evil:
Raft itself believes what a member says of its own log, so a broken invariant of the core is allowed
to end the process. Nothing else is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from zlib import crc32

import msgspec

from cluster.state import State
from cluster.status import role_word
from cluster.table import Node
from node.errors import InvariantViolated
from node.opinion import Opinion
from node.peers import Call, LeaseAsk, LeaseReply, Parcel, Peers
from node.raft import ConfState, Core, Entry, EntryKind, MemoryStorage, RaftConfig, SnapshotMeta
from node.raft.message import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    PreVote,
    Propose,
    ProposeDropped,
    ReadIndex,
    ReadIndexReply,
    TimeoutNow,
    TransferLeader,
    Vote,
    VoteReply,
)
from node.snapshots import WINDOW, Chunk, ChunkReply, Snapshots, checksum_of
from node.telemetry import SHAPE, Status, StatusPage, StatusPageReader, create_page
from store.boot import open_memory_store
from store.config import StoreConfig
from store.installer import Installer
from store.memory import MemoryEngine
from tests.fuzz.disk import scratch
from tests.fuzz.target import Tape, Target, block
from tests.support.store_parts import appended
from transport.arena import PAGE_BYTES, Arena, ArenaReader, Descriptor, create_arena
from transport.frame import (
    HEADER_BYTES,
    Channel,
    Flag,
    Frame,
    FrameRejected,
    Identity,
    decode,
    encode,
)
from transport.mesh import STRANGERS_MAX, Mesh, MeshConfig, Received
from transport.region import RegionUnusable

CLUSTER, ME, PEER = 7, 1, 2
MINE, THEIRS = 11, 21
NOW_NS = 10**12
GUARD = 1


# Frames.


def checked(message: bytes) -> bytes:
    """Give a frame the right length and checksum."""
    if len(message) < HEADER_BYTES:
        return message
    head, payload = message[: HEADER_BYTES - 8], message[HEADER_BYTES:]
    head += len(payload).to_bytes(4, "little")
    return head + crc32(payload, crc32(head)).to_bytes(4, "little") + payload


def fuzz_frame(data: bytes) -> None:
    """A message: rejected, or exactly what its frame is encoded to."""
    tape = Tape(data)
    guard = tape.octet() & GUARD
    message = checked(tape.rest()) if guard else tape.rest()
    try:
        frame = decode(message)
    except FrameRejected:
        return
    assert encode(frame) == message


def frame_of(payload: bytes = b"payload", **changes: int) -> bytes:
    """A frame of the peer's present life for ours."""
    plain = Frame(Channel.APPEND, 0, CLUSTER, PEER, ME, THEIRS, MINE, 1, 0, 0, payload)
    return encode(msgspec.structs.replace(plain, **changes))


def frame_seeds() -> Iterator[bytes]:
    """Frames with and without payload."""
    for message in (frame_of(), frame_of(b"", channel=Channel.CONTROL), frame_of(flags=Flag.ARENA)):
        yield b"\x00" + message
        yield b"\x01" + message


# Admission.


@cache
def _arena_paths() -> dict[int, str]:
    paths = {member: str(scratch(f"mesh-arena.{member}")) for member in (ME, PEER)}
    for path in paths.values():
        create_arena(path, 4 * PAGE_BYTES)
    return paths


def fuzz_admission(data: bytes) -> None:
    """Probes and frames of anybody reach a mesh: each is taken in or counted, nothing else."""
    tape = Tape(data)
    theirs = Arena(_arena_paths()[PEER], THEIRS, age_ns_max=1)
    theirs.put(b"from the arena")
    mesh = Mesh(
        MeshConfig(
            cluster_id=CLUSTER,
            member_id=ME,
            incarnation=MINE,
            directory=str(scratch("x").parent),
            arena_paths=_arena_paths(),
        )
    )
    try:
        mesh.add_peer(PEER)
        _admit_all(mesh, tape)
        mesh.send(PEER, Channel.APPEND, bytes(40_000))
    finally:
        mesh.close()
        theirs.close()


def _admit_all(mesh: Mesh, tape: Tape) -> None:
    steps = admitted = rejected = 0
    while tape.left:
        flags = tape.octet()
        channel, content = Channel(flags % 3), tape.block()
        steps += 1
        try:
            if flags & 0x80:
                received = mesh._admit(channel, content, b"")
            else:
                message = checked(content) if flags & 0x40 else content
                received = mesh._admit(channel, b"", message or b"\x00")
        except FrameRejected:
            rejected += 1
            continue
        admitted += 1
        if received is not None:
            assert received.sender == PEER
            assert len(received.payload) <= max(len(content), 4 * PAGE_BYTES)
    assert steps == admitted + rejected
    assert len(mesh._strangers) <= STRANGERS_MAX
    assert mesh.peers() == [PEER]


def admission_seeds() -> Iterator[bytes]:
    """A peer that greets and talks, through its arena too; its next life; a stranger."""

    def probe(**changes: int) -> bytes:
        plain = Identity(CLUSTER, PEER, THEIRS, 5)
        return b"\x80" + block(msgspec.structs.replace(plain, **changes).encode())

    descriptor = Descriptor(THEIRS, 1, PAGE_BYTES, 14, crc32(b"from the arena")).encode()
    talk = [
        b"\x41" + block(frame_of(sequence=2)),
        b"\x40" + block(frame_of(channel=Channel.CONTROL, sequence=3, append_seen=1)),
        b"\x41" + block(frame_of(descriptor, sequence=4, flags=Flag.ARENA | Flag.READS_ARENA)),
        b"\x42" + block(frame_of(channel=Channel.BULK, sequence=5)),
    ]
    yield probe() + b"".join(talk)
    yield probe() + talk[0] + probe(incarnation=22, born_ns=6) + talk[1]
    yield probe(member=9) + probe(cluster=8) + b"".join(talk)


# Shared memory.


def fuzz_arena(data: bytes) -> None:
    """A descriptor over an arena that was written over: nothing, or bytes with that checksum."""
    tape = Tape(data)
    path = str(scratch("arena"))
    create_arena(path, 4 * PAGE_BYTES)
    arena = Arena(path, THEIRS, age_ns_max=1)
    for size in (10, 5000):
        arena.put(bytes(size))
    arena.close()
    descriptor = Descriptor.decode(tape.block())
    with open(path, "r+b") as file:
        while tape.left:
            file.seek(tape.number(2) % (4 * PAGE_BYTES))
            file.write(tape.block())
        file.truncate(4 * PAGE_BYTES)
    try:
        reader = ArenaReader(path)
    except RegionUnusable:
        return
    if descriptor is not None and (payload := reader.get(descriptor)) is not None:
        assert len(payload) == descriptor.length
        assert crc32(payload) == descriptor.crc
    reader.close()


def arena_seeds() -> Iterator[bytes]:
    """Descriptors of both payloads, and one whose slot was reused."""
    first = Descriptor(THEIRS, 1, PAGE_BYTES, 10, crc32(bytes(10)))
    second = Descriptor(THEIRS, 2, 2 * PAGE_BYTES, 5000, crc32(bytes(5000)))
    yield block(first.encode())
    yield block(second.encode())
    yield block(second.encode()) + (2 * PAGE_BYTES).to_bytes(2, "little") + block(b"other")
    yield block(second.encode()) + b"\x00\x00" + block(b"cnclarn2")


@cache
def _page() -> bytes:
    path = scratch("own-page")
    create_page(str(path))
    page = StatusPage(str(path))
    page.publish(Status(pid=1, member_id=ME, incarnation=MINE, started_at_ns=1, updated_at_ns=2))
    page.answered(PEER, NOW_NS, 100_000)
    page.close()
    return path.read_bytes()


def fuzz_page(data: bytes) -> None:
    """A page with patches: whatever its sections say, a supervisor can show it."""
    tape = Tape(data)
    page = bytearray(_page())
    while tape.left:
        section, flags = tape.octet() % len(SHAPE.sections), tape.octet()
        size = (SHAPE.sections[section] + 2) * 8
        start = SHAPE.offset(section) + size * (flags >> 1 & 1)
        at = start + tape.number(2) % size
        content = tape.block()[: start + size - at]
        page[at : at + len(content)] = content
        if flags & GUARD:
            crc = crc32(page[start : start + size - 8])
            page[start + size - 8 : start + size] = crc.to_bytes(8, "little")
    path = scratch("page-read")
    path.write_bytes(page)
    reader = StatusPageReader(str(path))
    status = reader.status()
    links = reader.links(NOW_NS)
    node = Node(name="n1", member_id=ME, endpoint="", page=reader, state=State.RUNNING)
    reader.close()
    assert role_word(node, status) in {"unknown", "learner", "follower", "candidate", "leader"}
    assert len(links) <= len(SHAPE.sections) - 1
    assert all((link.age_ms or 0.0) >= 0.0 for link in links)


def page_seeds() -> Iterator[bytes]:
    """The page as it is; fields of the status and of a link written over."""
    yield b""
    yield b"\x00\x01" + (8 * 6).to_bytes(2, "little") + block(b"\x09" + bytes(7))
    yield b"\x01\x01" + (8 * 9).to_bytes(2, "little") + block(b"\xff" * 200)


# Parcels and what Raft makes of them.


class Outbox:
    """A mesh that only counts what it was to send."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []

    def send(self, to: int, channel: Channel, payload: bytes) -> bool:
        """Count."""
        self.frames.append((to, payload))
        return True


class Smallest:
    """The draw that campaigns first."""

    def randrange(self, start: int, stop: int, /) -> int:
        """The lower bound."""
        return start


class Listener:
    """Takes every opinion and has none."""

    def opinion(self) -> Opinion:
        return Opinion()

    def heard(self, sender: int, opinion: Opinion) -> None:
        assert sender

    def met(self) -> None:
        pass


def fuzz_parcel(data: bytes) -> None:
    """Parcels of two peers, opened and stepped into a core whose disk works at once."""
    tape = Tape(data)
    outbox, page_path = Outbox(), scratch("parcel-page")
    page_path.write_bytes(_page())
    page = StatusPage(str(page_path))
    peers = Peers(outbox, page, Listener(), 10**9)
    storage = MemoryStorage(ConfState((1, 2, 3)))
    core = Core(RaftConfig(id=ME), storage, Smallest())
    parcels = 0
    try:
        while tape.left:
            flags = tape.octet()
            if flags & 0x80:
                core.campaign()
            channel = Channel.CONTROL if flags & 1 else Channel.APPEND
            received = Received(2 + (flags >> 1 & 1), THEIRS, channel, tape.block())
            messages, _ = peers.open(received, NOW_NS)
            assert all(message.sender == received.sender for message in messages)
            for message in messages:
                core.step(message)
            parcels += 1 + len(messages)
            _turn(core, storage, peers)
    except InvariantViolated:
        return
    finally:
        page.close()
    assert len(outbox.frames) <= 8 * parcels + 8
    assert sum(len(payload) for _, payload in outbox.frames) <= 2048 * (parcels + 1) + 64 * len(
        data
    )


def _turn(core: Core, storage: MemoryStorage, peers: Peers) -> None:
    while core.has_ready():
        ready = core.ready()
        peers.send(ready.messages, NOW_NS)
        if ready.token is not None:
            storage.write(ready.hard_state, ready.entries, ready.snapshot)
            core.persisted(ready.token)
        peers.send(ready.messages_after_append, NOW_NS)
        if ready.committed:
            core.applied_to(ready.committed[-1].index)


def parcel_seeds() -> Iterator[bytes]:
    """A leader's traffic, a candidate's, answers to our own campaign, lease calls."""
    pack = msgspec.msgpack.encode
    entry = Entry(2, 2, 0, b"data")
    heard: list[Message] = [
        Append(PEER, ME, 2, 1, 1, 1, [Entry(2, 2, 0, b""), Entry(2, 3, 0, b"data")]),
        Append(PEER, ME, 2, 3, 2, 3, []),
        InstallSnapshot(PEER, ME, 3, SnapshotMeta(9, 2, ConfState((1, 2, 3)))),
    ]
    beats: list[Message] = [Heartbeat(PEER, ME, 2, 3, 7), ReadIndexReply(PEER, ME, 2, 5, 3)]
    votes: list[Message] = [
        PreVote(PEER, ME, 5, 9, 2),
        Vote(PEER, ME, 5, 9, 2, True),
        TimeoutNow(PEER, ME, 5),
    ]
    asks: list[Message] = [
        Propose(PEER, ME, 2, EntryKind.NORMAL, [b"x"], 3, 4),
        TransferLeader(PEER, ME, 2, 3),
        ReadIndex(PEER, ME, 2, 4),
        ProposeDropped(PEER, ME, 2, 3, 4),
    ]
    granted = VoteReply(PEER, ME, 2, True)
    replies: list[Message] = [
        AppendReply(PEER, ME, 2, 2, False, 0, 0),
        HeartbeatReply(PEER, ME, 2, 0),
    ]
    calls: list[Call] = [LeaseAsk(1, 2, True), LeaseReply(1, 5, 10, False)]
    log = b"\x00" + block(pack(Parcel(0, 0, heard)))
    yield log + b"\x01" + block(pack(Parcel(NOW_NS, NOW_NS - 9, beats, calls)))
    yield b"\x01" + block(pack(Parcel(1, 2, votes))) + b"\x00" + block(pack(Parcel(0, 0, asks)))
    won = b"\x81" + block(pack(Parcel(0, 0, [granted])))
    yield (
        won
        + b"\x00"
        + block(pack(Parcel(0, 0, asks)))
        + b"\x01"
        + block(pack(Parcel(0, 0, replies)))
    )
    yield b"\x00" + block(pack([0, 0, [], [[4, 1, "not the leader"], [3, 1, 9, pack(entry)]]]))


# Chunks.


def fuzz_chunk(data: bytes) -> None:
    """Frames of the bulk channel at a member that sends one snapshot and receives another."""
    tape = Tape(data)
    engine = MemoryEngine()
    store = open_memory_store(engine, CLUSTER, ME, StoreConfig(), first_conf=pack_conf())
    store.view.stage([(b"key %d" % number, bytes(50)) for number in range(20)])
    effects = store.view.seal(store.writer.next_seq)
    store.writer.submit(appended(1, 2, effects=effects))
    store.writer.step()
    sent: list[bytes] = []

    def send(_: int, payload: bytes) -> bool:
        sent.append(payload)
        return True

    snapshots = Snapshots(
        read=store.view.read_snapshot,
        installer=lambda: Installer(engine, store.writer),
        send=send,
        first_stream=1,
        chunk_bytes=100,
        streams_max=2,
    )
    snapshots.start(InstallSnapshot(ME, PEER, 2, SnapshotMeta(1, 1, ConfState((1, 2)))), 0.0)
    steps = 0
    while tape.left:
        flags = tape.octet()
        snapshots.receive(2 + (flags & 1), tape.block(), float(steps))
        steps += 1
        if snapshots.arrived is not None:
            if flags & 2:
                snapshots.take_installer().abandon()
            else:
                snapshots.abandon()
        snapshots.keep_house(float(steps))
        store.writer.step()
    assert len(sent) <= (steps + 1) * (2 * WINDOW + 1)
    assert len(snapshots._sending) <= 1


def pack_conf() -> bytes:
    """A membership as the disk keeps it."""
    return msgspec.msgpack.encode(ConfState((1, 2)))


def chunk_seeds() -> Iterator[bytes]:
    """A snapshot in two chunks, whole, doubled and cut short; acknowledgements of ours."""
    pack = msgspec.msgpack.encode
    message = InstallSnapshot(PEER, ME, 2, SnapshotMeta(5, 2, ConfState((1, 2))))
    first, second = [(b"a", b"1"), (b"b", b"2")], [(b"c", b"3")]
    crc = checksum_of(first, 0)
    chunks = [
        Chunk(9, 0, first, crc, False, message),
        Chunk(9, 1, second, checksum_of(second, crc), True, None),
    ]
    stream = steps(0, [pack(chunk) for chunk in chunks])
    yield stream
    yield stream + stream
    yield steps(2, [pack(chunks[0]), pack(Chunk(9, 1, second, 0, True, None))])
    yield steps(0, [pack(ChunkReply(2, wanted)) for wanted in (1, 2, 5, 40)])
    yield steps(0, [pack(ChunkReply(2, 0, refused=True)), pack(ChunkReply(2, 0))])


def steps(flags: int, payloads: Iterable[bytes]) -> bytes:
    """One step for each payload."""
    return b"".join(bytes((flags,)) + block(payload) for payload in payloads)


TARGETS = (
    Target("frame", fuzz_frame, frame_seeds, 150),
    Target("admission", fuzz_admission, admission_seeds, 60),
    Target("arena", fuzz_arena, arena_seeds, 80),
    Target("page", fuzz_page, page_seeds, 80),
    Target("parcel", fuzz_parcel, parcel_seeds, 150),
    Target("chunk", fuzz_chunk, chunk_seeds, 100),
)
