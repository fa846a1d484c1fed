"""Targets of the store: every record, the log as a whole, the mark.

The promise of a record's decoder is "reject, or give back exactly what was written". Half of all
inputs get a right checksum after they were mutated: without that no mutation would ever be seen by
the code behind the checksum, and a checksum over nothing is easily right.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from zlib import crc32

from store import record
from store.bolt import BoltReader, BoltWriter
from store.errors import Damaged, FormatTooNew
from store.log import DurableLog, HardState, Meta, Position
from store.mark import Mark
from store.memory import MemoryEngine
from store.record import Floor, Head
from tests.fuzz.target import Tape, Target, block

GUARD = 1
INDEX = 7
TAIL_BYTES_MAX = 100


def _entry(value: bytes) -> bytes:
    entry = record.decode_entry(INDEX, value)
    assert entry.index == INDEX
    return record.encode_entry(entry.term, entry.index, entry.kind, entry.data)


ROUND_TRIPS: tuple[Callable[[bytes], bytes], ...] = (
    lambda value: record.encode_meta(record.decode_meta(value)),
    lambda value: record.encode_head(record.decode_head(value)),
    lambda value: record.encode_floor(record.decode_floor(value)),
    lambda value: record.encode_conf(*record.decode_conf(value)),
    lambda value: record.encode_applied(*record.decode_applied(value)),
    lambda value: record.encode_generation(record.decode_generation(value)),
    _entry,
)
ENTRY = len(ROUND_TRIPS) - 1


def fuzz_record(data: bytes) -> None:
    """One value, read by one decoder."""
    tape = Tape(data)
    kind, flags = tape.octet() % len(ROUND_TRIPS), tape.octet()
    value = tape.rest()
    if flags & GUARD:
        value = guarded(value[record.CRC.size :], INDEX if kind == ENTRY else 0)
    try:
        again = ROUND_TRIPS[kind](value)
    except (Damaged, FormatTooNew):
        return
    assert again == value


def guarded(body: bytes, seed: int = 0) -> bytes:
    """Put the right checksum before a body."""
    return record.CRC.pack(crc32(body, seed)) + body


def records() -> dict[bytes, bytes]:
    """A log of some entries after a compaction, as it lies on disk."""
    singles = {
        record.META: record.encode_meta(Meta(bytes(range(16)), 0xC1, 0xA1)),
        record.HEAD: record.encode_head(Head(9, HardState(3, 0xA1, 9), Position(10, 3))),
        record.FLOOR: record.encode_floor(Floor(Position(6, 2), 5)),
        record.CONF: record.encode_conf(6, b"membership"),
        record.APPLIED: record.encode_applied(Position(8, 3), b"digest"),
        record.GENERATION: record.encode_generation(1),
        record.state_prefix(1) + b"key": b"value",
    }
    entries = {
        record.entry_key(index): record.encode_entry(3 if index > 7 else 2, index, 0, b"e" * index)
        for index in range(5, 11)
    }
    return singles | entries


def record_seeds() -> Iterator[bytes]:
    """Each kind of record, with the checksum that it has and with one made afterwards."""
    stored = records()
    keys = (
        record.META,
        record.HEAD,
        record.FLOOR,
        record.CONF,
        record.APPLIED,
        record.GENERATION,
        record.entry_key(INDEX),
    )
    for kind, key in enumerate(keys):
        yield bytes((kind, 0)) + stored[key]
        yield bytes((kind, GUARD)) + stored[key]


def fuzz_log(data: bytes) -> None:
    """Records are replaced, removed and added; what loads is in order and can be read."""
    tape = Tape(data)
    stored = records()
    while tape.left:
        keys = sorted(stored)
        key, action = keys[tape.octet() % len(keys)], tape.octet()
        content = tape.block()
        match action % 4:
            case 0:
                stored[key] = content
            case 1:
                seed = record.entry_index(key) & 0xFFFF_FFFF if key[:1] == record.ENTRY else 0
                stored[key] = guarded(content, seed)
            case 2 if len(keys) > 1:
                del stored[key]
            case _:
                stored[key[:1] + content] = stored[key]
    engine = MemoryEngine()
    engine.write(stored.items())
    log = DurableLog(engine)
    try:
        image = log.load(TAIL_BYTES_MAX)
        entries = (
            log.entries(image.first_index, image.last.index + 1, 1 << 20)
            if image.last.index >= image.first_index
            else []
        )
    except (Damaged, FormatTooNew):
        return
    commit = image.hard_state.commit
    assert image.boundary.index <= image.applied.index <= commit <= image.last.index
    assert [entry.index for entry in entries] == list(
        range(image.first_index, image.last.index + 1)
    )
    assert list(image.tail) == entries[len(entries) - len(image.tail) :]
    assert sum(len(entry.data) for entry in image.tail) <= TAIL_BYTES_MAX
    assert all(log.term(entry.index) == entry.term for entry in entries)


def log_seeds() -> Iterator[bytes]:
    """Every record once as it is, once with a field more, once removed; and an entry at its end."""
    stored = records()
    for at, key in enumerate(sorted(stored)):
        yield bytes((at, 0)) + block(stored[key])
        yield bytes((at, 1)) + block(stored[key][record.CRC.size :])
        yield bytes((at, 2)) + block(b"")
        yield bytes((at, 3)) + block(key[1:] + b"\x00")


@cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="conclave-fuzz-")


def scratch(name: str) -> Path:
    """A file of this process that is overwritten by each input."""
    return Path(_directory().name, name)


def fuzz_mark(data: bytes) -> None:
    """A mark file of any content: refused, or its newest whole slot, and it can be updated."""
    path = scratch("mark")
    path.write_bytes(data)
    try:
        mark = Mark(path)
    except Damaged:
        return
    figures = mark.figures
    mark.close()
    again = Mark(path)
    assert again.figures == figures
    again.close()


def mark_seeds() -> Iterator[bytes]:
    """A new mark, and one that was updated."""
    path = scratch("seed")
    mark = Mark.create(path, bytes(range(16)), 0xA1)
    yield path.read_bytes()
    for number in (1, 2, 3):
        mark.update(type(mark.figures)(bytes(range(16)), 0xA1, number, 1, 2, 3, 4))
    yield path.read_bytes()
    mark.close()


def fuzz_bolt(data: bytes) -> None:
    """A file of any content: refused, or every bucket gives its keys in order, each once."""
    try:
        reader = BoltReader(data)
        found = {name: [key for key, _ in reader.items(name)] for name in reader.buckets()}
    except Damaged:
        return
    for keys in found.values():
        assert all(one < next_ for one, next_ in pairwise(keys))
        assert len(keys) <= len(data) * (len(found) + 1)


def bolt_seeds() -> Iterator[bytes]:
    """A file with an empty bucket, and one with branches."""
    for count in (0, 300):
        file = BytesIO()
        writer = BoltWriter(file)
        writer.begin(b"key")
        for number in range(count):
            writer.add(b"%04d" % number, b"v" * 20)
        writer.begin(b"meta")
        writer.close()
        yield file.getvalue()


TARGETS = (
    Target("store-record", fuzz_record, record_seeds, 200),
    Target("store-log", fuzz_log, log_seeds, 150),
    Target("store-mark", fuzz_mark, mark_seeds, 60),
    Target("store-bolt", fuzz_bolt, bolt_seeds, 60),
)
