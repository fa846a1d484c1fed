"""Deleting what nobody reads, in bounded pieces."""

from store import record
from store.config import StoreConfig
from store.engine import Operation
from store.memory import MemoryEngine
from store.record import Floor, Position
from store.sweep import Sweep


def engine_with(entries: range, generations: dict[int, int]) -> MemoryEngine:
    engine = MemoryEngine()
    engine.write([(record.entry_key(index), b"entry") for index in entries])
    for generation, count in generations.items():
        prefix = record.state_prefix(generation)
        engine.write([(prefix + b"%04d" % number, b"state") for number in range(count)])
    return engine


def swept(sweep: Sweep, engine: MemoryEngine, records_max: int) -> list[list[Operation]]:
    pieces: list[list[Operation]] = []
    while piece := sweep.operations(records_max):
        engine.write(piece)
        pieces.append(piece)
    return pieces


def keys(engine: MemoryEngine) -> list[bytes]:
    return [key for key, _ in engine.scan(b"", b"") if key != record.FLOOR]


def test_nothing_to_do() -> None:
    engine = engine_with(range(5, 9), {1: 10})
    sweep = Sweep(engine, Floor(Position(4, 1), 5), 1, StoreConfig())

    assert sweep.operations(100) == []


def test_entries_go_in_bounded_pieces_and_progress_is_durable() -> None:
    engine = engine_with(range(1, 31), {1: 1})
    sweep = Sweep(engine, Floor(Position(0, 0), 1), 1, StoreConfig())
    engine.write([sweep.raise_floor(Position(25, 3))])
    engine.write(sweep.operations(10))
    floor = record.decode_floor(engine.get(record.FLOOR) or b"")
    resumed = Sweep(engine, floor, 1, StoreConfig())
    pieces = swept(resumed, engine, 10)

    assert floor == Floor(Position(25, 3), 11)
    assert all(len(piece) <= 11 for piece in pieces)
    assert keys(engine)[:-1] == [record.entry_key(index) for index in range(26, 31)]


def test_floor_far_above_the_entries_is_no_work() -> None:
    engine = engine_with(range(1, 4), {})
    sweep = Sweep(engine, Floor(Position(0, 0), 1), 1, StoreConfig())
    engine.write([sweep.raise_floor(Position(10**15, 9))])
    pieces = swept(sweep, engine, 10)

    assert len(pieces) == 1
    assert record.decode_floor(engine.get(record.FLOOR) or b"").swept == 10**15 + 1


def test_leftover_generations_are_found_and_go() -> None:
    engine = engine_with(range(1, 3), {0: 7, 3: 5, 4: 20, 255: 9})
    sweep = Sweep(engine, Floor(Position(0, 0), 1), 3, StoreConfig())
    pieces = swept(sweep, engine, 7)

    assert all(len(piece) <= 7 for piece in pieces)
    assert {key[:2] for key in keys(engine)} == {record.state_prefix(3), b"L\x00"}


def test_stretches_for_compaction_do_not_span_entries_and_state() -> None:
    config = StoreConfig(compact_after_records=10)
    engine = engine_with(range(1, 26), {1: 1, 2: 12})
    sweep = Sweep(engine, Floor(Position(0, 0), 1), 1, config)
    engine.write([sweep.raise_floor(Position(25, 3))])
    swept(sweep, engine, 5)
    stretches: list[tuple[bytes, bytes]] = []
    while stretch := sweep.take_stretch():
        stretches.append(stretch)

    assert stretches[0] == (record.entry_key(1), record.entry_key(10) + b"\0")
    assert len(stretches) == 4
    assert all(lo < hi and lo[:1] == hi[:1] for lo, hi in stretches)
