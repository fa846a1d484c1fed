"""Tables that are deleted below a running process: it goes on to read what they hold; and a process
that may open nothing any more.

LevelDB opens a table when it is first needed, and takes one that is gone by then for one without
the key: a read would say that there is no such record.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from store.leveldb import LevelDBEngine
from tests.support.store_parts import SMALL

COUNT = 2_000
NAMES: dict[str, Callable[[int], bytes]] = {
    "plain": lambda number: b"key %06d" % number,
    "binary": lambda number: b"s\x01\n\xff" + number.to_bytes(4, "big"),
    "as LevelDB prints them": lambda number: b"k' @ %d : 1 .. 'k\\x4%d'" % (number, number % 10),
}


@pytest.fixture(params=list(NAMES))
def records(request: pytest.FixtureRequest) -> dict[bytes, bytes]:
    name = NAMES[request.param]
    return {name(number): b"%d " % number * 40 for number in range(COUNT)}


def tables(path: Path) -> list[Path]:
    return list(path.glob("*.ldb"))


def fill(path: Path, records: dict[bytes, bytes]) -> None:
    """A database with many tables, on two levels."""
    engine = LevelDBEngine(path, SMALL, create=True)
    operations = list(records.items())
    for lo in range(0, COUNT, 100):
        engine.write(operations[lo : lo + 100])
        if lo == COUNT // 2:
            engine.compact(b"", b"")
    engine.close()
    assert len(tables(path)) > 3


def delete_tables(path: Path) -> None:
    for table in tables(path):
        table.unlink()


def test_tables_that_were_there_at_the_start(tmp_path: Path, records: dict[bytes, bytes]) -> None:
    fill(tmp_path / "db", records)
    engine = LevelDBEngine(tmp_path / "db", SMALL)
    delete_tables(tmp_path / "db")
    with engine.snapshot() as snapshot:
        of_snapshot = {key: snapshot.get(key) for key in records}
    read = {key: engine.get(key) for key in records}
    scanned = dict(engine.scan(b"", b""))
    engine.close()

    assert read == of_snapshot == scanned == records


def test_tables_that_were_made_since(tmp_path: Path, records: dict[bytes, bytes]) -> None:
    engine = LevelDBEngine(tmp_path / "db", SMALL, create=True)
    engine.write(list(records.items()))
    engine.compact(b"", b"")
    assert tables(tmp_path / "db")
    delete_tables(tmp_path / "db")
    read = {key: engine.get(key) for key in records}
    engine.close()

    assert read == records


def test_absent_is_absent(tmp_path: Path, records: dict[bytes, bytes]) -> None:
    fill(tmp_path / "db", records)
    engine = LevelDBEngine(tmp_path / "db", SMALL)
    delete_tables(tmp_path / "db")
    found = [engine.get(key + b"!") for key in records]
    engine.close()

    assert found == [None] * COUNT


def test_size_without_a_descriptor_to_look_by(tmp_path: Path) -> None:
    engine = LevelDBEngine(tmp_path / "db", SMALL, create=True)
    engine.write([(b"key", b"value")])
    before = engine.size_on_disk(), engine.unsettled_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        without = engine.size_on_disk(), engine.unsettled_bytes()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    engine.close()

    assert min(before) > 0
    assert without == before
