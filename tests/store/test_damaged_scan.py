"""A scan over a damaged table fails; it neither ends early nor leaves out what it cannot read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from store.engine import Reader
from store.leveldb import LevelDBEngine
from tests.support.store_parts import SMALL

PREFIX = b"s\x01"
RECORDS = [(b"key %03d" % number, b"%d " % number * 60) for number in range(90)]
GONE = range(90, 130)
BLOCK = 512
"""A few of these make one block of LevelDB's, so that each block is hit by itself."""

Read = Callable[[Reader, int], list[tuple[bytes, bytes]]]


def forward(reader: Reader, count: int) -> list[tuple[bytes, bytes]]:
    return list(islice(reader.scan(b"", b""), count))


def bounded(reader: Reader, count: int) -> list[tuple[bytes, bytes]]:
    return list(islice(reader.scan(b"key", b"kez"), count))


def backward(reader: Reader, count: int) -> list[tuple[bytes, bytes]]:
    return list(islice(reader.scan(b"", b"", reverse=True), count))


def backward_bounded(reader: Reader, count: int) -> list[tuple[bytes, bytes]]:
    return list(islice(reader.scan(b"key 000", b"kez", reverse=True), count))


READS: list[Read] = [forward, bounded, backward, backward_bounded]


@pytest.fixture(params=["records", "tombstones"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A database with one table, where a scan ends with its last record or with tombstones."""
    path = tmp_path / "db"
    engine = LevelDBEngine(path, SMALL, create=True)
    if request.param == "tombstones":
        engine.write([(PREFIX + b"key %03d" % number, b"old " * 60) for number in GONE])
        engine.compact(b"", b"")
    engine.write([(PREFIX + key, value) for key, value in RECORDS])
    if request.param == "tombstones":
        engine.write([(PREFIX + b"key %03d" % number, None) for number in GONE])
    engine.close()
    LevelDBEngine(path, SMALL).close()  # opening moves what was written into a table
    return path


def damaged_in_turn(path: Path) -> Iterator[None]:
    """Each piece of the newest table zeroed, one after the other, and restored."""
    file = max(path.glob("*.ldb"))
    content = file.read_bytes()
    for start in range(0, len(content), BLOCK):
        piece = content[start : start + BLOCK]
        file.write_bytes(content[:start] + bytes(len(piece)) + content[start + len(piece) :])
        yield
    file.write_bytes(content)


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("prefixed", [True, False], ids=["prefixed", "whole"])
def test_damaged_block_ends_a_scan_with_an_error(table: Path, read: Read, prefixed: bool) -> None:
    expected = RECORDS[::-1] if read in (backward, backward_bounded) else RECORDS
    failed = 0
    for _ in damaged_in_turn(table):
        for count in (1, 7, len(RECORDS) + 1):
            try:
                engine = LevelDBEngine(table, SMALL)
            except LevelDBEngine.failures:
                failed += 1
                continue
            reader = engine.prefixed(PREFIX) if prefixed else _Shifted(engine)
            try:
                got = read(reader, count)
            except engine.failures:
                failed += 1
            else:
                assert got == expected[:count]
            finally:
                engine.close()

    assert failed > len(RECORDS) // 10


class _Shifted:
    """The whole database, shown as the part below the prefix is."""

    def __init__(self, engine: LevelDBEngine) -> None:
        self._engine = engine

    def get(self, key: bytes) -> bytes | None:
        return self._engine.get(PREFIX + key)

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        stop = PREFIX + hi if hi else b""
        found = self._engine.scan(PREFIX + lo, stop, reverse=reverse)
        return ((key[len(PREFIX) :], value) for key, value in found)
