"""Reading the log back, and noticing that it is not what was written."""

from collections.abc import Callable

import pytest

from store import record
from store.boot import MemoryStore, open_memory_store
from store.config import StoreConfig
from store.engine import Operation
from store.errors import Damaged
from store.log import Batch, DurableLog, HardState, Position
from store.memory import MemoryEngine
from store.record import Floor, Head
from tests.support.store_parts import appended, entries

SIZE = len(entries(1, 2)[0].data)


def written(*batches: Batch) -> MemoryStore:
    store = open_memory_store(MemoryEngine(), 1, 2, StoreConfig(), first_conf=b"conf")
    for batch in batches:
        store.writer.submit(batch)
    store.writer.step()
    return store


def test_load_of_a_new_database() -> None:
    image = written().image

    assert (image.meta.cluster_id, image.meta.member_id) == (1, 2)
    assert image.hard_state == HardState(0, 0, 0)
    assert image.first_index == 1
    assert image.last == image.applied == image.boundary == Position(0, 0)
    assert (image.conf_index, image.conf) == (0, b"conf")
    assert image.tail == []


def test_load_shows_what_batches_made_durable() -> None:
    store = written(
        appended(1, 6),
        Batch(
            entries=entries(6, 9, term=2),
            hard_state=HardState(3, 7, 7),
            applied=Position(7, 2),
            conf=b"second",
            digest=b"hash",
            compact_to=Position(4, 1),
        ),
    )
    image = store.log.load(bytes_max := 10_000)

    assert bytes_max > 9 * SIZE
    assert image.hard_state == HardState(3, 7, 7)
    assert (image.boundary, image.first_index) == (Position(4, 1), 5)
    assert (image.last, image.applied) == (Position(8, 2), Position(7, 2))
    assert (image.conf_index, image.conf, image.digest) == (7, b"second", b"hash")
    assert image.tail == entries(5, 6) + entries(6, 9, term=2)


def test_load_keeps_the_newest_entries_within_the_budget() -> None:
    log = written(appended(1, 10)).log

    assert log.load(3 * SIZE).tail == entries(7, 10)
    assert log.load(0).tail == []


def test_entries_are_cut_by_bytes_but_never_empty() -> None:
    log = written(appended(1, 11)).log

    assert log.entries(3, 6, 10_000) == entries(3, 6)
    assert log.entries(3, 9, 2 * SIZE) == entries(3, 5)
    assert log.entries(3, 9, 0) == entries(3, 4)


def test_entries_beyond_the_end_are_damage() -> None:
    log = written(appended(1, 5)).log

    with pytest.raises(Damaged, match="entry 5 is missing"):
        log.entries(4, 7, 10_000)
    with pytest.raises(Damaged, match="entry 5 is missing"):
        log.term(5)


def test_term_of_an_entry() -> None:
    log = written(appended(1, 3), appended(3, 5, term=4)).log

    assert [log.term(index) for index in range(1, 5)] == [1, 1, 4, 4]


def flip(index: int) -> Callable[[MemoryEngine], list[Operation]]:
    def change(engine: MemoryEngine) -> list[Operation]:
        value = bytearray(engine.get(record.entry_key(index)) or b"")
        value[-1] ^= 1
        return [(record.entry_key(index), bytes(value))]

    return change


def put(key: bytes, value: bytes | None) -> Callable[[MemoryEngine], list[Operation]]:
    return lambda _: [(key, value)]


def head(hard_state: HardState, last: Position) -> bytes:
    return record.encode_head(Head(9, hard_state, last))


DAMAGES: dict[str, tuple[Callable[[MemoryEngine], list[Operation]], str]] = {
    "an entry in the middle is gone": (put(record.entry_key(6), None), "entry 6 is missing"),
    "the first entry is gone": (put(record.entry_key(3), None), "entry 3 is missing"),
    "the last entry is gone": (put(record.entry_key(9), None), "ends at"),
    "an entry too many": (put(record.entry_key(10), record.encode_entry(2, 10, 0, b"")), "ends at"),
    "an entry was changed": (flip(7), "entry 7 fails its checksum"),
    "a term goes back": (
        put(record.entry_key(8), record.encode_entry(1, 8, 0, b"")),
        "entry 8 has term 1 after 2",
    ),
    "no head": (put(record.HEAD, None), "missing"),
    "no meta": (put(record.META, None), "missing"),
    "a changed floor": (put(record.FLOOR, b"1234" + bytes(24)), "floor fails its checksum"),
    "commit ahead of the log": (
        put(record.HEAD, head(HardState(2, 1, 10), Position(9, 2))),
        "out of order",
    ),
    "applied ahead of commit": (
        put(record.HEAD, head(HardState(2, 1, 4), Position(9, 2))),
        "out of order",
    ),
    "applied behind the floor": (
        put(record.APPLIED, record.encode_applied(Position(1, 1), b"")),
        "out of order",
    ),
    "term behind the log": (
        put(record.HEAD, head(HardState(1, 1, 9), Position(9, 2))),
        "behind the log",
    ),
    "membership of the future": (put(record.CONF, record.encode_conf(10, b"")), "ahead of applied"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_load_refuses(name: str) -> None:
    change, reason = DAMAGES[name]
    store = written(appended(1, 5), appended(5, 10, term=2), Batch(compact_to=Position(2, 1)))
    store.engine.write([(record.FLOOR, record.encode_floor(Floor(Position(2, 1), 1)))])
    assert store.log.load(0).last == Position(9, 2)
    store.engine.write(change(store.engine))

    with pytest.raises(Damaged, match=reason):
        DurableLog(store.engine).load(0)
