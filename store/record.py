"""Keys and values of everything but the state records.

    M  meta          format version, database uuid, cluster id, member id
    H  head          write sequence, term, vote, commit, last index and term
    F  floor         boundary index and term, first index not yet swept
    C  conf          index, membership as opaque bytes
    A  applied       index, term, digest as opaque bytes
    G  generation    one byte: which state records are current
    B  + u64         baton of the newest group: its write sequence in the key, nothing in the value
    L  + u64         one entry: term, kind, data
    s  + generation  state records, encoded by their owner

Numbers in keys are big-endian and of fixed length, so that byte order is number order. Every value
here starts with the CRC-32 of the rest: LevelDB's block checksums guard the way to the disk, this
one also guards what happens in memory before the block is built. An entry's CRC is seeded with its
index, so that an intact value under the wrong key fails too.
"""

from struct import Struct
from typing import Any
from zlib import crc32

from msgspec import Struct as Record

from store.errors import Damaged, FormatTooNew

FORMAT = 1
INDEX_MAX = 2**64 - 1
GENERATIONS = 256

META = b"M"
HEAD = b"H"
FLOOR = b"F"
CONF = b"C"
APPLIED = b"A"
GENERATION = b"G"
BATON = b"B"
ENTRY = b"L"
STATE = b"s"

_META = Struct(">I16sQQ")
_VERSION = Struct(">I")
_HEAD = Struct(">QQQQQQ")
_FLOOR = Struct(">QQQ")
_POSITION = Struct(">QQ")
_INDEX = Struct(">Q")
_GENERATION = Struct(">B")
ENTRY_KEY = Struct(">cQ")
ENTRY_HEADER = Struct(">QB")
_ENTRY_VALUE = Struct(">IQB")
CRC = Struct(">I")


class Position(Record, frozen=True, gc=False):
    """A place in the log. Index 0, term 0 is before its beginning."""

    index: int
    term: int


class HardState(Record, frozen=True, gc=False):
    """What Raft may never forget. Vote 0: none in this term."""

    term: int
    vote: int
    commit: int


class LogEntry(Record, frozen=True, gc=False):
    """An entry as read back; the fields of `store.log.StoredEntry`."""

    term: int
    index: int
    kind: int
    data: bytes


class Meta(Record, frozen=True, gc=False):
    """Who this database belongs to. `uuid` is 16 random bytes drawn when it was created."""

    uuid: bytes
    cluster_id: int
    member_id: int


class Head(Record, frozen=True):
    """Rewritten by every group: the newest durable batch and where the log ends."""

    write_seq: int
    hard_state: HardState
    last: Position


class Floor(Record, frozen=True):
    """Where the log starts. Entries in `[swept, boundary.index]` may still lie on disk."""

    boundary: Position
    swept: int


def entry_key(index: int) -> bytes:
    """Key of the entry at `index`; nine bytes."""
    return ENTRY_KEY.pack(ENTRY, index)


def baton_key(write_seq: int) -> bytes:
    """Key of the baton that the group ending with this batch leaves; nine bytes."""
    return ENTRY_KEY.pack(BATON, write_seq)


def encode_baton() -> bytes:
    """All that a baton says is in its key."""
    return _guard(b"")


def entry_index(key: bytes) -> int:
    """The index in an entry's key."""
    return int.from_bytes(key[1:], "big")


def state_prefix(generation: int) -> bytes:
    """Prefix of all state records of a generation (0..255)."""
    return STATE + bytes((generation,))


def after_prefix(prefix: bytes) -> bytes:
    """The first key that sorts after every key with this prefix. `prefix` must not be all 0xff."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,))


def encode_entry(term: int, index: int, kind: int, data: bytes) -> bytes:
    """Value of an entry: crc u32, term u64, kind u8, data."""
    body = ENTRY_HEADER.pack(term, kind) + data
    return CRC.pack(crc32(body, index & 0xFFFFFFFF)) + body


def decode_entry(index: int, value: bytes) -> LogEntry:
    """The entry that was stored at `index`; raises `Damaged`."""
    if len(value) < _ENTRY_VALUE.size:
        raise Damaged(f"entry {index} is too short")
    crc, term, kind = _ENTRY_VALUE.unpack_from(value)
    if crc != crc32(value[CRC.size :], index & 0xFFFFFFFF):
        raise Damaged(f"entry {index} fails its checksum")
    return LogEntry(term, index, kind, value[_ENTRY_VALUE.size :])


def encode_meta(meta: Meta) -> bytes:
    return _guard(_META.pack(FORMAT, meta.uuid, meta.cluster_id, meta.member_id))


def decode_meta(value: bytes) -> Meta:
    """Reads the version before anything else: a newer format may have grown fields."""
    body = _unguard(value, "meta")
    (version,), _ = _split(_VERSION, body, "meta")
    if version > FORMAT:
        raise FormatTooNew(version, FORMAT)
    version, uuid, cluster_id, member_id = _whole(_META, body, "meta")
    if version != FORMAT:
        raise Damaged(f"record meta has format {version}, which was never written")
    return Meta(uuid, cluster_id, member_id)


def encode_head(head: Head) -> bytes:
    hard, last = head.hard_state, head.last
    return _guard(
        _HEAD.pack(head.write_seq, hard.term, hard.vote, hard.commit, last.index, last.term)
    )


def decode_head(value: bytes) -> Head:
    body = _unguard(value, "head")
    sequence, term, vote, commit, index, last_term = _whole(_HEAD, body, "head")
    return Head(sequence, HardState(term, vote, commit), Position(index, last_term))


def encode_floor(floor: Floor) -> bytes:
    return _guard(_FLOOR.pack(floor.boundary.index, floor.boundary.term, floor.swept))


def decode_floor(value: bytes) -> Floor:
    index, term, swept = _whole(_FLOOR, _unguard(value, "floor"), "floor")
    return Floor(Position(index, term), swept)


def encode_applied(position: Position, digest: bytes) -> bytes:
    return _guard(_POSITION.pack(position.index, position.term) + digest)


def decode_applied(value: bytes) -> tuple[Position, bytes]:
    position, digest = _split(_POSITION, _unguard(value, "applied"), "applied")
    return Position(*position), digest


def encode_conf(index: int, conf: bytes) -> bytes:
    return _guard(_INDEX.pack(index) + conf)


def decode_conf(value: bytes) -> tuple[int, bytes]:
    (index,), conf = _split(_INDEX, _unguard(value, "conf"), "conf")
    return index, conf


def encode_generation(generation: int) -> bytes:
    return _guard(_GENERATION.pack(generation))


def decode_generation(value: bytes) -> int:
    (generation,) = _whole(_GENERATION, _unguard(value, "generation"), "generation")
    return int(generation)


def _guard(body: bytes) -> bytes:
    return CRC.pack(crc32(body)) + body


def _unguard(value: bytes, what: str) -> bytes:
    body = value[4:]
    if value[:4] != CRC.pack(crc32(body)):
        raise Damaged(f"record {what} fails its checksum")
    return body


def _split(layout: Struct, body: bytes, what: str) -> tuple[tuple[Any, ...], bytes]:
    """The fields at the front of a body, and what follows them.

    A checksum that holds does not mean that there is anything: four zero bytes, which a failing
    disk may well return, are the right checksum of nothing.
    """
    if len(body) < layout.size:
        raise Damaged(f"record {what} is too short")
    return layout.unpack_from(body), body[layout.size :]


def _whole(layout: Struct, body: bytes, what: str) -> tuple[Any, ...]:
    fields, rest = _split(layout, body, what)
    if rest:
        raise Damaged(f"record {what} is too long")
    return fields
