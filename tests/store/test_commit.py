"""What the intake lets through, and what a group leaves on disk."""

from dataclasses import replace

import pytest

from store import record
from store.boot import MemoryStore, open_memory_store
from store.config import StoreConfig
from store.engine import Operation
from store.errors import InvariantViolated, QueueFull
from store.log import Batch, HardState, Position
from store.memory import MemoryEngine
from tests.support.store_parts import MEMBER, appended, entries


def opened(config: StoreConfig | None = None) -> MemoryStore:
    return open_memory_store(MemoryEngine(), 1, MEMBER, config or StoreConfig())


def indices(store: MemoryStore) -> list[int]:
    lo, hi = record.entry_key(0), record.entry_key(record.INDEX_MAX)
    return [record.entry_index(key) for key, _ in store.engine.scan(lo, hi)]


def test_group_is_one_write() -> None:
    store = opened()
    writes: list[int] = []
    store.engine.before_write = lambda operations: writes.append(len(operations))
    for index in range(1, 6):
        store.writer.submit(appended(index, index + 1))
    store.writer.step()

    assert len(writes) == 1
    assert store.log.load(0).last == Position(5, 1)
    assert store.writer.take_durable() == store.log.load(0).write_seq == 6


def test_batches_are_numbered_on_from_the_disk() -> None:
    engine = MemoryEngine()
    first = open_memory_store(engine, 1, MEMBER, StoreConfig())
    number = first.writer.submit(Batch())
    first.writer.step()
    second = open_memory_store(engine, 1, MEMBER, StoreConfig())

    assert second.writer.next_seq == number + 1
    assert second.writer.submit(Batch()) == number + 1


def test_new_entries_replace_the_tail_in_the_same_write() -> None:
    store = opened()
    store.writer.submit(Batch(entries=entries(1, 9), hard_state=HardState(1, 0, 2)))
    store.writer.step()
    store.writer.submit(Batch(entries=entries(4, 6, term=2), hard_state=HardState(2, 0, 2)))
    store.writer.step()

    assert indices(store) == [1, 2, 3, 4, 5]
    assert store.log.load(10_000).tail == entries(1, 4) + entries(4, 6, term=2)


def test_replaced_tail_within_one_group() -> None:
    store = opened()
    store.writer.submit(Batch(entries=entries(1, 9), hard_state=HardState(1, 0, 2)))
    store.writer.submit(Batch(entries=entries(4, 6, term=2), hard_state=HardState(2, 0, 2)))
    store.writer.submit(Batch(entries=entries(6, 8, term=2)))
    store.writer.step()

    assert store.log.load(10_000).tail == entries(1, 4) + entries(4, 8, term=2)


def test_effects_and_applied_index_are_in_one_write() -> None:
    store = opened()
    seen: list[set[bytes]] = []
    store.engine.before_write = lambda operations: seen.append({key for key, _ in operations})
    store.writer.submit(appended(1, 3, effects=[(b"s\x01k", b"v")]))
    store.writer.step()

    assert {record.APPLIED, record.HEAD, b"s\x01k", record.entry_key(2)} <= seen[0]


def test_failed_write_shows_nothing() -> None:
    def fail(_: object) -> None:
        raise OSError("no space left")

    store = opened()
    store.engine.before_write = fail
    number = store.writer.submit(appended(1, 2))
    with pytest.raises(OSError, match="no space left"):
        store.writer.step()

    assert store.writer.take_durable() < number
    assert indices(store) == []


def test_queue_full_by_batches_changes_nothing() -> None:
    store = opened(StoreConfig(queue_batches_max=2))
    store.writer.submit(appended(1, 2))
    store.writer.submit(appended(2, 3))
    assert not store.writer.has_room()
    with pytest.raises(QueueFull) as full:
        store.writer.submit(appended(3, 4))
    store.writer.step(1)

    assert full.value.batches == 2
    assert store.writer.submit(appended(3, 4)) == 4


def test_queue_full_by_bytes() -> None:
    store = opened(StoreConfig(queue_bytes_max=1000, group_bytes_max=1000))
    store.writer.submit(Batch(entries=entries(1, 2, size=2000)))

    assert store.writer.depth()[1] >= 1000
    with pytest.raises(QueueFull):
        store.writer.submit(Batch())
    store.writer.step()
    assert store.writer.depth() == (0, 0)


def test_compaction_raises_the_floor_and_sweeps_what_is_below() -> None:
    store = opened()
    store.writer.submit(appended(1, 11))
    store.writer.submit(Batch(compact_to=Position(6, 1)))
    store.writer.step()
    image = store.log.load(10_000)
    below = [index for index in indices(store) if index <= 6]
    while store.writer.tidy():
        pass

    assert image.boundary == Position(6, 1)
    assert image.tail == entries(7, 11)
    assert below == [1, 2, 3, 4, 5, 6]
    assert indices(store) == [7, 8, 9, 10]
    assert store.log.load(0).swept == 7


BASE = [
    Batch(entries=entries(1, 7), hard_state=HardState(3, 5, 4), applied=Position(3, 1)),
    Batch(compact_to=Position(2, 1)),
]

STATE: list[Operation] = [(b"s\x01k", b"v")]

BUGS: dict[str, tuple[Batch, str]] = {
    "a gap in the log": (Batch(entries=entries(8, 9)), "gap"),
    "entries over applied ones": (Batch(entries=entries(3, 9)), "gap"),
    "entries with a hole": (Batch(entries=entries(7, 9) + entries(10, 11)), "not contiguous"),
    "term going back": (Batch(hard_state=HardState(2, 0, 4)), "went back"),
    "commit going back": (Batch(hard_state=HardState(3, 5, 3)), "went back"),
    "second vote in a term": (Batch(hard_state=HardState(3, 6, 4)), "two votes"),
    "vote taken back": (Batch(hard_state=HardState(3, 0, 4)), "two votes"),
    "commit beyond the log": (Batch(hard_state=HardState(3, 5, 7)), "beyond the log"),
    "commit cut off": (Batch(entries=entries(4, 5), hard_state=HardState(3, 5, 5)), "beyond"),
    "applied going back": (Batch(applied=Position(2, 1)), "applied index"),
    "applied ahead of commit": (Batch(applied=Position(5, 1)), "applied index"),
    "effects without their index": (Batch(effects=STATE), "without applied index"),
    "membership without its index": (Batch(conf=b"x"), "without applied index"),
    "compaction ahead of applied": (Batch(compact_to=Position(4, 1)), "compaction"),
    "compaction going back": (Batch(compact_to=Position(1, 1)), "compaction"),
}


@pytest.mark.parametrize("name", BUGS)
def test_batch_that_contradicts_the_log_is_a_bug(name: str) -> None:
    batch, reason = BUGS[name]
    store = opened()
    for base in BASE:
        store.writer.submit(base)

    with pytest.raises(InvariantViolated, match=reason):
        store.writer.submit(batch)


def test_batches_that_only_look_odd_are_taken() -> None:
    store = opened()
    for base in BASE:
        store.writer.submit(base)
    store.writer.submit(Batch(applied=Position(3, 1), effects=STATE))
    store.writer.submit(replace(BASE[1], hard_state=HardState(3, 5, 6)))
    store.writer.submit(Batch(hard_state=HardState(9, 0, 6)))
    store.writer.submit(Batch(hard_state=HardState(9, 6, 6)))
    store.writer.step()

    assert store.log.load(0).hard_state == HardState(9, 6, 6)
