"""The contract of `store.engine.Engine`, run over both implementations."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.config import StoreConfig
from store.engine import Engine, Operation
from store.leveldb import LevelDBEngine
from store.memory import MemoryEngine, MemoryEngineFailed


@pytest.fixture(params=["memory", "leveldb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made: Engine
    if request.param == "memory":
        made = MemoryEngine()
    else:
        made = LevelDBEngine(tmp_path / "db", StoreConfig(), create=True)
    yield made
    made.close()


RECORDS: list[Operation] = [(b"a", b"1"), (b"b", b"2"), (b"b\x00", b"3"), (b"c", b"")]


def test_get_present_absent_and_empty_value(engine: Engine) -> None:
    engine.write(RECORDS)

    assert engine.get(b"b") == b"2"
    assert engine.get(b"c") == b""
    assert engine.get(b"d") is None


def test_write_applies_operations_in_order(engine: Engine) -> None:
    engine.write([(b"k", b"1"), (b"k", None), (b"k", b"2"), (b"gone", b"x"), (b"gone", None)])

    assert engine.get(b"k") == b"2"
    assert engine.get(b"gone") is None


def test_write_delete_of_absent_key(engine: Engine) -> None:
    engine.write([(b"never", None), (b"k", b"1")])

    assert list(engine.scan(b"", b"")) == [(b"k", b"1")]


@pytest.mark.parametrize(
    ("lo", "hi", "keys"),
    [
        (b"", b"", [b"a", b"b", b"b\x00", b"c"]),
        (b"b", b"", [b"b", b"b\x00", b"c"]),
        (b"", b"b", [b"a"]),
        (b"a", b"b\x00", [b"a", b"b"]),
        (b"b", b"b", []),
        (b"c", b"a", []),
        (b"d", b"", []),
    ],
)
def test_scan_is_half_open_in_both_directions(
    engine: Engine, lo: bytes, hi: bytes, keys: list[bytes]
) -> None:
    engine.write(RECORDS)

    assert [key for key, _ in engine.scan(lo, hi)] == keys
    assert [key for key, _ in engine.scan(lo, hi, reverse=True)] == keys[::-1]


def test_scan_down_to_the_only_record(engine: Engine) -> None:
    """plyvel loses a record that is both the first met on the way down and the lower bound."""
    engine.write(RECORDS)

    assert list(engine.scan(b"b", b"b\x00", reverse=True)) == [(b"b", b"2")]
    assert list(engine.scan(b"c", b"", reverse=True)) == [(b"c", b"")]
    assert list(engine.prefixed(b"b").scan(b"\x00", b"", reverse=True)) == [(b"\x00", b"3")]


def test_scan_shows_the_moment_of_the_call(engine: Engine) -> None:
    engine.write(RECORDS)
    scan = engine.scan(b"", b"")
    engine.write([(b"a", None), (b"b", b"new"), (b"z", b"new")])

    assert list(scan) == RECORDS


def test_snapshot_is_not_reached_by_later_writes(engine: Engine) -> None:
    engine.write(RECORDS)
    with engine.snapshot() as snapshot:
        engine.write([(b"a", None), (b"b", b"new")])

        assert snapshot.get(b"a") == b"1"
        assert list(snapshot.scan(b"a", b"c")) == RECORDS[:3]
        assert list(snapshot.scan(b"a", b"c", reverse=True)) == RECORDS[2::-1]
    assert engine.get(b"a") is None


@pytest.mark.parametrize("prefix", [b"s\x01", b"s\xff"])
def test_prefixed_hides_the_prefix_and_its_neighbours(engine: Engine, prefix: bytes) -> None:
    engine.write([(b"s\x00z", b"below"), (b"t", b"above"), (b"s\xfe\xff", b"below too")])
    engine.write([(prefix + key, value) for key, value in RECORDS])
    records = engine.prefixed(prefix)

    assert records.get(b"a") == b"1"
    assert records.get(b"z") is None
    assert list(records.scan(b"", b"")) == RECORDS
    assert list(records.scan(b"", b"", reverse=True)) == RECORDS[::-1]
    assert list(records.scan(b"b", b"c")) == RECORDS[1:3]
    assert list(records.scan(b"b", b"c", reverse=True)) == RECORDS[2:0:-1]
    assert list(records.scan(b"c", b"b")) == []


def test_compact_keeps_what_lives(engine: Engine) -> None:
    engine.write([(b"%04d" % number, b"x" * 100) for number in range(1000)])
    engine.write([(b"%04d" % number, None) for number in range(1, 999)])
    engine.compact(b"0001", b"0999")

    assert [key for key, _ in engine.scan(b"", b"")] == [b"0000", b"0999"]


def test_rewrite_keeps_what_lives(engine: Engine) -> None:
    engine.write(RECORDS)
    engine.write([(b"b", None)])

    engine.rewrite(b"\0", b"\xff")

    assert list(engine.scan(b"", b"")) == [RECORDS[0], *RECORDS[2:]]


MEGABYTE = 1 << 20


@pytest.mark.parametrize("count", [3, 40], ids=["in memory", "in tables"])
def test_rewrite_gives_back_what_is_dead(tmp_path: Path, count: int) -> None:
    """Also what LevelDB's own compaction of a range leaves: the overwritten in the lowest table."""
    engine = LevelDBEngine(tmp_path / "db", StoreConfig(), create=True)
    for number in range(count):
        engine.write([(b"s1", bytes(MEGABYTE)), (b"s2%d" % number, bytes(MEGABYTE))])
    engine.write([(b"s2%d" % number, None) for number in range(count)])
    before = engine.size_of(b"s", b"t") + engine.unsettled_bytes()

    engine.rewrite(b"\0", b"\xff")

    assert before > count * MEGABYTE
    assert MEGABYTE < engine.size_of(b"s", b"t") < 2 * MEGABYTE
    assert engine.unsettled_bytes() < MEGABYTE
    engine.close()


def test_size_of_counts_a_range(engine: Engine) -> None:
    engine.write([(b"a%d" % number, bytes(1000)) for number in range(100)])
    engine.write([(b"b%d" % number, bytes(1000)) for number in range(10)])
    engine.rewrite(b"\0", b"\xff")

    sizes = engine.size_of(b"a", b"b"), engine.size_of(b"b", b"c"), engine.size_of(b"c", b"d")

    assert 90_000 < sizes[0] < 130_000
    assert 9_000 < sizes[1] < 20_000
    assert sizes[2] == 0


def test_close_twice(engine: Engine) -> None:
    engine.close()
    engine.close()


def test_write_survives_reopen(tmp_path: Path) -> None:
    engine = LevelDBEngine(tmp_path / "db", StoreConfig(), create=True)
    engine.write(RECORDS)
    engine.close()
    again = LevelDBEngine(tmp_path / "db", StoreConfig())

    assert list(again.scan(b"", b"")) == RECORDS
    assert again.size_on_disk() > 0
    again.close()


def test_write_leaves_nothing_when_the_operations_raise(engine: Engine) -> None:
    def broken() -> Iterator[Operation]:
        yield b"half", b"written"
        raise RuntimeError("the caller's generator failed")

    with pytest.raises(RuntimeError):
        engine.write(broken())

    assert engine.get(b"half") is None


def test_open_of_what_is_not_there_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(LevelDBEngine.failures):
        LevelDBEngine(tmp_path / "db", StoreConfig())


def test_memory_fault_points_play_a_failing_disk() -> None:
    def fail(_: object) -> None:
        raise MemoryEngineFailed("no space left")

    engine = MemoryEngine(before_write=fail)
    with pytest.raises(engine.failures):
        engine.write([(b"not written", b"")])
    engine.before_write, engine.after_write = None, fail
    with pytest.raises(engine.failures):
        engine.write([(b"written unnoticed", b"")])

    assert [key for key, _ in engine.scan(b"", b"")] == [b"written unnoticed"]


keys = st.binary(min_size=1, max_size=3)
bounds = st.binary(max_size=3)
operations = st.lists(st.tuples(keys, st.none() | st.binary(max_size=2)), max_size=12)


@settings(deadline=None, max_examples=40)
@given(st.lists(operations, max_size=5), bounds, bounds)
def test_both_engines_agree_with_a_dict(
    tmp_path_factory: pytest.TempPathFactory, writes: list[list[Operation]], lo: bytes, hi: bytes
) -> None:
    leveldb = LevelDBEngine(tmp_path_factory.mktemp("db") / "db", StoreConfig(), create=True)
    memory = MemoryEngine()
    model: dict[bytes, bytes] = {}
    for write in writes:
        leveldb.write(write)
        memory.write(write)
        for key, value in write:
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
    expected = sorted(item for item in model.items() if lo <= item[0] and (not hi or item[0] < hi))

    for engine in (leveldb, memory):
        assert list(engine.scan(lo, hi)) == expected
        assert list(engine.scan(lo, hi, reverse=True)) == expected[::-1]
        assert all(engine.get(key) == model.get(key) for key in [b"?", *model])
    leveldb.close()
